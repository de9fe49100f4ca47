package main

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"countersign/auth"
	"countersign/identity"
	"countersign/internal/postgres"
	"countersign/internal/problem"
	"countersign/internal/seal"
	"countersign/migrations"
)

type keysCmd struct {
	List   keysListCmd   `cmd:"" help:"Show the signing keys: what signs, what will, and what still verifies."`
	Rotate keysRotateCmd `cmd:"" help:"Announce another key. It signs when its time has come; the one of before verifies for a while."`
	Retire keysRetireCmd `cmd:"" help:"Withdraw a key that does not sign at once, because somebody else may have it."`
}

// operator is who holds the database and the key file.
var operator = identity.Principal{Kind: identity.System, ID: "operator", Name: "The operator"}

// onDatabase is a command that works on the database, beside a server that runs.
type onDatabase struct {
	DatabaseURL string `name:"database-url" env:"DATABASE_URL" required:"" help:"PostgreSQL that the server uses, as the same role."`
}

// with opens the database for one piece of work.
func (d onDatabase) with(ctx context.Context, c *console, work func(*pgxpool.Pool) error) error {
	pool, err := postgres.Open(ctx, d.DatabaseURL, c.log)
	if err != nil {
		return fmt.Errorf("connecting to the database: %w", err)
	}
	defer pool.Close()
	version, err := postgres.LatestVersion(migrations.FS)
	if err == nil {
		err = postgres.CheckSchema(ctx, pool, version)
	}
	if err != nil {
		return err
	}
	return told(work(pool))
}

// told makes of a problem what a person reads.
func told(err error) error {
	if p := (*problem.Error)(nil); errors.As(err, &p) {
		return errors.New(p.Message)
	}
	return err
}

type keysListCmd struct{ onDatabase }

// Run shows every key but those that are retired.
func (cmd keysListCmd) Run(ctx context.Context, c *console) error {
	return cmd.with(ctx, c, func(pool *pgxpool.Pool) error {
		keys, err := auth.NewKeyring(pool, nil).Keys(ctx, operator)
		if err != nil {
			return err
		}
		w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "PURPOSE\tSTATE\tKEY\tSINCE\tNEXT")
		for _, k := range keys {
			if k.State != auth.KeyRetired {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", k.Purpose, k.State, k.ID, moment(since(k)), fate(k))
			}
		}
		return w.Flush()
	})
}

func since(k auth.Key) time.Time {
	if k.ActivatedAt != nil {
		return *k.ActivatedAt
	}
	return k.CreatedAt
}

// fate is what will become of a key by itself.
func fate(k auth.Key) string {
	switch {
	case k.State == auth.KeyNext && k.ActivatesAt != nil:
		return "signs from " + moment(*k.ActivatesAt)
	case k.State == auth.KeyRetiring && k.RetiresAt != nil:
		return "retires after " + moment(*k.RetiresAt)
	case k.Purpose == auth.ForRoot:
		return "stays: gateways pin it as root_key"
	}
	return ""
}

func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }

type keysRotateCmd struct {
	onDatabase
	KeyFile  string        `name:"key-file" env:"COUNTERSIGN_KEY_FILE" required:"" type:"path" help:"The key that seals signing keys, as the server has it."`
	Purpose  string        `required:"" enum:"policy,token,checkpoint,bundle" help:"policy, token, checkpoint or bundle."`
	Now      bool          `xor:"when" help:"Let it sign as soon as every replica knows it."`
	Announce time.Duration `xor:"when" help:"How long it is announced before it signs; unless said otherwise 2h for policy, 168h for bundle, 1m for the others."`
}

// Run announces a key. Replicas notice by themselves.
func (cmd keysRotateCmd) Run(ctx context.Context, c *console) error {
	key, err := seal.Load(cmd.KeyFile)
	if err != nil {
		return fmt.Errorf("reading the key file: %w", err)
	}
	return cmd.with(ctx, c, func(pool *pgxpool.Pool) error {
		ring := auth.NewKeyring(pool, key)
		if err := ring.Check(ctx); err != nil {
			return err
		}
		next, err := ring.Rotate(ctx, operator, auth.Rotation{Purpose: auth.Purpose(cmd.Purpose), Now: cmd.Now, Announce: cmd.Announce})
		if err != nil {
			return err
		}
		fmt.Fprintf(c.out, "The %s key %s is announced and signs from %s.\n", next.Purpose, next.ID, moment(*next.ActivatesAt))
		return nil
	})
}

type keysRetireCmd struct {
	onDatabase
	Key    string `arg:"" help:"The key, as list shows it."`
	Reason string `required:"" help:"Why, for the audit log."`
}

// Run withdraws a key.
func (cmd keysRetireCmd) Run(ctx context.Context, c *console) error {
	return cmd.with(ctx, c, func(pool *pgxpool.Pool) error {
		if err := auth.NewKeyring(pool, nil).Retire(ctx, operator, cmd.Key, cmd.Reason); err != nil {
			return err
		}
		fmt.Fprintf(c.out, "The key %s is withdrawn.\n", cmd.Key)
		return nil
	})
}

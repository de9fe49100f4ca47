package delivery

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/policy"
	"countersign/registry"
)

// foreseenBy is the audience of policies that nobody gets: one that sees everything.
const foreseenBy = "foreseen"

// epochStart is the time of policies that nobody gets where the time does not matter.
var epochStart = time.Unix(0, 0)

// standing is the registry at one moment, published or not, for those who ask what would be.
type standing struct {
	*compiled
	at    time.Time
	teams map[string]string // names by id
	trial trial             // the policy tests
	known knowledge
}

// compiled is the registry at one generation, and what it compiles to for an audience that sees everything. It is kept
// until the generation moves.
type compiled struct {
	registry.Snapshot
	since time.Time // as of when it is compiled
	whole func() (*policy.Document, []policy.Warning, error)
	index func() (*policy.Index, error)
}

func newCompiled(s registry.Snapshot, at time.Time) *compiled {
	c := &compiled{Snapshot: s, since: at}
	var warnings []policy.Warning
	document := sync.OnceValues(func() (d *policy.Document, err error) {
		whole, all, err := compileAll(s, at)
		warnings = all
		return &whole, err
	})
	c.whole = func() (*policy.Document, []policy.Warning, error) {
		d, err := document()
		return d, warnings, err
	}
	c.index = sync.OnceValues(func() (*policy.Index, error) {
		d, err := document()
		if err != nil {
			return nil, err
		}
		return policy.NewIndex(*d)
	})
	return c
}

// stands reads the registry as it is now. What the last question read is used again while the generation stays.
func (d *Delivery) stands(ctx context.Context) (s standing, err error) {
	err = pgx.BeginTxFunc(ctx, d.pool, registry.ReadOnly, func(tx pgx.Tx) error {
		var generation, epoch int64
		err := tx.QueryRow(ctx, `select generation, epoch, clock_timestamp() from registry_head`).Scan(&generation, &epoch, &s.at)
		if err != nil {
			return fmt.Errorf("reading the head: %w", err)
		}
		s.compiled = d.standing.Load()
		if s.compiled == nil || s.Generation != generation || s.Epoch != epoch {
			snapshot, err := d.registry.SnapshotTx(ctx, tx)
			if err != nil {
				return err
			}
			s.compiled = newCompiled(snapshot, s.at)
			d.standing.Store(s.compiled)
		}
		if s.teams, err = readTeamNames(ctx, tx); err != nil {
			return err
		}
		if s.trial, err = readTrial(ctx, tx); err != nil {
			return err
		}
		s.known, err = d.readKnowledge(ctx, tx, s.Snapshot, s.trial.emergency)
		return err
	})
	return s, err
}

func readTeamNames(ctx context.Context, tx pgx.Tx) (map[string]string, error) {
	rows, _ := tx.Query(ctx, `select id, name from teams`)
	teams := map[string]string{}
	var id, name string
	_, err := pgx.ForEachRow(rows, []any{&id, &name}, func() error {
		teams[id] = name
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the names of teams: %w", err)
	}
	return teams, nil
}

func compileAll(s registry.Snapshot, at time.Time) (policy.Document, []policy.Warning, error) {
	return policy.Compile(policy.Source{
		Issuer: foreseenBy, Audience: foreseenBy, Epoch: s.Epoch, Generation: s.Generation, MaxStaleSeconds: 1,
		Servers: s.Servers, Grants: s.Grants, Guardrails: s.Guardrails,
		Keys: s.Keys, Agents: s.Agents,
	}, at)
}

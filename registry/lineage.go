package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"countersign/audit"
	"countersign/identity"
	"countersign/internal/postgres"
	"countersign/internal/problem"
)

// The epoch is the lineage of the database. One that was restored from a copy, or that took over from another which may
// have known more, says less than gateways have heard and may hold as unused what was used. So it starts an epoch of its
// own: gateways take its policy although its revisions are lower, and what was issued before is void.
//
//	same cluster, timeline, database and table ──▶ the epoch stays
//	anything else ──▶ epoch + 1, once, whoever notices first
//
// A copy of the files of a cluster, put back in its place, looks the same: then a person moves the epoch.

// warden is who moves the epoch by itself, in the audit log.
var warden = identity.Principal{Kind: identity.System, ID: "lineage", Name: "Lineage of the database"}

// CheckLineage moves the epoch if the database is another than the one that was remembered. It is called when a server
// starts and when a replica begins to lead.
func (r *Registry) CheckLineage(ctx context.Context) error {
	var same bool
	err := r.pool.QueryRow(ctx, `select lineage = database_lineage() from registry_head`).Scan(&same)
	if e := (*pgconn.PgError)(nil); errors.As(err, &e) && e.Code == pgerrcode.InsufficientPrivilege {
		r.log.WarnContext(ctx, "this role cannot see which database it is on: after a restore or a lossy fail-over run countersign epoch bump", slog.Any("error", err))
		return nil
	}
	if err != nil {
		return fmt.Errorf("comparing the lineage of the database: %w", err)
	}
	if same {
		return nil
	}
	err = postgres.InTx(ctx, r.pool, func(tx pgx.Tx) error { return r.followLineageTx(ctx, tx) })
	if err == nil {
		r.hub.Wake(ctx, TopicPolicy)
	}
	return err
}

// followLineageTx remembers the database, and moves the epoch unless it is the first that is remembered.
func (r *Registry) followLineageTx(ctx context.Context, tx pgx.Tx) error {
	var remembered, found string
	err := tx.QueryRow(ctx, `select lineage, database_lineage() from registry_head for update`).Scan(&remembered, &found)
	if err != nil {
		return fmt.Errorf("reading the lineage of the database: %w", err)
	}
	if remembered == found { // another replica was first
		return nil
	}
	_, err = tx.Exec(ctx, `update registry_head set lineage = @lineage`, pgx.StrictNamedArgs{"lineage": found})
	if err != nil {
		return fmt.Errorf("remembering the lineage of the database: %w", err)
	}
	if remembered == "" {
		return nil
	}
	epoch, err := bumpEpochTx(ctx, tx, warden, map[string]any{"remembered": remembered, "found": found, "reason": "the database is another one"})
	if err != nil {
		return err
	}
	r.log.ErrorContext(ctx, "THE DATABASE IS ANOTHER ONE: restored or failed over; the epoch moves on and what was issued before is void",
		slog.String("remembered", remembered), slog.String("found", found), slog.Int64("epoch", epoch))
	return nil
}

// BumpEpoch moves the epoch by hand, after a restore that cannot be seen. It is for who holds the database: the system
// alone may. Problem: Invalid invalid_reason.
func BumpEpoch(ctx context.Context, pool *pgxpool.Pool, who identity.Principal, reason string) (epoch int64, err error) {
	if who.Kind != identity.System {
		return 0, problem.New(problem.Forbidden, "operator_only", "Only who operates the database moves the epoch: countersign epoch bump.")
	}
	if reason = strings.TrimSpace(reason); reason == "" || len(reason) > 500 {
		return 0, problem.New(problem.Invalid, "invalid_reason", "Say why in at most 500 characters. Nothing was changed.")
	}
	err = postgres.InTx(ctx, pool, func(tx pgx.Tx) error {
		epoch, err = bumpEpochTx(ctx, tx, who, map[string]any{"reason": reason})
		return err
	})
	return epoch, err
}

// bumpEpochTx moves the epoch, and the set of keys with it, since gateways may have seen a later one.
func bumpEpochTx(ctx context.Context, tx pgx.Tx, who identity.Principal, detail map[string]any) (epoch int64, err error) {
	if err := tx.QueryRow(ctx, `update registry_head set epoch = epoch + 1 returning epoch`).Scan(&epoch); err != nil {
		return 0, fmt.Errorf("moving the epoch: %w", err)
	}
	if _, err := tx.Exec(ctx, `select move_key_set()`); err != nil {
		return 0, fmt.Errorf("moving the set of keys: %w", err)
	}
	detail["epoch"] = epoch
	return epoch, audit.Append(ctx, tx, audit.Event{Kind: "epoch.moved", Who: who, TargetKind: "registry", TargetID: "head", Detail: detail})
}

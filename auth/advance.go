package auth

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/audit"
	"countersign/identity"
	"countersign/internal/postgres"
	"countersign/internal/problem"
)

// keeper is who moves keys on when their time has come, in the audit log.
var keeper = identity.Principal{Kind: identity.System, ID: "keyring", Name: "Keyring"}

// isDue tells, without a lock, whether a key has to move on.
//
// A policy key does not retire while a policy in force is signed by it, however late that is: nobody could verify it.
const (
	keyInUse = `(k.purpose = 'policy' and exists (
		select from registry_head h
		join audiences a on true
		join revisions v on v.audience_id = a.id and v.revision = a.revision and v.epoch = h.epoch
		where v.kid = k.id))`
	keyActivates = `k.state = 'next' and k.activates_at <= clock_timestamp()`
	keyRetires   = `k.state = 'retiring' and k.retires_at <= clock_timestamp() and not ` + keyInUse
)

// advance makes the keys sign whose time has come, and wipes those that nothing needs any more. Each replica tries
// every few seconds.
func (r *Keyring) advance(ctx context.Context) error {
	var due bool
	err := r.pool.QueryRow(ctx, `select exists (select from keyring k where `+keyActivates+` or `+keyRetires+`)`).Scan(&due)
	if err != nil || !due {
		return err
	}
	err = postgres.InTx(ctx, r.pool, func(tx pgx.Tx) error {
		if err := lockKeys(ctx, tx); err != nil {
			return err
		}
		return r.advanceTx(ctx, tx)
	})
	if err == nil && r.changed != nil {
		r.changed(ctx)
	}
	return err
}

// advanceTx moves what is due, which another replica may have done meanwhile.
func (r *Keyring) advanceTx(ctx context.Context, tx pgx.Tx) error {
	rows, _ := tx.Query(ctx, `select `+keyColumns+` from keyring k where `+keyActivates)
	begin, err := pgx.CollectRows(rows, pgx.RowToStructByName[Key])
	if err != nil {
		return fmt.Errorf("looking for keys that begin to sign: %w", err)
	}
	for _, key := range begin {
		if err := r.activateTx(ctx, tx, key); err != nil {
			return fmt.Errorf("activating the %s key %s: %w", key.Purpose, key.ID, err)
		}
	}
	rows, _ = tx.Query(ctx, `
		update keyring k set state = 'retired', private = '', retired_at = clock_timestamp()
		where `+keyRetires+`
		returning `+keyColumns)
	gone, err := pgx.CollectRows(rows, pgx.RowToStructByName[Key])
	if err != nil {
		return fmt.Errorf("retiring keys: %w", err)
	}
	for _, key := range gone {
		if err := audit.Append(ctx, tx, key.event("key.retired", keeper, nil)); err != nil {
			return err
		}
	}
	if len(begin)+len(gone) == 0 {
		return nil
	}
	return moveSet(ctx, tx)
}

// activateTx makes key the one that signs.
func (r *Keyring) activateTx(ctx context.Context, tx pgx.Tx, key Key) error {
	_, err := tx.Exec(ctx, `
		update keyring set state = 'retiring', retires_at = clock_timestamp() + @overlap::interval
		where purpose = @purpose and state = 'active'`,
		pgx.StrictNamedArgs{"purpose": key.Purpose, "overlap": r.overlap(key.Purpose)})
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `update keyring set state = 'active', activated_at = clock_timestamp() where id = @id`, pgx.StrictNamedArgs{"id": key.ID})
	if err != nil {
		return err
	}
	return audit.Append(ctx, tx, key.event("key.activated", keeper, nil))
}

// Key is a signing key without its private half.
type Key struct {
	ID          string // thumbprint by RFC 7638: its kid
	Purpose     Purpose
	Algorithm   string
	State       KeyState
	CreatedAt   time.Time
	ActivatesAt *time.Time
	ActivatedAt *time.Time
	RetiresAt   *time.Time
	RetiredAt   *time.Time
}

const keyColumns = `id, purpose, algorithm, state, created_at, activates_at, activated_at, retires_at, retired_at`

func (k Key) event(kind string, who identity.Principal, detail map[string]any) audit.Event {
	return audit.Event{Kind: kind, Who: who, TargetKind: "key", TargetID: k.ID, TargetName: string(k.Purpose), Detail: detail}
}

// Keys lists all keys that were ever made, by purpose, the newest first. It needs identity.ReadGateways.
func (r *Keyring) Keys(ctx context.Context, who identity.Principal) ([]Key, error) {
	if err := who.Can(identity.ReadGateways, ""); err != nil {
		return nil, err
	}
	rows, _ := r.pool.Query(ctx, `
		select `+keyColumns+` from keyring
		order by array_position(array['root', 'policy', 'token', 'checkpoint', 'bundle'], purpose), created_at desc, id`)
	keys, err := pgx.CollectRows(rows, pgx.RowToStructByName[Key])
	if err != nil {
		return nil, fmt.Errorf("listing keys: %w", err)
	}
	return keys, nil
}

// Retire withdraws a key that does not sign at once, whatever it signed: because somebody else may have it. Whoever
// asks for the set from then on does not believe it any more. It needs identity.EnrolGateway: an admin in a session.
//
// Problems: Invalid invalid_reason; NotFound no_such_key; Conflict key_in_use.
func (r *Keyring) Retire(ctx context.Context, who identity.Principal, kid, reason string) error {
	if err := who.Can(identity.EnrolGateway, ""); err != nil {
		return err
	}
	if err := cleanReason(&reason); err != nil {
		return err
	}
	err := postgres.InTx(ctx, r.pool, func(tx pgx.Tx) error {
		if err := lockKeys(ctx, tx); err != nil {
			return err
		}
		return retireTx(ctx, tx, who, kid, reason)
	})
	if err == nil && r.changed != nil {
		r.changed(ctx)
	}
	return err
}

func retireTx(ctx context.Context, tx pgx.Tx, who identity.Principal, kid, reason string) error {
	rows, _ := tx.Query(ctx, `
		update keyring k set state = 'retired', private = '', retired_at = clock_timestamp()
		where k.id = @id and k.state in ('next', 'retiring') and not `+keyInUse+`
		returning `+keyColumns, pgx.StrictNamedArgs{"id": kid})
	key, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[Key])
	if errors.Is(err, pgx.ErrNoRows) {
		return whyNotRetired(ctx, tx, kid)
	}
	if err != nil {
		return fmt.Errorf("retiring key %q: %w", kid, err)
	}
	if err := moveSet(ctx, tx); err != nil {
		return err
	}
	return audit.Append(ctx, tx, key.event("key.retired", who, map[string]any{"reason": reason}))
}

func whyNotRetired(ctx context.Context, tx pgx.Tx, kid string) error {
	var there bool
	err := tx.QueryRow(ctx, `select exists (select from keyring where id = @id and state <> 'retired')`, pgx.StrictNamedArgs{"id": kid}).Scan(&there)
	switch {
	case err != nil:
		return fmt.Errorf("looking for key %q: %w", kid, err)
	case there:
		return problem.New(problem.Conflict, "key_in_use", "This key signs, or a policy in force is signed by it. Rotate first, and wait until the new one has signed.")
	}
	return problem.New(problem.NotFound, "no_such_key", "There is no such key, or it is retired.")
}

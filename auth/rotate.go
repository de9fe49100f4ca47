package auth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/audit"
	"countersign/identity"
	"countersign/internal/postgres"
	"countersign/internal/problem"
)

// announced is how long a key is in the set before it signs, unless said otherwise: a gateway asks for the set every
// hour or so, a replica every few seconds, and the configuration of an OPA is changed by people.
func (p Purpose) announced() time.Duration {
	switch p {
	case ForPolicy:
		return 2 * time.Hour
	case ForBundle:
		return 7 * 24 * time.Hour
	default: // only replicas verify by it, or whoever looks at a checkpoint later
		return time.Minute
	}
}

// announceAtLeast is how long every key is announced: a replica that has not read the keys for so long refuses all
// tokens, so none signs, or serves a set, without knowing the key.
const announceAtLeast = rosterLimit

// overlap is how long a key verifies after another began to sign: as long as something it signed may still be in use.
func (r *Keyring) overlap(p Purpose) time.Duration {
	switch p {
	case ForPolicy:
		return r.policyLease + time.Hour
	case ForToken:
		return r.tokenLifetime + clockLeeway + 5*time.Minute
	default:
		return 24 * time.Hour
	}
}

// Rotation asks for another key.
type Rotation struct {
	Purpose  Purpose
	Announce time.Duration // how long before it signs; 0: what suits the purpose
	Now      bool          // as soon as every replica knows it, also when it was announced for later
}

// Rotate makes the key that will sign next, and announces it. The rest happens by itself: it signs when its time has
// come, and the key of before verifies until nothing that it signed is in use. It needs identity.EnrolGateway: an
// admin in a session.
//
// Problems: Invalid no_such_purpose, root_stays; Conflict key_announced.
func (r *Keyring) Rotate(ctx context.Context, who identity.Principal, n Rotation) (Key, error) {
	if err := who.Can(identity.EnrolGateway, ""); err != nil {
		return Key{}, err
	}
	switch {
	case n.Purpose == ForRoot:
		return Key{}, problem.New(problem.Invalid, "root_stays", "Gateways pin the root key. It is changed by hand; see docs/operations.md.")
	case !slices.Contains(purposes, n.Purpose):
		return Key{}, problem.New(problem.Invalid, "no_such_purpose", "Keys are for policy, token, checkpoint or bundle.")
	case n.Now:
		n.Announce = announceAtLeast
	case n.Announce == 0:
		n.Announce = n.Purpose.announced()
	}
	n.Announce = max(n.Announce, announceAtLeast)
	var made Key
	err := postgres.InTx(ctx, r.pool, func(tx pgx.Tx) (err error) {
		if err := lockKeys(ctx, tx); err != nil {
			return err
		}
		made, err = r.announceTx(ctx, tx, who, n)
		return err
	})
	if err == nil && r.changed != nil {
		r.changed(ctx)
	}
	return made, err
}

// announceTx makes the next key, or brings forward the one that was announced.
func (r *Keyring) announceTx(ctx context.Context, tx pgx.Tx, who identity.Principal, n Rotation) (Key, error) {
	rows, _ := tx.Query(ctx, `
		update keyring set activates_at = least(activates_at, clock_timestamp() + @announce::interval)
		where purpose = @purpose and state = 'next'
		returning `+keyColumns, pgx.StrictNamedArgs{"purpose": n.Purpose, "announce": n.Announce})
	key, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[Key])
	switch {
	case err == nil && !n.Now:
		return Key{}, problem.New(problem.Conflict, "key_announced", "Another %s key is announced already. Say now to have it sign at once.", n.Purpose)
	case errors.Is(err, pgx.ErrNoRows):
		key, err = r.insertTx(ctx, tx, n)
	}
	if err != nil {
		return Key{}, fmt.Errorf("announcing a %s key: %w", n.Purpose, err)
	}
	if err := moveSet(ctx, tx); err != nil {
		return Key{}, err
	}
	return key, audit.Append(ctx, tx, key.event("key.announced", who, map[string]any{"activates_at": key.ActivatesAt}))
}

func (r *Keyring) insertTx(ctx context.Context, tx pgx.Tx, n Rotation) (Key, error) {
	key, err := generate(n.Purpose)
	if err != nil {
		return Key{}, err
	}
	public, private, err := key.sealed(r.seal)
	if err != nil {
		return Key{}, err
	}
	rows, _ := tx.Query(ctx, `
		insert into keyring (id, purpose, algorithm, public, private, state, activates_at)
		values (@kid, @purpose, @algorithm, @public, @private, 'next', clock_timestamp() + @announce::interval)
		returning `+keyColumns,
		pgx.StrictNamedArgs{
			"kid": key.kid, "purpose": n.Purpose, "algorithm": n.Purpose.algorithm(), "public": public, "private": private, "announce": n.Announce,
		})
	return pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[Key])
}

// lockKeys lets one change of the keys in at a time.
func lockKeys(ctx context.Context, tx pgx.Tx) error {
	if _, err := tx.Exec(ctx, `select version from key_set for update`); err != nil {
		return fmt.Errorf("locking the set of keys: %w", err)
	}
	return nil
}

// moveSet gives the set its next version.
func moveSet(ctx context.Context, tx pgx.Tx) error {
	if _, err := tx.Exec(ctx, `select move_key_set()`); err != nil {
		return fmt.Errorf("moving the set of keys: %w", err)
	}
	return nil
}

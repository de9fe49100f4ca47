package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"countersign/internal/postgres"
	"countersign/internal/seal"
)

// Keyring holds the signing keys that all replicas share. It is safe for concurrent use.
type Keyring struct {
	pool          *pgxpool.Pool
	seal          *seal.Key
	issuer        string
	policyLease   time.Duration // how long a gateway goes by a policy it has
	tokenLifetime time.Duration
	changed       func(context.Context) // called after the keys were changed; nil: nobody listens
	held          atomic.Pointer[heldKeys]
}

// heldKeys are the keys as of one moment.
type heldKeys struct {
	keys    []signingKey
	version int64  // of the set
	signed  string // the set that the root vouches for
}

// NewKeyring is for who changes keys beside a running server, with the database and the key file. It holds none.
func NewKeyring(pool *pgxpool.Pool, key *seal.Key) *Keyring {
	ring := &Keyring{pool: pool, seal: key}
	ring.held.Store(&heldKeys{})
	return ring
}

// newKeyring is the one of an Authority.
func newKeyring(pool *pgxpool.Pool, hub *postgres.Hub, key *seal.Key, cfg Config) *Keyring {
	ring := NewKeyring(pool, key)
	ring.issuer, ring.policyLease, ring.tokenLifetime = cfg.PublicURL, cfg.PolicyLease, cfg.TokenLifetime
	ring.changed = func(ctx context.Context) { hub.Wake(ctx, topicClients) }
	return ring
}

// create makes a key for each purpose that has none. Of replicas that race the first wins, and all go
// on with its key.
func (r *Keyring) create(ctx context.Context) error {
	for _, p := range purposes {
		key, err := generate(p)
		if err != nil {
			return err
		}
		public, private, err := key.sealed(r.seal)
		if err != nil {
			return err
		}
		_, err = r.pool.Exec(ctx, `
			insert into keyring (id, purpose, algorithm, public, private, state, activated_at)
			values (@kid, @purpose, @algorithm, @public, @private, 'active', clock_timestamp())
			on conflict (purpose) where state = 'active' do nothing`,
			pgx.StrictNamedArgs{"kid": key.kid, "purpose": p, "algorithm": p.algorithm(), "public": public, "private": private})
		if err != nil {
			return fmt.Errorf("keeping a %s key: %w", p, err)
		}
	}
	return nil
}

type keyRecord struct {
	ID        string
	Purpose   Purpose
	Public    []byte
	Private   []byte
	State     KeyState
	Version   int64
	ChangedAt time.Time
}

// load reads the keys that are in use, and has the root sign them.
func (r *Keyring) load(ctx context.Context) error {
	rows, _ := r.pool.Query(ctx, `
		select k.id, k.purpose, k.public, k.private, k.state, s.version, s.changed_at
		from keyring k
		cross join key_set s
		where k.state <> 'retired'
		order by k.created_at, k.id`)
	records, err := pgx.CollectRows(rows, pgx.RowToStructByName[keyRecord])
	if err != nil {
		return fmt.Errorf("reading the signing keys: %w", err)
	}
	keys := make([]signingKey, 0, len(records))
	for _, record := range records {
		key, known := r.find(record.Purpose, record.ID)
		if !known {
			if key, err = openKey(r.seal, record); err != nil {
				return err
			}
		}
		key.state = record.State
		keys = append(keys, key)
	}
	for _, p := range purposes {
		if !slices.ContainsFunc(keys, func(k signingKey) bool { return k.state == KeyActive && k.purpose == p }) {
			return fmt.Errorf("reading the signing keys: there is no active %s key", p)
		}
	}
	held := &heldKeys{keys: keys, version: records[0].Version}
	if held.signed, err = r.sign(held.keys, held.version, records[0].ChangedAt); err != nil {
		return err
	}
	r.held.Store(held)
	return nil
}

// find returns a key by purpose and kid.
func (r *Keyring) find(p Purpose, kid string) (signingKey, bool) {
	for _, k := range r.held.Load().keys {
		if k.purpose == p && k.kid == kid {
			return k, true
		}
	}
	return signingKey{}, false
}

// signer returns the key that signs now. There always is one: load saw to it.
func (r *Keyring) signer(p Purpose) signingKey {
	for _, k := range r.held.Load().keys {
		if k.purpose == p && k.state == KeyActive {
			return k
		}
	}
	return signingKey{}
}

// Keyring lists and changes the signing keys.
func (a *Authority) Keyring() *Keyring { return a.keys }

// PolicyKey returns the key that signs policies, and its kid. It may change over time: ask for each
// signature.
func (a *Authority) PolicyKey() (kid string, key ed25519.PrivateKey) {
	return a.keys.edwards(ForPolicy)
}

// CheckpointKey returns the key that signs checkpoints of the audit log, and its kid. Ask for each
// signature.
func (a *Authority) CheckpointKey() (kid string, key ed25519.PrivateKey) {
	return a.keys.edwards(ForCheckpoint)
}

// BundleKey returns the P-256 key that signs bundles for OPA (ES256), and its kid. Ask for each signature.
func (a *Authority) BundleKey() (kid string, key *ecdsa.PrivateKey) {
	k := a.keys.signer(ForBundle)
	key, _ = k.private.(*ecdsa.PrivateKey) // by its purpose it is one
	return k.kid, key
}

func (r *Keyring) edwards(p Purpose) (string, ed25519.PrivateKey) {
	k := r.signer(p)
	key, _ := k.private.(ed25519.PrivateKey) // by its purpose it is one
	return k.kid, key
}

// Check says whether the key file is the one that the keys are sealed under, so that nobody adds a key that the
// servers cannot open.
func (r *Keyring) Check(ctx context.Context) error {
	return r.load(ctx)
}

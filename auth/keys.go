package auth

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"countersign/internal/seal"
)

// purpose is what a signing key is for. A signature for one purpose never passes for another, since
// each verifier knows the keys of its own purpose only.
type purpose string

const (
	forPolicy     purpose = "policy"
	forToken      purpose = "token"
	forCheckpoint purpose = "checkpoint"
)

const keySealedAs = "signing key"

// signingKey is a row of signing_keys, opened.
type signingKey struct {
	kid     string
	purpose purpose
	active  bool // it signs; otherwise it only verifies what it signed before
	public  ed25519.PublicKey
	private ed25519.PrivateKey
}

func (k signingKey) jwk() jose.JSONWebKey {
	return jose.JSONWebKey{Key: k.public, KeyID: k.kid, Algorithm: string(jose.EdDSA), Use: "sig"}
}

// keyring holds the signing keys that all replicas share.
type keyring struct {
	pool *pgxpool.Pool
	seal *seal.Key
	keys atomic.Pointer[[]signingKey]
}

func newKeyring(pool *pgxpool.Pool, key *seal.Key) *keyring {
	ring := &keyring{pool: pool, seal: key}
	ring.keys.Store(&[]signingKey{})
	return ring
}

// create makes a key for each purpose that has none. Of replicas that race the first wins, and all go
// on with its key.
func (r *keyring) create(ctx context.Context) error {
	for _, p := range []purpose{forPolicy, forToken, forCheckpoint} {
		public, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return fmt.Errorf("making a %s key: %w", p, err)
		}
		kid, err := thumbprint(public)
		if err != nil {
			return fmt.Errorf("making a %s key: %w", p, err)
		}
		sealed, err := r.seal.Seal(keySealedAs, private.Seed(), keyRow(kid, p))
		if err != nil {
			return fmt.Errorf("making a %s key: %w", p, err)
		}
		_, err = r.pool.Exec(ctx, `
			insert into signing_keys (id, purpose, public, private) values (@kid, @purpose, @public, @private)
			on conflict (purpose) where state = 'active' do nothing`,
			pgx.StrictNamedArgs{"kid": kid, "purpose": p, "public": []byte(public), "private": sealed})
		if err != nil {
			return fmt.Errorf("keeping a %s key: %w", p, err)
		}
	}
	return nil
}

// keyRow binds a sealed key to its row.
func keyRow(kid string, p purpose) []byte { return []byte(string(p) + " " + kid) }

// thumbprint is the kid of a key, by RFC 7638.
func thumbprint(public ed25519.PublicKey) (string, error) {
	sum, err := (&jose.JSONWebKey{Key: public}).Thumbprint(crypto.SHA256)
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(sum), nil
}

type keyRecord struct {
	ID        string
	Purpose   purpose
	Public    []byte
	Private   []byte
	State     string
	CreatedAt time.Time
}

// load reads the keys that are in use. A key that cannot be opened, or whose halves do not belong
// together, is an error: somebody started with another key file, or wrote to the table.
func (r *keyring) load(ctx context.Context) error {
	rows, _ := r.pool.Query(ctx, `
		select id, purpose, public, private, state, created_at from signing_keys where state <> 'retired' order by created_at, id`)
	records, err := pgx.CollectRows(rows, pgx.RowToStructByName[keyRecord])
	if err != nil {
		return fmt.Errorf("reading the signing keys: %w", err)
	}
	keys := make([]signingKey, 0, len(records))
	for _, record := range records {
		key, known := r.find(record.Purpose, record.ID)
		if !known {
			if key, err = r.open(record); err != nil {
				return err
			}
		}
		key.active = record.State == "active"
		keys = append(keys, key)
	}
	for _, p := range []purpose{forPolicy, forToken, forCheckpoint} {
		if !slices.ContainsFunc(keys, func(k signingKey) bool { return k.active && k.purpose == p }) {
			return fmt.Errorf("reading the signing keys: there is no active %s key", p)
		}
	}
	r.keys.Store(&keys)
	return nil
}

func (r *keyring) open(record keyRecord) (signingKey, error) {
	seed, err := r.seal.Open(keySealedAs, record.Private, keyRow(record.ID, record.Purpose))
	if err != nil {
		return signingKey{}, fmt.Errorf("opening the %s key %s: %w", record.Purpose, record.ID, err)
	}
	if len(seed) != ed25519.SeedSize {
		return signingKey{}, fmt.Errorf("opening the %s key %s: it has %d bytes", record.Purpose, record.ID, len(seed))
	}
	private := ed25519.NewKeyFromSeed(seed)
	public := private.Public().(ed25519.PublicKey)
	if kid, err := thumbprint(public); err != nil || kid != record.ID || !public.Equal(ed25519.PublicKey(record.Public)) {
		return signingKey{}, fmt.Errorf("opening the %s key %s: its public half is another key's", record.Purpose, record.ID)
	}
	return signingKey{kid: record.ID, purpose: record.Purpose, public: public, private: private}, nil
}

// find returns a key by purpose and kid.
func (r *keyring) find(p purpose, kid string) (signingKey, bool) {
	for _, k := range *r.keys.Load() {
		if k.purpose == p && k.kid == kid {
			return k, true
		}
	}
	return signingKey{}, false
}

// signer returns the key that signs now. There always is one: load saw to it.
func (r *keyring) signer(p purpose) signingKey {
	for _, k := range *r.keys.Load() {
		if k.purpose == p && k.active {
			return k
		}
	}
	return signingKey{}
}

// PolicyKey returns the key that signs policies, and its kid. It may change over time: ask for each
// signature.
func (a *Authority) PolicyKey() (kid string, key ed25519.PrivateKey) {
	k := a.keys.signer(forPolicy)
	return k.kid, k.private
}

// CheckpointKey returns the key that signs checkpoints of the audit log, and its kid.
func (a *Authority) CheckpointKey() (kid string, key ed25519.PrivateKey) {
	k := a.keys.signer(forCheckpoint)
	return k.kid, k.private
}

// JWKS returns the public keys that policies are signed by, the one in use and those going out of use.
// Keys of other purposes are not in it: a gateway would take a policy signed by any of these.
func (a *Authority) JWKS() jose.JSONWebKeySet {
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, k := range *a.keys.keys.Load() {
		if k.purpose == forPolicy {
			set.Keys = append(set.Keys, k.jwk())
		}
	}
	return set
}

package delivery

import (
	"context"
	"crypto/ed25519"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"countersign/identity"
	"countersign/internal/postgres"
	"countersign/registry"
)

// Topics of the hub that this package wakes, beside registry.TopicPolicy.
const (
	TopicRevisions = "revisions" // a revision was published, or an audience's compiled generation moved
	TopicGateways  = "gateways"  // what a gateway runs has changed
	topicClients   = "clients"   // package auth listens: a client was created or revoked
)

const (
	leaderLock = 0x636f756e74657273 // "counters"

	pollEvery    = 5 * time.Second
	debounce     = 50 * time.Millisecond
	freshFor     = 15 * time.Second
	queryTimeout = 5 * time.Second

	// DefaultMaxStaleSeconds is how long a gateway may go on without contact.
	DefaultMaxStaleSeconds = 300
)

// Config is what delivery needs from the rest.
type Config struct {
	Issuer          string // public URL of the control plane; approvals are bound to it
	MaxStaleSeconds int    // 0: DefaultMaxStaleSeconds

	// CreateClient makes the credential of a new gateway in the caller's transaction; the secret is shown once.
	CreateClient func(ctx context.Context, tx pgx.Tx, who identity.Principal, name, kind string) (id, secret string, err error)
	// RevokeClient ends it, in the caller's transaction.
	RevokeClient func(ctx context.Context, tx pgx.Tx, who identity.Principal, id string) error
	// PolicyKey is the key that signs now.
	PolicyKey func(ctx context.Context) (kid string, key ed25519.PrivateKey, err error)

	Log *slog.Logger
	Now func() time.Time // nil: time.Now; measures only how old this replica's last look at the head is
}

// Delivery is one replica's part. Its methods are safe for concurrent use.
type Delivery struct {
	cfg      Config
	log      *slog.Logger
	now      func() time.Time
	pool     *pgxpool.Pool
	hub      *postgres.Hub
	registry *registry.Registry

	snapshots  atomic.Pointer[map[string]*Snapshot] // by audience; replaced, never changed
	headReadAt atomic.Int64                         // unix nanoseconds
	look       chan struct{}                        // asks the follow loop to look now
	bundles    bundles                              // for OPA
	fits       fits
	costs      costs
	namesakes  namesakes

	mu      sync.Mutex
	changed map[string]chan struct{} // by audience: closed when it has a new revision
	moved   chan struct{}            // closed when any snapshot was replaced
	made    map[string]*revision     // by audience: what this replica published last, until it is loaded

	standing atomic.Pointer[compiled] // what was last asked about the registry as it is now
}

// New makes a replica's part; Run makes it work.
func New(pool *pgxpool.Pool, hub *postgres.Hub, reg *registry.Registry, cfg Config) *Delivery {
	if cfg.MaxStaleSeconds <= 0 {
		cfg.MaxStaleSeconds = DefaultMaxStaleSeconds
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	d := &Delivery{
		cfg: cfg, log: cfg.Log, now: cfg.Now, pool: pool, hub: hub, registry: reg,
		look: make(chan struct{}, 1), changed: map[string]chan struct{}{}, moved: make(chan struct{}),
		made: map[string]*revision{},
	}
	d.snapshots.Store(&map[string]*Snapshot{})
	return d
}

// Run follows what is published, and compiles while this replica leads, until ctx ends.
func (d *Delivery) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return d.follow(ctx) })
	g.Go(func() error {
		return postgres.RunAsLeader(ctx, d.pool, leaderLock, d.log, d.lead)
	})
	return g.Wait()
}

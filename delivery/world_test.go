package delivery

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"countersign/client"
	"countersign/identity"
	"countersign/internal/pgtest"
	"countersign/internal/postgres"
	"countersign/internal/problem"
	"countersign/policy"
	"countersign/registry"
)

var signingKey = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))

var signingKeys = jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: signingKey.Public(), KeyID: "k1", Algorithm: "EdDSA", Use: "sig"}}}

// world is a private database with a registry in it, and replicas of delivery as needed.
type world struct {
	t     testing.TB
	ctx   context.Context
	db    *pgtest.DB
	admin identity.Principal
	team  string
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, ctx: t.Context(), db: pgtest.New(t)}
	id := w.scan(`insert into people (issuer, subject, name) values ('https://idp.test', 'ines', 'Ines Roth') returning id`)
	w.team = w.scan(`insert into teams (name, idp_groups) values ('Orders', '{orders}') returning id`)
	w.admin = identity.Principal{Kind: identity.Person, ID: id, Name: "Ines", Roles: []identity.Role{identity.Admin}, SessionID: "ses_1"}
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) scan(sql string, args ...any) (s string) {
	w.t.Helper()
	w.must(w.db.Runtime.QueryRow(w.ctx, sql, args...).Scan(&s))
	return s
}

func (w *world) count(sql string, args ...any) (n int64) {
	w.t.Helper()
	w.must(w.db.Runtime.QueryRow(w.ctx, sql, args...).Scan(&n))
	return n
}

func (w *world) generation() int64 { return w.count(`select generation from registry_head`) }

// replica is one process: a pool, a hub, a registry and a delivery.
type replica struct {
	*Delivery
	registry *registry.Registry
	pool     *pgxpool.Pool
	stop     func() // ends Run and waits for it
	late     atomic.Int64
}

// start runs a replica until the test ends, or stop.
func (w *world) start() *replica {
	w.t.Helper()
	r := w.build(w.db.NewPool(w.t))
	ctx, cancel := context.WithCancel(w.ctx)
	var wg sync.WaitGroup
	wg.Go(func() { r.hub.Run(ctx) })
	wg.Go(func() {
		if err := r.Run(ctx); err != nil {
			w.t.Errorf("Run: %v", err)
		}
	})
	r.stop = func() { cancel(); wg.Wait() }
	w.t.Cleanup(r.stop)
	return r
}

func (s *Snapshot) generation() int64 {
	if s == nil {
		return 0
	}
	return s.CompiledGeneration
}

// build makes a replica that does not run.
func (w *world) build(pool *pgxpool.Pool) *replica {
	return newReplica(pool, slog.New(slog.DiscardHandler))
}

func newReplica(pool *pgxpool.Pool, log *slog.Logger) *replica {
	hub := postgres.NewHub(pool, log)
	reg := registry.New(pool, hub, log)
	r := &replica{registry: reg, pool: pool, stop: func() {}}
	r.Delivery = New(pool, hub, reg, Config{
		Issuer: "https://countersign.test", CreateClient: createClient, RevokeClient: revokeClient, Log: log,
		PolicyKey: func(context.Context) (string, ed25519.PrivateKey, error) { return "k1", signingKey, nil },
		Now:       func() time.Time { return time.Now().Add(time.Duration(r.late.Load())) },
	})
	return r
}

func createClient(ctx context.Context, tx pgx.Tx, who identity.Principal, name, kind string) (id, secret string, err error) {
	hash := sha256.Sum256([]byte(name))
	err = tx.QueryRow(ctx, `insert into api_clients (name, kind, secret_hash, created_by) values ($1, $2, $3, $4) returning id`,
		name, kind, hash[:], who.ID).Scan(&id)
	return id, "the secret of " + name, err
}

func revokeClient(ctx context.Context, tx pgx.Tx, _ identity.Principal, id string) error {
	_, err := tx.Exec(ctx, `update api_clients set revoked_at = now() where id = $1`, id)
	return err
}

func (w *world) enrol(r *replica, name string, servers ...string) Enrolled {
	w.t.Helper()
	g, err := r.Enrol(w.ctx, w.admin, NewGateway{Name: name, Servers: servers, Resource: "https://" + name + ".test"})
	w.must(err)
	return g
}

func principal(g Gateway) identity.Principal {
	return identity.Principal{Kind: identity.Gateway, ID: g.ID, Name: g.Name, GatewayID: g.ID, AudienceID: g.AudienceID}
}

// offer registers a server with read-only tools and one that is destructive, as the gateway finds them, and pins them.
func (w *world) offer(r *replica, g Gateway, name string) registry.Server {
	w.t.Helper()
	server, _, err := r.registry.Register(w.ctx, w.admin, registry.Registration{
		Name: name, TeamID: w.team, Location: registry.Location{Transport: registry.StreamableHTTP, URL: "https://orders.test/mcp"},
	})
	w.must(err)
	job, ok, err := r.registry.LeaseDiscovery(w.ctx, principal(g), client.LeaseRequest{Instance: "i1"})
	w.must(err)
	if !ok {
		w.t.Fatal("nothing to lease")
	}
	w.must(r.registry.Finish(w.ctx, principal(g), job.ID, client.Offer{Tools: []json.RawMessage{definition("list", `"readOnlyHint":true`), definition("drop", "")}}))
	page, err := r.registry.Tools(w.ctx, w.admin, registry.ToolFilter{ServerID: server.ID})
	w.must(err)
	var pins []registry.Pin
	for _, tool := range page.Items {
		pins = append(pins, registry.Pin{DefinitionID: tool.Served.ID, Risk: tool.Served.ProposedRisk})
	}
	w.must(r.registry.Pin(w.ctx, w.admin, server.ID, pins, ""))
	return server
}

func definition(name, hints string) json.RawMessage {
	return fmt.Appendf(nil, `{"name":%q,"inputSchema":{"type":"object"},"annotations":{%s}}`, name, hints)
}

func (w *world) grant(r *replica, name string, servers ...string) registry.Grant {
	w.t.Helper()
	g, err := r.registry.CreateGrant(w.ctx, w.admin, registry.NewGrant{
		Name: name, Subject: policy.Subject{Users: []string{"tomas"}}, Resource: policy.Resource{Servers: servers},
	})
	w.must(err)
	return g
}

// upTo waits until the replica's snapshot speaks up to the generation.
func (w *world) upTo(r *replica, audienceID string, generation int64) *Snapshot {
	w.t.Helper()
	deadline := time.After(15 * time.Second)
	for {
		moved := r.anyMoved()
		if s := r.Current(audienceID); s != nil && s.CompiledGeneration >= generation {
			return s
		}
		select {
		case <-moved:
		case <-deadline:
			s := r.Current(audienceID)
			w.t.Fatalf("not compiled up to generation %d, only there: %v, up to %d", generation, s != nil, s.generation())
		}
	}
}

func wantProblem(t testing.TB, err error, kind problem.Kind, code string) *problem.Error {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want %s", code)
	}
	p := problem.From(err)
	if p.Kind != kind || p.Code != code {
		t.Fatalf("got %v, want a problem %s", err, code)
	}
	return p
}

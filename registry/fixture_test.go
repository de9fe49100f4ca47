package registry

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"countersign/canonical"
	"countersign/client"
	"countersign/identity"
	"countersign/internal/pgtest"
	"countersign/internal/postgres"
	"countersign/internal/problem"
	"countersign/policy"
)

// world is a registry on a private database, with the people and gateways of a small company.
type world struct {
	*Registry
	t      testing.TB
	ctx    context.Context
	db     *pgtest.DB
	admin  identity.Principal
	owner  identity.Principal // a member of the team orders
	viewer identity.Principal
	edge   identity.Principal // a gateway that sees com.acme/*
	team   string
}

func newWorld(t testing.TB) *world {
	t.Helper()
	db := pgtest.New(t)
	log := slog.New(slog.DiscardHandler)
	w := &world{t: t, ctx: t.Context(), db: db}
	w.Registry = New(db.Runtime, postgres.NewHub(db.Runtime, log), log)
	w.Fresh = func(identity.Principal) error { return nil }
	w.admin = w.person("ines", identity.Admin)
	team, err := w.CreateTeam(w.ctx, w.admin, NewTeam{Name: "Orders", IDPGroups: []string{"orders", "orders"}})
	w.must(err)
	w.team = team.ID
	w.owner = w.person("olga", identity.Viewer)
	w.owner.Teams = []string{w.team}
	w.viewer = w.person("vera", identity.Viewer)
	w.edge = w.gateway("edge", "com.acme/*")
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) person(name string, roles ...identity.Role) identity.Principal {
	w.t.Helper()
	id := w.insert(`insert into people (issuer, subject, name) values ('https://idp.test', $1, $2) returning id`, name, strings.ToUpper(name))
	return identity.Principal{Kind: identity.Person, ID: id, Name: name, Roles: roles, SessionID: "ses_" + name}
}

func (w *world) gateway(name string, servers ...string) identity.Principal {
	w.t.Helper()
	hash := sha256.Sum256([]byte(name))
	clientID := w.insert(`insert into api_clients (name, kind, secret_hash) values ($1, 'gateway', $2) returning id`, name, hash[:])
	audience := w.insert(`insert into audiences (name, servers) values ($1, $2) returning id`, name, servers)
	id := w.insert(`insert into gateways (name, audience_id, client_id, created_by) values ($1, $2, $3, 'test') returning id`, name, audience, clientID)
	return identity.Principal{Kind: identity.Gateway, ID: id, Name: name, GatewayID: id, AudienceID: audience}
}

func (w *world) insert(sql string, args ...any) (id string) {
	w.t.Helper()
	w.must(w.db.Runtime.QueryRow(w.ctx, sql, args...).Scan(&id))
	return id
}

func (w *world) count(sql string, args ...any) (n int) {
	w.t.Helper()
	w.must(w.db.Runtime.QueryRow(w.ctx, sql, args...).Scan(&n))
	return n
}

func (w *world) events(kind string) int {
	w.t.Helper()
	return w.count(`select count(*) from audit_events where kind = $1`, kind)
}

func (w *world) generation() (n int64) {
	w.t.Helper()
	w.must(w.db.Runtime.QueryRow(w.ctx, `select generation from registry_head`).Scan(&n))
	return n
}

func registration(name, team string) Registration {
	return Registration{
		Name: name, Title: "Orders", TeamID: team, Labels: []string{"env=prod"},
		Location: Location{Transport: StreamableHTTP, URL: "https://orders.acme.example/mcp"},
	}
}

// register registers com.acme/<name> and lets the gateway discover the offer.
func (w *world) register(name string, offer client.Offer) Server {
	w.t.Helper()
	server, _, err := w.Register(w.ctx, w.owner, registration("com.acme/"+name, w.team))
	w.must(err)
	w.must(w.Finish(w.ctx, w.edge, w.leaseOne().ID, offer))
	return w.server(server.ID)
}

func (w *world) server(id string) Server {
	w.t.Helper()
	server, err := w.Server(w.ctx, w.viewer, id)
	w.must(err)
	return server
}

func (w *world) leaseOne() client.Job {
	w.t.Helper()
	job, ok, err := w.LeaseDiscovery(w.ctx, w.edge, client.LeaseRequest{Instance: "edge-1"})
	w.must(err)
	if !ok {
		w.t.Fatal("no discovery to lease")
	}
	return job
}

func (w *world) tools(serverID string) map[string]Tool {
	w.t.Helper()
	page, err := w.Tools(w.ctx, w.viewer, ToolFilter{ServerID: serverID, Limit: 500})
	w.must(err)
	tools := map[string]Tool{}
	for _, tool := range page.Items {
		tools[tool.Name] = tool
	}
	return tools
}

// pinAll pins everything that is served, with the proposed risk.
func (w *world) pinAll(server Server) {
	w.t.Helper()
	var pins []Pin
	for _, tool := range w.tools(server.ID) {
		pins = append(pins, Pin{tool.Served.ID, tool.Served.ProposedRisk})
	}
	w.must(w.Pin(w.ctx, w.owner, server.ID, pins, "first look"))
}

func (w *world) observe(serverID string, partial bool, tools ...json.RawMessage) []string {
	w.t.Helper()
	reply, err := w.Observe(w.ctx, w.edge, client.Observation{
		ServerID: serverID, EndpointDigest: w.server(serverID).Endpoint.Digest, Tools: tools, Partial: partial,
	})
	w.must(err)
	names := []string{}
	for _, h := range reply.Held {
		names = append(names, h.Name)
	}
	return names
}

func (w *world) snapshot(pool *pgxpool.Pool) (s Snapshot) {
	w.t.Helper()
	w.must(pgx.BeginTxFunc(w.ctx, pool, ReadOnly, func(tx pgx.Tx) (err error) {
		s, err = w.SnapshotTx(w.ctx, tx)
		return err
	}))
	return s
}

// tool makes the raw definition of a tool; hints are "readOnlyHint": true and the like.
func tool(name, description string, hints ...string) json.RawMessage {
	return fmt.Appendf(nil, `{"name":%q,"description":%q,"inputSchema":{"type":"object","properties":{"id":{"type":"integer","maximum":9007199254740993}}},"annotations":{%s}}`,
		name, description, strings.Join(hints, ","))
}

func tools(raw ...json.RawMessage) client.Offer { return client.Offer{Tools: raw} }

// wantProblem fails unless err is the problem with this kind and code.
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

var someDigest = canonical.Sum("test", []byte("command"))

func everyone() policy.Subject { return policy.Subject{Everyone: true} }

func soon(d time.Duration) *time.Time {
	at := time.Now().Add(d)
	return &at
}

package usage

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"countersign/client"
	"countersign/identity"
	"countersign/internal/pgtest"
	"countersign/internal/postgres"
)

var (
	ada  = identity.Principal{Kind: identity.Person, ID: "per_ada", Name: "Ada", SessionID: "s", Roles: []identity.Role{identity.Admin}}
	ida  = identity.Principal{Kind: identity.Person, ID: "per_ida", Name: "Ida", SessionID: "s", Roles: []identity.Role{identity.Auditor}}
	vera = identity.Principal{Kind: identity.Person, ID: "per_vera", Name: "Vera", SessionID: "s", Roles: []identity.Role{identity.Viewer}}
	olga = identity.Principal{Kind: identity.Person, ID: "per_olga", Name: "Olga", SessionID: "s", Teams: []string{"tem_orders"}}
	edge = identity.Principal{Kind: identity.Gateway, ID: "gtw_1", GatewayID: "gtw_1"}
)

const orders = "com.acme/orders"

// world is a database with a server and two gateways, and a ledger on it.
type world struct {
	*testing.T
	db     *pgtest.DB
	ledger *Ledger
	now    time.Time // of the database, about
	n      int
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, db: pgtest.New(t)}
	w.ledger = w.replica(w.db.Runtime)
	w.exec(`insert into teams (id, name) values ('tem_orders', 'Orders')`)
	w.exec(`insert into people (id, issuer, subject, name) values ('per_ada', 'https://id.example', 'ada', 'Ada'), ('per_olga', 'https://id.example', 'olga', 'Olga')`)
	w.exec(`insert into audiences (id, name) values ('aud_1', 'local')`)
	w.exec(`insert into api_clients (id, name, kind, secret_hash) values ('cli_1', 'edge', 'gateway', sha256('x')), ('cli_2', 'west', 'gateway', sha256('y'))`)
	w.exec(`insert into gateways (id, name, audience_id, client_id, created_by) values ('gtw_1', 'edge', 'aud_1', 'cli_1', ''), ('gtw_2', 'west', 'aud_1', 'cli_2', '')`)
	w.exec(`insert into servers (id, name, team_id, state, created_by) values ('srv_1', 'com.acme/orders', 'tem_orders', 'active', 'test')`)
	w.now = value[time.Time](w, `select clock_timestamp()`).UTC()
	return w
}

func (w *world) replica(pool *pgxpool.Pool) *Ledger {
	return New(pool, postgres.NewHub(pool, slog.New(slog.DiscardHandler)), Config{})
}

func (w *world) exec(sql string, args ...any) {
	w.Helper()
	if _, err := w.db.Owner.Exec(w.Context(), sql, args...); err != nil {
		w.Fatalf("%s: %v", sql, err)
	}
}

func value[T any](w *world, sql string, args ...any) (v T) {
	w.Helper()
	if err := w.db.Owner.QueryRow(w.Context(), sql, args...).Scan(&v); err != nil {
		w.Fatalf("%s: %v", sql, err)
	}
	return v
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// call is an allowed call of now that took 40 ms, 30 of them by the server; change makes it another.
func (w *world) call(change ...func(*client.CallRecord)) client.CallRecord {
	w.n++
	r := client.CallRecord{
		CallID: fmt.Sprintf("call_%06d", w.n), At: w.now, Server: orders, Tool: "list", Kind: "tool", Decision: client.AllowedCall, Subject: "tomas",
		Agent: "cursor", Model: "claude-4", ModelAssurance: "attested", Session: "ses", Revision: 7, RequestBytes: 100, ResponseBytes: 1000,
		RequestTokens: 25, ResponseTokens: 250, DurationUS: 40_000, UpstreamUS: 30_000,
	}
	for _, c := range change {
		c(&r)
	}
	return r
}

// record stores calls as the gateway edge.
func (w *world) record(calls ...client.CallRecord) Recorded {
	w.Helper()
	done, err := w.ledger.Record(w.Context(), edge, calls)
	w.must(err)
	return done
}

// times makes n calls.
func (w *world) times(n int, change ...func(*client.CallRecord)) (calls []client.CallRecord) {
	for range n {
		calls = append(calls, w.call(change...))
	}
	return calls
}

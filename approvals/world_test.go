package approvals

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"countersign/canonical"
	"countersign/identity"
	"countersign/internal/pgtest"
	"countersign/internal/postgres"
	"countersign/internal/problem"
	"countersign/internal/seal"
	"countersign/policy"
)

const (
	issuer  = "https://countersign.example"
	idp     = "https://id.example"
	server  = "srv_orders"
	tool    = "tol_delete"
	gateway = "gtw_edge"
	another = "gtw_other"
)

// world is a database with one server, one destructive tool, two gateways and some people, and the queue of a
// control plane in front of it.
type world struct {
	t       testing.TB
	db      *pgtest.DB
	owner   *pgxpool.Pool
	queue   *Queue
	law     *law
	key     *seal.Key
	keyFile string
	since   int64 // the last audit event before the case that runs

	gateway, other         identity.Principal
	caller                 policy.Principal
	tomas, ada, grace, eve identity.Principal // the caller; two of team Orders; one of none
	lin, noor              identity.Principal // of Leads, of Night
}

// newWorld gives a world as if it were new. Making a database takes longer than most tests do, so it may be one in which
// another test has ended: only the audit log and the generation of the policy tell.
func newWorld(t testing.TB, change ...func(*Config)) *world {
	t.Helper()
	db := place(t)
	w := newWorldOn(t, db.Owner, db.Runtime, change...)
	w.db = db
	w.since = read[int64](w, `select coalesce(max(id), 0) from audit_events`)
	t.Cleanup(func() {
		if !t.Failed() {
			places <- db
		}
	})
	return w
}

// newWorldAlone gives a world in a database that is new, and that no other test gets.
func newWorldAlone(t testing.TB, change ...func(*Config)) *world {
	t.Helper()
	db := pgtest.New(t)
	populate(t, db.Owner)
	w := newWorldOn(t, db.Owner, db.Runtime, change...)
	w.db = db
	return w
}

// places are databases that no test uses now.
var places = make(chan *pgtest.DB, 100)

func place(t testing.TB) *pgtest.DB {
	t.Helper()
	select {
	case db := <-places:
		clearUp(t, db.Owner)
		return db
	default:
		db := pgtest.New(lasting{t})
		populate(t, db.Owner)
		return db
	}
}

// lasting is a test that does not end before the process does: what is made for it is there for the tests after it.
type lasting struct{ testing.TB }

func (lasting) Cleanup(func())           {}
func (lasting) Context() context.Context { return context.Background() }

func newWorldOn(t testing.TB, owner, runtime *pgxpool.Pool, change ...func(*Config)) *world {
	t.Helper()
	w := &world{t: t, owner: owner, law: newLaw(runtime), keyFile: filepath.Join(t.TempDir(), "key")}
	w.key = loadKey(t, w.keyFile)
	w.queue = w.queueOn(runtime, change...)
	w.gateway = identity.Principal{Kind: identity.Gateway, ID: gateway, Name: "edge", GatewayID: gateway}
	w.other = identity.Principal{Kind: identity.Gateway, ID: another, Name: "other", GatewayID: another}
	w.caller = policy.Principal{Issuer: idp, Subject: "tomas", Name: "Tomas Lind", Groups: []string{"dev"}, Agent: "release-bot", Model: "m1", ModelAssurance: policy.Attested}
	w.tomas, w.ada, w.grace, w.eve = person("tomas"), person("ada"), person("grace"), person("eve")
	w.lin, w.noor = person("lin"), person("noor")
	return w
}

// queueOn is another replica's queue: its own pool, the same key and policy.
func (w *world) queueOn(pool *pgxpool.Pool, change ...func(*Config)) *Queue {
	cfg := Config{Issuer: issuer, Evaluate: w.law.evaluate, Evidence: evidence, Seal: w.key, AskRate: 1_000_000}
	for _, c := range change {
		c(&cfg)
	}
	return New(pool, postgres.NewHub(pool, slog.New(slog.DiscardHandler)), cfg)
}

func loadKey(t testing.TB, file string) *seal.Key {
	t.Helper()
	key, err := seal.LoadOrCreate(file)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func person(name string) identity.Principal {
	return identity.Principal{
		Kind: identity.Person, ID: "per_" + name, Name: strings.ToUpper(name[:1]) + name[1:], Issuer: idp, Subject: name,
		Roles: []identity.Role{identity.Approver}, SessionID: "ses_" + name, AuthTime: time.Unix(1_700_000_000, 0).UTC(), AMR: []string{"pwd"},
	}
}

// evidence reads tokens of the form "subject/agent/model".
func evidence(_ context.Context, _ identity.Principal, token string) (policy.Principal, error) {
	parts := strings.Split(token, "/")
	if len(parts) != 3 {
		return policy.Principal{}, problem.New(problem.Forbidden, "evidence_invalid", "This token is not valid.")
	}
	return policy.Principal{Issuer: idp, Subject: parts[0], Name: "Name from the token", Agent: parts[1], Model: parts[2], ModelAssurance: policy.Attested}, nil
}

func populate(t testing.TB, owner *pgxpool.Pool) {
	t.Helper()
	endpoint, definition := canonical.Sum("test", []byte("endpoint")), canonical.Sum("test", []byte("definition"))
	batch := &pgx.Batch{}
	batch.Queue(`insert into teams (id, name, idp_groups) values
		('tem_orders', 'Orders', '{orders-team}'), ('tem_other', 'Other', '{}'), ('tem_leads', 'Leads', '{leads}'), ('tem_night', 'Night', '{night}')`)
	for _, p := range []struct{ name, groups string }{
		{"tomas", "{orders-team}"}, {"ada", "{orders-team}"}, {"grace", "{}"}, {"eve", "{dev}"}, {"lin", "{leads}"}, {"noor", "{night}"},
	} {
		batch.Queue(`insert into people (id, issuer, subject, name, groups) values ($1, $2, $3, $4, $5)`, "per_"+p.name, idp, p.name, person(p.name).Name, p.groups)
	}
	batch.Queue(`insert into team_members (team_id, person_id) values ('tem_orders', 'per_grace')`)
	batch.Queue(`insert into servers (id, name, team_id, state, created_by) values ($1, 'com.example/orders', 'tem_orders', 'active', 'test')`, server)
	batch.Queue(`insert into endpoints (server_id, transport, url, digest) values ($1, 'streamable_http', 'http://x', $2)`, server, endpoint[:])
	batch.Queue(`insert into tools (id, server_id, kind, name, risk) values ($1, $2, 'tool', 'delete_orders', 'destructive')`, tool, server)
	batch.Queue(`insert into definitions (tool_id, number, digest, raw, proposed_risk, state) values ($1, 3, $2, '{}', 'destructive', 'approved')`, tool, definition[:])
	batch.Queue(`insert into grants (id, name, subject, resource, created_by) values ('grt_1', 'Everyone', '{}', '{}', 'test')`)
	batch.Queue(`insert into audiences (id, name) values ('aud_1', 'all')`)
	for _, id := range []string{gateway, another} {
		batch.Queue(`insert into api_clients (id, name, kind, secret_hash) values ($1, $1, 'gateway', sha256('x'))`, "cli_"+id)
		batch.Queue(`insert into gateways (id, name, audience_id, client_id, created_by) values ($1, $1, 'aud_1', $2, 'test')`, id, "cli_"+id)
	}
	if err := owner.SendBatch(t.Context(), batch).Close(); err != nil {
		t.Fatalf("populating the database: %v", err)
	}
}

// law is the policy: mutable, and as of the generation that the database has.
type law struct {
	pool *pgxpool.Pool

	mu        sync.Mutex
	outcome   policy.Outcome
	reason    policy.Reason
	approval  policy.Approval
	tainted   *policy.Approval // what holds a call of a session that something untrusted came into within an hour
	endpoint  canonical.Digest
	pinned    canonical.Digest
	document  *policy.Document
	meanwhile func() // runs after each evaluation, before its result is used
	asked     int
}

func newLaw(pool *pgxpool.Pool) *law {
	return &law{
		pool: pool, outcome: policy.Hold, reason: policy.ReasonApprovalRequired,
		approval: policy.Approval{Quorum: 1, DenyQuorum: 1, OwningTeam: true},
		endpoint: canonical.Sum("test", []byte("endpoint")), pinned: canonical.Sum("test", []byte("definition")),
		document: &policy.Document{
			Guardrails: []policy.Guardrail{{ID: "grd_1", Name: "Destructive"}}, Grants: []policy.Grant{{ID: "grt_1", Name: "Everyone"}},
		},
	}
}

func (l *law) evaluate(ctx context.Context, gatewayID string, r policy.Request) (Evaluation, error) {
	var generation int64
	if err := l.pool.QueryRow(ctx, `select generation from registry_head`).Scan(&generation); err != nil {
		return Evaluation{}, err
	}
	l.mu.Lock()
	l.asked++
	meanwhile := l.meanwhile
	v := policy.Verdict{Outcome: policy.Deny, Reason: policy.ReasonUnknownTool, Grant: -1, Guardrail: -1}
	if gatewayID != "" && r.Server == "com.example/orders" && r.Name == "delete_orders" && r.Principal.Subject != "" {
		approval := l.approval
		if at, ok := r.Principal.Taint["untrusted"]; ok && l.tainted != nil && r.Now.Sub(at) < time.Hour {
			approval = *l.tainted
		}
		v = policy.Verdict{
			Outcome: l.outcome, Reason: l.reason, Grant: 0, Guardrail: 0, Guardrails: []int{0}, Approval: &approval,
			Server: &policy.Server{ID: server, Name: r.Server, Team: "tem_orders", Endpoint: policy.Endpoint{Digest: l.endpoint}},
			Tool:   &policy.Tool{ID: tool, Kind: r.Kind, Name: r.Name, Definition: l.pinned},
		}
	}
	l.mu.Unlock()
	if meanwhile != nil {
		meanwhile()
	}
	return Evaluation{Verdict: v, Generation: generation, Document: l.document}, nil
}

// change changes the policy, as a new generation.
func (w *world) change(f func(l *law)) {
	w.t.Helper()
	w.law.mu.Lock()
	f(w.law)
	w.law.mu.Unlock()
	w.exec(`update registry_head set generation = generation + 1`)
}

// demand changes what the policy demands of the call.
func (w *world) demand(f func(a *policy.Approval)) {
	w.t.Helper()
	w.change(func(l *law) { f(&l.approval) })
}

// owned makes a person answer for the agent of the calls.
func (w *world) owned(by identity.Principal) {
	w.t.Helper()
	w.exec(`update agents set ended_at = clock_timestamp() where ended_at is null`)
	w.exec(`insert into agents (agent, name, owner_id, created_by) values ($1, $1, $2, 'test')`, w.caller.Agent, by.ID)
}

func (w *world) exec(sql string, args ...any) {
	w.t.Helper()
	if _, err := w.owner.Exec(context.Background(), sql, args...); err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
}

// restore makes the world that the cases of a table share as it was.
func (w *world) restore(t testing.TB) {
	t.Helper()
	w.t = t
	w.law = newLaw(w.law.pool)
	w.queue.cfg.Evaluate = w.law.evaluate
	clearUp(t, w.owner)
	w.since = read[int64](w, `select coalesce(max(id), 0) from audit_events`)
}

// clearUp undoes what tests do to the database, but for the audit log. The generation is an odd one, as the first is.
func clearUp(t testing.TB, owner *pgxpool.Pool) {
	t.Helper()
	batch := &pgx.Batch{}
	for _, sql := range []string{
		`delete from reviews`,
		`delete from approval_views`,
		`delete from votes`,
		`delete from confirmations`,
		`update approvals set allowance_id = null where allowance_id is not null`,
		`delete from allowances`,
		`delete from approvals`,
		`delete from agents`,
		`delete from team_members`,
		`delete from people where id not in ('per_tomas', 'per_ada', 'per_grace', 'per_eve', 'per_lin', 'per_noor')`,
		`delete from teams where id not in ('tem_orders', 'tem_other', 'tem_leads', 'tem_night')`,
		`delete from grants where id <> 'grt_1'`,
		`insert into team_members (team_id, person_id) values ('tem_orders', 'per_grace')`,
		`update people set disabled_at = null, groups = case id
			when 'per_tomas' then '{orders-team}'::text[] when 'per_ada' then '{orders-team}' when 'per_eve' then '{dev}'
			when 'per_lin' then '{leads}' when 'per_noor' then '{night}' else '{}' end`,
		`update grants set created_by = 'test', not_after = null`,
		`update gateways set revoked_at = null, kind = 'proxy'`,
		`update registry_head set epoch = 1, generation = generation + 2 - (generation + 1) % 2`,
	} {
		batch.Queue(sql)
	}
	if err := owner.SendBatch(context.Background(), batch).Close(); err != nil {
		t.Fatalf("clearing up the database: %v", err)
	}
}

// read scans one value.
func read[T any](w *world, sql string, args ...any) T {
	w.t.Helper()
	var v T
	if err := w.owner.QueryRow(context.Background(), sql, args...).Scan(&v); err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// call is a call of delete_orders with one argument.
func (w *world) call(order any) policy.Call {
	arguments, err := json.Marshal(map[string]any{"order": order})
	if err != nil {
		w.t.Fatal(err)
	}
	return policy.Call{
		Issuer: issuer, Epoch: 1, Gateway: gateway, ServerID: server, EndpointDigest: canonical.Sum("test", []byte("endpoint")),
		Tool: "delete_orders", Kind: policy.KindTool, Definition: canonical.Sum("test", []byte("definition")),
		Principal: w.caller.Identity(), Arguments: arguments,
	}
}

func digestOf(t testing.TB, call policy.Call) canonical.Digest {
	t.Helper()
	d, _, err := call.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (w *world) asking(call policy.Call) Ask {
	return Ask{Call: call, CallDigest: digestOf(w.t, call), Principal: w.caller}
}

func (w *world) ask(call policy.Call) Request {
	w.t.Helper()
	r, _, err := w.queue.Ask(context.Background(), w.gateway, w.asking(call))
	if err != nil {
		w.t.Fatalf("Ask: %v", err)
	}
	return r
}

// on is a vote on what the request is now.
func on(r Request, d Decision) Vote {
	v := Vote{Decision: d, Version: r.Version, SeenDigest: r.CallDigest}
	if d == Deny {
		v.Reason = "not today"
	}
	return v
}

func (w *world) vote(who identity.Principal, r Request, d Decision) Request {
	w.t.Helper()
	r, err := w.queue.Vote(context.Background(), who, r.ID, on(r, d))
	if err != nil {
		w.t.Fatalf("Vote of %s: %v", who.Name, err)
	}
	return r
}

func (w *world) claim(r Request) Token {
	w.t.Helper()
	c, err := w.queue.Claim(context.Background(), w.gateway, r.ID)
	if err != nil {
		w.t.Fatalf("Claim: %v", err)
	}
	return c.Token
}

// claimed asks, approves and claims.
func (w *world) claimed(call policy.Call) (Request, Token) {
	w.t.Helper()
	r := w.vote(w.ada, w.ask(call), Approve)
	return r, w.claim(r)
}

func (w *world) redeem(token Token, call policy.Call, redemptionID string) (Redemption, error) {
	return w.queue.Redeem(context.Background(), w.gateway, Redeem{Token: token, Call: call, RedemptionID: redemptionID, Instance: "i1"})
}

func (w *world) mustRedeem(token Token, call policy.Call, redemptionID string) {
	w.t.Helper()
	if r, err := w.redeem(token, call, redemptionID); err != nil || r.Replayed {
		w.t.Fatalf("Redeem: %+v, %v; want a first redemption", r, err)
	}
}

func (w *world) state(r Request) State {
	w.t.Helper()
	return read[State](w, `select state from approvals where id = $1`, r.ID)
}

// confirmation is the state of the newest confirmation of a request.
func (w *world) confirmation(r Request) ConfirmationState {
	w.t.Helper()
	return read[ConfirmationState](w, `select state from confirmations where approval_id = $1 order by issued_at desc limit 1`, r.ID)
}

// events are the kinds of the audit events about a request and its confirmations, in order.
func (w *world) events(r Request) []string {
	w.t.Helper()
	rows, _ := w.owner.Query(context.Background(), `
		select kind from audit_events where target_id = $1 or detail ->> 'approval' = $1 order by id`, r.ID)
	kinds, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		w.t.Fatal(err)
	}
	return kinds
}

func (w *world) wantEvents(r Request, want ...string) {
	w.t.Helper()
	if got := w.events(r); !slices.Equal(got, want) {
		w.t.Errorf("audit events:\n got %v\nwant %v", got, want)
	}
}

func (w *world) wantState(r Request, want State) {
	w.t.Helper()
	if got := w.state(r); got != want {
		w.t.Errorf("the request is %s, want %s", got, want)
	}
}

func wantProblem(t testing.TB, err error, kind problem.Kind, code string) *problem.Error {
	t.Helper()
	var p *problem.Error
	if !errors.As(err, &p) || p.Kind != kind || p.Code != code {
		t.Fatalf("got error %v, want the problem %s (%d)", err, code, kind.Status())
	}
	return p
}

func redemption(i int) string { return fmt.Sprintf("redemption-%d", i) }

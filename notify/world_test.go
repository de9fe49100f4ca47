package notify

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"countersign/identity"
	"countersign/internal/egress"
	"countersign/internal/pgtest"
	"countersign/internal/postgres"
	"countersign/internal/seal"
)

const origin = "https://countersign.example"

var (
	ada     = identity.Principal{Kind: identity.Person, ID: "per_ada", Name: "Ada", SessionID: "ses_1", Roles: []identity.Role{identity.Admin}}
	auditor = identity.Principal{Kind: identity.Person, ID: "per_ida", Name: "Ida", SessionID: "ses_2", Roles: []identity.Role{identity.Auditor}}
)

// world is a database with two teams and a few requests, and a notifier on it.
type world struct {
	t      *testing.T
	db     *pgtest.DB
	notify *Notifier
	cfg    Config
}

func newWorld(t *testing.T, change ...func(*Config)) *world {
	t.Helper()
	w := &world{t: t, db: pgtest.New(t)}
	key, err := seal.LoadOrCreate(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	w.cfg = Config{PublicURL: origin, Seal: key, Guard: egress.Loopback}
	for _, c := range change {
		c(&w.cfg)
	}
	w.notify = w.on(w.db.Runtime)
	w.exec(`insert into teams (id, name) values ('tem_orders', 'Orders'), ('tem_other', 'Other')`)
	w.exec(`insert into people (id, issuer, subject, name) values ('per_ada', 'https://id.example', 'ada', 'Ada')`)
	w.exec(`insert into audiences (id, name) values ('aud_1', 'local')`)
	w.exec(`insert into api_clients (id, name, kind, secret_hash) values ('cli_1', 'edge', 'gateway', sha256('x'))`)
	w.exec(`insert into gateways (id, name, audience_id, client_id, created_by) values ('gtw_1', 'edge', 'aud_1', 'cli_1', 'test')`)
	w.exec(`insert into servers (id, name, team_id, state, created_by) values ('srv_1', 'com.example/orders', 'tem_orders', 'active', 'test')`)
	w.exec(`insert into tools (id, server_id, kind, name) values ('tol_1', 'srv_1', 'tool', 'delete_orders')`)
	return w
}

// on is another replica's notifier.
func (w *world) on(pool *pgxpool.Pool) *Notifier {
	n := New(pool, postgres.NewHub(pool, slog.New(slog.DiscardHandler)), w.cfg)
	w.t.Cleanup(n.client.CloseIdleConnections)
	return n
}

func (w *world) exec(sql string, args ...any) {
	w.t.Helper()
	if _, err := w.db.Owner.Exec(w.t.Context(), sql, args...); err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
}

func one[T any](w *world, sql string, args ...any) (v T) {
	w.t.Helper()
	if err := w.db.Owner.QueryRow(w.t.Context(), sql, args...).Scan(&v); err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// request makes a pending request for approval.
func (w *world) request(id string) {
	w.t.Helper()
	w.exec(`
		insert into approvals (id, epoch, gateway_id, server_id, server_name, tool_id, tool_name, definition_digest, call_digest, call, principal,
		    caller_issuer, caller_subject, evidence, team_ids, quorum, generation, expires_at, terms)
		values ($1::text, 1, 'gtw_1', 'srv_1', 'com.example/orders', 'tol_1', 'delete_orders', sha256('d'), sha256(convert_to($1::text, 'UTF8')), 'x', 'x',
		    'https://id.example', 'tomas', 'asserted', '{tem_orders}', 1, 1, '2031-01-02T03:04:05Z', '{"quorum":1,"teams":["tem_orders"]}')`, id)
}

// tell commits a notice.
func (w *world) tell(notices ...Notice) {
	w.t.Helper()
	err := postgres.InTx(w.t.Context(), w.db.Runtime, func(tx pgx.Tx) error {
		for _, n := range notices {
			if err := Append(w.t.Context(), tx, n); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// asked is a notice that a request waits.
func asked(approval string) Notice {
	return Notice{
		Topic: topicRequested, ApprovalID: approval, TeamIDs: []string{"tem_orders"},
		Data: map[string]any{"server": "com.example/orders", "tool": "delete_orders", "risk": "destructive", "state": "pending", "agent": "release-bot", "caller_name": "Tomas Lind"},
	}
}

// look makes the notifier look once, and waits for what it began.
func (w *world) look(n *Notifier) {
	w.t.Helper()
	var running sync.WaitGroup
	if err := n.pass(w.t.Context(), &running, make(chan struct{}, 1)); err != nil {
		w.t.Fatal(err)
	}
	running.Wait()
}

// due makes all that waits due now.
func (w *world) due() {
	w.exec(`update deliveries set due_at = clock_timestamp() where state = 'waiting'`)
}

func (w *world) channel(s Setup) (id, secret string) {
	w.t.Helper()
	s.Name = fmt.Sprintf("%s %d", s.Kind, one[int](w, `select count(*)::int from channels`))
	if len(s.Topics) == 0 {
		s.Topics = []string{topicRequested, "approval.approved"}
	}
	id, secret, err := w.notify.Create(w.t.Context(), ada, s)
	if err != nil {
		w.t.Fatalf("creating a channel: %v", err)
	}
	return id, secret
}

func (w *world) webhook(r *receiver, change ...func(*Setup)) (id, secret string) {
	w.t.Helper()
	s := Setup{Kind: Webhook, Address: r.URL + "/hook"}
	for _, c := range change {
		c(&s)
	}
	return w.channel(s)
}

// states are the deliveries of a channel by state.
func (w *world) states(channel string) string {
	w.t.Helper()
	return one[string](w, `
		select coalesce(string_agg(state || ' ' || n, ', ' order by state), '')
		from (select state, count(*) as n from deliveries where channel_id = $1 group by state) s`, channel)
}

// audited are the kinds of the audit events about a channel, oldest first.
func (w *world) audited(channel string) []string {
	w.t.Helper()
	return one[[]string](w, `select array_agg(kind order by id) from audit_events where target_id = $1`, channel)
}

// receiver is a program that takes webhooks, and answers each as it is told to.
type receiver struct {
	*httptest.Server

	mu     sync.Mutex
	got    []arrival
	answer func(nth int, w http.ResponseWriter, r *http.Request)
}

type arrival struct {
	id, path string
	header   http.Header
	body     []byte
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	r.mu.Lock()
	r.got = append(r.got, arrival{id: req.Header.Get("webhook-id"), path: req.URL.Path, header: req.Header.Clone(), body: body})
	nth, answer := len(r.got), r.answer
	r.mu.Unlock()
	if answer != nil {
		answer(nth, w, req)
	}
}

func (r *receiver) arrivals() []arrival {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

// answers makes r answer with each status in turn, and then with the last.
func (r *receiver) answers(statuses ...int) {
	r.answer = func(nth int, w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(statuses[min(nth, len(statuses))-1])
	}
}

// run runs a notifier until the test ends.
func (w *world) run(n *Notifier) {
	ctx, stop := context.WithCancel(w.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := n.Run(ctx); err != nil {
			w.t.Error(err)
		}
	}()
	w.t.Cleanup(func() { stop(); <-done })
}

// within waits until ok, for at most ten seconds.
func within(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within ten seconds", what)
		}
	}
}

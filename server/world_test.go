package server

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/labstack/echo/v4"

	"countersign/client"
	"countersign/delivery"
	"countersign/identity"
	"countersign/internal/devidp"
	"countersign/internal/devidp/devidptest"
	"countersign/internal/pgtest"
	"countersign/internal/seal"
	"countersign/registry"
)

// The people of these tests, each with one role.
var people = []devidp.Person{
	{Subject: "ada", Name: "Ada Admin", Groups: []string{"admins"}},
	{Subject: "audra", Name: "Audra Auditor", Groups: []string{"auditors"}},
	{Subject: "april", Name: "April Approver", Groups: []string{"approvers"}},
	{Subject: "vera", Name: "Vera Viewer", Groups: []string{"viewers"}},
	{Subject: "tessa", Name: "Tessa Team", Groups: []string{"commerce"}},
	{Subject: "nora", Name: "Nora Nobody", Groups: []string{"others"}},
}

var roleGroups = map[identity.Role][]string{
	identity.Admin: {"admins"}, identity.Auditor: {"auditors"}, identity.Approver: {"approvers"}, identity.Viewer: {"viewers"},
}

// world is a running replica on a database of its own, with an identity provider beside it.
type world struct {
	*Server
	t       testing.TB
	url     string
	idp     *devidptest.Server
	db      *pgxpool.Pool // as the owner, for arranging and counting
	log     *lockedBuffer
	late    atomic.Int64  // how far the replica's clock is ahead
	serving atomic.Int64  // requests at this moment
	stop    func()        // ends Run and waits for it
	team    registry.Team // Commerce, of whom Tessa is one
}

func newWorld(t testing.TB, change ...func(*Config)) *world {
	t.Helper()
	db := pgtest.New(t)
	return newWorldOn(t, db.RuntimeDSN, db.Owner, change...)
}

func newWorldOn(t testing.TB, dsn string, owner *pgxpool.Pool, change ...func(*Config)) *world {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	w := &world{t: t, url: "http://" + listener.Addr().String(), db: owner, log: &lockedBuffer{}}
	w.idp = devidptest.Start(t, devidp.Config{People: people, Clients: []devidp.Client{{
		ID: "console", Name: "Countersign", RedirectURIs: []string{w.url + "/auth/callback"}, PostLogoutRedirectURIs: []string{w.url + signedOutPath},
	}}})
	cfg := config(t, dsn, w.url, w.idp.Issuer)
	cfg.Log = slog.New(slog.NewJSONHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	cfg.Now = func() time.Time { return time.Now().Add(time.Duration(w.late.Load())) }
	for _, c := range change {
		c(&cfg)
	}
	w.Server, err = New(t.Context(), cfg)
	must(t, err)
	w.run(listener)
	must(t, w.EnsureTeam(t.Context(), "Commerce", []string{"commerce"}))
	teams, err := w.registry.Teams(t.Context(), installer)
	must(t, err)
	w.team = teams[0]
	return w
}

// config is what a replica of these tests needs.
func config(t testing.TB, dsn, publicURL, issuer string) Config {
	t.Helper()
	key, err := seal.LoadOrCreate(filepath.Join(t.TempDir(), "key"))
	must(t, err)
	return Config{
		DatabaseURL: dsn, PublicURL: publicURL, Key: key, OIDCIssuer: issuer, OIDCClientID: "console", RoleGroups: roleGroups, Relaxed: true,
	}
}

func (w *world) run(listener net.Listener) {
	w.echo.Pre(func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			w.serving.Add(1)
			defer w.serving.Add(-1)
			return next(c)
		}
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := w.Run(ctx, listener); err != nil {
			w.t.Errorf("Run: %v", err)
		}
	}()
	w.stop = func() { cancel(); <-done }
	w.t.Cleanup(func() { w.stop(); w.Close() })
}

// lockedBuffer takes what several goroutines write.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// read scans one value.
func read[T any](w *world, sql string, args ...any) T {
	w.t.Helper()
	var v T
	must(w.t, w.db.QueryRow(context.Background(), sql, args...).Scan(&v))
	return v
}

func (w *world) exec(sql string, args ...any) {
	w.t.Helper()
	_, err := w.db.Exec(context.Background(), sql, args...)
	must(w.t, err)
}

// traces says what a request may have changed: the audit log beside refusals and what is done in the background, the
// policy, and the sessions.
func (w *world) traces() string {
	w.t.Helper()
	return read[string](w, `
		select format('%s, generation %s, %s sessions',
		              (select string_agg(kind, ' ' order by id) from audit_events where kind not like '%.refused' and kind not like 'policy.%' and kind <> 'approval.superseded'),
		              (select generation from registry_head), (select count(*) from sessions where ended_at is null))`)
}

// unchanged fails the test unless, when it is over with all of its parts, nothing was changed since.
func (w *world) unchanged(t *testing.T) {
	t.Helper()
	before := w.traces()
	t.Cleanup(func() {
		if after := w.traces(); after != before {
			t.Errorf("%s became %s", before, after)
		}
	})
}

func (w *world) refusals() int {
	return read[int](w, `select count(*) from audit_events where kind = 'access.refused'`)
}

// answer is a response, read to its end.
type answer struct {
	status int
	header http.Header
	body   string
}

// caller is somebody who sends requests: a browser, a gateway or nobody. It follows no redirect.
type caller struct {
	w      *world
	client *http.Client
	bearer string
	csrf   string
}

func (w *world) anonymous() *caller {
	w.t.Helper()
	jar, err := cookiejar.New(nil)
	must(w.t, err)
	transport := &http.Transport{MaxIdleConnsPerHost: 4, DisableCompression: true}
	w.t.Cleanup(transport.CloseIdleConnections)
	return &caller{w: w, client: &http.Client{
		Jar: jar, Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

var csrfField = regexp.MustCompile(`name="csrf" value="([^"]+)"`)

// signIn signs a person in, the way a browser does.
func (w *world) signIn(person string) *caller {
	w.t.Helper()
	c := w.anonymous()
	start := c.get("/auth/login")
	if start.status != http.StatusSeeOther {
		w.t.Fatalf("the sign-in does not begin: %d %s", start.status, start.body)
	}
	back := devidptest.Choose(w.t, c.client, start.header.Get("Location"), person)
	if done := c.get(back.RequestURI()); done.status != http.StatusSeeOther {
		w.t.Fatalf("the sign-in of %s ends with %d %s", person, done.status, done.body)
	}
	me := c.get("/me")
	found := csrfField.FindStringSubmatch(me.body)
	if found == nil {
		w.t.Fatalf("no form on the page of %s: %d %s", person, me.status, me.body)
	}
	c.csrf = found[1]
	return c
}

// edge is an enrolled gateway.
type edge struct {
	*caller
	delivery.Enrolled
}

// enrol enrols a gateway that may see servers, and gets it a token.
func (w *world) enrol(name string, servers ...string) *edge {
	w.t.Helper()
	enrolled, err := w.delivery.Enrol(w.t.Context(), installer, delivery.NewGateway{Name: name, Servers: servers, Resource: "http://127.0.0.1:1"})
	must(w.t, err)
	must(w.t, w.auth.Refresh(w.t.Context()))
	g := &edge{caller: w.anonymous(), Enrolled: enrolled}
	token, err := w.auth.Token(w.t.Context(), enrolled.ClientID, enrolled.Secret)
	must(w.t, err)
	g.bearer = token.Token
	return g
}

// principal is who the gateway is to the domain.
func (g *edge) principal() identity.Principal {
	return identity.Principal{Kind: identity.Gateway, ID: g.ID, Name: g.Name, GatewayID: g.ID, AudienceID: g.AudienceID}
}

// cookie is what the browser holds for us under a name.
func (c *caller) cookie(name string) (string, bool) {
	u, err := url.Parse(c.w.url)
	must(c.w.t, err)
	for _, cookie := range c.client.Jar.Cookies(u) {
		if cookie.Name == name {
			return cookie.Value, true
		}
	}
	return "", false
}

func (c *caller) get(path string, header ...string) answer {
	c.w.t.Helper()
	return c.send(http.MethodGet, path, "", header...)
}

// post sends a form with the token of the session.
func (c *caller) post(path string, form url.Values, header ...string) answer {
	c.w.t.Helper()
	sent := url.Values{"csrf": {c.csrf}}
	maps.Copy(sent, form)
	return c.send(http.MethodPost, path, sent.Encode(), append([]string{"Content-Type", "application/x-www-form-urlencoded"}, header...)...)
}

// call sends JSON.
func (c *caller) call(method, path string, body any, header ...string) answer {
	c.w.t.Helper()
	text, raw := body.(string)
	if !raw {
		var encoded bytes.Buffer
		enc := json.NewEncoder(&encoded)
		enc.SetEscapeHTML(false) // definitions travel as they are
		must(c.w.t, enc.Encode(body))
		text = encoded.String()
	}
	return c.send(method, path, text, append([]string{"Content-Type", "application/json"}, header...)...)
}

// send sends one request; header is names and values by turns.
func (c *caller) send(method, path, body string, header ...string) answer {
	c.w.t.Helper()
	resp, err := c.do(c.w.t.Context(), method, path, body, header...)
	must(c.w.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	must(c.w.t, err)
	a := answer{status: resp.StatusCode, header: resp.Header, body: string(text)}
	c.w.asDescribed(method, path, a)
	return a
}

func (c *caller) do(ctx context.Context, method, path, body string, header ...string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.w.url+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	if c.bearer != "" {
		req.Header.Set("Authorization", "Bearer "+c.bearer)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	return c.client.Do(req)
}

// want fails unless the answer has the status and says all of words.
func (a answer) want(t testing.TB, status int, words ...string) answer {
	t.Helper()
	if a.status != status {
		t.Fatalf("status %d, want %d: %s", a.status, status, a.shown())
	}
	for _, word := range words {
		if !strings.Contains(a.body, word) {
			t.Fatalf("the answer does not say %q: %s", word, a.shown())
		}
	}
	return a
}

var (
	styling = regexp.MustCompile(`(?s)<head>.*</head>|<svg.*?</svg>|<aside.*?</aside>|<details class="topbar">.*?</details>`)
	blanks  = regexp.MustCompile(`\s+`)
)

// shown is the answer, short enough for a test's output.
func (a answer) shown() string {
	body := blanks.ReplaceAllString(styling.ReplaceAllString(a.body, ""), " ")
	if len(body) > 3000 {
		body = body[:3000] + " …"
	}
	return fmt.Sprintf("%v %s", a.header, body)
}

// wantProblem fails unless the answer is the problem, in the form of RFC 9457.
func (a answer) wantProblem(t testing.TB, status int, code string) client.ProblemReply {
	t.Helper()
	var p client.ProblemReply
	if err := json.Unmarshal([]byte(a.body), &p); err != nil || a.header.Get("Content-Type") != "application/problem+json" {
		t.Fatalf("status %d, no problem of the code %s: %s", a.status, code, a.shown())
	}
	if a.status != status || p.Code != code || p.Status != status || p.Type != "urn:countersign:problem:"+code || p.Title == "" || p.Detail == "" {
		t.Fatalf("status %d, %+v; want %d %s", a.status, p, status, code)
	}
	return p
}

// into decodes a JSON answer.
func into[T any](t testing.TB, a answer) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(a.body), &v); err != nil {
		t.Fatalf("status %d, no %T: %v: %s", a.status, v, err, a.shown())
	}
	return v
}

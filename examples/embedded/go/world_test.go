package main

import (
	"bufio"
	"context"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"countersign/identity"
	"countersign/internal/devidp"
	"countersign/internal/devidp/devidptest"
	"countersign/internal/pgtest"
	"countersign/internal/pythontest"
	"countersign/internal/seal"
	"countersign/server"
)

// runMain is set in a child process that a test starts, to be the server itself: something that can be killed.
const runMain = "RUN_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(runMain) != "" {
		_ = os.Unsetenv(runMain)
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// world is a control plane on a database of its own, with an identity provider beside it. There is no gateway.
type world struct {
	url string
	idp *devidptest.Server
	db  *pgxpool.Pool
}

var people = []devidp.Person{
	{Subject: "ada", Name: "Ada Admin", Groups: []string{"admins"}},
	{Subject: "vera", Name: "Vera Viewer", Groups: []string{"viewers"}},
	{Subject: "nora", Name: "Nora Nobody", Groups: []string{"viewers"}},
	{Subject: "tessa", Name: "Tessa Team", Groups: []string{"commerce"}},
}

func newWorld(t *testing.T) *world {
	t.Helper()
	listener := listen(t)
	w := &world{url: "http://" + listener.Addr().String()}
	w.idp = devidptest.Start(t, devidp.Config{People: people, Clients: []devidp.Client{{
		ID: "console", Name: "Countersign", RedirectURIs: []string{w.url + "/auth/callback"}, PostLogoutRedirectURIs: []string{w.url + "/signin?signed_out=1"},
	}}})
	key, err := seal.LoadOrCreate(filepath.Join(t.TempDir(), "key"))
	must(t, err)
	db := pgtest.New(t)
	w.db = db.Owner
	control, err := server.New(t.Context(), server.Config{
		DatabaseURL: db.RuntimeDSN, PublicURL: w.url, Key: key, OIDCIssuer: w.idp.Issuer, OIDCClientID: "console", Relaxed: true,
		RoleGroups: map[identity.Role][]string{identity.Admin: {"admins"}, identity.Viewer: {"viewers", "commerce"}},
	})
	must(t, err)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- control.Run(ctx, listener) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("the control plane: %v", err)
		}
		control.Close()
	})
	must(t, control.EnsureTeam(t.Context(), "Commerce", []string{"commerce"}))
	return w
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	must(t, err)
	return listener
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func read[T any](t *testing.T, w *world, sql string, args ...any) (v T) {
	t.Helper()
	must(t, w.db.QueryRow(context.Background(), sql, args...).Scan(&v))
	return v
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(30 * time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}

// person is somebody who is signed in to the console.
type person struct {
	t      *testing.T
	w      *world
	client *http.Client
	csrf   string
}

func (w *world) signIn(t *testing.T, name string) *person {
	t.Helper()
	p := &person{t: t, w: w, client: devidptest.Browser(t)}
	start, err := p.client.Get(w.url + "/auth/login")
	must(t, err)
	_ = start.Body.Close()
	back := devidptest.Choose(t, p.client, start.Header.Get("Location"), name)
	p.get(back.RequestURI(), http.StatusSeeOther)
	p.csrf = find(t, p.get("/me", http.StatusOK), `name="csrf" value="([^"]+)"`)
	return p
}

func (p *person) get(path string, status int) string {
	p.t.Helper()
	res, err := p.client.Get(p.w.url + path)
	must(p.t, err)
	return p.body(path, res, status)
}

// post sends a form, and gives the page or where to go on.
func (p *person) post(path string, form url.Values, status int) string {
	p.t.Helper()
	form.Set("csrf", p.csrf)
	res, err := p.client.PostForm(p.w.url+path, form)
	must(p.t, err)
	return p.body(path, res, status)
}

func (p *person) body(path string, res *http.Response, status int) string {
	p.t.Helper()
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	must(p.t, err)
	if res.StatusCode != status {
		_, page, _ := strings.Cut(string(text), "<main")
		p.t.Fatalf("%s: %s\n%.4000s", path, res.Status, page)
	}
	if to := res.Header.Get("Location"); to != "" {
		return to
	}
	return string(text)
}

// find gives the first group of the first match.
func find(t *testing.T, text, expression string) string {
	t.Helper()
	found := regexp.MustCompile(expression).FindStringSubmatch(text)
	if found == nil {
		_, page, _ := strings.Cut(text, "<main")
		t.Fatalf("no %s in\n%.4000s", expression, page)
	}
	return html.UnescapeString(found[1])
}

// decide votes on a request as it is on the person's screen.
func (p *person) decide(id, decision string) {
	p.t.Helper()
	page := p.get("/approvals/"+id, http.StatusOK)
	p.post("/approvals/"+id+"/decision", url.Values{
		"decision": {decision}, "reason": {"because"},
		"version": {find(p.t, page, `name="version" value="(\d+)"`)}, "seen_digest": {find(p.t, page, `name="seen_digest" value="([^"]+)"`)},
	}, http.StatusSeeOther)
}

// wire is what lies between an embedded server and the control plane. It can be cut.
type wire struct {
	url  string
	cut  atomic.Bool   // nothing comes through
	keep atomic.Bool   // redeeming comes through, and its answer does not; then nothing does
	kept chan struct{} // an answer to a redemption was kept
}

func (w *world) wire(t *testing.T) *wire {
	t.Helper()
	target, err := url.Parse(w.url)
	must(t, err)
	l := &wire{kept: make(chan struct{}, 1)}
	proxy := &httputil.ReverseProxy{FlushInterval: -1, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }, ErrorHandler: func(http.ResponseWriter, *http.Request, error) {
		panic(http.ErrAbortHandler)
	}}
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if l.cut.Load() {
			panic(http.ErrAbortHandler)
		}
		if r.URL.Path != "/v1/confirmations/redeem" || !l.keep.Load() {
			proxy.ServeHTTP(rw, r)
			return
		}
		l.cut.Store(true)
		proxy.ServeHTTP(httptest.NewRecorder(), r)
		l.kept <- struct{}{}
		panic(http.ErrAbortHandler)
	}))
	t.Cleanup(s.Close)
	l.url = s.URL
	return l
}

// embedded is a server that was started: something that can be killed.
type embedded struct {
	*exec.Cmd
	url string
}

// start runs an example with these variables, and waits until it listens.
func start(t *testing.T, language string, variables map[string]string) *embedded {
	t.Helper()
	e := &embedded{}
	if language == "go" {
		e.Cmd = exec.CommandContext(t.Context(), os.Args[0])
	} else {
		e.Cmd = pythontest.Command(t, "examples/embedded/python/server.py")
	}
	e.Env = append(os.Environ(), runMain+"=1")
	for name, value := range variables {
		e.Env = append(e.Env, name+"="+value)
	}
	stderr, err := e.StderrPipe()
	must(t, err)
	must(t, e.Start())
	listens := make(chan string, 1)
	go func() {
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			if line := lines.Text(); strings.Contains(line, "/mcp/") && strings.Contains(line, "listening") {
				listens <- regexp.MustCompile(`http://\S+/mcp/[\w./-]+`).FindString(line)
			} else if testing.Verbose() {
				fmt.Fprintln(os.Stderr, language+":", line)
			}
		}
	}()
	t.Cleanup(e.kill)
	select {
	case e.url = <-listens:
	case <-time.After(30 * time.Second):
		t.Fatalf("%s never listened", language)
	}
	return e
}

// kill ends it as a crash does.
func (e *embedded) kill() {
	_ = e.Process.Kill()
	_ = e.Wait() // killed, as we asked
}

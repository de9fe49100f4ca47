package gateway

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"countersign/canonical"
	"countersign/client"
	"countersign/policy"
)

func job(url string) client.Job {
	return client.Job{
		ID: "dis_1", ServerID: "srv_1", Server: "com.example/orders", Attempt: 1, LeaseSeconds: 60,
		Endpoint: policy.Endpoint{Transport: policy.StreamableHTTP, URL: url, Digest: canonical.Sum("test", []byte(url))},
	}
}

func (s *stand) discover(j client.Job) finishedJob {
	s.t.Helper()
	s.plane.jobs <- j
	select {
	case f := <-s.plane.finished:
		return f
	case <-time.After(90 * time.Second): // 50 MiB take a while on a machine that has other work
		s.t.Fatal("the discovery did not end")
	}
	return finishedJob{}
}

func TestDiscoveryOfTheSample(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	f := s.discover(job(s.up.URL))
	if f.failed {
		t.Fatalf("failed: %+v", f.failure)
	}
	got := []int{len(f.offer.Tools), len(f.offer.Prompts), len(f.offer.Resources), len(f.offer.ResourceTemplates)}
	if diff := cmp.Diff([]int{3, 1, 1, 1}, got); diff != "" {
		t.Errorf("offer (-want +got):\n%s", diff)
	}
	if !strings.Contains(string(f.offer.ServerInfo), "com.example/orders") {
		t.Errorf("server info is %s", f.offer.ServerInfo)
	}
	if !strings.Contains(string(f.offer.Tools[1]), `"inputSchema":{"type":"object","additionalProperties":false,`) {
		t.Errorf("not as it was sent: %s", f.offer.Tools[1])
	}
}

// script is an MCP server of the older era that answers lists as a test wants.
func script(t *testing.T, answers map[string]func(cursor string) string) *httptest.Server {
	t.Helper()
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m := readScript(r)
		w.Header().Set("Content-Type", "application/json")
		switch {
		case m.Method == "initialize":
			_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":{"protocolVersion":"2025-06-18","capabilities":{"tools":{},"prompts":{},"resources":{}},"serverInfo":{"name":"s","version":"1"}}}`, m.ID)
		case answers[m.Method] != nil:
			_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":%s}`, m.ID, answers[m.Method](m.Params.Cursor))
		case m.ID == nil:
			w.WriteHeader(http.StatusAccepted)
		default:
			_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"Method not found"}}`, m.ID)
		}
	}))
}

func TestDiscoveryFollowsPagesAndKeepsBytes(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	up := script(t, map[string]func(string) string{"tools/list": func(cursor string) string {
		if cursor == "" {
			return `{"tools":[{"name":"a","x":12345678901234567890,"y":1.0}],"nextCursor":"c\u00e9"}`
		}
		return `{"tools":[{"name":"` + cursor + `"}]}`
	}})
	defer up.Close()
	f := s.discover(job(up.URL))
	if f.failed || len(f.offer.Tools) != 2 {
		t.Fatalf("got %+v", f)
	}
	if diff := cmp.Diff(`{"name":"a","x":12345678901234567890,"y":1.0}`, string(f.offer.Tools[0])); diff != "" {
		t.Errorf("bytes (-want +got):\n%s", diff)
	}
	if string(f.offer.Tools[1]) != `{"name":"cé"}` {
		t.Errorf("second page: %s", f.offer.Tools[1])
	}
}

func TestDiscoveryFailures(t *testing.T) {
	t.Parallel()
	refused, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := "http://" + refused.Addr().String()
	_ = refused.Close()
	tools := func(list string) map[string]func(string) string {
		return map[string]func(string) string{"tools/list": func(string) string { return list }}
	}
	keep := func(up *httptest.Server) string {
		t.Cleanup(up.Close)
		return up.URL
	}
	serve := func(h http.HandlerFunc) string { return keep(httptest.NewServer(h)) }
	scripted := func(list string) string { return keep(script(t, tools(list))) }
	secured := httptest.NewUnstartedServer(http.NotFoundHandler())
	secured.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	secured.StartTLS()
	many := "[" + strings.Repeat(`{"name":"t"},`, 9_999) + `{"name":"t"}]`
	tests := []struct {
		name  string
		url   string
		error string
		step  string // that failed
	}{
		{"refused", closed, "refused", client.StepConnect},
		{"no such name", "http://no-such-host.invalid/mcp", "cannot be resolved", client.StepResolve},
		{"a web page", serve(answerWith(200, "text/html", "<html>")), "web page", client.StepInitialize},
		{"a server with too much to do", serve(answerWith(503, "text/plain", "")), "HTTP status 503", client.StepInitialize},
		{"a 404 page", serve(answerWith(404, "text/plain", "nothing here")), "HTTP status 404", client.StepInitialize},
		{"a redirect", serve(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusTemporaryRedirect)
		}), "redirect", client.StepInitialize},
		{"a login", serve(answerWith(401, "text/plain", "")), "credential", client.StepInitialize},
		{"JSON but no MCP", serve(answerWith(200, "application/json", `{"hello":"world"}`)), "exactly one way", client.StepInitialize},
		{"not JSON", serve(answerWith(200, "application/json", `hello`)), "exactly one way", client.StepInitialize},
		{"TLS spoken to plain HTTP", strings.Replace(serve(http.NotFound), "http:", "https:", 1), "TLS", client.StepInitialize},
		{"an unknown authority", keep(secured), "authority", client.StepInitialize},
		{"10,000 tools", scripted(`{"tools":` + many + `}`), "more than 5000", client.StepListTools},
		{"a large definition", scripted(`{"tools":[{"name":"a","description":"` + strings.Repeat("x", 300<<10) + `"}]}`), "larger than 256 KiB", client.StepListTools},
		{"a 50 MiB description", scripted(`{"tools":[{"name":"a","description":"` + strings.Repeat("x", 50<<20) + `"}]}`), "more than 32 MiB", client.StepListTools},
		{"a list without end", scripted(`{"tools":[{"name":"a"}],"nextCursor":"again"}`), "does not end", client.StepListTools},
		{"a tool named twice over", scripted(`{"tools":[{"name":"a","name":"b"}]}`), "exactly one way", client.StepListTools},
		{"no list", scripted(`{"things":[]}`), "exactly one way", client.StepListTools},
		{"no URL", "file:///etc/passwd", "no http or https URL", ""},
		{"a URL with a password", "http://a:b@127.0.0.1/", "no http or https URL", ""},
		{"an address where clouds keep credentials", "http://169.254.169.254/latest", "link-local", client.StepConnect},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newStand(t, nil)
			f := s.discover(job(tt.url))
			if !f.failed || !strings.Contains(f.failure.Error, tt.error) {
				t.Fatalf("got %v %q, %d tools; want an error with %q", f.failed, f.failure.Error, len(f.offer.Tools), tt.error)
			}
			if again := tt.name == "refused" || tt.name == "a server with too much to do"; f.failure.Retry != again {
				t.Errorf("it says that another attempt may succeed: %v", f.failure.Retry)
			}
			last := ""
			if n := len(f.failure.Steps); n > 0 {
				last = f.failure.Steps[n-1].Name
				if f.failure.Steps[n-1].State != client.StepFailed {
					t.Errorf("the last step is %s", f.failure.Steps[n-1].State)
				}
			}
			if last != tt.step {
				t.Errorf("failed at step %q, want %q: %+v", last, tt.step, f.failure.Steps)
			}
		})
	}
}

func TestDiscoveryOfPrivateAddressesIsOffByDefault(t *testing.T) {
	t.Parallel()
	s := newStand(t, func(c *Config) { c.AllowPrivateUpstreams = false })
	if f := s.discover(job(s.up.URL)); !f.failed || !strings.Contains(f.failure.Error, "private, loopback or link-local") {
		t.Errorf("got %+v", f)
	}
	if s.total() != 0 {
		t.Error("the server was called")
	}
}

func TestDiscoveryThatHangsCanBeCancelled(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	release := make(chan struct{})
	up := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	defer up.Close()
	defer close(release)
	s.plane.jobs <- job(up.URL)
	s.eventually("the live progress", func() bool {
		s.plane.mu.Lock()
		defer s.plane.mu.Unlock()
		n := len(s.plane.progress)
		return n > 0 && s.plane.progress[n-1].Name == client.StepInitialize && s.plane.progress[n-1].State == client.StepRunning
	})
	s.plane.mu.Lock()
	s.plane.cancel = true
	s.plane.mu.Unlock()
	time.Sleep(discoveryPulse + 500*time.Millisecond)
	s.plane.mu.Lock()
	s.plane.cancel = false
	s.plane.mu.Unlock()
	if f := s.discover(job(s.up.URL)); f.failed { // the worker is free again, and the cancelled job was not reported
		t.Errorf("the next discovery: %+v", f.failure)
	}
}

func TestWhereTheDialerGoes(t *testing.T) {
	t.Parallel()
	tests := []struct {
		address       string
		public, inner bool // allowed by default; with allow_private_upstreams
	}{
		{"93.184.216.34:443", true, true},
		{"[2606:2800:220:1::1]:443", true, true},
		{"127.0.0.1:80", false, true},
		{"[::1]:80", false, true},
		{"[::ffff:127.0.0.1]:80", false, true},
		{"10.1.2.3:80", false, true},
		{"192.168.1.1:80", false, true},
		{"172.16.0.1:80", false, true},
		{"100.64.0.1:80", false, true},
		{"[fd00::1]:80", false, true},
		{"[64:ff9b::7f00:1]:80", false, true},
		{"[2002:7f00:1::]:80", false, true},
		{"169.254.169.254:80", false, false},
		{"[64:ff9b::a9fe:a9fe]:80", false, false},
		{"[::ffff:169.254.169.254]:80", false, false},
		{"[fd00:ec2::254]:80", false, false},
		{"[fe80::1]:80", false, false},
		{"0.0.0.0:80", false, false},
		{"[::]:80", false, false},
		{"224.0.0.1:80", false, false},
		{"not an address", false, false},
	}
	for _, tt := range tests {
		if got := newDialer(false).permit(tt.address) == nil; got != tt.public {
			t.Errorf("%s by default: %v", tt.address, got)
		}
		if got := newDialer(true).permit(tt.address) == nil; got != tt.inner {
			t.Errorf("%s with private upstreams: %v", tt.address, got)
		}
	}
}

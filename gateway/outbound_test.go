package gateway

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"countersign/internal/orders"
)

// tokenServer is an authorization server that counts, and the check of a server that takes only its newest token.
type tokenServer struct {
	server *httptest.Server

	mu     sync.Mutex
	asked  []url.Values
	basic  []string
	made   int
	voided bool // the server takes no token that was made so far
	down   bool
	life   int
}

func newTokenServer(t *testing.T) *tokenServer {
	t.Helper()
	a := &tokenServer{life: 3600}
	a.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		defer a.mu.Unlock()
		_ = r.ParseForm()
		id, own, _ := r.BasicAuth()
		a.asked, a.basic = append(a.asked, r.PostForm), append(a.basic, id+":"+own)
		switch {
		case a.down:
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write([]byte("the secret is s3cret, ask Bob"))
		case id != "gw" || own != "s3cret":
			writeJSON(w, 401, map[string]string{"error": "invalid_client", "error_description": "s3cret\x1b"})
		default:
			a.made++
			a.voided = false
			writeJSON(w, 200, map[string]any{"access_token": fmt.Sprintf("tok-%d", a.made), "token_type": "bearer", "expires_in": a.life})
		}
	}))
	t.Cleanup(a.server.Close)
	return a
}

// guard refuses what does not carry the newest token.
func (a *tokenServer) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		good := !a.voided && r.Header.Get("Authorization") == fmt.Sprintf("Bearer tok-%d", a.made)
		a.mu.Unlock()
		if !good {
			w.Header().Set("WWW-Authenticate", "Bearer")
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (a *tokenServer) set(change func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change()
}

func (a *tokenServer) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.asked)
}

// guardedStand is a stand whose server wants a token of the gateway's own.
func guardedStand(t *testing.T, as *tokenServer, change func(*OAuth)) *stand {
	t.Helper()
	path := t.TempDir() + "/secret"
	writeFile(t, path, "s3cret\n")
	o := &OAuth{
		TokenURL: as.server.URL, ClientID: "gw", ClientSecret: "file:" + path, Scopes: []string{"read", "write"},
		Audience: "orders", Resource: "https://orders.example",
	}
	if change != nil {
		change(o)
	}
	s := newStand(t, func(c *Config) { c.Upstreams = map[string]Upstream{orders.Name: {OAuth: o}} })
	guarded := as.guard(s.up.Config.Handler)
	s.up.Config.Handler = guarded
	return s
}

func TestOutboundTokens(t *testing.T) {
	t.Parallel()
	as := newTokenServer(t)
	s := guardedStand(t, as, nil).open()
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			if r := s.modernCall("list_orders", "{}"); r.status != 200 || r.code != 0 {
				t.Errorf("HTTP %d %s", r.status, r.body)
			}
		})
	}
	wait.Wait()
	if n := as.count(); n != 1 {
		t.Errorf("%d tokens were asked for", n)
	}
	as.set(func() {
		form := as.asked[0]
		for name, want := range map[string]string{
			"grant_type": "client_credentials", "scope": "read write", "audience": "orders", "resource": "https://orders.example", "client_secret": "",
		} {
			if got := form.Get(name); got != want {
				t.Errorf("asked with %s %q, want %q", name, got, want)
			}
		}
		if as.basic[0] != "gw:s3cret" {
			t.Errorf("signed in as %s", as.basic[0])
		}
	})
	for _, r := range s.calls("tools/call") {
		if got := r.header.Get("Authorization"); got != "Bearer tok-1" {
			t.Errorf("the server got %q", got)
		}
	}
}

// TestOutboundTokenIsRenewedOnce: a 401 says that nothing was executed, so the same bytes go once more, also those of a call
// that was approved.
func TestOutboundTokenIsRenewedOnce(t *testing.T) {
	t.Parallel()
	as := newTokenServer(t)
	s := guardedStand(t, as, nil).open()
	if r := s.modernCall("update_order", `{"id":"o-1001","status":"shipped"}`); r.code != 0 {
		t.Fatal(r.body)
	}
	as.set(func() { as.voided = true })
	if r := s.modernCall("update_order", `{"id":"o-1002","status":"shipped"}`); r.code != 0 || s.shop.Executions("update_order") != 2 || as.count() != 2 {
		t.Errorf("executed %d times with %d tokens: %s", s.shop.Executions("update_order"), as.count(), r.body)
	}
	s.modernCall("delete_orders", `{"ids":["o-1001"]}`)
	s.plane.decide(s.plane.only().ID, "approved", "")
	as.set(func() { as.voided = true })
	if r := s.modernCall("delete_orders", `{"ids":["o-1001"]}`); s.shop.Executions("delete_orders") != 1 || as.count() != 3 {
		t.Errorf("executed %d times with %d tokens: %s", s.shop.Executions("delete_orders"), as.count(), r.body)
	}
}

func TestServerThatRefusesEveryToken(t *testing.T) {
	t.Parallel()
	as := newTokenServer(t)
	s := guardedStand(t, as, nil).open()
	s.misbehave("tools/call", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
	before := as.count()
	if r := s.modernCall("list_orders", "{}"); !strings.Contains(r.body, "refuses the gateway's credential") || len(s.calls("tools/call")) != 2 || as.count() != before+1 {
		t.Errorf("sent %d times with %d tokens more: %s", len(s.calls("tools/call")), as.count()-before, r.body)
	}
}

func TestNoOutboundToken(t *testing.T) {
	t.Parallel()
	as := newTokenServer(t)
	s := guardedStand(t, as, nil).open()
	if r := s.modernCall("list_orders", "{}"); r.code != 0 { // so that it was looked at
		t.Fatal(r.body)
	}
	transport := s.gateway.upstream.Transport.(*outbound)
	cfg := *s.gateway.config().Upstreams[orders.Name].OAuth
	fails := func(o OAuth, want string) {
		t.Helper()
		if _, _, err := transport.fetch(&o); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	stranger, secretless, nobody := cfg, cfg, cfg
	stranger.ClientID, secretless.ClientSecret, nobody.TokenURL = "stranger", "file:/no/such/file", "http://127.0.0.1:1"
	fails(stranger, "the token endpoint answered 401: invalid_client")
	fails(secretless, "reading the client secret")
	fails(nobody, "reaching the token endpoint")
	as.set(func() { as.down, as.voided = true, true })
	fails(cfg, "the token endpoint answered 503")
	transport.mu.Lock()
	delete(transport.known, orders.Name)
	transport.mu.Unlock()
	sent := len(s.calls("tools/call"))
	asked := as.count()
	for range 3 {
		if r := s.modernCall("list_orders", "{}"); !strings.Contains(r.body, "the gateway got no access token for it") {
			t.Errorf("HTTP %d %s", r.status, r.body)
		}
	}
	if len(s.calls("tools/call")) != sent || as.count() > asked+2 {
		t.Errorf("%d requests without a token, %d asks", len(s.calls("tools/call"))-sent, as.count()-asked)
	}
}

func TestOutboundConfiguration(t *testing.T) {
	t.Parallel()
	good := OAuth{TokenURL: "https://as.example/token", ClientID: "gw", ClientSecret: "env:X"}
	for want, change := range map[string]func(*OAuth, map[string]string){
		"":              func(*OAuth, map[string]string) {},
		"token_url":     func(o *OAuth, _ map[string]string) { o.TokenURL = "http://as.example/token" },
		"client_id":     func(o *OAuth, _ map[string]string) { o.ClientID = "" },
		"client_secret": func(o *OAuth, _ map[string]string) { o.ClientSecret = "s3cret" },
		"auth must":     func(o *OAuth, _ map[string]string) { o.Auth = "jwt" },
		"resource must": func(o *OAuth, _ map[string]string) { o.Resource = "orders" },
		"Authorization": func(_ *OAuth, h map[string]string) { h["authorization"] = "env:Y" },
	} {
		o, headers := good, map[string]string{}
		change(&o, headers)
		err := o.validate(headers)
		if (want == "") != (err == nil) || err != nil && (!strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cret")) {
			t.Errorf("%q: %v", want, err)
		}
	}
}

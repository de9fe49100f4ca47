package server

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"

	"countersign/identity"
	"countersign/internal/devidp/devidptest"
	"countersign/internal/pgtest"
)

func TestTheLogKeepsNoSecret(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.enrol("edge", "*")
	b := w.anonymous()
	start := b.get("/auth/login?return=%2Fservers%3Fq%3Dquerysecret")
	provider, err := url.Parse(start.header.Get("Location"))
	must(t, err)
	flow := setCookie(start, w.signInCookie()).Value
	back := devidptest.Choose(t, b.client, provider.String(), "ada")
	session := setCookie(b.get(back.RequestURI()).want(t, http.StatusSeeOther), w.sessionCookie()).Value
	csrf := csrfField.FindStringSubmatch(b.get("/me").body)[1]
	b.get("/servers?q=querysecret")
	b.get("/servers/pathsecret?q=querysecret")
	b.post("/grants", url.Values{"name": {"formsecret"}})
	refused := w.anonymous()
	again := refused.get("/auth/login")
	wrong := devidptest.Choose(t, refused.client, again.header.Get("Location"), "ada")
	set(wrong, "state", "statesecret")
	refused.get(wrong.RequestURI())
	refused.get("/auth/login")
	refused.get("/auth/callback?code=codesecret&error=errorsecret&state=x")
	w.anonymous().post("/oauth/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {g.ClientID}, "client_secret": {g.Secret}})
	g.call(http.MethodPost, "/v1/calls", `{"calls":[{"call_id":"bodysecret"}]}`)
	w.anonymous().get("/v1/policy", "Authorization", "Bearer tokensecret")

	log := w.log.String()
	for name, secret := range map[string]string{
		"query": "querysecret", "form": "formsecret", "body": "bodysecret", "path": "pathsecret", "token": "tokensecret",
		"client secret": g.Secret, "bearer": g.bearer, "session": session, "flow": flow, "form token": csrf,
		"code": back.Query().Get("code"), "state": back.Query().Get("state"), "nonce": provider.Query().Get("nonce"),
		"code that was not used": wrong.Query().Get("code"), "a foreign code": "codesecret", "a foreign state": "statesecret",
	} {
		if secret == "" || strings.Contains(log, secret) {
			t.Errorf("the log has the %s %q: %s", name, secret, line(log, secret))
		}
	}
	if !strings.Contains(log, `"route":"/servers/:id"`) || !strings.Contains(log, `"request_id"`) {
		t.Errorf("requests are not logged: %s", log)
	}
}

// line is the first line of a log with a word.
func line(log, word string) string {
	for l := range strings.Lines(log) {
		if strings.Contains(l, word) {
			return l
		}
	}
	return ""
}

func TestAPanicEndsOneRequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	e := w.newEcho()
	e.GET("/boom", w.guard(public, func(echo.Context, identity.Principal) error { panic("the reason") }))
	e.GET("/v1/boom", w.guard(public, func(echo.Context, identity.Principal) error { panic(errPanic) }))
	ask := func(path string) answer {
		got := httptest.NewRecorder()
		e.ServeHTTP(got, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
		return answer{status: got.Code, header: got.Header(), body: got.Body.String()}
	}
	a := ask("/boom").want(t, http.StatusInternalServerError, "Something failed on our side")
	if strings.Contains(a.body, "the reason") || a.header.Get("Content-Security-Policy") == "" {
		t.Errorf("%s", a.shown())
	}
	ask("/v1/boom").wantProblem(t, http.StatusInternalServerError, "internal")
	entry := struct{ Panic, Stack, RequestID string }{}
	must(t, json.Unmarshal([]byte(strings.Replace(line(w.log.String(), "the reason"), "request_id", "RequestID", 1)), &entry))
	if entry.Panic != "the reason" || !strings.Contains(entry.Stack, "log_test.go") || entry.RequestID != a.header.Get("X-Request-Id") {
		t.Errorf("logged as %+v", entry)
	}
}

func TestWhoseAddressCounts(t *testing.T) {
	t.Parallel()
	direct := newWorld(t)
	proxied := newWorld(t, func(c *Config) { c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
	for _, c := range []struct {
		w         *world
		forwarded []string
		want      string
	}{
		{direct, []string{"203.0.113.9"}, "127.0.0.1"},
		{proxied, nil, "127.0.0.1"},
		{proxied, []string{"203.0.113.9"}, "203.0.113.9"},
		{proxied, []string{"198.51.100.1, 203.0.113.9"}, "203.0.113.9"}, // what the caller wrote itself counts for nothing
		{proxied, []string{"10.0.0.1"}, "10.0.0.1"},
	} {
		var header []string
		for _, f := range c.forwarded {
			header = append(header, "X-Forwarded-For", f)
		}
		c.w.signIn("nora").get("/audit", header...).want(t, http.StatusForbidden)
		if ip := read[string](c.w, `select ip from audit_events where kind = 'access.refused' order by id desc limit 1`); ip != c.want {
			t.Errorf("%v: %s, want %s", c.forwarded, ip, c.want)
		}
	}
}

func TestConfigIsRefused(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	for name, spoil := range map[string]func(*Config){
		"no address":           func(c *Config) { c.PublicURL = "" },
		"a path":               func(c *Config) { c.PublicURL = "https://countersign.example/console" },
		"http beyond loopback": func(c *Config) { c.PublicURL = "http://countersign.example" },
		"another scheme":       func(c *Config) { c.PublicURL = "ftp://127.0.0.1" },
		"no key":               func(c *Config) { c.Key = nil },
		"no issuer":            func(c *Config) { c.OIDCIssuer = "" },
		"an issuer by http":    func(c *Config) { c.OIDCIssuer = "http://id.example" },
		"no client":            func(c *Config) { c.OIDCClientID = "" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := config(t, db.RuntimeDSN, "http://127.0.0.1:1", "http://127.0.0.1:1")
			spoil(&cfg)
			if s, err := New(t.Context(), cfg); err == nil {
				s.Close()
				t.Error("accepted")
			} else if !slices.ContainsFunc([]string{"public URL", "key", "issuer", "client"}, func(word string) bool { return strings.Contains(strings.ToLower(err.Error()), strings.ToLower(word)) }) {
				t.Errorf("the error does not say what is wrong: %v", err)
			}
		})
	}
}

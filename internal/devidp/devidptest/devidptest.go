// Package devidptest starts a development identity provider for one test and signs people in
// at it the way a browser does.
package devidptest

import (
	"crypto/ed25519"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"countersign/internal/devidp"
)

// Server is a provider on a loopback port, with the client [devidp.DemoAgent].
type Server struct {
	Issuer   string
	Provider *devidp.Provider
	AgentKey ed25519.PrivateKey
}

// Start serves cfg until the test ends. It fills in the issuer, the demo people when there
// are none, and the demo agent.
func Start(tb testing.TB, cfg devidp.Config) *Server {
	tb.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		tb.Fatalf("making the agent's key: %v", err)
	}
	listener, err := devidp.Listen("127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	cfg.Issuer = "http://" + listener.Addr().String()
	if cfg.People == nil {
		cfg.People = devidp.DemoPeople()
	}
	cfg.Clients = append([]devidp.Client{{ID: devidp.DemoAgent, Name: "Demo agent", AssertionKey: public}}, cfg.Clients...)
	provider, err := devidp.New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: provider.Handler(), ReadHeaderTimeout: 10 * time.Second}}
	server.Start()
	tb.Cleanup(server.Close)
	return &Server{Issuer: cfg.Issuer, Provider: provider, AgentKey: private}
}

// Agent is the demo agent of this provider. Change its Model or AMR as the test needs.
func (s *Server) Agent() devidp.Agent {
	return devidp.Agent{Issuer: s.Issuer, ClientID: devidp.DemoAgent, Key: s.AgentKey}
}

// Token is an access token of the demo agent for a person at a resource.
func (s *Server) Token(tb testing.TB, person, resource string) string {
	tb.Helper()
	token, err := s.Agent().Token(tb.Context(), person, resource)
	if err != nil {
		tb.Fatal(err)
	}
	return token
}

// Browser keeps cookies and does not follow redirects.
func Browser(tb testing.TB) *http.Client {
	tb.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		tb.Fatal(err)
	}
	return &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// Choose answers the login page at an authorization URL by choosing a person, and returns
// where the provider sends the browser then.
func Choose(tb testing.TB, browser *http.Client, authURL, person string) *url.URL {
	tb.Helper()
	return choose(tb, browser, authURL, url.Values{"sub": {person}})
}

// ChooseWithMFA is Choose with the box for a second factor ticked.
func ChooseWithMFA(tb testing.TB, browser *http.Client, authURL, person string) *url.URL {
	tb.Helper()
	return choose(tb, browser, authURL, url.Values{"sub": {person}, "mfa": {"1"}})
}

func choose(tb testing.TB, browser *http.Client, authURL string, form url.Values) *url.URL {
	tb.Helper()
	return location(tb, browser, http.MethodPost, authURL, form)
}

// Visit opens an authorization URL and returns where the provider sends the browser, or nil
// when it shows a page instead.
func Visit(tb testing.TB, browser *http.Client, authURL string) *url.URL {
	tb.Helper()
	return location(tb, browser, http.MethodGet, authURL, nil)
}

func location(tb testing.TB, browser *http.Client, method, target string, form url.Values) *url.URL {
	tb.Helper()
	req, err := http.NewRequestWithContext(tb.Context(), method, target, strings.NewReader(form.Encode()))
	if err != nil {
		tb.Fatal(err)
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := browser.Do(req)
	if err != nil {
		tb.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusSeeOther {
		return nil
	}
	to, err := resp.Location()
	if err != nil {
		tb.Fatal(err)
	}
	return to
}

package gateway

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"
	"golang.org/x/oauth2"

	"countersign/policy"
)

// signer gets tokens for a client that we did not write, as a client does that knows RFC 9470.
type signer struct {
	s      *stand
	better func(challenge map[string]string, c claimsMap) // what the provider does of what is asked for

	mu         sync.Mutex
	claims     claimsMap
	challenges []map[string]string
}

func (h *signer) TokenSource(context.Context) (oauth2.TokenSource, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return oauth2.StaticTokenSource(&oauth2.Token{AccessToken: h.s.idp.sign(h.claims, "at+jwt", "idp1")}), nil
}

func (h *signer) Authorize(_ context.Context, _ *http.Request, res *http.Response) error {
	defer func() { _ = res.Body.Close() }()
	h.mu.Lock()
	defer h.mu.Unlock()
	all, err := oauthex.ParseWWWAuthenticate(res.Header.Values("WWW-Authenticate"))
	if err != nil || len(all) != 1 {
		h.s.t.Errorf("%d %q: %v", res.StatusCode, res.Header, err)
		return err
	}
	h.challenges = append(h.challenges, all[0].Params)
	h.claims["iat"] = time.Now().Add(2 * time.Second).Unix() // a sign-in takes a while
	h.better(all[0].Params, h.claims)
	return nil
}

var _ auth.OAuthHandler = (*signer)(nil)

func (h *signer) connect(era string) *mcp.ClientSession {
	h.s.t.Helper()
	transport := &http.Transport{}
	session, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).Connect(h.s.t.Context(), &mcp.StreamableClientTransport{
		Endpoint: h.s.url(), MaxRetries: -1, OAuthHandler: h, HTTPClient: &http.Client{Transport: transport},
	}, &mcp.ClientSessionOptions{ProtocolVersion: era})
	if err != nil {
		h.s.t.Fatalf("connecting: %v", err)
	}
	h.s.t.Cleanup(func() {
		_ = session.Close()
		transport.CloseIdleConnections()
	})
	return session
}

func TestStepUpInEachEra(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open().guarded("grd_2", policy.Effect{StepUp: &policy.StepUp{MaxAgeSeconds: 300, ACR: []string{"phr", "phrh"}}}, "update_order").publish()
	for i, era := range eras {
		claims := s.idp.claims("ada-" + era) // a token that is newer than a challenge of its caller is told in words
		claims["auth_time"], claims["acr"] = time.Now().Add(-time.Hour).Unix(), "phr"
		h := &signer{s: s, claims: claims, better: func(asked map[string]string, c claimsMap) {
			if asked["max_age"] == "300" {
				c["auth_time"] = time.Now().Unix()
			}
		}}
		session := h.connect(era)
		res := call(t, session, "update_order", `{"id":"o-1001","status":"shipped"}`)
		if res.IsError || s.shop.Executions("update_order") != i+1 {
			t.Errorf("%s, after signing in again: %q", era, textOf(res))
		}
		if len(h.challenges) != 1 {
			t.Fatalf("%s: challenged %v", era, h.challenges)
		}
		want := map[string]string{
			"error": "insufficient_user_authentication", "acr_values": "phr phrh", "max_age": "300",
			"resource_metadata": resourceURL + wellKnown, "error_description": "A more recent authentication of a particular kind is required",
		}
		for name, value := range want {
			if h.challenges[0][name] != value {
				t.Errorf("%s: %s = %q, want %q", era, name, h.challenges[0][name], value)
			}
		}
		if call(t, session, "list_orders", `{}`).IsError {
			t.Errorf("%s: the session did not outlive the challenge", era)
		}
	}
}

func TestStepUpThatTheProviderDoesNotDo(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open().guarded("grd_2", policy.Effect{StepUp: &policy.StepUp{ACR: []string{"phr"}}}, "update_order", "summarise_order").publish()
	claims := s.idp.claims("ada")
	claims["acr"] = "pwd"
	h := &signer{s: s, claims: claims, better: func(map[string]string, claimsMap) {}}
	session := h.connect("2026-07-28")
	for range 2 {
		res := call(t, session, "update_order", `{"id":"o-1001","status":"shipped"}`)
		if reasonOf(res) != "step_up_required" || !strings.Contains(textOf(res), "SIGN-IN REQUIRED (not executed)") || !strings.Contains(textOf(res), "as phr") {
			t.Errorf("got %s %q", reasonOf(res), textOf(res))
		}
	}
	if len(h.challenges) != 1 || s.shop.Executions("update_order") != 0 {
		t.Errorf("challenged %d times, executed %d times", len(h.challenges), s.shop.Executions("update_order"))
	}
	// Somebody else, and the same token again, are challenged.
	for range 2 {
		r := s.modernCall("update_order", `{"id":"o-1001","status":"shipped"}`)
		if r.status != http.StatusUnauthorized || !strings.Contains(r.header.Get("WWW-Authenticate"), `acr_values="phr"`) || !strings.Contains(r.text, "SIGN-IN REQUIRED") ||
			!strings.Contains(string(r.data), `"reason":"step_up_required","acrValues":["phr"]`) {
			t.Errorf("%d %q %s", r.status, r.header.Get("WWW-Authenticate"), r.body)
		}
	}
	if listed := s.post(`{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{`+modernMeta+`}}`, modernHeader("tools/list", "")); !strings.Contains(listed.body, "update_order") {
		t.Error("what a sign-in is enough for is not listed")
	}
}

// TestDemands: what a challenge asks for is what the guardrails ask for, and what the configuration knows of the provider.
func TestDemands(t *testing.T) {
	t.Parallel()
	x := &exchange{g: &Gateway{}}
	x.g.current.Store(&Config{Issuers: []Issuer{{Issuer: "https://a.example", SecondFactorACR: []string{"mfa", "gold"}}, {Issuer: "https://b.example"}}})
	for name, test := range map[string]struct {
		issuer  string
		verdict *policy.StepUp
		want    string
	}{
		"a second factor":                          {"https://a.example", nil, `acr_values="mfa gold"`},
		"a second factor, at another provider":     {"https://b.example", nil, `error_description="A second factor is required", resource_metadata`},
		"a recent second factor":                   {"https://a.example", &policy.StepUp{MFA: true, MaxAgeSeconds: 60}, `acr_values="mfa gold", max_age="60"`},
		"a second factor as guardrails name it":    {"https://a.example", &policy.StepUp{MFA: true, ACR: []string{"phr"}}, `acr_values="phr", resource_metadata`},
		"recent":                                   {"https://a.example", &policy.StepUp{MaxAgeSeconds: 60}, `is required", max_age="60"`},
		"what a challenge could not say, left out": {"https://a.example", &policy.StepUp{ACR: []string{`a"b`, "a b", "a\r\nb", `a\b`, "ä", "phr"}}, `acr_values="phr", resource`},
	} {
		x.caller = &caller{principal: policy.Principal{Issuer: test.issuer}}
		got := x.demandOf(policy.Verdict{StepUp: test.verdict}).header("https://m.example")
		if !strings.Contains(got, test.want) || !strings.HasPrefix(got, `Bearer error="insufficient_user_authentication", `) {
			t.Errorf("%s: %s", name, got)
		}
	}
	if d := x.demandOf(policy.Verdict{StepUp: &policy.StepUp{ACR: []string{}}}); !d.never || !strings.Contains(d.text(policy.Verdict{StepUp: &policy.StepUp{ACR: []string{}}}, policy.KindTool), "exclude each other") {
		t.Errorf("what nobody can do: %+v", d)
	}
}

package devidp_test

import (
	"html"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"countersign/internal/devidp"
	"countersign/internal/devidp/devidptest"
)

func TestSingleSignOn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	verifier := oauth2.GenerateVerifier()
	ask := func(params ...string) *url.URL {
		options := []oauth2.AuthCodeOption{oauth2.S256ChallengeOption(verifier)}
		for i := 0; i < len(params); i += 2 {
			options = append(options, oauth2.SetAuthURLParam(params[i], params[i+1]))
		}
		return devidptest.Visit(t, b.browser, b.config.AuthCodeURL("s", options...))
	}
	wantCode := func(back *url.URL, what string) {
		t.Helper()
		if back == nil || back.Query().Get("code") == "" {
			t.Errorf("%s: got %v, want a code", what, back)
		}
	}
	wantPage := func(back *url.URL, what string) {
		t.Helper()
		if back != nil {
			t.Errorf("%s: got %v, want the login page", what, back)
		}
	}
	wantPage(ask(), "before any sign-in")
	if back := ask("prompt", "none"); back.Query().Get("error") != "login_required" {
		t.Errorf("prompt none before any sign-in: %v", back)
	}
	b.signIn(t, "ada")
	wantCode(ask(), "after it")
	wantCode(ask("prompt", "none"), "prompt none after it")
	wantPage(ask("prompt", "login"), "prompt login")
	b.clock.Advance(5 * time.Minute)
	wantCode(ask("max_age", "600"), "max_age not reached")
	wantPage(ask("max_age", "60"), "max_age passed")
	wantCode(ask("acr_values", "urn:countersign:dev:mfa urn:countersign:dev:pwd"), "one of the classes asked for")
	wantPage(ask("acr_values", devidp.ClassMFA), "a better class than that of the session")
	b.clock.Advance(12 * time.Hour)
	wantPage(ask(), "after the session's life")
}

func TestAuthorizeRefusesBeforeItRedirects(t *testing.T) {
	t.Parallel()
	b := setup(t)
	challenge := oauth2.S256ChallengeOption(oauth2.GenerateVerifier())
	for name, change := range map[string]func(url.Values){
		"a foreign redirect URI":    func(q url.Values) { q.Set("redirect_uri", "https://evil.example/callback") },
		"a redirect URI with more":  func(q url.Values) { q.Set("redirect_uri", callback+"/../x") },
		"no redirect URI":           func(q url.Values) { q.Del("redirect_uri") },
		"an unknown client":         func(q url.Values) { q.Set("client_id", "stranger") },
		"a parameter that is twice": func(q url.Values) { q.Add("redirect_uri", callback) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u, err := url.Parse(b.config.AuthCodeURL("s", challenge))
			if err != nil {
				t.Fatal(err)
			}
			q := u.Query()
			change(q)
			u.RawQuery = q.Encode()
			for _, method := range []string{http.MethodGet, http.MethodPost} {
				status, body := b.do(t, method, u.String(), "sub=ada")
				if status != http.StatusBadRequest || strings.Contains(body, "evil.example") {
					t.Errorf("%s: status %d, body %s", method, status, body)
				}
			}
		})
	}
}

func TestAuthorizeTellsTheClientWhatIsWrong(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for name, test := range map[string]struct {
		param, value, want string
	}{
		"no PKCE":                {"code_challenge", "", "invalid_request"},
		"plain PKCE":             {"code_challenge_method", "plain", "invalid_request"},
		"the implicit flow":      {"response_type", "token", "unsupported_response_type"},
		"a fragment response":    {"response_mode", "fragment", "invalid_request"},
		"a request object":       {"request", "x", "request_not_supported"},
		"a resource elsewhere":   {"resource", "https://mcp.example/", "invalid_target"},
		"a max_age below zero":   {"max_age", "-1", "invalid_request"},
		"prompt none and login":  {"prompt", "none login", "invalid_request"},
		"a challenge of no hash": {"code_challenge", "short", "invalid_request"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			back := devidptest.Visit(t, devidptest.Browser(t), b.config.AuthCodeURL("s",
				oauth2.S256ChallengeOption(oauth2.GenerateVerifier()), oauth2.SetAuthURLParam(test.param, test.value)))
			if back == nil {
				t.Fatal("the provider did not redirect")
			}
			if got := back.Query().Get("error"); got != test.want || back.Query().Get("state") != "s" || back.Query().Get("iss") != b.Issuer {
				t.Errorf("got %s, want error %s", back, test.want)
			}
		})
	}
}

func TestLoginPage(t *testing.T) {
	t.Parallel()
	b := setup(t)
	authURL := b.config.AuthCodeURL("a&b<c", oauth2.S256ChallengeOption(oauth2.GenerateVerifier()))
	resp := b.get(t, authURL)
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"The console", "Ada Admin", "platform-admins", "Priya Nair", "approvers", "Audra Kim", "Development only"} {
		if !strings.Contains(string(body), want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	policy := resp.Header.Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "frame-ancestors 'none'", "form-action 'self' http://127.0.0.1:9"} {
		if !strings.Contains(policy, want) {
			t.Errorf("Content-Security-Policy %q lacks %q", policy, want)
		}
	}
	if strings.Contains(string(body), "style=") || strings.Contains(string(body), "<script") {
		t.Error("the page has inline style or script, which its policy forbids")
	}
	u, err := url.Parse(authURL)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(html.UnescapeString(string(body)), `action="/authorize?`+u.Query().Encode()+`"`) {
		t.Errorf("the form does not send the request back:\n%s", body)
	}
	if css := b.get(t, b.Issuer+"/devidp.css"); css.Header.Get("Content-Type") != "text/css; charset=utf-8" {
		t.Errorf("stylesheet: %s", css.Header.Get("Content-Type"))
	}
}

func TestForeignPostIsRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost,
		b.config.AuthCodeURL("s", oauth2.S256ChallengeOption(oauth2.GenerateVerifier())), strings.NewReader("sub=ada"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Sec-Fetch-Site", "same-site")
	resp, err := b.browser.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("status = %d, want 403", resp.StatusCode)
	}
}

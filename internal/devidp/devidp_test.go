package devidp_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"html"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"countersign/internal/devidp"
	"countersign/internal/devidp/devidptest"
)

const (
	callback = "http://127.0.0.1:9/callback"
	goodbye  = "http://127.0.0.1:9/"
	gateway  = "http://127.0.0.1:9/gateway"
)

// clock is the provider's, moved by tests.
type clock struct {
	mu     sync.Mutex
	offset time.Duration
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.offset)
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset += d
}

// bundle is a provider, and a client of it made of other people's libraries.
type bundle struct {
	*devidptest.Server
	clock    *clock
	provider *oidc.Provider
	config   oauth2.Config
	browser  *http.Client
}

func setup(t *testing.T, change ...func(*devidp.Config)) *bundle {
	t.Helper()
	b := &bundle{clock: &clock{}, browser: devidptest.Browser(t)}
	cfg := devidp.Config{Now: b.clock.Now, Clients: []devidp.Client{
		{ID: "console", Name: "The console", Secret: "console-secret", RedirectURIs: []string{callback}, PostLogoutRedirectURIs: []string{goodbye}},
		{ID: "native", RedirectURIs: []string{callback}},
	}}
	for _, c := range change {
		c(&cfg)
	}
	b.Server = devidptest.Start(t, cfg)
	provider, err := oidc.NewProvider(t.Context(), b.Issuer)
	if err != nil {
		t.Fatal(err)
	}
	b.provider = provider
	b.config = oauth2.Config{
		ClientID: "console", ClientSecret: "console-secret", RedirectURL: callback,
		Endpoint: provider.Endpoint(), Scopes: []string{"openid", "groups"},
	}
	return b
}

// code signs a person in and returns the code that comes back.
func (b *bundle) code(t *testing.T, person, verifier string, options ...oauth2.AuthCodeOption) string {
	t.Helper()
	options = append(options, oauth2.S256ChallengeOption(verifier))
	back := devidptest.Choose(t, b.browser, b.config.AuthCodeURL("the-state", options...), person)
	if back == nil {
		t.Fatal("the provider showed a page instead of redirecting")
	}
	if got := back.Query().Get("state"); got != "the-state" {
		t.Errorf("state = %q", got)
	}
	if got := back.Query().Get("iss"); got != b.Issuer {
		t.Errorf("iss = %q, want %q", got, b.Issuer)
	}
	if back.Query().Get("code") == "" {
		t.Fatalf("no code came back: %s", back)
	}
	return back.Query().Get("code")
}

func (b *bundle) signIn(t *testing.T, person string, options ...oauth2.AuthCodeOption) *oauth2.Token {
	t.Helper()
	verifier := oauth2.GenerateVerifier()
	token, err := b.config.Exchange(t.Context(), b.code(t, person, verifier, options...), oauth2.VerifierOption(verifier))
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// verify checks a JWT of the provider for an audience and returns its claims.
func (b *bundle) verify(t *testing.T, raw, audience string) map[string]any {
	t.Helper()
	token, err := b.provider.Verifier(&oidc.Config{ClientID: audience, Now: b.clock.Now}).Verify(t.Context(), raw)
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := token.Claims(&claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

func wantRefused(t *testing.T, err error, code string) {
	t.Helper()
	var refused *oauth2.RetrieveError
	if !errors.As(err, &refused) || refused.ErrorCode != code {
		t.Errorf("got %v, want the error %s", err, code)
	}
}

func TestSignIn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	token := b.signIn(t, "priya", oidc.Nonce("the-nonce"))

	raw, _ := token.Extra("id_token").(string)
	id, err := b.provider.Verifier(&oidc.Config{ClientID: "console"}).Verify(t.Context(), raw)
	if err != nil {
		t.Fatal(err)
	}
	if id.Nonce != "the-nonce" || id.Subject != "priya" {
		t.Errorf("nonce %q, subject %q", id.Nonce, id.Subject)
	}
	if err := id.VerifyAccessToken(token.AccessToken); err != nil {
		t.Errorf("at_hash: %v", err)
	}
	claims := b.verify(t, raw, "console")
	if diff := cmp.Diff([]any{"commerce", "approvers"}, claims["groups"]); diff != "" {
		t.Errorf("groups in the ID token (-want +got):\n%s", diff)
	}
	if claims["auth_time"] == nil || claims["email"] != "priya@example.com" || claims["name"] != "Priya Nair" {
		t.Errorf("claims = %v", claims)
	}
	if diff := cmp.Diff([]any{"pwd"}, claims["amr"]); diff != "" {
		t.Errorf("amr (-want +got):\n%s", diff)
	}

	info, err := b.provider.UserInfo(t.Context(), oauth2.StaticTokenSource(token))
	if err != nil {
		t.Fatal(err)
	}
	var who struct {
		Groups []string `json:"groups"`
	}
	if err := info.Claims(&who); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"commerce", "approvers"}, who.Groups); diff != "" || info.Subject != "priya" {
		t.Errorf("UserInfo of %s, groups (-want +got):\n%s", info.Subject, diff)
	}
}

func TestSecondFactor(t *testing.T) {
	t.Parallel()
	b := setup(t)
	verifier := oauth2.GenerateVerifier()
	back := devidptest.ChooseWithMFA(t, b.browser, b.config.AuthCodeURL("s", oauth2.S256ChallengeOption(verifier)), "ada")
	token, err := b.config.Exchange(t.Context(), back.Query().Get("code"), oauth2.VerifierOption(verifier))
	if err != nil {
		t.Fatal(err)
	}
	claims := b.verify(t, token.Extra("id_token").(string), "console")
	if diff := cmp.Diff([]any{"pwd", "otp", "mfa"}, claims["amr"]); diff != "" {
		t.Errorf("amr (-want +got):\n%s", diff)
	}
}

func TestGroupsOnlyInUserInfo(t *testing.T) {
	t.Parallel()
	b := setup(t, func(c *devidp.Config) { c.GroupsOnlyInUserInfo = true })
	token := b.signIn(t, "ada")
	if groups, found := b.verify(t, token.Extra("id_token").(string), "console")["groups"]; found {
		t.Errorf("the ID token has groups %v", groups)
	}
	info, err := b.provider.UserInfo(t.Context(), oauth2.StaticTokenSource(token))
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := info.Claims(&claims); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]any{"platform-admins"}, claims["groups"]); diff != "" {
		t.Errorf("groups (-want +got):\n%s", diff)
	}
}

func TestPublicClient(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.config.ClientID, b.config.ClientSecret = "native", ""
	if token := b.signIn(t, "tomas"); token.AccessToken == "" {
		t.Error("there is no access token")
	}
}

func TestResourceOfASignIn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	resource := oauth2.SetAuthURLParam("resource", gateway)
	token := b.signIn(t, "tomas", resource)
	claims := b.verify(t, token.AccessToken, gateway)
	if claims["client_id"] != "console" || claims["azp"] != "console" || claims["sub"] != "tomas" {
		t.Errorf("claims = %v", claims)
	}

	verifier := oauth2.GenerateVerifier()
	code := b.code(t, "tomas", verifier, resource)
	_, err := b.config.Exchange(t.Context(), code, oauth2.VerifierOption(verifier), oauth2.SetAuthURLParam("resource", gateway+"/other"))
	wantRefused(t, err, "invalid_target")
}

func TestCodeIsRefused(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change   func(*bundle)
		verifier string
		option   oauth2.AuthCodeOption
		want     string
	}{
		"with a wrong verifier":     {verifier: oauth2.GenerateVerifier(), want: "invalid_grant"},
		"with no verifier":          {verifier: "", want: "invalid_grant"},
		"with another redirect URI": {option: oauth2.SetAuthURLParam("redirect_uri", goodbye), want: "invalid_grant"},
		"from another client":       {change: func(b *bundle) { b.config.ClientID, b.config.ClientSecret = "native", "" }, want: "invalid_grant"},
		"with a wrong secret":       {change: func(b *bundle) { b.config.ClientSecret = "guess" }, want: "invalid_client"},
		"after a minute":            {change: func(b *bundle) { b.clock.Advance(61 * time.Second) }, want: "invalid_grant"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			verifier := oauth2.GenerateVerifier()
			code := b.code(t, "ada", verifier)
			if test.change != nil {
				test.change(b)
			}
			options := []oauth2.AuthCodeOption{oauth2.VerifierOption(verifier)}
			if test.change == nil && test.option == nil {
				options = []oauth2.AuthCodeOption{oauth2.VerifierOption(test.verifier)}
			}
			if test.option != nil {
				options = append(options, test.option)
			}
			_, err := b.config.Exchange(t.Context(), code, options...)
			wantRefused(t, err, test.want)
		})
	}
}

func TestReplayedCodeRevokesWhatItGave(t *testing.T) {
	t.Parallel()
	b := setup(t)
	verifier := oauth2.GenerateVerifier()
	code := b.code(t, "ada", verifier)
	token, err := b.config.Exchange(t.Context(), code, oauth2.VerifierOption(verifier))
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.config.Exchange(t.Context(), code, oauth2.VerifierOption(verifier))
	wantRefused(t, err, "invalid_grant")

	if _, err := b.refresh(t.Context(), token.RefreshToken); err == nil {
		t.Error("the refresh token still works")
	}
	if _, err := b.provider.UserInfo(t.Context(), oauth2.StaticTokenSource(token)); err == nil {
		t.Error("the access token still works at UserInfo")
	}
}

func (b *bundle) refresh(ctx context.Context, refreshToken string) (*oauth2.Token, error) {
	return b.config.TokenSource(ctx, &oauth2.Token{RefreshToken: refreshToken}).Token()
}

func TestRefreshRotates(t *testing.T) {
	t.Parallel()
	b := setup(t)
	first := b.signIn(t, "ada")
	before := b.verify(t, first.Extra("id_token").(string), "console")
	b.clock.Advance(time.Hour)
	second, err := b.refresh(t.Context(), first.RefreshToken)
	if err != nil {
		t.Fatal(err)
	}
	if second.RefreshToken == first.RefreshToken {
		t.Error("the refresh token was not rotated")
	}
	after := b.verify(t, second.Extra("id_token").(string), "console")
	if before["auth_time"] != after["auth_time"] {
		t.Errorf("auth_time moved from %v to %v", before["auth_time"], after["auth_time"])
	}

	_, err = b.refresh(t.Context(), first.RefreshToken)
	wantRefused(t, err, "invalid_grant")
	_, err = b.refresh(t.Context(), second.RefreshToken)
	wantRefused(t, err, "invalid_grant") // the replay revoked the family
}

func TestRefreshHasOneWinner(t *testing.T) {
	t.Parallel()
	b := setup(t)
	token := b.signIn(t, "ada")
	var winners sync.Map
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			if next, err := b.refresh(context.Background(), token.RefreshToken); err == nil {
				winners.Store(i, next)
			}
		})
	}
	all.Wait()
	count := 0
	winners.Range(func(any, any) bool { count++; return true })
	if count > 1 {
		t.Errorf("%d refreshes of one token succeeded", count)
	}
}

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

func TestClientCredentials(t *testing.T) {
	t.Parallel()
	b := setup(t)
	machine := clientcredentials.Config{
		ClientID: "console", ClientSecret: "console-secret", TokenURL: b.provider.Endpoint().TokenURL,
		EndpointParams: url.Values{"resource": {gateway}},
	}
	token, err := machine.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	claims := b.verify(t, token.AccessToken, gateway)
	if claims["sub"] != "console" || claims["groups"] != nil || claims["auth_time"] != nil {
		t.Errorf("claims = %v", claims)
	}
	machine.ClientID, machine.ClientSecret = "native", ""
	_, err = machine.Token(t.Context())
	wantRefused(t, err, "unauthorized_client")
}

func TestLogout(t *testing.T) {
	t.Parallel()
	b := setup(t)
	logout := func(params ...string) string {
		q := url.Values{}
		for i := 0; i < len(params); i += 2 {
			q.Set(params[i], params[i+1])
		}
		return b.Issuer + "/logout?" + q.Encode()
	}
	token := b.signIn(t, "ada")
	hint := token.Extra("id_token").(string)
	if status, _ := b.do(t, http.MethodGet, logout("id_token_hint", hint, "post_logout_redirect_uri", "https://evil.example/"), ""); status != http.StatusBadRequest {
		t.Errorf("foreign address after logout: status %d", status)
	}
	if status, body := b.do(t, http.MethodGet, logout(), ""); status != http.StatusOK || !strings.Contains(body, "Sign out?") {
		t.Errorf("without a hint it must ask: %d %s", status, body)
	}
	if status, _ := b.do(t, http.MethodGet, logout("id_token_hint", token.AccessToken), ""); status != http.StatusBadRequest {
		t.Errorf("an access token as a hint: status %d", status)
	}
	b.clock.Advance(time.Hour) // a hint may have expired
	back := devidptest.Visit(t, b.browser, logout("id_token_hint", hint, "post_logout_redirect_uri", goodbye, "state", "x"))
	if back == nil || back.String() != goodbye+"?state=x" {
		t.Fatalf("after logout: %v", back)
	}
	if back := devidptest.Visit(t, b.browser, b.config.AuthCodeURL("s", oauth2.S256ChallengeOption(oauth2.GenerateVerifier()))); back != nil {
		t.Errorf("the session outlived the logout: %v", back)
	}
	if _, err := b.refresh(t.Context(), token.RefreshToken); err == nil {
		t.Error("the refresh token outlived the logout")
	}
}

func TestLogoutByAnswer(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.signIn(t, "ada")
	if status, body := b.do(t, http.MethodPost, b.Issuer+"/logout", ""); status != http.StatusOK || !strings.Contains(body, "You are signed out") {
		t.Errorf("status %d, body %s", status, body)
	}
	if back := devidptest.Visit(t, b.browser, b.config.AuthCodeURL("s", oauth2.S256ChallengeOption(oauth2.GenerateVerifier()))); back != nil {
		t.Errorf("the session outlived the logout: %v", back)
	}
}

func TestUserInfoWantsAnAccessToken(t *testing.T) {
	t.Parallel()
	b := setup(t)
	token := b.signIn(t, "ada")
	for name, raw := range map[string]string{
		"an ID token":                  token.Extra("id_token").(string),
		"a token without scope openid": b.Token(t, "ada", ""),
		"nonsense":                     "nonsense",
	} {
		if _, err := b.provider.UserInfo(t.Context(), oauth2.StaticTokenSource(&oauth2.Token{AccessToken: raw})); err == nil {
			t.Errorf("UserInfo took %s", name)
		}
	}
	b.clock.Advance(11 * time.Minute)
	if _, err := b.provider.UserInfo(t.Context(), oauth2.StaticTokenSource(&oauth2.Token{AccessToken: token.AccessToken})); err == nil {
		t.Error("UserInfo took an expired token")
	}
}

func TestSessionsAndTokensSurviveARestart(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "idp.key")
	start := func(address string) (issuer string, stop func()) {
		listener, err := devidp.Listen(address)
		if err != nil {
			t.Fatal(err)
		}
		issuer = "http://" + listener.Addr().String()
		provider, err := devidp.New(devidp.Config{
			Issuer: issuer, KeyFile: path, People: devidp.DemoPeople(),
			Clients: []devidp.Client{{ID: "native", RedirectURIs: []string{callback}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Handler: provider.Handler(), ReadHeaderTimeout: time.Second}
		go func() { _ = server.Serve(listener) }() // it returns when the server is closed
		return issuer, func() { server.Close() }
	}
	issuer, stop := start("127.0.0.1:0")
	provider, err := oidc.NewProvider(t.Context(), issuer)
	if err != nil {
		t.Fatal(err)
	}
	browser := devidptest.Browser(t)
	config := oauth2.Config{ClientID: "native", RedirectURL: callback, Endpoint: provider.Endpoint(), Scopes: []string{"openid"}}
	verifier := oauth2.GenerateVerifier()
	authURL := config.AuthCodeURL("s", oauth2.S256ChallengeOption(verifier))
	token, err := config.Exchange(t.Context(), devidptest.Choose(t, browser, authURL, "ada").Query().Get("code"), oauth2.VerifierOption(verifier))
	if err != nil {
		t.Fatal(err)
	}

	stop()
	_, stop = start(strings.TrimPrefix(issuer, "http://"))
	defer stop()
	if _, err := provider.UserInfo(t.Context(), oauth2.StaticTokenSource(token)); err != nil {
		t.Errorf("the access token is lost: %v", err)
	}
	if back := devidptest.Visit(t, browser, authURL); back == nil || back.Query().Get("code") == "" {
		t.Errorf("the browser's session is lost: %v", back)
	}
}

func TestKeyFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "idp.key")
	var all sync.WaitGroup
	keys := make([]ed25519.PrivateKey, 8)
	for i := range keys {
		all.Go(func() { keys[i], _ = devidp.LoadOrCreateKey(path) })
	}
	all.Wait()
	for _, key := range keys {
		if !key.Equal(keys[0]) || len(key) == 0 {
			t.Fatal("racing creators got different keys")
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := devidp.New(devidp.Config{Issuer: "http://127.0.0.1:1", KeyFile: path}); err == nil {
		t.Error("a key file that others may read was taken")
	}
}

func (b *bundle) get(t *testing.T, target string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := b.browser.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

func (b *bundle) do(t *testing.T, method, target, form string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, target, strings.NewReader(form))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := b.browser.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

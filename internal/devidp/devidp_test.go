package devidp_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/oauth2"

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
	if claims["acr"] != devidp.ClassMFA {
		t.Errorf("acr = %v", claims["acr"])
	}
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

package devidp_test

import (
	"crypto/ed25519"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"countersign/internal/devidp"
	"countersign/internal/devidp/devidptest"
)

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

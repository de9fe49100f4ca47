package devidp_test

import (
	"context"
	"net/url"
	"sync"
	"testing"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

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
			if next, err := b.refresh(t.Context(), token.RefreshToken); err == nil {
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

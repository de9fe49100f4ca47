package auth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"golang.org/x/oauth2"
)

// exchange trades the code for tokens and reads from them who signed in.
func (a *Authority) exchange(ctx context.Context, found *discovered, f flow, code, verifier string) (profile, string, error) {
	tokens, err := a.oauth(found).Exchange(a.console.context(ctx), code, oauth2.VerifierOption(verifier))
	if refused := (*oauth2.RetrieveError)(nil); errors.As(err, &refused) && refused.Response.StatusCode < http.StatusInternalServerError {
		return profile{}, "", refusedSignIn(fmt.Errorf("exchanging the code: the provider answered %q", plain(refused.ErrorCode)))
	}
	if err != nil {
		return profile{}, "", providerDown(fmt.Errorf("exchanging the code: %w", err))
	}
	raw, _ := tokens.Extra("id_token").(string)
	claims, subject, err := a.readIDToken(ctx, f, raw, tokens.AccessToken)
	if err != nil {
		return profile{}, "", err
	}
	p, err := a.profile(ctx, found, claims, subject, tokens)
	if err != nil {
		return profile{}, "", err
	}
	if err := a.checkProof(f, p); err != nil {
		return profile{}, "", err
	}
	return p, raw, nil
}

// readIDToken verifies an ID token: signature, issuer, audience and times, the nonce of this flow, the
// authorized party, and that the access token belongs to it.
func (a *Authority) readIDToken(ctx context.Context, f flow, raw, accessToken string) (member, string, error) {
	token, err := a.console.verify(ctx, raw, a.cfg.ClientID)
	if err != nil {
		return nil, "", refusedSignIn(fmt.Errorf("verifying the ID token: %w", err))
	}
	var claims member
	if err := token.Claims(&claims); err != nil {
		return nil, "", refusedSignIn(fmt.Errorf("reading the ID token: %w", err))
	}
	azp := claims.text("azp")
	switch {
	case !equal(token.Nonce, f.Nonce):
		return nil, "", refusedSignIn(errors.New("the nonce is another flow's"))
	case azp != "" && azp != a.cfg.ClientID, azp == "" && len(token.Audience) > 1:
		return nil, "", refusedSignIn(errors.New("the ID token was issued to another client"))
	case token.AccessTokenHash != "" && token.VerifyAccessToken(accessToken) != nil:
		return nil, "", refusedSignIn(errors.New("the access token is not that of the ID token"))
	}
	return claims, token.Subject, nil
}

// profile reads who signed in. Groups that are not in the ID token are asked for at UserInfo, and so
// are then a name and an address that it lacks.
func (a *Authority) profile(ctx context.Context, found *discovered, claims member, subject string, tokens *oauth2.Token) (profile, error) {
	p := profile{name: claims.text("name"), email: claims.text("email"), authTime: claims.seconds("auth_time"), acr: claims.class("acr")}
	var err error
	if p.subject, err = claims.identifier(a.cfg.StableClaim); err != nil {
		return profile{}, refusedSignIn(err)
	}
	if p.amr, _, err = claims.texts("amr"); err != nil {
		return profile{}, refusedSignIn(err)
	}
	var inToken bool
	if p.groups, inToken, err = claims.texts(a.cfg.GroupsClaim); err != nil {
		return profile{}, refusedSignIn(err)
	}
	if !inToken && found.UserInfoAddress != "" {
		if err := a.askUserInfo(ctx, found, claims, subject, tokens, &p); err != nil {
			return profile{}, err
		}
	}
	for _, name := range []string{claims.text("preferred_username"), p.email, p.subject} {
		if strings.TrimSpace(p.name) == "" {
			p.name = name
		}
	}
	return p, nil
}

func (a *Authority) askUserInfo(ctx context.Context, found *discovered, claims member, subject string, tokens *oauth2.Token, p *profile) error {
	info, err := found.UserInfo(a.console.context(ctx), oauth2.StaticTokenSource(tokens))
	if err != nil {
		return providerDown(fmt.Errorf("asking UserInfo: %w", err))
	}
	if info.Subject != subject {
		return refusedSignIn(errors.New("UserInfo is about somebody else"))
	}
	var more member
	if err := info.Claims(&more); err != nil {
		return refusedSignIn(fmt.Errorf("reading UserInfo: %w", err))
	}
	groups, present, err := more.texts(a.cfg.GroupsClaim)
	if err != nil {
		return refusedSignIn(err)
	}
	if !present && (claims.overage(a.cfg.GroupsClaim) || more.overage(a.cfg.GroupsClaim)) {
		return refusedSignIn(errors.New("the person is in more groups than the provider puts in a token: let it send only those that matter"))
	}
	p.groups = groups
	if p.name == "" {
		p.name = more.text("name")
	}
	if p.email == "" {
		p.email = more.text("email")
	}
	return nil
}

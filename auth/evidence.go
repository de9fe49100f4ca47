package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"countersign/client"
	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
)

// Evidence verifies the token that a caller sent to a gateway and the gateway hands on, and says who
// calls. The token must be by an issuer we know, for exactly this gateway's resource URL, and within
// its times. The error is a problem: Forbidden "evidence_refused", or Unavailable when the issuer does
// not answer.
func (a *Authority) Evidence(ctx context.Context, gateway identity.Principal, token string) (policy.Principal, error) {
	if err := gateway.Can(identity.Enforce, ""); err != nil {
		return policy.Principal{}, err
	}
	set, err := a.clients.current(ctx)
	if err != nil {
		return policy.Principal{}, err
	}
	resource := set.byPrincipal[gateway.ID].Resource
	if resource == "" {
		return policy.Principal{}, refusedEvidence(errors.New("the gateway is enrolled without a resource URL, which the token's audience would have to be"))
	}
	from, err := a.issuerOf(token)
	if err != nil {
		return policy.Principal{}, refusedEvidence(err)
	}
	verified, err := from.verify(ctx, token, resource)
	if problem.Is(err, problem.Unavailable) {
		return policy.Principal{}, err
	}
	if err != nil {
		return policy.Principal{}, refusedEvidence(err)
	}
	var payload json.RawMessage
	if err := verified.Claims(&payload); err != nil {
		return policy.Principal{}, refusedEvidence(err)
	}
	principal, err := a.caller(payload)
	if err != nil {
		return policy.Principal{}, refusedEvidence(err)
	}
	return principal, nil
}

// caller names the principal of verified claims. A caller who is also a person here must have the same
// subject in both, or could vote on their own call: so it is the stable claim.
func (a *Authority) caller(payload json.RawMessage) (policy.Principal, error) {
	principal, err := client.PrincipalFromClaims(payload)
	if err != nil || a.cfg.StableClaim == "sub" {
		return principal, err
	}
	var claims member
	if err := json.Unmarshal(payload, &claims); err != nil {
		return policy.Principal{}, err
	}
	principal.Subject, err = claims.identifier(a.cfg.StableClaim)
	return principal, err
}

// issuerOf reads whom a token names as its issuer, without believing it yet.
func (a *Authority) issuerOf(raw string) (*issuer, error) {
	if len(raw) > maxEvidenceBytes {
		return nil, errors.New("the token is too long")
	}
	algorithms := make([]jose.SignatureAlgorithm, len(signingAlgorithms))
	for i, name := range signingAlgorithms {
		algorithms[i] = jose.SignatureAlgorithm(name)
	}
	token, err := jwt.ParseSigned(raw, algorithms)
	if err != nil {
		return nil, fmt.Errorf("reading the token: %w", err)
	}
	var claims struct {
		Issuer string `json:"iss"`
	}
	if err := token.UnsafeClaimsWithoutVerification(&claims); err != nil {
		return nil, fmt.Errorf("reading the token: %w", err)
	}
	from := a.evidence[claims.Issuer]
	if from == nil {
		return nil, errors.New("its issuer is not one that vouches for callers here")
	}
	return from, nil
}

// maxEvidenceBytes bounds a caller's token: some carry hundreds of groups.
const maxEvidenceBytes = 64 << 10

func refusedEvidence(cause error) *problem.Error {
	return problem.New(problem.Forbidden, "evidence_refused",
		"The caller's token could not be verified for this gateway, so nobody was asked to approve the call.").Because(cause)
}

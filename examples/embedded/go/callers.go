package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"countersign/client"
)

// callers knows whose tokens are good: of one issuer, made for this very server, within their times.
type callers struct {
	verifier *oidc.IDTokenVerifier
}

// newCallers fetches what the issuer says of itself.
func newCallers(ctx context.Context, issuer, resource string) (*callers, error) {
	provider, err := oidc.NewProvider(ctx, issuer)
	if err != nil {
		return nil, fmt.Errorf("finding the identity provider: %w", err)
	}
	return &callers{provider.VerifierContext(ctx, &oidc.Config{ClientID: resource, SupportedSigningAlgs: []string{"RS256", "ES256", "EdDSA"}})}, nil
}

const callerKey = "caller"

// verify is what the MCP library asks about each token.
func (c *callers) verify(ctx context.Context, token string, _ *http.Request) (*auth.TokenInfo, error) {
	verified, err := c.verifier.Verify(ctx, token)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", auth.ErrInvalidToken, err)
	}
	var payload json.RawMessage
	if err := verified.Claims(&payload); err != nil {
		return nil, fmt.Errorf("%w: %w", auth.ErrInvalidToken, err)
	}
	principal, err := client.PrincipalFromClaims(payload)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", auth.ErrInvalidToken, err)
	}
	return &auth.TokenInfo{
		Expiration: verified.Expiry, UserID: principal.Issuer + " " + principal.Subject,
		Extra: map[string]any{callerKey: client.Caller{Principal: principal, Token: token}},
	}, nil
}

// callerOf says who made a request. Nobody, whom no grant names, if it came past the check of tokens.
func callerOf(r mcp.Request) client.Caller {
	if extra := r.GetExtra(); extra != nil && extra.TokenInfo != nil {
		caller, _ := extra.TokenInfo.Extra[callerKey].(client.Caller)
		return caller
	}
	return client.Caller{}
}

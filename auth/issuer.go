package auth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"countersign/internal/problem"
)

// signingAlgorithms are those in which an issuer may sign. All of them are asymmetric: a client's
// secret can never become a signing key.
var signingAlgorithms = []string{
	oidc.RS256, oidc.RS384, oidc.RS512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.EdDSA,
}

const (
	clockLeeway    = time.Minute // between our clock and an issuer's
	discoveryPause = time.Second // between two attempts at an issuer that does not answer
)

// issuer is somebody who signs tokens. Its discovery document is fetched when first needed and until
// that succeeds; its keys are fetched again by go-oidc when a token names one that is not known.
type issuer struct {
	url    string
	client *http.Client
	now    func() time.Time

	mu       sync.Mutex
	found    *discovered
	failure  error
	failedAt time.Time
}

// discovered is what the issuer says of itself.
type discovered struct {
	*oidc.Provider
	EndSession      string `json:"end_session_endpoint"`
	IssuerInAnswer  bool   `json:"authorization_response_iss_parameter_supported"`
	UserInfoAddress string `json:"userinfo_endpoint"`
}

func newIssuer(url string, cfg Config) *issuer {
	return &issuer{url: url, client: cfg.HTTPClient, now: cfg.Now}
}

// context carries the HTTP client to go-oidc and oauth2.
func (i *issuer) context(ctx context.Context) context.Context {
	return oidc.ClientContext(ctx, i.client)
}

// discover returns what is known of the issuer, or a problem of kind Unavailable. go-oidc refuses a
// document that names another issuer.
func (i *issuer) discover(ctx context.Context) (*discovered, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.found != nil {
		return i.found, nil
	}
	if i.failure != nil && i.now().Sub(i.failedAt) < discoveryPause {
		return nil, i.failure
	}
	found := &discovered{}
	var err error
	if found.Provider, err = oidc.NewProvider(i.context(ctx), i.url); err == nil {
		err = found.Claims(found)
	}
	if err != nil {
		i.failedAt = i.now()
		i.failure = providerDown(fmt.Errorf("discovering %s: %w", i.url, err))
		return nil, i.failure
	}
	i.found, i.failure = found, nil
	return found, nil
}

func providerDown(cause error) *problem.Error {
	p := problem.New(problem.Unavailable, "provider_unavailable",
		"The identity provider does not answer. Try again in a moment; who is signed in stays so.").Because(cause)
	p.RetryAfter = 5 * time.Second
	return p
}

// verify checks signature, algorithm, issuer, audience and times of a token and returns it.
func (i *issuer) verify(ctx context.Context, raw, audience string) (*oidc.IDToken, error) {
	found, err := i.discover(ctx)
	if err != nil {
		return nil, err
	}
	verifier := found.VerifierContext(i.context(ctx), &oidc.Config{
		ClientID: audience, SupportedSigningAlgs: signingAlgorithms, SkipExpiryCheck: true, // lifetime does, with our leeway
	})
	token, err := verifier.Verify(i.context(ctx), raw)
	if err != nil {
		return nil, err
	}
	var times lifetime
	if err := token.Claims(&times); err != nil {
		return nil, fmt.Errorf("reading the times of a token: %w", err)
	}
	if err := times.check(i.now()); err != nil {
		return nil, err
	}
	return token, nil
}

// lifetime is the times of a token, which go-oidc would check with another leeway.
type lifetime struct {
	Expires   float64 `json:"exp"`
	NotBefore float64 `json:"nbf"`
	IssuedAt  float64 `json:"iat"`
}

func (l lifetime) check(now time.Time) error {
	at, leeway := float64(now.Unix()), clockLeeway.Seconds()
	switch {
	case l.Expires+leeway <= at:
		return errTokenExpired
	case l.NotBefore-leeway > at, l.IssuedAt-leeway > at:
		return errTokenEarly
	}
	return nil
}

var (
	errTokenExpired   = errors.New("the token has expired, or does not say when it does")
	errTokenEarly     = errors.New("the token is from the future")
	errFutureAuthTime = errors.New("auth_time is in the future")
)

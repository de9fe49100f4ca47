package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"
	"github.com/go-jose/go-jose/v4/jwt"

	"countersign/canonical"
	"countersign/client"
	"countersign/policy"
)

// maxToken bounds a token before anything looks into it.
const maxToken = 16 << 10

// tokenTypes are the values of typ that an access token may have. An ID token, a logout token, a proof is none.
var tokenTypes = []string{"", "jwt", "at+jwt", "application/at+jwt"}

// caller is who makes a request, and until when we know that.
type caller struct {
	principal policy.Principal
	token     string            // evidence for an approval; goes to nobody else; "" if the control plane could not read it as we do
	apiKey    *canonical.Digest // of an agent that signed in with one
	issued    time.Time         // zero when the token does not say
	expires   time.Time
}

// key tells callers apart: sessions and processes belong to one of them.
func (c *caller) key() string {
	p := c.principal
	return p.Issuer + "\x00" + p.Subject + "\x00" + p.Agent
}

// verifier checks callers' tokens: signed by a key of a configured issuer, by an algorithm allowed for it, made
// for this very resource, within its times.
type verifier struct {
	resource string
	issuers  map[string]*issuer
	now      func() time.Time
	cache    tokenCache
}

func newVerifier(cfg Config, hc *http.Client, now func() time.Time) *verifier {
	v := &verifier{resource: cfg.Resource, issuers: map[string]*issuer{}, now: now}
	for _, i := range cfg.Issuers {
		v.issuers[i.Issuer] = newIssuer(i, hc, now)
	}
	return v
}

// The ways in which a token is no good. The text is for the caller and holds nothing of the token.
var (
	errNoToken       = errors.New("a bearer token is needed")
	errMalformed     = errors.New("the token cannot be read")
	errTokenType     = errors.New("the token is not an access token")
	errUnknownIssuer = errors.New("the token is of an issuer that this gateway does not trust")
	errAlgorithm     = errors.New("the token is signed by an algorithm that is not allowed for its issuer")
	errSignature     = errors.New("the signature of the token is not valid")
	errAudience      = errors.New("the token was made for another resource")
	errTimes         = errors.New("the token has expired, or is not valid yet")
)

// known says who presents a token, which may have been verified before.
func (v *verifier) known(ctx context.Context, token string) (*caller, error) {
	if known := v.cache.get(token, v.now()); known != nil {
		return known, nil
	}
	c, err := v.verify(ctx, token)
	if err == nil {
		v.cache.put(token, *c, v.now())
	}
	return c, err
}

// verify says who presents the token.
func (v *verifier) verify(ctx context.Context, token string) (*caller, error) {
	if len(token) > maxToken {
		return nil, errMalformed
	}
	signed, err := jose.ParseSignedCompact(token, everyAlgorithm)
	if err != nil || len(signed.Signatures) != 1 {
		return nil, errMalformed // also "none" and every symmetric algorithm
	}
	header := signed.Signatures[0].Protected
	if typ, _ := header.ExtraHeaders[jose.HeaderType].(string); !slices.Contains(tokenTypes, strings.ToLower(typ)) {
		return nil, errTokenType
	}
	var said struct {
		Issuer string `json:"iss"`
	}
	if err := json.Unmarshal(signed.UnsafePayloadWithoutVerification(), &said); err != nil {
		return nil, errMalformed
	}
	from := v.issuers[said.Issuer]
	switch {
	case from == nil:
		return nil, errUnknownIssuer
	case !slices.Contains(from.algorithms, header.Algorithm):
		return nil, errAlgorithm
	}
	payload, err := from.open(ctx, signed)
	if err != nil {
		return nil, err
	}
	return v.read(token, from, payload)
}

// read checks the claims of a token whose signature is good.
func (v *verifier) read(token string, from *issuer, payload []byte) (*caller, error) {
	var c jwt.Claims
	if err := json.Unmarshal(payload, &c); err != nil {
		return nil, errMalformed
	}
	switch {
	case c.Issuer != from.name:
		return nil, errUnknownIssuer
	case !slices.Contains(c.Audience, v.resource) && !slices.ContainsFunc(from.audience, func(a string) bool { return slices.Contains(c.Audience, a) }):
		return nil, errAudience
	case c.Expiry == nil || c.ValidateWithLeeway(jwt.Expected{Time: v.now()}, from.leeway) != nil:
		return nil, errTimes
	}
	principal, err := from.claims.Principal(payload)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errMalformed, err)
	}
	if !slices.Contains(c.Audience, v.resource) || !readAlike(payload, principal) {
		token = ""
	}
	return &caller{principal: principal, token: token, issued: issued(c), expires: c.Expiry.Time().Add(from.leeway)}, nil
}

// readAlike reports whether the control plane, which knows no claims but the usual ones, names the same caller.
func readAlike(payload []byte, p policy.Principal) bool {
	usual, err := client.PrincipalFromClaims(payload)
	return err == nil && reflect.DeepEqual(usual, p)
}

func issued(c jwt.Claims) time.Time {
	if c.IssuedAt == nil {
		return time.Time{}
	}
	return c.IssuedAt.Time()
}

var everyAlgorithm = func() []jose.SignatureAlgorithm {
	var all []jose.SignatureAlgorithm
	for _, a := range algorithms {
		all = append(all, jose.SignatureAlgorithm(a))
	}
	return all
}()

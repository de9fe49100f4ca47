package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/jackc/pgx/v5"

	"countersign/identity"
	"countersign/internal/problem"
)

const (
	accessTokenType = "at+jwt" // RFC 9068
	maxTokenBytes   = 8 << 10
	maxCachedTokens = 10_000
)

// AccessToken is what /oauth/token answers with.
type AccessToken struct {
	Token     string
	ExpiresIn time.Duration
}

// tokenClaims are those of our own access tokens.
type tokenClaims struct {
	Issuer   string `json:"iss"`
	Subject  string `json:"sub"`
	Audience string `json:"aud"`
	ClientID string `json:"client_id"`
	ID       string `json:"jti"`
	IssuedAt int64  `json:"iat"`
	Expires  int64  `json:"exp"`
}

func errInvalidClient() *problem.Error {
	return problem.New(problem.Unauthenticated, "invalid_client", "The client is not known, or its secret is wrong.")
}

func errGatewayRevoked() *problem.Error {
	return problem.New(problem.Forbidden, "gateway_revoked", "This gateway was revoked. It must deny every call and forget its policy.")
}

func errInvalidToken(cause error) *problem.Error {
	return problem.New(problem.Unauthenticated, "invalid_token", "The access token is not good, or no longer. Get a new one at /oauth/token.").Because(cause)
}

// Token trades a client's secret for a short access token (OAuth client credentials). The error is a
// problem: Unauthenticated "invalid_client", or Forbidden "gateway_revoked" for a gateway that knows
// its secret and must learn that it was revoked.
func (a *Authority) Token(ctx context.Context, clientID, secret string) (AccessToken, error) {
	if !isClientSecret(secret) || clientID == "" || plain(clientID) != clientID {
		return AccessToken{}, errInvalidClient()
	}
	rows, _ := a.pool.Query(ctx, `
		select c.secret_hash, c.kind, c.revoked_at is not null or g.revoked_at is not null as revoked
		  from api_clients c left join gateways g on g.client_id = c.id
		 where c.id = @id`,
		pgx.StrictNamedArgs{"id": clientID})
	row, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[struct {
		SecretHash []byte
		Kind       ClientKind
		Revoked    bool
	}])
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return AccessToken{}, errInvalidClient()
	case err != nil:
		return AccessToken{}, fmt.Errorf("reading client %q: %w", clientID, err)
	case subtle.ConstantTimeCompare(row.SecretHash, hashSecret(secret)) != 1:
		return AccessToken{}, errInvalidClient()
	case row.Revoked && row.Kind == GatewayClient:
		return AccessToken{}, errGatewayRevoked()
	case row.Revoked:
		return AccessToken{}, errInvalidClient()
	}
	return a.mint(clientID)
}

func (a *Authority) mint(clientID string) (AccessToken, error) {
	key, now := a.keys.signer(ForToken), a.now()
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.EdDSA, Key: jose.JSONWebKey{Key: key.private, KeyID: key.kid}},
		(&jose.SignerOptions{}).WithType(accessTokenType),
	)
	if err != nil {
		return AccessToken{}, fmt.Errorf("signing an access token: %w", err)
	}
	token, err := jwt.Signed(signer).Claims(tokenClaims{
		Issuer: a.cfg.PublicURL, Audience: a.cfg.PublicURL, Subject: clientID, ClientID: clientID,
		ID: rand.Text(), IssuedAt: now.Unix(), Expires: now.Add(a.cfg.TokenLifetime).Unix(),
	}).Serialize()
	if err != nil {
		return AccessToken{}, fmt.Errorf("signing an access token: %w", err)
	}
	return AccessToken{Token: token, ExpiresIn: a.cfg.TokenLifetime}, nil
}

// Bearer returns who holds an access token, without a query. The error is a problem: Unauthenticated
// "invalid_token", Forbidden "gateway_revoked", or Unavailable when this replica cannot tell.
func (a *Authority) Bearer(ctx context.Context, token string) (identity.Principal, error) {
	claims, err := a.readToken(token)
	if err != nil {
		return identity.Principal{}, err
	}
	c, found, err := a.clients.credential(ctx, claims.ClientID)
	switch {
	case err != nil:
		return identity.Principal{}, err
	case !found:
		return identity.Principal{}, errInvalidToken(errors.New("its client is not known, or not enrolled"))
	case c.Revoked && c.Kind == GatewayClient:
		return identity.Principal{}, errGatewayRevoked()
	case c.Revoked:
		return identity.Principal{}, errInvalidToken(errors.New("its client was revoked"))
	}
	return c.principal(), nil
}

// readToken verifies a token of ours: type, key, signature, issuer, audience and times. The signature
// of a token that was seen before is not computed again.
func (a *Authority) readToken(raw string) (tokenClaims, error) {
	if len(raw) > maxTokenBytes {
		return tokenClaims{}, errInvalidToken(errors.New("it is too long"))
	}
	digest := sha256.Sum256([]byte(raw))
	seen, known := a.verified.get(digest)
	if _, inUse := a.keys.find(ForToken, seen.kid); !known || !inUse {
		var err error
		if seen, err = a.verifyToken(raw); err != nil {
			return tokenClaims{}, errInvalidToken(err)
		}
		a.verified.put(digest, seen, a.now())
	}
	now := a.now()
	switch {
	case !now.Before(time.Unix(seen.claims.Expires, 0)):
		return tokenClaims{}, errInvalidToken(errTokenExpired)
	case now.Add(clockLeeway).Before(time.Unix(seen.claims.IssuedAt, 0)): // another replica's clock may be ahead
		return tokenClaims{}, errInvalidToken(errTokenEarly)
	}
	return seen.claims, nil
}

func (a *Authority) verifyToken(raw string) (verifiedToken, error) {
	token, err := jwt.ParseSigned(raw, []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil {
		return verifiedToken{}, err
	}
	if len(token.Headers) != 1 || token.Headers[0].ExtraHeaders[jose.HeaderType] != accessTokenType {
		return verifiedToken{}, errors.New("it is not an access token")
	}
	// A kid that is not known may be of a key that another replica has just made, which Run brings
	// within seconds. Nothing is read for it here: anybody can write a kid.
	key, found := a.keys.find(ForToken, token.Headers[0].KeyID)
	if !found {
		return verifiedToken{}, errors.New("its key is not known")
	}
	var claims tokenClaims
	if err := token.Claims(key.private.Public(), &claims); err != nil {
		return verifiedToken{}, err
	}
	if claims.Issuer != a.cfg.PublicURL || claims.Audience != a.cfg.PublicURL || claims.ClientID == "" {
		return verifiedToken{}, errors.New("it is another installation's")
	}
	return verifiedToken{kid: key.kid, claims: claims}, nil
}

// verifiedToken is a token whose signature was good.
type verifiedToken struct {
	kid    string
	claims tokenClaims
}

// tokenCache remembers good signatures: verifying one costs more than all the rest of a request that
// is answered 304. A token is found by its digest, so the cache gives no token away.
type tokenCache struct {
	mu     sync.RWMutex
	tokens map[[sha256.Size]byte]verifiedToken
}

func newTokenCache() *tokenCache {
	return &tokenCache{tokens: map[[sha256.Size]byte]verifiedToken{}}
}

func (c *tokenCache) get(digest [sha256.Size]byte) (verifiedToken, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	t, found := c.tokens[digest]
	return t, found
}

// put remembers t. When there is no room the expired ones go, and if that does not help, all.
func (c *tokenCache) put(digest [sha256.Size]byte, t verifiedToken, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.tokens) >= maxCachedTokens {
		for d, old := range c.tokens {
			if !now.Before(time.Unix(old.claims.Expires, 0)) {
				delete(c.tokens, d)
			}
		}
	}
	if len(c.tokens) >= maxCachedTokens {
		clear(c.tokens)
	}
	c.tokens[digest] = t
}

package bridge

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Credential is what a bridge shows to the gateway. It is made anew before it expires, and when it was refused.
type Credential struct {
	mint func(ctx context.Context) (token string, lives time.Duration, err error)

	mu    sync.Mutex
	token string
	until time.Time // make another one from then on; zero: never
	tried time.Time
}

// Bounds of a credential's life.
const (
	mintAgain = time.Second // a credential that was refused is made anew no more often
	mintEarly = 30 * time.Second
)

// Stored is a credential that somebody put somewhere: an agent key, or an access token that something else keeps fresh.
// It is read again when it was refused, and before the token expires.
func Stored(read func() (string, error)) *Credential {
	return Minted(func(context.Context) (string, time.Duration, error) {
		token, err := read()
		return token, 0, err
	})
}

// Minted is a credential that is made for the asking. A life of 0 is what the token itself says, if it is a JWT.
func Minted(mint func(ctx context.Context) (token string, lives time.Duration, err error)) *Credential {
	return &Credential{mint: mint}
}

// Token gives the credential; see Bridge.Token.
func (c *Credential) Token(ctx context.Context, fresh bool) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	old := !c.until.IsZero() && now.After(c.until)
	if c.token != "" && !old && (!fresh || now.Sub(c.tried) < mintAgain) {
		return c.token, nil
	}
	token, lives, err := c.mint(ctx)
	if err != nil {
		return "", err
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", errors.New("the credential holds characters that none has")
	}
	if lives == 0 {
		lives = lifeOf(token, now)
	}
	c.token, c.tried, c.until = token, now, time.Time{}
	if lives > 0 {
		c.until = now.Add(lives - min(mintEarly, lives/4))
	}
	return token, nil
}

// lifeOf reads how long a JWT lives still; 0 when it does not say. Only the gateway verifies it.
func lifeOf(token string, now time.Time) time.Duration {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return 0
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return 0
	}
	var claims struct {
		Expiry float64 `json:"exp"`
	}
	if json.Unmarshal(payload, &claims) != nil || claims.Expiry <= 0 {
		return 0
	}
	return max(time.Unix(int64(claims.Expiry), 0).Sub(now), time.Second)
}

// Exchange is how a client gets access tokens for itself (OAuth client credentials).
type Exchange struct {
	Issuer, ClientID string
	Secret           func() (string, error)
	Resource         string // RFC 8707: the gateway
	Scope            string
	HTTP             *http.Client
}

// Exchanged is the access token that an identity provider gives for a client's own credentials.
func Exchanged(e Exchange) *Credential { return Minted(e.token) }

func (e Exchange) token(ctx context.Context) (string, time.Duration, error) {
	endpoint, err := e.endpoint(ctx)
	if err != nil {
		return "", 0, err
	}
	secret, err := e.Secret()
	if err != nil {
		return "", 0, err
	}
	form := url.Values{"grant_type": {"client_credentials"}, "resource": {e.Resource}}
	if e.Scope != "" {
		form.Set("scope", e.Scope)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return "", 0, fmt.Errorf("asking for an access token: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(url.QueryEscape(e.ClientID), url.QueryEscape(secret))
	var reply struct {
		Token     string  `json:"access_token"`
		Type      string  `json:"token_type"`
		ExpiresIn float64 `json:"expires_in"`
	}
	if err := e.do(req, &reply); err != nil {
		return "", 0, fmt.Errorf("asking for an access token: %w", err)
	}
	if reply.Token == "" || !strings.EqualFold(reply.Type, "Bearer") {
		return "", 0, errors.New("the identity provider gave no bearer token")
	}
	return reply.Token, time.Duration(reply.ExpiresIn) * time.Second, nil
}

// endpoint finds where the identity provider gives out tokens.
func (e Exchange) endpoint(ctx context.Context) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(e.Issuer, "/")+"/.well-known/openid-configuration", nil)
	if err != nil {
		return "", fmt.Errorf("finding the identity provider: %w", err)
	}
	var said struct {
		Issuer string `json:"issuer"`
		Token  string `json:"token_endpoint"`
	}
	if err := e.do(req, &said); err != nil {
		return "", fmt.Errorf("finding the identity provider: %w", err)
	}
	at, err := url.Parse(said.Token)
	issuer, err2 := url.Parse(e.Issuer)
	switch {
	case said.Issuer != e.Issuer:
		return "", errors.New("the identity provider's metadata names another issuer")
	case err != nil || err2 != nil || at.Host == "" || at.Scheme != issuer.Scheme && at.Scheme != "https":
		return "", errors.New("the identity provider names no place to get tokens")
	}
	return said.Token, nil
}

// do makes a request and reads its JSON. The error holds nothing of the answer but its status.
func (e Exchange) do(req *http.Request, into any) error {
	req.Header.Set("Accept", "application/json")
	res, err := e.HTTP.Do(req) //nolint:gosec // the identity provider that its user named
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }() // only read
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("the identity provider answered %d", res.StatusCode)
	}
	return json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(into)
}

package devidp

import (
	"crypto/rand"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// The types of JWT which the provider signs. One is never taken for another.
const (
	typeAccess  = "at+jwt"
	typeID      = "JWT"
	typeSession = "devidp-session+jwt"
)

// claims are those of every token of the provider. The JSON of go-jose tells letter cases
// apart, so each field needs its tag.
type claims struct {
	Issuer    string   `json:"iss"`
	Subject   string   `json:"sub"`
	Audience  string   `json:"aud"`
	IssuedAt  int64    `json:"iat"`
	Expires   int64    `json:"exp"`
	ID        string   `json:"jti,omitempty"`
	AuthTime  int64    `json:"auth_time,omitempty"`
	AMR       []string `json:"amr,omitempty"`
	ACR       string   `json:"acr,omitempty"`
	SessionID string   `json:"sid,omitempty"`

	ClientID        string `json:"client_id,omitempty"`
	AuthorizedParty string `json:"azp,omitempty"`
	Scope           string `json:"scope,omitempty"`
	GrantID         string `json:"grant_id,omitempty"`
	Model           string `json:"model,omitempty"`

	Nonce           string `json:"nonce,omitempty"`
	AccessTokenHash string `json:"at_hash,omitempty"`

	Name          string   `json:"name,omitempty"`
	Email         string   `json:"email,omitempty"`
	EmailVerified bool     `json:"email_verified,omitempty"`
	Groups        []string `json:"groups,omitempty"`
}

func (p *Provider) sign(typ string, c claims) (string, error) {
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.EdDSA, Key: p.key},
		(&jose.SignerOptions{}).WithType(jose.ContentType(typ)),
	)
	if err != nil {
		return "", fmt.Errorf("signing a %s: %w", typ, err)
	}
	token, err := jwt.Signed(signer).Claims(c).Serialize()
	if err != nil {
		return "", fmt.Errorf("signing a %s: %w", typ, err)
	}
	return token, nil
}

// read verifies a token of the provider's own: type, signature and issuer. The caller checks
// the lifetime, because a logout hint may be old.
func (p *Provider) read(typ, token string) (claims, error) {
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil {
		return claims{}, fmt.Errorf("reading a %s: %w", typ, err)
	}
	if len(parsed.Headers) != 1 || parsed.Headers[0].ExtraHeaders[jose.HeaderType] != typ {
		return claims{}, fmt.Errorf("reading a %s: it is of another type", typ)
	}
	var c claims
	if err := parsed.Claims(p.key.Public().Key, &c); err != nil {
		return claims{}, fmt.Errorf("reading a %s: %w", typ, err)
	}
	if c.Issuer != p.issuer {
		return claims{}, fmt.Errorf("reading a %s: it has another issuer", typ)
	}
	return c, nil
}

var errExpired = errors.New("the token has expired")

func (p *Provider) readFresh(typ, token string) (claims, error) {
	c, err := p.read(typ, token)
	if err == nil && !p.now().Before(time.Unix(c.Expires, 0)) {
		err = errExpired
	}
	return c, err
}

// accessToken mints a token by the profile of RFC 9068.
func (p *Provider) accessToken(g *grant) (string, error) {
	now := p.now()
	audience := g.resource
	if audience == "" {
		audience = p.issuer
	}
	c := claims{
		Issuer: p.issuer, Audience: audience, IssuedAt: now.Unix(), Expires: now.Add(tokenLifetime).Unix(), ID: rand.Text(),
		Subject: g.person.Subject, Name: g.person.Name, Email: g.person.Email, Groups: g.person.Groups,
		ClientID: g.client.ID, AuthorizedParty: g.client.ID, Scope: strings.Join(g.scope, " "), GrantID: g.id, Model: g.model,
		AMR: g.session.amr, ACR: g.session.acr, SessionID: g.session.id,
	}
	if c.Subject == "" { // the client speaks for itself
		c.Subject = g.client.ID
	} else {
		c.AuthTime = g.session.authTime.Unix()
	}
	return p.sign(typeAccess, c)
}

func (p *Provider) idToken(g *grant, nonce, accessToken string) (string, error) {
	now := p.now()
	sum := sha512.Sum512([]byte(accessToken))
	c := claims{
		Issuer: p.issuer, Audience: g.client.ID, IssuedAt: now.Unix(), Expires: now.Add(tokenLifetime).Unix(),
		Subject: g.person.Subject, Name: g.person.Name, Email: g.person.Email, EmailVerified: true, Groups: g.person.Groups,
		AuthorizedParty: g.client.ID, Nonce: nonce,
		AccessTokenHash: base64.RawURLEncoding.EncodeToString(sum[:sha512.Size/2]),
		AuthTime:        g.session.authTime.Unix(), AMR: g.session.amr, ACR: g.session.acr, SessionID: g.session.id,
	}
	if p.groupsOnlyInUserInfo {
		c.Groups = nil
	}
	return p.sign(typeID, c)
}

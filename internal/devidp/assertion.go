package devidp

import (
	"crypto/ed25519"
	"crypto/rand"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// jwtBearer is the grant type of RFC 7523: an agent signs that it acts for a person.
const jwtBearer = "urn:ietf:params:oauth:grant-type:jwt-bearer" //nolint:gosec // a name, no credential

// assertionClaims is what an agent signs. Model, AMR, ACR and AuthTime stand in for what a real provider
// would know from the agent's registration and from the person's sign-in.
type assertionClaims struct {
	Issuer   string           `json:"iss"` // the agent's client ID
	Subject  string           `json:"sub"` // the person
	Audience jwt.Audience     `json:"aud"` // the provider's issuer or token endpoint
	Expires  *jwt.NumericDate `json:"exp"`
	IssuedAt *jwt.NumericDate `json:"iat,omitempty"`
	ID       string           `json:"jti"`
	Model    string           `json:"model,omitempty"`
	AMR      []string         `json:"amr,omitempty"`
	ACR      string           `json:"acr,omitempty"`
	AuthTime *jwt.NumericDate `json:"auth_time,omitempty"` // of the person's sign-in; now unless said otherwise
}

func (p *Provider) exchangeAssertion(form url.Values) (*tokenResponse, *oauthError) {
	c, client, err := p.readAssertion(form.Get("assertion"))
	if err != nil {
		return nil, err
	}
	if id := form.Get("client_id"); id != "" && id != client.ID {
		return nil, refuse("invalid_client", "the assertion is another client's")
	}
	person, known := p.person(c.Subject)
	if !known {
		return nil, refuse("invalid_grant", "there is no such person here")
	}
	resource, err := checkResource(form["resource"])
	if err != nil {
		return nil, err
	}
	if !p.assertions.add(client.ID+" "+c.ID, struct{}{}, assertionLifetime+2*clockLeeway) {
		return nil, refuse("invalid_grant", "the assertion was used before")
	}
	g := &grant{
		id: rand.Text(), client: client, person: person, resource: resource, model: client.Model,
		scope: strings.Fields(form.Get("scope")), session: session{authTime: p.now(), amr: c.AMR, acr: c.ACR},
	}
	if c.AuthTime != nil {
		g.session.authTime = c.AuthTime.Time()
	}
	if len(g.session.amr) == 0 {
		g.session.amr = []string{"swk"} // a key held in software, RFC 8176
	}
	if c.Model != "" {
		g.model = c.Model
	}
	return p.bearer(g)
}

// readAssertion verifies all that an assertion claims about itself; that it is used once is
// the caller's to check.
func (p *Provider) readAssertion(raw string) (assertionClaims, Client, *oauthError) {
	var c assertionClaims
	token, err := jwt.ParseSigned(raw, []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil {
		return c, Client{}, refuse("invalid_grant", "the assertion cannot be read")
	}
	if err := token.UnsafeClaimsWithoutVerification(&c); err != nil {
		return c, Client{}, refuse("invalid_grant", "the assertion cannot be read")
	}
	client, known := p.client(c.Issuer)
	if !known || client.AssertionKey == nil {
		return c, Client{}, refuse("invalid_client", "the assertion is not from a client that may make one")
	}
	c = assertionClaims{}
	if err := token.Claims(client.AssertionKey, &c); err != nil {
		return c, Client{}, refuse("invalid_grant", "the assertion's signature is wrong")
	}
	now := p.now()
	switch {
	case !c.Audience.Contains(p.issuer) && !c.Audience.Contains(p.issuer+"/token"):
		return c, Client{}, refuse("invalid_grant", "the assertion is for another audience")
	case c.Expires == nil || c.ID == "":
		return c, Client{}, refuse("invalid_grant", "the assertion needs exp and jti")
	case now.After(c.Expires.Time().Add(clockLeeway)):
		return c, Client{}, refuse("invalid_grant", "the assertion has expired")
	case c.Expires.Time().After(now.Add(assertionLifetime + clockLeeway)):
		return c, Client{}, refuse("invalid_grant", "the assertion lives longer than five minutes")
	case c.AuthTime != nil && c.AuthTime.Time().After(now.Add(clockLeeway)):
		return c, Client{}, refuse("invalid_grant", "the person has not signed in yet")
	}
	return c, client, nil
}

// signAssertion is the agent's side of readAssertion.
func signAssertion(key ed25519.PrivateKey, c assertionClaims, now time.Time) (string, error) {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: key}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", err
	}
	c.IssuedAt = jwt.NewNumericDate(now)
	c.Expires = jwt.NewNumericDate(now.Add(time.Minute))
	c.ID = rand.Text()
	return jwt.Signed(signer).Claims(c).Serialize()
}

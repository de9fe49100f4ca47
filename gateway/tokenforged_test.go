package gateway

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// forge signs claims with any key, under any header.
func forge(t *testing.T, algorithm jose.SignatureAlgorithm, key any, c claimsMap, header map[jose.HeaderKey]any, embed bool) string {
	t.Helper()
	options := &jose.SignerOptions{EmbedJWK: embed}
	options.WithType("at+jwt").WithHeader("kid", "idp1")
	for name, value := range header {
		options.WithHeader(name, value)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, options)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(c).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// TestForgedTokens: a token is good by a key of its issuer, for this resource as it is written, within its times, and by
// nothing that the token says about itself.
func TestForgedTokens(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open()
	now := time.Now()
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(s.idp.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int32
	evil := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	t.Cleanup(evil.Close)
	claims := func(change func(claimsMap)) claimsMap {
		c := s.idp.claims("ada")
		change(c)
		return c
	}
	same := s.idp.claims("ada")
	signed := func(change func(claimsMap)) string { return s.idp.sign(claims(change), "at+jwt", "idp1") }
	tests := []struct{ name, token, want string }{
		{"by a key of its own", forge(t, jose.ES256, own, same, nil, false), "signature"},
		{"by a key in its own header", forge(t, jose.ES256, own, same, nil, true), "signature"},
		{"by a key at its own address", forge(t, jose.ES256, own, same, map[jose.HeaderKey]any{"jku": evil.URL, "x5u": evil.URL}, false), "signature"},
		{"by another kind of key under the same id", forge(t, jose.RS256, other, same, nil, false), "not allowed for its issuer"},
		{"by the public key as a secret", forge(t, jose.HS256, public, same, nil, false), "cannot be read"},
		{"with an extension that has to be understood", forge(t, jose.ES256, s.idp.key, same, map[jose.HeaderKey]any{"crit": []string{"exp"}, "exp": 1}, false), "signature"},
		{"issued in the future", signed(func(c claimsMap) { c["iat"] = now.Add(2 * time.Minute).Unix() }), "not valid yet"},
		{"for a server behind the gateway", signed(func(c claimsMap) { c["aud"] = resourceURL + "/mcp/com.example/orders" }), "another resource"},
		{"for the resource with a slash more", signed(func(c claimsMap) { c["aud"] = resourceURL + "/" }), "another resource"},
		{"for the resource in capitals", signed(func(c claimsMap) { c["aud"] = strings.ToUpper(resourceURL) }), "another resource"},
		{"by the issuer with a slash more", signed(func(c claimsMap) { c["iss"] = s.idp.server.URL + "/" }), "issuer"},
		{"for several, us among them", signed(func(c claimsMap) { c["aud"] = []string{"https://other.test", resourceURL} }), ""},
		{"issued by a clock that is 30 s ahead", signed(func(c claimsMap) { c["iat"], c["nbf"] = now.Add(30*time.Second).Unix(), now.Add(30*time.Second).Unix() }), ""},
	}
	for _, tt := range tests {
		r := s.post(callBody, http.Header{"Authorization": {"Bearer " + tt.token}})
		if (r.status == 401) != (tt.want != "") || !strings.Contains(r.text, tt.want) {
			t.Errorf("%s: HTTP %d, %s", tt.name, r.status, r.body)
		}
	}
	if asked.Load() != 0 {
		t.Error("a token led us to its own keys")
	}
}

// rotating is an identity provider whose keys a test changes, under a clock of the test's.
type rotating struct {
	*issuer
	server *httptest.Server
	keys   jose.JSONWebKeySet
	uri    string
	down   bool
	asked  int
	at     time.Time
}

func newRotating(t *testing.T, start func(http.Handler) *httptest.Server) *rotating {
	t.Helper()
	r := &rotating{at: time.Now()}
	r.server = start(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		switch {
		case r.down:
			w.WriteHeader(http.StatusBadGateway)
		case req.URL.Path == "/keys":
			r.asked++
			writeJSON(w, 200, r.keys)
		default:
			writeJSON(w, 200, map[string]string{"issuer": r.server.URL, "jwks_uri": r.uri})
		}
	}))
	t.Cleanup(r.server.Close)
	r.uri = r.server.URL + "/keys"
	r.issuer = newIssuer(Issuer{Issuer: r.server.URL}, r.server.Client(), func() time.Time { return r.at })
	return r
}

// rotate makes a key the only one, and gives a token that it signed.
func (r *rotating) rotate(t *testing.T, kid string) *jose.JSONWebSignature {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	r.keys = jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: kid, Use: "sig"}}}
	options := &jose.SignerOptions{}
	if kid != "" {
		options.WithHeader("kid", kid)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, options)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign([]byte(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	text, err := signed.CompactSerialize()
	if err == nil {
		signed, err = jose.ParseSignedCompact(text, everyAlgorithm)
	}
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// TestKeysOfAnIssuerChange: a new key is good as soon as the keys may be fetched again, a withdrawn one no longer; an issuer
// that is away is believed for an hour, and one that leads off https never.
func TestKeysOfAnIssuerChange(t *testing.T) {
	t.Parallel()
	r := newRotating(t, httptest.NewServer)
	check := func(when string, token *jose.JSONWebSignature, want error) {
		t.Helper()
		if _, err := r.open(context.Background(), token); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", when, err, want)
		}
	}
	old := r.rotate(t, "old")
	check("at first", old, nil)
	fresh := r.rotate(t, "fresh")
	r.at = r.at.Add(keysRetry - time.Second)
	for range 3 {
		check("a key that nobody has fetched yet", fresh, errSignature)
	}
	if r.asked != 1 {
		t.Errorf("strangers had the keys fetched %d times", r.asked)
	}
	r.at = r.at.Add(2 * time.Second)
	check("the new key", fresh, nil)
	check("the one that was withdrawn", old, errSignature)
	r.at = r.at.Add(keysRetry)
	check("another key under the same id", r.rotate(t, "fresh"), nil)
	r.at = r.at.Add(keysRetry)
	fresh = r.rotate(t, "")
	check("a key without an id", fresh, nil)
	r.down = true
	r.at = r.at.Add(keysFresh + time.Minute)
	check("while the issuer is away", fresh, nil)
	r.at = r.at.Add(keysUsed)
	check("when it was away for long", fresh, errIssuerUnreachable)

	r = newRotating(t, httptest.NewTLSServer)
	r.uri = "http" + strings.TrimPrefix(r.uri, "https")
	check("keys off https", r.rotate(t, "k"), errIssuerUnreachable)
	if r.asked != 0 {
		t.Error("the keys were fetched off https")
	}
}

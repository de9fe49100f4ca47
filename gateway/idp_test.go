package gateway

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// idp is an identity provider: metadata, keys, and tokens with whatever claims a test wants.
type idp struct {
	t       testing.TB
	server  *httptest.Server
	key     *ecdsa.PrivateKey
	fetches atomic.Int32
}

func newIDP(t testing.TB) *idp {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i := &idp{t: t, key: key}
	mux := http.NewServeMux()
	i.server = httptest.NewServer(mux)
	t.Cleanup(i.server.Close)
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, 200, map[string]string{"issuer": i.server.URL, "jwks_uri": i.server.URL + "/keys"})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		i.fetches.Add(1)
		writeJSON(w, 200, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "idp1", Algorithm: "ES256", Use: "sig"}}})
	})
	return i
}

type claimsMap = map[string]any

// claims are those of a good token for subject.
func (i *idp) claims(subject string) claimsMap {
	now := time.Now()
	return claimsMap{
		"iss": i.server.URL, "sub": subject, "aud": resourceURL, "exp": now.Add(time.Hour).Unix(), "iat": now.Unix(),
		"client_id": "agent-1", "groups": []string{"commerce"}, "name": "Test Person",
	}
}

func (i *idp) sign(c claimsMap, typ, kid string) string {
	i.t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: i.key},
		(&jose.SignerOptions{}).WithType(jose.ContentType(typ)).WithHeader("kid", kid))
	if err != nil {
		i.t.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(c).Serialize()
	if err != nil {
		i.t.Fatal(err)
	}
	return token
}

func (i *idp) token(subject string) string { return i.sign(i.claims(subject), "at+jwt", "idp1") }

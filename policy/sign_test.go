package policy_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"countersign/policy"
)

// key returns the Ed25519 key of a seed.
func key(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
}

func keySet(kids ...string) jose.JSONWebKeySet {
	var set jose.JSONWebKeySet
	for i, kid := range kids {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: key(byte(i + 1)).Public(), KeyID: kid, Algorithm: "EdDSA", Use: "sig"})
	}
	return set
}

var text = []byte(`{"format":"countersign/policy/v1"}`)

func TestSignedPolicyVerifies(t *testing.T) {
	t.Parallel()
	s := must(policy.Sign(text, key(2), "k2"))(t)
	var published jose.JSONWebKeySet // as a gateway reads it
	if err := json.Unmarshal(must(json.Marshal(keySet("k1", "k2")))(t), &published); err != nil {
		t.Fatal(err)
	}
	if err := policy.Verify(text, s.Detached, published); err != nil {
		t.Errorf("Verify: %v", err)
	}
	if got, err := policy.Open(s.JWS, keySet("k1", "k2")); err != nil || !bytes.Equal(got, text) {
		t.Errorf("Open = %s, %v", got, err)
	}
	if strings.Contains(s.Detached, base64.RawURLEncoding.EncodeToString(text)) || !strings.Contains(s.Detached, "..") {
		t.Errorf("the detached signature %s holds the document", s.Detached)
	}
	if again := must(policy.Sign(text, key(2), "k2"))(t); again != s {
		t.Error("signing is not deterministic")
	}
}

func TestForgedPolicyIsRefused(t *testing.T) {
	t.Parallel()
	good := must(policy.Sign(text, key(1), "k1"))(t)
	other := must(policy.Sign(text, key(9), "k1"))(t)
	part := strings.Split(good.JWS, ".")
	header := func(h string) string { return base64.RawURLEncoding.EncodeToString([]byte(h)) }
	sign := func(alg jose.SignatureAlgorithm, with any, typ, kid string, embed bool) string {
		options := (&jose.SignerOptions{EmbedJWK: embed}).WithType(jose.ContentType(typ))
		if kid != "" {
			options = options.WithHeader("kid", kid)
		}
		signer := must(jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: with}, options))(t)
		return must(must(signer.Sign(text))(t).CompactSerialize())(t)
	}
	p256 := must(ecdsa.GenerateKey(elliptic.P256(), strings.NewReader(strings.Repeat("x", 1000))))(t)
	public := key(1).Public().(ed25519.PublicKey)
	for name, c := range map[string]struct {
		jws  string
		keys jose.JSONWebKeySet
	}{
		"by another key of the same id": {other.JWS, keySet("k1")},
		"by a key that is not known":    {good.JWS, keySet("k2")},
		"by a key that is there twice":  {good.JWS, keySet("k1", "k1")},
		"with no keys":                  {good.JWS, jose.JSONWebKeySet{}},
		"with the payload changed":      {part[0] + "." + header(`{"format":"x"}`) + "." + part[2], keySet("k1")},
		"with another header":           {header(`{"alg":"EdDSA","kid":"k1","typ":"countersign-policy","x":1}`) + "." + part[1] + "." + part[2], keySet("k1")},
		"without a signature":           {part[0] + "." + part[1] + ".", keySet("k1")},
		"by none":                       {header(`{"alg":"none","kid":"k1","typ":"countersign-policy"}`) + "." + part[1] + ".", keySet("k1")},
		"by HMAC of the public key":     {sign(jose.HS256, []byte(public), "countersign-policy", "k1", false), keySet("k1")},
		"by another algorithm":          {sign(jose.ES256, p256, "countersign-policy", "k1", false), keySet("k1")},
		"of another type":               {sign(jose.EdDSA, key(1), "JWT", "k1", false), keySet("k1")},
		"without a key id":              {sign(jose.EdDSA, key(1), "countersign-policy", "", false), keySet("")},
		"by the key that it brings":     {sign(jose.EdDSA, key(9), "countersign-policy", "k1", true), keySet("k1")},
		"nothing":                       {"", keySet("k1")},
		"something else":                {"a.b.c", keySet("k1")},
		"JSON serialisation":            {`{"payload":"","signatures":[]}`, keySet("k1")},
		"for encryption": {good.JWS, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{
			{Key: public, KeyID: "k1", Use: "enc"},
		}}},
	} {
		if got, err := policy.Open(c.jws, c.keys); !errors.Is(err, policy.ErrSignature) || got != nil {
			t.Errorf("signed %s: Open = %s, %v", name, got, err)
		}
		if parts := strings.Split(c.jws, "."); len(parts) == 3 && parts[1] == part[1] {
			if err := policy.Verify(text, parts[0]+".."+parts[2], c.keys); !errors.Is(err, policy.ErrSignature) {
				t.Errorf("signed %s: Verify = %v", name, err)
			}
		}
	}
	if err := policy.Verify(append([]byte{' '}, text...), good.Detached, keySet("k1")); !errors.Is(err, policy.ErrSignature) {
		t.Errorf("another document: %v", err)
	}
}

func TestSignNeedsAKeyAndItsID(t *testing.T) {
	t.Parallel()
	if _, err := policy.Sign(text, nil, "k1"); err == nil {
		t.Error("signed without a key")
	}
	if _, err := policy.Sign(text, key(1), ""); err == nil {
		t.Error("signed without an id")
	}
}

func FuzzOpen(f *testing.F) {
	s := must(policy.Sign(text, key(1), "k1"))(f)
	f.Add(s.JWS)
	f.Add(s.Detached)
	keys := keySet("k1")
	f.Fuzz(func(t *testing.T, jws string) {
		if doc, err := policy.Open(jws, keys); err == nil && !bytes.Equal(doc, text) {
			t.Fatalf("%q opens as %q", jws, doc)
		}
		if policy.Verify([]byte("other"), jws, keys) == nil {
			t.Fatalf("%q verifies another document", jws)
		}
	})
}

package client

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"

	"countersign/canonical"
)

// KeySetType is the typ of the JWS that a signed key set is: what the root signs is nothing else.
const KeySetType = "countersign-keys"

// KeySet is what the root of a control plane says about its other keys: the payload of GET /v1/keys as
// application/jose+json. A later set has a higher version.
type KeySet struct {
	Issuer   string         `json:"issuer"`
	IssuedAt time.Time      `json:"issued_at"` // when the set became what it is
	Version  int64          `json:"version"`
	Keys     []PublishedKey `json:"keys"`
}

// PublishedKey is a public key and what it is for: a JWK with the member purpose.
type PublishedKey struct {
	Purpose string // policy, checkpoint or bundle
	jose.JSONWebKey
}

// MarshalJSON writes the members of the JWK and purpose.
func (k PublishedKey) MarshalJSON() ([]byte, error) {
	jwk, err := k.JSONWebKey.MarshalJSON()
	if err != nil {
		return nil, err
	}
	purpose, err := json.Marshal(k.Purpose)
	if err != nil {
		return nil, err
	}
	return slices.Concat([]byte(`{"purpose":`), purpose, []byte(`,`), bytes.TrimPrefix(jwk, []byte(`{`))), nil
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (k *PublishedKey) UnmarshalJSON(data []byte) error {
	var other struct {
		Purpose string `json:"purpose"`
	}
	if err := json.Unmarshal(data, &other); err != nil {
		return err
	}
	k.Purpose = other.Purpose
	return k.JSONWebKey.UnmarshalJSON(data)
}

// For gives the keys of one purpose.
func (s KeySet) For(purpose string) jose.JSONWebKeySet {
	var set jose.JSONWebKeySet
	for _, k := range s.Keys {
		if k.Purpose == purpose {
			set.Keys = append(set.Keys, k.JSONWebKey)
		}
	}
	return set
}

// ErrKeySet is within every error of OpenKeySet.
var ErrKeySet = errors.New("the set of keys is not one that the pinned root signed")

// OpenKeySet verifies a signed key set. root is the thumbprint (RFC 7638) that the root key must have; "" takes
// whatever root the set names, at a first contact that nothing was configured for. It returns the thumbprint, to
// be pinned.
func OpenKeySet(jws, root string) (set KeySet, pinned string, err error) {
	signed, err := jose.ParseSignedCompact(jws, []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil || len(signed.Signatures) != 1 {
		return KeySet{}, "", fmt.Errorf("%w: it cannot be read", ErrKeySet)
	}
	header := signed.Signatures[0].Protected
	if typ, _ := header.ExtraHeaders[jose.HeaderType].(string); typ != KeySetType || header.JSONWebKey == nil {
		return KeySet{}, "", fmt.Errorf("%w: it is something else", ErrKeySet)
	}
	key, ok := header.JSONWebKey.Key.(ed25519.PublicKey)
	if !ok || len(key) != ed25519.PublicKeySize {
		return KeySet{}, "", fmt.Errorf("%w: its key is not an Ed25519 key", ErrKeySet)
	}
	switch pinned, err = Thumbprint(key); {
	case err != nil:
		return KeySet{}, "", fmt.Errorf("%w: its key cannot be read", ErrKeySet)
	case root != "" && root != pinned:
		return KeySet{}, "", fmt.Errorf("%w: its root is %s, not %s", ErrKeySet, pinned, root)
	}
	payload, err := signed.Verify(key)
	if err != nil {
		return KeySet{}, "", fmt.Errorf("%w: the signature is wrong", ErrKeySet)
	}
	if err := canonical.Check(payload, canonical.Limits{MaxBytes: maxKeySet, MaxDepth: 16}); err != nil {
		return KeySet{}, "", fmt.Errorf("%w: %w", ErrKeySet, err)
	}
	if err := json.Unmarshal(payload, &set); err != nil {
		return KeySet{}, "", fmt.Errorf("%w: %w", ErrKeySet, err)
	}
	return set, pinned, set.check()
}

func (s KeySet) check() error {
	if s.Issuer == "" || s.Version <= 0 {
		return fmt.Errorf("%w: issuer or version is missing", ErrKeySet)
	}
	seen := map[string]bool{}
	for _, k := range s.Keys {
		if k.KeyID == "" || seen[k.KeyID] || k.Purpose == "" || !k.Valid() || !k.IsPublic() || k.Use != "sig" {
			return fmt.Errorf("%w: key %q is not one", ErrKeySet, k.KeyID)
		}
		seen[k.KeyID] = true
	}
	if len(s.For(PurposePolicy).Keys) == 0 {
		return fmt.Errorf("%w: no key for policies is in it", ErrKeySet)
	}
	return nil
}

// PurposePolicy is the purpose of the keys that sign policies.
const PurposePolicy = "policy"

// maxKeySet bounds a set of keys.
const maxKeySet = 1 << 20

// Thumbprint identifies a public key by RFC 7638, in base64url: the kid of every key of a control plane, and what
// is pinned of its root.
func Thumbprint(public crypto.PublicKey) (string, error) {
	sum, err := (&jose.JSONWebKey{Key: public}).Thumbprint(crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("identifying a key: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(sum), nil
}

// IsThumbprint reports whether s could be a thumbprint.
func IsThumbprint(s string) bool {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return err == nil && len(raw) == crypto.SHA256.Size()
}

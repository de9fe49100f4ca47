package auth

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"

	"countersign/client"
)

// JWKS returns the public keys that policies and bundles are verified by: the one that will sign, the one
// that does, and those going out of use. Keys for tokens are not in it: nobody else verifies these.
func (a *Authority) JWKS() jose.JSONWebKeySet {
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, k := range a.keys.held.Load().keys {
		if k.purpose == ForPolicy || k.purpose == ForBundle {
			set.Keys = append(set.Keys, k.jwk())
		}
	}
	return set
}

// SignedKeys returns the public keys that others verify by, each with its purpose, in a JWS by the root key; see
// client.OpenKeySet. All replicas give the same bytes for the same version.
func (a *Authority) SignedKeys() (jws string, version int64) {
	held := a.keys.held.Load()
	return held.signed, held.version
}

// RootKey returns the thumbprint of the root key, which gateways pin.
func (a *Authority) RootKey() string { return a.keys.signer(ForRoot).kid }

// published are the purposes of the keys that somebody else verifies by.
var published = []Purpose{ForPolicy, ForCheckpoint, ForBundle}

// sign makes the set of keys as the root vouches for it.
func (r *Keyring) sign(keys []signingKey, version int64, at time.Time) (string, error) {
	set := client.KeySet{Issuer: r.issuer, IssuedAt: at.UTC(), Version: version, Keys: []client.PublishedKey{}}
	var root signingKey
	for _, k := range keys {
		switch {
		case slices.Contains(published, k.purpose):
			set.Keys = append(set.Keys, client.PublishedKey{Purpose: string(k.purpose), JSONWebKey: k.jwk()})
		case k.purpose == ForRoot && k.state == KeyActive:
			root = k
		}
	}
	payload, err := json.Marshal(set)
	if err != nil {
		return "", fmt.Errorf("signing the set of keys: %w", err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: root.private},
		(&jose.SignerOptions{}).WithType(client.KeySetType).WithHeader("kid", root.kid).WithHeader("jwk", root.jwk()))
	if err != nil {
		return "", fmt.Errorf("signing the set of keys: %w", err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("signing the set of keys: %w", err)
	}
	return signed.CompactSerialize()
}

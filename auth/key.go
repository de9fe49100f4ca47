package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/go-jose/go-jose/v4"

	"countersign/internal/seal"
)

// Purpose is what a signing key is for. A signature for one purpose never passes for another, since each
// verifier takes the keys of its own purpose only.
type Purpose string

// The purposes. The root signs the set of the others and nothing else; gateways pin it.
const (
	ForRoot       Purpose = "root"
	ForPolicy     Purpose = "policy"
	ForToken      Purpose = "token"
	ForCheckpoint Purpose = "checkpoint"
	ForBundle     Purpose = "bundle" // of OPA, which verifies ES256 in every build
)

var purposes = []Purpose{ForRoot, ForPolicy, ForToken, ForCheckpoint, ForBundle}

// algorithm is what keys of the purpose sign by.
func (p Purpose) algorithm() jose.SignatureAlgorithm {
	if p == ForBundle {
		return jose.ES256
	}
	return jose.EdDSA
}

// KeyState is where a key is in its life.
type KeyState string

// The states of a key.
const (
	KeyNext     KeyState = "next"     // announced; it does not sign yet
	KeyActive   KeyState = "active"   // it signs
	KeyRetiring KeyState = "retiring" // it verifies what it signed before
	KeyRetired  KeyState = "retired"  // it is in no set any more, and its private half is gone
)

const keySealedAs = "signing key"

// signingKey is a key that can sign, whether or not it is its turn.
type signingKey struct {
	kid     string
	purpose Purpose
	state   KeyState
	private crypto.Signer // ed25519.PrivateKey or *ecdsa.PrivateKey
}

func (k signingKey) jwk() jose.JSONWebKey {
	return jose.JSONWebKey{Key: k.private.Public(), KeyID: k.kid, Algorithm: string(k.purpose.algorithm()), Use: "sig"}
}

// generate makes a key of a purpose.
func generate(p Purpose) (signingKey, error) {
	var private crypto.Signer
	var err error
	if p.algorithm() == jose.ES256 {
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	} else {
		_, private, err = ed25519.GenerateKey(rand.Reader)
	}
	if err != nil {
		return signingKey{}, fmt.Errorf("making a %s key: %w", p, err)
	}
	kid, err := thumbprint(private.Public())
	if err != nil {
		return signingKey{}, fmt.Errorf("making a %s key: %w", p, err)
	}
	return signingKey{kid: kid, purpose: p, private: private}, nil
}

// thumbprint is the kid of a key, by RFC 7638.
func thumbprint(public crypto.PublicKey) (string, error) {
	sum, err := (&jose.JSONWebKey{Key: public}).Thumbprint(crypto.SHA256)
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(sum), nil
}

// halves are the raw bytes of a key: 32 and 32 of Ed25519; the point and the scalar of P-256.
func (k signingKey) halves() (public, private []byte, err error) {
	switch key := k.private.(type) {
	case ed25519.PrivateKey:
		return key.Public().(ed25519.PublicKey), key.Seed(), nil
	case *ecdsa.PrivateKey:
		if public, err = key.PublicKey.Bytes(); err == nil {
			private, err = key.Bytes()
		}
		return public, private, err
	}
	return nil, nil, fmt.Errorf("keys of type %T are not kept", k.private)
}

func parsePrivate(p Purpose, raw []byte) (crypto.Signer, error) {
	switch {
	case p.algorithm() == jose.ES256:
		return ecdsa.ParseRawPrivateKey(elliptic.P256(), raw)
	case len(raw) != ed25519.SeedSize:
		return nil, errors.New("it is not of its size")
	}
	return ed25519.NewKeyFromSeed(raw), nil
}

// sealed gives both halves as they are stored: the private one sealed and bound to its row.
func (k signingKey) sealed(key *seal.Key) (public, private []byte, err error) {
	public, secret, err := k.halves()
	if err == nil {
		private, err = key.Seal(keySealedAs, secret, keyRow(k.kid, k.purpose))
	}
	if err != nil {
		return nil, nil, fmt.Errorf("keeping a %s key: %w", k.purpose, err)
	}
	return public, private, nil
}

// openKey is the reverse of sealed. A key that cannot be opened, or whose halves do not belong together, is
// an error: somebody started with another key file, or wrote to the table.
func openKey(key *seal.Key, r keyRecord) (signingKey, error) {
	secret, err := key.Open(keySealedAs, r.Private, keyRow(r.ID, r.Purpose))
	if err != nil {
		return signingKey{}, fmt.Errorf("opening the %s key %s: %w", r.Purpose, r.ID, err)
	}
	private, err := parsePrivate(r.Purpose, secret)
	if err != nil {
		return signingKey{}, fmt.Errorf("opening the %s key %s: %w", r.Purpose, r.ID, err)
	}
	opened := signingKey{kid: r.ID, purpose: r.Purpose, state: r.State, private: private}
	public, _, err := opened.halves()
	kid, err2 := thumbprint(private.Public())
	if err := errors.Join(err, err2); err != nil || kid != r.ID || string(public) != string(r.Public) {
		return signingKey{}, fmt.Errorf("opening the %s key %s: its public half is another key's", r.Purpose, r.ID)
	}
	return opened, nil
}

// keyRow binds a sealed key to its row.
func keyRow(kid string, p Purpose) []byte { return []byte(string(p) + " " + kid) }

package policy

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/go-jose/go-jose/v4"
)

// signatureType is the typ of the JWS header: a signature over anything else,
// made by the same key, is not one over a policy.
const signatureType = "countersign-policy"

// Signature is a signature over a document, in two forms.
type Signature struct {
	Detached string // compact JWS without its payload
	JWS      string // compact JWS with it
}

// Sign signs the bytes of a document by EdDSA (RFC 8037). kid names the key. A document may have many megabytes, so the
// signature is put together here, where its payload is encoded once.
func Sign(doc []byte, key ed25519.PrivateKey, kid string) (Signature, error) {
	if len(key) != ed25519.PrivateKeySize || kid == "" {
		return Signature{}, errors.New("signing policy: an Ed25519 key and its id are needed")
	}
	header, err := json.Marshal(signatureHeader{string(jose.EdDSA), kid, signatureType})
	if err != nil {
		return Signature{}, fmt.Errorf("signing policy: %w", err)
	}
	jws := make([]byte, 0, base64.RawURLEncoding.EncodedLen(len(header)+len(doc)+ed25519.SignatureSize)+8)
	jws = append(base64.RawURLEncoding.AppendEncode(jws, header), '.')
	head := len(jws)
	jws = base64.RawURLEncoding.AppendEncode(jws, doc)
	signature := base64.RawURLEncoding.EncodeToString(ed25519.Sign(key, jws))
	return Signature{
		Detached: string(jws[:head]) + "." + signature,
		JWS:      string(append(append(jws, '.'), signature...)),
	}, nil
}

// signatureHeader is the protected header of a signature, RFC 7515 section 4.
type signatureHeader struct {
	Algorithm string `json:"alg"`
	KeyID     string `json:"kid"`
	Type      string `json:"typ"`
}

var (
	algorithms = []jose.SignatureAlgorithm{jose.EdDSA}

	// ErrSignature is within every error of Verify and Open.
	ErrSignature = errors.New("the signature of the policy is not valid")
)

// Verify checks a detached signature over the bytes of a document. Only a key of
// keys is used, whatever the signature says or carries.
func Verify(doc []byte, detached string, keys jose.JSONWebKeySet) error {
	signed, err := jose.ParseDetached(detached, doc, algorithms)
	if err != nil {
		return fmt.Errorf("%w: it cannot be read", ErrSignature)
	}
	key, err := signingKey(signed, keys)
	if err != nil {
		return err
	}
	if err := signed.DetachedVerify(doc, key); err != nil {
		return fmt.Errorf("%w: it is not one of this document", ErrSignature)
	}
	return nil
}

// Open checks a JWS and returns the bytes of the document in it, under the terms
// of Verify.
func Open(jws string, keys jose.JSONWebKeySet) ([]byte, error) {
	signed, err := jose.ParseSignedCompact(jws, algorithms)
	if err != nil {
		return nil, fmt.Errorf("%w: it cannot be read", ErrSignature)
	}
	key, err := signingKey(signed, keys)
	if err != nil {
		return nil, err
	}
	doc, err := signed.Verify(key)
	if err != nil {
		return nil, fmt.Errorf("%w: it is not one of this document", ErrSignature)
	}
	return doc, nil
}

// signingKey returns the one Ed25519 key of keys that the header names.
func signingKey(signed *jose.JSONWebSignature, keys jose.JSONWebKeySet) (ed25519.PublicKey, error) {
	if len(signed.Signatures) != 1 {
		return nil, fmt.Errorf("%w: one signature is needed", ErrSignature)
	}
	header := signed.Signatures[0].Protected
	if typ, _ := header.ExtraHeaders[jose.HeaderType].(string); typ != signatureType {
		return nil, fmt.Errorf("%w: it is not one of a policy", ErrSignature)
	}
	found := keys.Key(header.KeyID)
	if header.KeyID == "" || len(found) != 1 {
		return nil, fmt.Errorf("%w: its key is not known", ErrSignature)
	}
	key, ok := found[0].Key.(ed25519.PublicKey)
	if !ok || len(key) != ed25519.PublicKeySize || (found[0].Use != "" && found[0].Use != "sig") {
		return nil, fmt.Errorf("%w: its key is not an Ed25519 key for signing", ErrSignature)
	}
	return key, nil
}

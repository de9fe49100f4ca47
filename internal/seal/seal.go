// Package seal encrypts what the database must not hold in clear, under a key that is not in
// the database: a file of 32 random bytes in base64.
//
//	key file ──HKDF-SHA256(purpose)──▶ one AES-256-GCM key for each purpose
//
//	sealed = 'S' '1' │ key id (4) │ nonce (12) │ ciphertext and tag
//	          version  which file    random       authenticates the header and aad too
//
// A purpose ("signing key", "held call") keeps a value of one table from being passed off as
// one of another; aad binds it to its row. The key id says which file a value needs, so that
// a later rotation can keep an old key for reading, and an operator who starts with the wrong
// file is told so.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
)

// The reasons why Open refuses. Neither tells anything about the plaintext.
var (
	ErrOtherKey = errors.New("it was sealed under another key file")
	ErrBroken   = errors.New("it is not what was sealed: changed, cut, or meant for another purpose or row")
)

const (
	keySize   = 32
	idSize    = 4
	nonceSize = 12
	tagSize   = 16

	version    = "S1"
	headerSize = len(version) + idSize
)

// Key seals and opens. It is immutable and safe for concurrent use. It prints as nothing but
// its id.
type Key struct {
	secret [keySize]byte
	id     [idSize]byte
}

func newKey(secret []byte) (*Key, error) {
	if len(secret) != keySize {
		return nil, fmt.Errorf("a sealing key has %d bytes, this one %d", keySize, len(secret))
	}
	k := &Key{}
	copy(k.secret[:], secret)
	id, err := hkdf.Key(sha256.New, secret, nil, "countersign/seal/v1 key id", idSize)
	if err != nil {
		return nil, fmt.Errorf("deriving the key id: %w", err)
	}
	copy(k.id[:], id)
	return k, nil
}

// ID names the key file without telling anything about it.
func (k *Key) ID() string { return fmt.Sprintf("%x", k.id) }

// String names the key as ID does.
func (k *Key) String() string { return "sealing key " + k.ID() }

// Format keeps the secret out of logs, whatever the verb.
func (k *Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.String()) }

// Seal encrypts plaintext for a purpose and binds it to aad, the identity of the row it is
// kept in. Two calls never give the same bytes.
func (k *Key) Seal(purpose string, plaintext, aad []byte) ([]byte, error) {
	aead, err := k.aead(purpose)
	if err != nil {
		return nil, fmt.Errorf("sealing a %s: %w", purpose, err)
	}
	out := make([]byte, headerSize+nonceSize, headerSize+nonceSize+len(plaintext)+tagSize)
	copy(out, version)
	copy(out[len(version):], k.id[:])
	nonce := out[headerSize:]
	if _, err := rand.Read(nonce); err != nil {
		return nil, fmt.Errorf("sealing a %s: %w", purpose, err)
	}
	return aead.Seal(out, nonce, plaintext, bind(out[:headerSize], aad)), nil
}

// Open returns what was sealed with the same purpose and aad. The error is [ErrOtherKey] or
// [ErrBroken].
func (k *Key) Open(purpose string, sealed, aad []byte) ([]byte, error) {
	if len(sealed) < headerSize+nonceSize+tagSize || string(sealed[:len(version)]) != version {
		return nil, fmt.Errorf("opening a sealed %s: %w", purpose, ErrBroken)
	}
	if id := sealed[len(version):headerSize]; string(id) != string(k.id[:]) {
		return nil, fmt.Errorf("opening a sealed %s: %w (that one's id is %x, this one's %x)", purpose, ErrOtherKey, id, k.id)
	}
	aead, err := k.aead(purpose)
	if err != nil {
		return nil, fmt.Errorf("opening a sealed %s: %w", purpose, err)
	}
	nonce, ciphertext := sealed[headerSize:headerSize+nonceSize], sealed[headerSize+nonceSize:]
	plaintext, err := aead.Open(nil, nonce, ciphertext, bind(sealed[:headerSize], aad))
	if err != nil {
		return nil, fmt.Errorf("opening a sealed %s: %w", purpose, ErrBroken)
	}
	return plaintext, nil
}

func (k *Key) aead(purpose string) (cipher.AEAD, error) {
	subkey, err := hkdf.Key(sha256.New, k.secret[:], nil, "countersign/seal/v1 purpose "+purpose, keySize)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(subkey)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// bind puts the header, whose length is fixed, before the caller's data.
func bind(header, aad []byte) []byte {
	return append(append(make([]byte, 0, len(header)+len(aad)), header...), aad...)
}

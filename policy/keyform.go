package policy

import (
	"crypto/sha256"
	"crypto/subtle"
	"hash/crc32"
	"math/big"
	"strings"

	"countersign/canonical"
)

// The form of an agent's key: csa_, 256 random bits in base 62, and in base 62 the CRC-32 of all that. A scanner for
// secrets finds it by csa_[0-9A-Za-z]{49}, and a typing error is told from a key that is not good without asking anybody.
const (
	KeyPrefix   = "csa_"
	keyRandom   = 43
	keyChecksum = 6
	keyDigits   = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// KeyText writes random bits as a key.
func KeyText(random [32]byte) string {
	body := KeyPrefix + base62(new(big.Int).SetBytes(random[:]), keyRandom)
	return body + checksum62(body)
}

// IsKeyText reports whether text is written as keys are: what is not can be refused before anything is looked up.
func IsKeyText(text string) bool {
	body := len(text) - keyChecksum
	return body == len(KeyPrefix)+keyRandom && strings.HasPrefix(text, KeyPrefix) && strings.Trim(text[len(KeyPrefix):], keyDigits) == "" &&
		subtle.ConstantTimeCompare([]byte(checksum62(text[:body])), []byte(text[body:])) == 1
}

// HashKey gives the digest that stands for a key: the plain SHA-256 of its text. Keys are random, so no salt and no slow
// hash is needed, and looking a digest up tells nobody anything about a key.
func HashKey(text string) canonical.Digest { return sha256.Sum256([]byte(text)) }

func checksum62(body string) string {
	return base62(big.NewInt(int64(crc32.ChecksumIEEE([]byte(body)))), keyChecksum)
}

// base62 writes n with leading zeros.
func base62(n *big.Int, digits int) string {
	text := make([]byte, digits)
	base, digit := big.NewInt(int64(len(keyDigits))), new(big.Int)
	for i := digits - 1; i >= 0; i-- {
		n.DivMod(n, base, digit)
		text[i] = keyDigits[digit.Int64()]
	}
	return string(text)
}

package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"hash/crc32"
	"math/big"
	"strings"
)

// newSecret is 256 random bits for a cookie.
func newSecret() string {
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // it never fails: the program would end first
	return base64.RawURLEncoding.EncodeToString(secret)
}

// isSecret reports whether value has the form of newSecret, before a query is spent on it.
func isSecret(value string) bool {
	decoded, err := base64.RawURLEncoding.Strict().DecodeString(value)
	return err == nil && len(decoded) == 32
}

// hashSecret is what the database keeps. The secrets are random, so no salt and no slow hash is needed.
func hashSecret(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}

// A client's secret: a prefix that scanners find, 43 characters of base62 for 256 random bits, and 6
// for the CRC-32 of what is before them, so that a typing error is told from a wrong secret.
const (
	clientSecretPrefix = "csk_"
	randomDigits       = 43
	checkDigits        = 6
)

func newClientSecret() string {
	random := make([]byte, 32)
	_, _ = rand.Read(random) // it never fails: the program would end first
	body := clientSecretPrefix + inBase62(new(big.Int).SetBytes(random), randomDigits)
	return body + checksum(body)
}

// isClientSecret reports whether value could be a secret of ours.
func isClientSecret(value string) bool {
	body := len(value) - checkDigits
	return body == len(clientSecretPrefix)+randomDigits && strings.HasPrefix(value, clientSecretPrefix) &&
		equal(checksum(value[:body]), value[body:])
}

func checksum(body string) string {
	return inBase62(big.NewInt(int64(crc32.ChecksumIEEE([]byte(body)))), checkDigits)
}

func inBase62(n *big.Int, digits int) string {
	text := n.Text(62)
	return strings.Repeat("0", digits-len(text)) + text
}

// equal compares in constant time.
func equal(a, b string) bool {
	return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1
}

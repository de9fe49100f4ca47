package approvals

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"hash/crc32"
	"log/slog"
	"math/big"
	"strings"

	"countersign/internal/problem"
)

// The form of a token: cst_ + 256 random bits in base 62 + the CRC-32 of all that in base 62. A scanner for
// leaked secrets recognises it, and a mistyped one is refused without a query.
const (
	tokenPrefix   = "cst_"
	tokenRandom   = 43 // 62^43 > 2^256
	tokenChecksum = 6  // 62^6 > 2^32
	tokenLength   = len(tokenPrefix) + tokenRandom + tokenChecksum
	base62        = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// Token is a confirmation token in clear. It is returned once, by Claim, and stored nowhere: only its hash
// is. Formatting and logging it shows nothing; string(t) is the secret.
type Token string

// String hides the secret.
func (t Token) String() string { return tokenPrefix + "…" }

// GoString hides the secret.
func (t Token) GoString() string { return t.String() }

// LogValue hides the secret.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.String()) }

// tokenHash is all that the database knows of a token.
type tokenHash [sha256.Size]byte

func mintToken() (Token, tokenHash, error) {
	secret := make([]byte, 32)
	if _, err := rand.Read(secret); err != nil {
		return "", tokenHash{}, fmt.Errorf("minting a confirmation token: %w", err)
	}
	body := tokenPrefix + encode62(new(big.Int).SetBytes(secret), tokenRandom)
	token := Token(body + checksum62(body))
	return token, sha256.Sum256([]byte(token)), nil
}

// parseToken checks the form and the checksum, and returns the hash to look up. The checksum finds typing
// errors; it is no security.
func parseToken(token Token) (tokenHash, error) {
	s := string(token)
	wellFormed := len(s) == tokenLength && strings.HasPrefix(s, tokenPrefix) &&
		strings.Trim(s[len(tokenPrefix):], base62) == ""
	if !wellFormed || checksum62(s[:tokenLength-tokenChecksum]) != s[tokenLength-tokenChecksum:] {
		return tokenHash{}, problem.New(problem.Invalid, "token_malformed",
			"This is not a confirmation token: its form or its checksum is wrong. Nothing was used up.")
	}
	return sha256.Sum256([]byte(s)), nil
}

func checksum62(s string) string {
	return encode62(big.NewInt(int64(crc32.ChecksumIEEE([]byte(s)))), tokenChecksum)
}

// encode62 writes n with exactly width digits, which must suffice.
func encode62(n *big.Int, width int) string {
	digits := make([]byte, width)
	base, digit := big.NewInt(int64(len(base62))), new(big.Int)
	for i := width - 1; i >= 0; i-- {
		n.DivMod(n, base, digit)
		digits[i] = base62[digit.Int64()]
	}
	return string(digits)
}

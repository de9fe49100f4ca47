package canonical

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
)

// digestPrefix names the algorithm in the written form of a Digest.
const digestPrefix = "sha256:"

// Digest is the SHA-256 of something canonical, tied to what it is a digest of
// by a domain (see Sum).
type Digest [sha256.Size]byte

// errDigest is returned for a text that is not the written form of a Digest. It
// does not repeat the text, which may be hostile.
var errDigest = errors.New(`a digest is "sha256:" and 64 lower-case hexadecimal digits`)

// Sum returns SHA-256(domain ‖ 0x00 ‖ data). A digest made for one domain is
// therefore never one for another, whatever the data. A domain holds no NUL.
func Sum(domain string, data []byte) Digest {
	h := sha256.New()
	h.Write([]byte(domain))
	h.Write([]byte{0})
	h.Write(data)
	var d Digest
	h.Sum(d[:0])
	return d
}

// ParseDigest reads the written form "sha256:<64 hex>". Only lower-case digits
// are read, so that a digest has exactly one written form.
func ParseDigest(s string) (Digest, error) {
	var d Digest
	if len(s) != len(digestPrefix)+2*len(d) || s[:len(digestPrefix)] != digestPrefix {
		return Digest{}, errDigest
	}
	digits := s[len(digestPrefix):]
	for i := range len(digits) {
		if c := digits[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return Digest{}, errDigest
		}
	}
	if _, err := hex.Decode(d[:], []byte(digits)); err != nil {
		return Digest{}, errDigest
	}
	return d, nil
}

// String returns the written form, "sha256:<64 hex>".
func (d Digest) String() string { return digestPrefix + d.Hex() }

// Hex returns the 64 hexadecimal digits alone.
func (d Digest) Hex() string { return hex.EncodeToString(d[:]) }

// IsZero reports whether d was never set.
func (d Digest) IsZero() bool { return d == Digest{} }

// MarshalText writes the written form.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads the written form, as ParseDigest does.
func (d *Digest) UnmarshalText(text []byte) error {
	parsed, err := ParseDigest(string(text))
	if err != nil {
		return err
	}
	*d = parsed
	return nil
}

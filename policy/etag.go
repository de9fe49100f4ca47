package policy

import (
	"fmt"
	"strconv"
	"strings"

	"countersign/canonical"
)

// Tag is what an ETag of a policy says. It holds the revision, so that a rollback
// to an earlier content is a new tag.
type Tag struct {
	Epoch    int64
	Revision int64
	Digest   string // first 12 hexadecimal digits of the digest of the document
	Encoding string // "" for none, "gz"
}

// ETag returns the strong entity tag of a document, with its quotes:
// "e<epoch>.r<revision>.<digest12>", and "-gz" for encoding "gzip" or
// "-<encoding>" for another one.
func ETag(epoch, revision int64, digest canonical.Digest, encoding string) string {
	if encoding == "gzip" {
		encoding = "gz"
	}
	return Tag{Epoch: epoch, Revision: revision, Digest: digest.Hex()[:12], Encoding: encoding}.String()
}

// String returns the entity tag with its quotes.
func (t Tag) String() string {
	suffix := ""
	if t.Encoding != "" {
		suffix = "-" + t.Encoding
	}
	return fmt.Sprintf(`"e%d.r%d.%s%s"`, t.Epoch, t.Revision, t.Digest, suffix)
}

// Same reports whether two tags are of the same document, in whatever encoding.
func (t Tag) Same(other Tag) bool {
	t.Encoding, other.Encoding = "", ""
	return t == other
}

// ParseETag reads an entity tag, weak or strong; ok is false if it is not one of
// ours.
func ParseETag(s string) (t Tag, ok bool) {
	s = strings.TrimPrefix(s, "W/")
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return Tag{}, false
	}
	var epoch, revision string
	epoch, s, _ = strings.Cut(s[1:len(s)-1], ".")
	revision, s, _ = strings.Cut(s, ".")
	t.Digest, t.Encoding, _ = strings.Cut(s, "-")
	var okEpoch, okRevision bool
	t.Epoch, okEpoch = numbered("e", epoch)
	t.Revision, okRevision = numbered("r", revision)
	if !okEpoch || !okRevision || len(t.Digest) != 12 || strings.Trim(t.Digest, "0123456789abcdef") != "" {
		return Tag{}, false
	}
	return t, true
}

// numbered reads a letter and a number, as we write it.
func numbered(letter, s string) (int64, bool) {
	digits, found := strings.CutPrefix(s, letter)
	n, err := strconv.ParseInt(digits, 10, 64)
	return n, found && err == nil && strconv.FormatInt(n, 10) == digits
}

// ParseETags returns those entity tags of an If-None-Match that are ours.
func ParseETags(ifNoneMatch string) []Tag {
	var tags []Tag
	for rest := ifNoneMatch; ; {
		start := strings.IndexByte(rest, '"')
		if start < 0 {
			return tags
		}
		end := strings.IndexByte(rest[start+1:], '"')
		if end < 0 {
			return tags
		}
		next := start + 1 + end + 1
		if t, ok := ParseETag(rest[start:next]); ok {
			tags = append(tags, t)
		}
		rest = rest[next:]
	}
}

// MatchETag reports whether an If-None-Match, which may be a list, names the
// document of etag, in whatever encoding. "*" matches any document.
func MatchETag(ifNoneMatch, etag string) bool {
	if strings.TrimSpace(ifNoneMatch) == "*" {
		return true
	}
	current, ok := ParseETag(etag)
	if !ok {
		return false
	}
	for _, t := range ParseETags(ifNoneMatch) {
		if t.Same(current) {
			return true
		}
	}
	return false
}

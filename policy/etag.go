package policy

import (
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
	return NewTag(epoch, revision, digest, encoding).String()
}

// NewTag is what ETag writes.
func NewTag(epoch, revision int64, digest canonical.Digest, encoding string) Tag {
	if encoding == "gzip" {
		encoding = "gz"
	}
	return Tag{Epoch: epoch, Revision: revision, Digest: digest.Hex()[:12], Encoding: encoding}
}

// String returns the entity tag with its quotes.
func (t Tag) String() string {
	text := make([]byte, 0, 64)
	text = strconv.AppendInt(append(text, '"', 'e'), t.Epoch, 10)
	text = strconv.AppendInt(append(text, ".r"...), t.Revision, 10)
	text = append(append(text, '.'), t.Digest...)
	if t.Encoding != "" {
		text = append(append(text, '-'), t.Encoding...)
	}
	return string(append(text, '"'))
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

// Held is what a caller says it holds, in If-None-Match (RFC 9110 section 13.1.2).
type Held struct {
	Any  bool  // "*": whatever there is
	Tags []Tag // those that are ours
}

// ParseHeld reads the values of If-None-Match, each of which may be a list.
func ParseHeld(values []string) Held {
	var h Held
	for _, v := range values {
		if strings.TrimSpace(v) == "*" {
			return Held{Any: true}
		}
		h.Tags = append(h.Tags, ParseETags(v)...)
	}
	return h
}

// Has reports whether h has the document of a tag, in whatever encoding.
func (h Held) Has(current Tag) bool {
	for _, t := range h.Tags {
		if t.Same(current) {
			return true
		}
	}
	return h.Any
}

// Beyond reports whether h has a document that is later than that of a tag.
func (h Held) Beyond(current Tag) bool {
	for _, t := range h.Tags {
		if t.Epoch > current.Epoch || t.Epoch == current.Epoch && t.Revision > current.Revision {
			return true
		}
	}
	return false
}

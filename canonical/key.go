package canonical

import (
	"bytes"
	"unicode"
	"unicode/utf8"
)

// fewKeys is the number of keys of one object up to which comparing with each is
// cheaper than a map.
const fewKeys = 16

// key reads a key and its colon, and refuses a key the object already has.
func (s *scanner) key() error {
	f := &s.stack[len(s.stack)-1]
	f.key = nil
	if s.peek() != '"' {
		return s.unexpected("a key")
	}
	start := s.pos
	escaped, err := s.str()
	if err != nil {
		return err
	}
	name := s.data[start+1 : s.pos-1]
	if escaped {
		name = appendUnescaped(nil, name)
	}
	f.key = name
	if escaped && bytes.IndexByte(name, 0) >= 0 {
		return s.refuse(CodeNULInKey, start, "a key holds a NUL")
	}
	if old, ok := s.remember(f, name); ok {
		if bytes.Equal(old, name) {
			return s.refuse(CodeDuplicateKey, start, "an object has the same key twice")
		}
		return s.refuse(CodeCaseVariantKey, start, "two keys of an object differ only in case")
	}
	s.skipSpace()
	if s.peek() != ':' {
		return s.unexpected("a colon")
	}
	s.pos++
	return nil
}

// remember adds name to the keys of f. If f has it already, or has a case variant
// of it where those count, it returns that one.
func (s *scanner) remember(f *frame, name []byte) (old []byte, found bool) {
	mine := s.keys[f.first:]
	if len(mine) < fewKeys {
		for _, k := range mine {
			if s.sameKey(k, name) {
				return k, true
			}
		}
		s.keys = append(s.keys, name)
		return nil, false
	}
	if f.seen == nil {
		f.seen = make(map[string]int, 4*fewKeys)
		for i, k := range mine {
			f.seen[s.identity(k)] = f.first + i
		}
	}
	id := s.identity(name)
	if at, ok := f.seen[id]; ok {
		return s.keys[at], true
	}
	f.seen[id] = len(s.keys)
	s.keys = append(s.keys, name)
	return nil, false
}

// sameKey reports whether two keys may not stand in one object.
func (s *scanner) sameKey(a, b []byte) bool {
	if s.limits.FoldedKeys {
		return bytes.EqualFold(a, b)
	}
	return bytes.Equal(a, b)
}

// identity is equal for two keys exactly when sameKey is true of them.
func (s *scanner) identity(name []byte) string {
	if s.limits.FoldedKeys {
		return string(fold(name))
	}
	return string(name)
}

// fold replaces each rune by the least of the runes it is equal to ignoring case.
func fold(name []byte) []byte {
	folded := make([]byte, 0, len(name))
	for _, r := range string(name) {
		least := r
		for other := unicode.SimpleFold(r); other != r; other = unicode.SimpleFold(other) {
			least = min(least, other)
		}
		folded = utf8.AppendRune(folded, least)
	}
	return folded
}

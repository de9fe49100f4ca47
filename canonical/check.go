package canonical

import (
	"bytes"
	"unicode/utf8"
)

// depthCap bounds the depth that any scan accepts, and so the memory of its stack.
const depthCap = 1000

// Limits says how much Check accepts.
type Limits struct {
	MaxBytes   int  // longest input in bytes; 0 for no limit
	MaxDepth   int  // deepest nesting of arrays and objects; 0, or more than 1000, for 1000
	FoldedKeys bool // also refuse keys of one object that are equal ignoring case
}

// Check reports whether data is one JSON value that every strict parser reads
// the same way; see the package comment for what it refuses. "Ignoring case" is
// Unicode simple folding: U+017F is an s and U+212A is a k, as they are for
// encoding/json.
//
// The error is an *Error. Input that passes is never changed, and nothing of it
// is kept.
func Check(data []byte, l Limits) error {
	s := scanner{data: data, limits: l}
	return s.run()
}

// frame is an array or object that is open.
type frame struct {
	object bool
	index  int            // array: position of the current element
	key    []byte         // object: the current key, unescaped
	first  int            // object: where its keys begin in scanner.keys
	seen   map[string]int // object with many keys: folded key to its place in scanner.keys
}

// scanner is one pass over data. Depth is a slice, not recursion.
type scanner struct {
	data        []byte
	pos         int
	limits      Limits
	safeNumbers bool // also refuse numbers that a float64 does not keep

	stack []frame
	keys  [][]byte // keys of all open objects, innermost last

	part  func(f *frame, start, end int) // if set, told of each part of the outermost value
	start int                            // where the current part begins
}

// run scans the whole of data.
func (s *scanner) run() error {
	if err := s.admit(); err != nil {
		return err
	}
	return s.scan()
}

// scan goes from value to value, once admit has accepted the bytes.
func (s *scanner) scan() error {
	for {
		s.skipSpace()
		if len(s.stack) == 1 {
			s.start = s.pos
		}
		opened, err := s.value()
		if err != nil {
			return err
		}
		if opened {
			continue
		}
		if done, err := s.afterValue(); done || err != nil {
			return err
		}
	}
}

// admit checks what can be said of the bytes before parsing them.
func (s *scanner) admit() error {
	if s.limits.MaxDepth <= 0 || s.limits.MaxDepth > depthCap {
		s.limits.MaxDepth = depthCap
	}
	if s.limits.MaxBytes > 0 && len(s.data) > s.limits.MaxBytes {
		return s.refuse(CodeSize, s.limits.MaxBytes, "the text is longer than allowed")
	}
	if bytes.HasPrefix(s.data, []byte("\ufeff")) {
		return s.refuse(CodeByteOrderMark, 0, "the text starts with a byte order mark")
	}
	if !utf8.Valid(s.data) {
		return s.refuse(CodeNotUTF8, invalidAt(s.data), "the text is not UTF-8")
	}
	s.stack = make([]frame, 0, 8)
	s.keys = make([][]byte, 0, 2*fewKeys)
	return nil
}

// invalidAt returns the offset of the first byte that is not UTF-8.
func invalidAt(data []byte) int {
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return len(data)
}

// value reads a scalar, or opens an array or object as far as its first value.
// An empty array or object counts as a scalar: opened is false.
func (s *scanner) value() (opened bool, err error) {
	switch c := s.peek(); {
	case c == '{' || c == '[':
		return s.open(c == '{')
	case c == '"':
		_, err = s.str()
		return false, err
	case c == '-' || isDigit(c):
		return false, s.number()
	case c == 't':
		return false, s.literal("true")
	case c == 'f':
		return false, s.literal("false")
	case c == 'n':
		return false, s.literal("null")
	default:
		return false, s.unexpected("a value")
	}
}

// open enters an array or object.
func (s *scanner) open(object bool) (opened bool, err error) {
	if len(s.stack) >= s.limits.MaxDepth {
		return false, s.refuse(CodeDepth, s.pos, "arrays and objects are nested deeper than allowed")
	}
	s.pos++
	s.stack = append(s.stack, frame{object: object, first: len(s.keys)})
	s.skipSpace()
	if !object {
		if s.peek() == ']' {
			s.close()
			return false, nil
		}
		return true, nil
	}
	if s.peek() == '}' {
		s.close()
		return false, nil
	}
	return true, s.key()
}

// afterValue goes on from the end of a value to the start of the next one,
// closing what ends on the way. done means that the document ended.
func (s *scanner) afterValue() (done bool, err error) {
	for len(s.stack) > 0 {
		f := &s.stack[len(s.stack)-1]
		if s.part != nil && len(s.stack) == 1 {
			s.part(f, s.start, s.pos)
		}
		s.skipSpace()
		switch c := s.peek(); {
		case c == ',' && f.object:
			s.pos++
			s.skipSpace()
			return false, s.key()
		case c == ',':
			s.pos++
			f.index++
			return false, nil
		case c == '}' && f.object, c == ']' && !f.object:
			s.close()
		case f.object:
			return false, s.unexpected("a comma or }")
		default:
			return false, s.unexpected("a comma or ]")
		}
	}
	s.skipSpace()
	if s.pos < len(s.data) {
		return true, s.refuse(CodeTrailingData, s.pos, "something follows the value")
	}
	return true, nil
}

// close leaves the innermost array or object.
func (s *scanner) close() {
	s.pos++
	last := len(s.stack) - 1
	s.keys = s.keys[:s.stack[last].first]
	s.stack = s.stack[:last]
}

// literal reads true, false or null.
func (s *scanner) literal(word string) error {
	if !bytes.HasPrefix(s.data[s.pos:], []byte(word)) {
		return s.unexpected("a value")
	}
	s.pos += len(word)
	return nil
}

// unexpected is a syntax error where the scan stands.
func (s *scanner) unexpected(want string) error {
	if s.pos >= len(s.data) {
		return s.refuse(CodeSyntax, s.pos, "the text ends where "+want+" is needed")
	}
	return s.refuse(CodeSyntax, s.pos, "expected "+want)
}

// peek returns the next byte, or 0 at the end; a NUL byte is no part of JSON.
func (s *scanner) peek() byte {
	if s.pos < len(s.data) {
		return s.data[s.pos]
	}
	return 0
}

func (s *scanner) skipSpace() {
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

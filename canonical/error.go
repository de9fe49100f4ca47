package canonical

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The codes of an Error. They are stable: gateways report them and tests in
// other languages compare them.
const (
	CodeSyntax           = "syntax"            // not JSON, or cut off
	CodeControlCharacter = "control_character" // U+0000 to U+001F, unescaped, in a string
	CodeNotUTF8          = "not_utf8"          // bytes that are not UTF-8
	CodeByteOrderMark    = "byte_order_mark"   // the text starts with U+FEFF
	CodeTrailingData     = "trailing_data"     // something follows the value
	CodeDepth            = "depth"             // nested deeper than the limit
	CodeSize             = "size"              // longer than the limit
	CodeDuplicateKey     = "duplicate_key"     // an object has the same key twice
	CodeCaseVariantKey   = "case_variant_key"  // two keys differ only in case
	CodeNULInKey         = "nul_in_key"        // a key holds U+0000
	CodeLoneSurrogate    = "lone_surrogate"    // half a surrogate pair, escaped
	CodeUnsafeInteger    = "unsafe_integer"    // beyond ±(2^53−1)
	CodeUnsafeNumber     = "unsafe_number"     // a float64 does not keep it
	CodeNotObject        = "not_object"        // an object was wanted
	CodeNotArray         = "not_array"         // an array was wanted
)

// Error says why bytes were refused. Its text is safe to log and to show: of the
// input it holds only the path, shortened and with everything unprintable
// escaped.
type Error struct {
	Code   string // one of the Code constants
	Offset int    // byte offset in the input
	Path   string // JSON Pointer to the value or key; "" is the whole document
	Msg    string // for people
}

// Error returns the message with where it applies.
func (e *Error) Error() string {
	if e.Path == "" {
		return fmt.Sprintf("%s at byte %d", e.Msg, e.Offset)
	}
	return fmt.Sprintf("%s at byte %d, in %s", e.Msg, e.Offset, e.Path)
}

// Limits on a Path, which is made of the sender's keys.
const (
	maxPathStep = 64
	maxPath     = 256
)

// appendPathKey adds one key to a JSON Pointer, shortened and printable.
func appendPathKey(path *strings.Builder, key []byte) {
	path.WriteByte('/')
	if len(key) > maxPathStep {
		key = key[:maxPathStep]
		for !utf8.Valid(key) {
			key = key[:len(key)-1]
		}
		defer path.WriteString("…")
	}
	for _, r := range string(key) {
		switch {
		case r == '~':
			path.WriteString("~0")
		case r == '/':
			path.WriteString("~1")
		case r == '\\' || !unicode.IsPrint(r):
			quoted := strconv.QuoteRuneToASCII(r)
			path.WriteString(quoted[1 : len(quoted)-1])
		default:
			path.WriteRune(r)
		}
	}
}

// pointer is the JSON Pointer to where the scan stands.
func (s *scanner) pointer() string {
	var path strings.Builder
	for i := range s.stack {
		if path.Len() > maxPath {
			path.WriteString("/…")
			break
		}
		f := &s.stack[i]
		switch {
		case !f.object:
			path.WriteByte('/')
			path.WriteString(strconv.Itoa(f.index))
		case f.key != nil:
			appendPathKey(&path, f.key)
		}
	}
	return path.String()
}

// refuse makes the error for what stands at offset.
func (s *scanner) refuse(code string, offset int, msg string) error {
	return &Error{Code: code, Offset: offset, Path: s.pointer(), Msg: msg}
}

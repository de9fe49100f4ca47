package canonical

import (
	"unicode/utf16"
	"unicode/utf8"
)

// str reads a string with its quotes. escaped says whether it holds a backslash.
func (s *scanner) str() (escaped bool, err error) {
	open := s.pos
	s.pos++
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; {
		case c == '"':
			s.pos++
			return escaped, nil
		case c == '\\':
			escaped = true
			if err := s.escape(); err != nil {
				return escaped, err
			}
		case c < 0x20:
			return escaped, s.refuse(CodeControlCharacter, s.pos, "a string holds a control character")
		default:
			s.pos++
		}
	}
	return escaped, s.refuse(CodeSyntax, open, "the text ends inside a string")
}

// escape reads one escape, or the two that make a surrogate pair.
func (s *scanner) escape() error {
	start := s.pos
	s.pos++
	switch s.peek() {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.pos++
		return nil
	case 'u':
	default:
		return s.refuse(CodeSyntax, start, "a string holds an unknown escape")
	}
	unit, ok := hex4(s.data[s.pos+1:])
	if !ok {
		return s.refuse(CodeSyntax, start, `\u is not followed by four hexadecimal digits`)
	}
	s.pos += 5
	if !utf16.IsSurrogate(unit) {
		return nil
	}
	rest := s.data[s.pos:]
	if len(rest) >= 6 && rest[0] == '\\' && rest[1] == 'u' {
		if low, ok := hex4(rest[2:]); ok && utf16.DecodeRune(unit, low) != utf8.RuneError {
			s.pos += 6
			return nil
		}
	}
	return s.refuse(CodeLoneSurrogate, start, "half a surrogate pair is escaped")
}

// hex4 reads four hexadecimal digits.
func hex4(b []byte) (rune, bool) {
	if len(b) < 4 {
		return 0, false
	}
	var r rune
	for _, c := range b[:4] {
		switch {
		case isDigit(c):
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// unescapes maps the letter of a short escape to what it stands for.
var unescapes = [256]byte{
	'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t',
}

// appendUnescaped appends what the inside of a string that was scanned stands for.
func appendUnescaped(dst, inside []byte) []byte {
	for i := 0; i < len(inside); {
		c := inside[i]
		switch {
		case c != '\\':
			dst = append(dst, c)
			i++
		case inside[i+1] != 'u':
			dst = append(dst, unescapes[inside[i+1]])
			i += 2
		default:
			r, _ := hex4(inside[i+2:])
			i += 6
			if utf16.IsSurrogate(r) {
				low, _ := hex4(inside[i+2:])
				r = utf16.DecodeRune(r, low)
				i += 6
			}
			dst = utf8.AppendRune(dst, r)
		}
	}
	return dst
}

// escapes maps a byte to the letter of its short escape.
var escapes = [256]byte{
	'"': '"', '\\': '\\', '\b': 'b', '\f': 'f', '\n': 'n', '\r': 'r', '\t': 't',
}

// AppendString appends s as a JSON string, escaped as RFC 8785 says: no more than
// JSON requires. Bytes of s that are not UTF-8 become U+FFFD.
func AppendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	if utf8.ValidString(s) {
		dst = appendEscaped(dst, s)
	} else {
		dst = appendEscaped(dst, string([]rune(s)))
	}
	return append(dst, '"')
}

func appendEscaped[T string | []byte](dst []byte, s T) []byte {
	const digits = "0123456789abcdef"
	for i := range len(s) {
		c := s[i]
		switch short := escapes[c]; {
		case short != 0:
			dst = append(dst, '\\', short)
		case c < 0x20:
			dst = append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&0xf])
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// compareUTF16 orders UTF-8 strings by their UTF-16 code units, as RFC 8785
// orders keys. It differs from the order of bytes only for U+E000 to U+FFFF,
// which come after the surrogates.
func compareUTF16(a, b []byte) int {
	for len(a) > 0 && len(b) > 0 {
		r, n := utf8.DecodeRune(a)
		q, m := utf8.DecodeRune(b)
		if r != q {
			if (r > 0xffff) != (q > 0xffff) {
				return int(leadUnit(r)) - int(leadUnit(q))
			}
			return int(r) - int(q)
		}
		a, b = a[n:], b[m:]
	}
	return len(a) - len(b)
}

// leadUnit is the first UTF-16 code unit of r.
func leadUnit(r rune) rune {
	if lead, _ := utf16.EncodeRune(r); lead != utf8.RuneError {
		return lead
	}
	return r
}

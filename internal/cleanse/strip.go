package cleanse

import (
	"strings"
	"unicode/utf8"
)

const (
	escape    = 0x1b
	backspace = 0x08
)

// stripper copies a text without what a terminal would act on and nobody would see.
type stripper struct {
	in    string
	pos   int
	out   []byte
	last  rune // the last that was kept, variation selectors and joiners aside
	bound bool // a selector or joiner came after it
	kinds Kinds
}

// strip removes control characters, terminal escapes and hidden characters. Kinds are of what went.
func strip(s string) (string, Kinds) {
	p := stripper{in: s, out: make([]byte, 0, len(s))}
	for p.pos < len(s) {
		if c := s[p.pos]; c < utf8.RuneSelf {
			p.ascii(c)
			continue
		}
		r, size := utf8.DecodeRuneInString(s[p.pos:])
		if r == utf8.RuneError && size == 1 {
			p.kinds |= Encoding
			p.put(utf8.RuneError, 1)
			continue
		}
		p.wide(r, size)
	}
	if p.kinds == 0 {
		return s, 0
	}
	return string(p.out), p.kinds
}

// put keeps r, which took size bytes.
func (p *stripper) put(r rune, size int) {
	p.out = utf8.AppendRune(p.out, r)
	p.pos += size
	p.last, p.bound = r, false
}

// drop leaves out size bytes.
func (p *stripper) drop(size int, why Kinds) {
	p.pos += size
	p.kinds |= why
}

func (p *stripper) ascii(c byte) {
	switch {
	case classes[c]&control == 0:
		p.put(rune(c), 1)
	case c == '\r' && strings.HasPrefix(p.in[p.pos+1:], "\n"):
		p.put('\r', 1)
	case c == '\r': // would let the rest of the line overwrite its beginning
		p.kinds |= Terminal
		p.put('\n', 1)
	case c == backspace:
		p.overstrike()
	case c == escape:
		p.drop(endOfEscape(p.in, p.pos)-p.pos, Terminal)
	default:
		p.drop(1, Terminal)
	}
}

// overstrike takes back the character before a backspace if it only makes the next one bold or underlined, as manual
// pages do. Any other stays: what was overwritten is seen too.
func (p *stripper) overstrike() {
	next, _ := utf8.DecodeRuneInString(p.in[p.pos+1:])
	before, size := utf8.DecodeLastRune(p.out)
	if size > 0 && before > ' ' && (before == '_' || before == next) {
		p.out = p.out[:len(p.out)-size]
		p.last, _ = utf8.DecodeLastRune(p.out)
	}
	p.drop(1, Terminal)
}

// wide is for what is not ASCII.
func (p *stripper) wide(r rune, size int) {
	switch {
	case r == 0x85 || r == 0x2028 || r == 0x2029: // line ends that not everybody shows as such
		p.kinds |= Hidden
		p.put('\n', size)
	case isControlString(r):
		p.drop(endOfControlString(p.in, p.pos+size)-p.pos, Terminal)
	case r == 0x9b:
		p.drop(endOfCSI(p.in, p.pos+size)-p.pos, Terminal)
	case r >= 0x80 && r <= 0x9f:
		p.drop(size, Terminal)
	case r == blackFlag:
		p.flag(size)
	case !hidden(r):
		p.put(r, size)
	case p.needed(r, size):
		p.out = utf8.AppendRune(p.out, r)
		p.pos += size
		p.bound = true
	default:
		p.drop(size, Hidden)
	}
}

// endOfEscape returns where the escape sequence that begins at i ends.
func endOfEscape(s string, i int) int {
	i++
	if i >= len(s) {
		return i
	}
	switch c := s[i]; {
	case c == '[':
		return endOfCSI(s, i+1)
	case strings.IndexByte("]PX^_", c) >= 0:
		return endOfControlString(s, i+1)
	case c >= 0x20 && c <= 0x2f:
		for i < len(s) && s[i] >= 0x20 && s[i] <= 0x2f {
			i++
		}
		if i < len(s) && s[i] >= 0x30 && s[i] <= 0x7e {
			i++
		}
		return i
	case c >= 0x30 && c <= 0x7e:
		return i + 1
	}
	return i
}

// endOfCSI returns where the control sequence ends whose introducer ends at i.
func endOfCSI(s string, i int) int {
	for i < len(s) && s[i] >= 0x20 && s[i] <= 0x3f {
		i++
	}
	if i < len(s) && s[i] >= 0x40 && s[i] <= 0x7e {
		i++
	}
	return i
}

// endOfControlString returns where the payload of a window title, a hyperlink, a clipboard write or the like ends, with
// its terminator. A payload that is not terminated is none: only its introducer goes.
func endOfControlString(s string, start int) int {
	for i := start; i < len(s); i++ {
		switch c := s[i]; {
		case c == 0x07:
			return i + 1
		case c == 0x18 || c == 0x1a:
			return i
		case c == escape:
			if i+1 < len(s) && s[i+1] == '\\' {
				return i + 2
			}
			return i
		case c == 0xc2 && i+1 < len(s) && s[i+1] >= 0x80 && s[i+1] <= 0x9f:
			if s[i+1] == 0x9c {
				return i + 2
			}
			return i
		}
	}
	return start
}

// isControlString reports whether r introduces a control string in one character: DCS, SOS, OSC, PM, APC.
func isControlString(r rune) bool {
	return r == 0x90 || r == 0x98 || r == 0x9d || r == 0x9e || r == 0x9f
}

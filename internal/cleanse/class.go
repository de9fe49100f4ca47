package cleanse

// class is what a byte may mean for a text, in bits.
type class uint8

const (
	control class = 1 << iota // C0 but tab and line feed, and DEL
	high                      // not ASCII
	markup                    // < ] !: HTML, links, images
	digit
	letter
	token // may be part of a key: letters, digits and + / _ ~ . -
	upper
)

var classes = func() (t [256]class) {
	for b := range t {
		switch c := byte(b); {
		case c >= 0x80:
			t[b] = high
		case c < 0x20 && c != '\t' && c != '\n' || c == 0x7f:
			t[b] = control
		case c >= '0' && c <= '9':
			t[b] = digit | token
		case c >= 'A' && c <= 'Z':
			t[b] = letter | token | upper
		case c >= 'a' && c <= 'z':
			t[b] = letter | token
		case c == '<' || c == ']' || c == '!':
			t[b] = markup
		case c == '+' || c == '/' || c == '_' || c == '~' || c == '.' || c == '-':
			t[b] = token
		}
	}
	return t
}()

// classesOf returns all classes of the bytes of s.
func classesOf(s string) class {
	var a, b, c, d class
	for len(s) >= 8 {
		a |= classes[s[0]] | classes[s[4]]
		b |= classes[s[1]] | classes[s[5]]
		c |= classes[s[2]] | classes[s[6]]
		d |= classes[s[3]] | classes[s[7]]
		s = s[8:]
	}
	for i := range len(s) {
		a |= classes[s[i]]
	}
	return a | b | c | d
}

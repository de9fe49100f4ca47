package canonical

// What Bounded takes for a number that can be reckoned with exactly at no cost: float64 has some 17 digits, and exponents
// up to 308.
const (
	maxNumberBytes    = 400
	maxExponentDigits = 3
)

// Bounded reports whether every number in a JSON text is short, also when it is written out. 1e999999 is eight bytes and a
// million digits: whoever compares it exactly is busy with it for a while, and libraries give up at larger ones in ways of
// their own. The text has to be JSON already.
func Bounded(data []byte) bool {
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case c == '"':
			for i++; i < len(data) && data[i] != '"'; i++ {
				if data[i] == '\\' {
					i++
				}
			}
		case c >= '0' && c <= '9':
			end, ok := boundedNumber(data, i)
			if !ok {
				return false
			}
			i = end - 1
		}
	}
	return true
}

// boundedNumber reads the rest of a number and says where it ends.
func boundedNumber(data []byte, from int) (end int, ok bool) {
	digits, exponent := 0, false
	for end = from; end < len(data); end++ {
		switch c := data[end]; {
		case c >= '0' && c <= '9':
			digits++
		case c == 'e' || c == 'E':
			exponent, digits = true, 0
		case c != '.' && c != '+' && c != '-':
			return end, within(end-from, digits, exponent)
		}
	}
	return end, within(end-from, digits, exponent)
}

func within(length, digits int, exponent bool) bool {
	return length <= maxNumberBytes && (!exponent || digits <= maxExponentDigits)
}

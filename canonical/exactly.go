package canonical

import "strconv"

// maxIntegerDigits is how many digits the greatest uint64 has.
const maxIntegerDigits = 20

// Integer returns the digits, with a sign if it is negative, of a JSON number that is an integer of at most 20 digits,
// however it is spelt: 100, 1e2 and 100.0 are one number.
func Integer(number []byte) (digits string, ok bool) {
	d := readDecimal(number)
	switch {
	case d.zero():
		return "0", true
	case d.exponent < d.len() || d.exponent > maxIntegerDigits:
		return "", false
	}
	out := make([]byte, 0, maxIntegerDigits+1)
	if d.negative {
		out = append(out, '-')
	}
	for i := range d.exponent {
		if i < d.len() {
			out = append(out, d.digit(i))
		} else {
			out = append(out, '0')
		}
	}
	return string(out), true
}

// Float returns the float64 of a JSON number; ok is false if it does not keep it: if the shortest decimal that stands
// for that float64 is another number.
func Float(number []byte) (f float64, ok bool) {
	f, err := strconv.ParseFloat(string(number), 64)
	if err != nil {
		return 0, false
	}
	var buf [32]byte
	return f, sameDecimal(number, strconv.AppendFloat(buf[:0], f, 'e', -1, 64))
}

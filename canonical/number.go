package canonical

import (
	"bytes"
	"strconv"
)

// maxSafeInteger is 2^53−1: every integer up to it has a float64 of its own.
const maxSafeInteger = 1<<53 - 1

// number reads a number by the grammar of RFC 8259.
func (s *scanner) number() error {
	start := s.pos
	if s.peek() == '-' {
		s.pos++
	}
	if s.peek() == '0' {
		s.pos++
	} else if !s.digits() {
		return s.refuse(CodeSyntax, start, "a number has no digits")
	}
	if isDigit(s.peek()) {
		return s.refuse(CodeSyntax, start, "a number starts with a needless zero")
	}
	if s.peek() == '.' {
		s.pos++
		if !s.digits() {
			return s.refuse(CodeSyntax, start, "a number has no digits after its point")
		}
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		s.pos++
		if c := s.peek(); c == '+' || c == '-' {
			s.pos++
		}
		if !s.digits() {
			return s.refuse(CodeSyntax, start, "a number has no digits in its exponent")
		}
	}
	if !s.safeNumbers {
		return nil
	}
	return s.safeNumber(start)
}

// digits reads one or more digits.
func (s *scanner) digits() bool {
	start := s.pos
	for isDigit(s.peek()) {
		s.pos++
	}
	return s.pos > start
}

// safeNumber refuses a number that another reader might take for a different one:
// all above 2^53−1, where a float64 no longer tells neighbours apart, and those
// whose shortest float64 form is a different decimal.
func (s *scanner) safeNumber(start int) error {
	lexeme := s.data[start:s.pos]
	f, err := strconv.ParseFloat(string(lexeme), 64)
	if f > maxSafeInteger || f < -maxSafeInteger {
		return s.refuse(CodeUnsafeInteger, start, "a number is beyond ±(2^53−1)")
	}
	var buf [32]byte
	if err != nil || !sameDecimal(lexeme, strconv.AppendFloat(buf[:0], f, 'e', -1, 64)) {
		return s.refuse(CodeUnsafeNumber, start, "a number has more digits than a float64 keeps")
	}
	return nil
}

// sameDecimal reports whether two JSON numbers are the same number, exactly.
func sameDecimal(a, b []byte) bool {
	x, y := readDecimal(a), readDecimal(b)
	if x.zero() || y.zero() {
		return x.zero() && y.zero()
	}
	return x.negative == y.negative && x.exponent == y.exponent && x.len() == y.len() && x.sameDigits(y)
}

// decimal is ±0.d₁d₂…dₙ × 10^exponent, with d₁ and dₙ not zero. The digits stay
// where they were written, in two runs around the point.
type decimal struct {
	negative bool
	whole    []byte
	fraction []byte
	exponent int
}

func readDecimal(lexeme []byte) decimal {
	var d decimal
	if lexeme[0] == '-' {
		d.negative, lexeme = true, lexeme[1:]
	}
	if at := bytes.IndexAny(lexeme, "eE"); at >= 0 {
		d.exponent = readExponent(lexeme[at+1:])
		lexeme = lexeme[:at]
	}
	d.whole, d.fraction, _ = bytes.Cut(lexeme, []byte("."))
	d.whole = bytes.TrimLeft(d.whole, "0")
	d.exponent += len(d.whole)
	if len(d.whole) == 0 {
		trimmed := bytes.TrimLeft(d.fraction, "0")
		d.exponent -= len(d.fraction) - len(trimmed)
		d.fraction = trimmed
	}
	d.fraction = bytes.TrimRight(d.fraction, "0")
	if len(d.fraction) == 0 {
		d.whole = bytes.TrimRight(d.whole, "0")
	}
	return d
}

// readExponent reads an exponent; one that no float64 reaches is cut short, which
// leaves it one that no float64 reaches.
func readExponent(b []byte) int {
	const enough = 1 << 40
	negative := b[0] == '-'
	n := 0
	for _, c := range bytes.TrimLeft(b, "+-") {
		n = min(n*10+int(c-'0'), enough)
	}
	if negative {
		return -n
	}
	return n
}

func (d decimal) len() int   { return len(d.whole) + len(d.fraction) }
func (d decimal) zero() bool { return d.len() == 0 }

func (d decimal) digit(i int) byte {
	if i < len(d.whole) {
		return d.whole[i]
	}
	return d.fraction[i-len(d.whole)]
}

func (d decimal) sameDigits(other decimal) bool {
	for i := range d.len() {
		if d.digit(i) != other.digit(i) {
			return false
		}
	}
	return true
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

package schemadiff

import (
	"bytes"
	"math/big"
	"strconv"
	"strings"
)

// What a number may be for us to compute with it: a schema could otherwise write 1e999999999.
const (
	maxDigits   = 200
	maxExponent = 400
)

// number is the exact value of a number; ok is false for what is none, or is too large to compute with.
func (n *node) number() (value *big.Rat, ok bool) {
	if n == nil || !n.isNumber() || len(n.raw) > maxDigits {
		return nil, false
	}
	if at := bytes.IndexAny(n.raw, "eE"); at >= 0 {
		exponent, err := strconv.Atoi(string(n.raw[at+1:]))
		if err != nil || exponent > maxExponent || exponent < -maxExponent {
			return nil, false
		}
	}
	return new(big.Rat).SetString(string(n.raw))
}

// count is a number that can count something: whole and not negative.
func (n *node) count() (value *big.Rat, ok bool) {
	value, ok = n.number()
	return value, ok && value.IsInt() && value.Sign() >= 0
}

// key is one text for all writings of a value: 1, 1.0 and 1e0 are the same number. Values with different keys are
// different, unless they hold a number that is too large to compute with, when exact is false.
func (n *node) key() (key string, exact bool) {
	var b strings.Builder
	exact = n.appendKey(&b)
	return b.String(), exact
}

func (n *node) appendKey(b *strings.Builder) (exact bool) {
	exact = true
	switch {
	case n.isNumber():
		value, ok := n.number()
		if !ok {
			b.Write(n.raw)
			return false
		}
		b.WriteString(value.RatString())
	case n.isObject():
		b.WriteByte('{')
		for _, k := range n.keys {
			b.WriteString(strconv.Quote(k))
			exact = n.members[k].appendKey(b) && exact
		}
		b.WriteByte('}')
	case n.isArray():
		b.WriteByte('[')
		for _, e := range n.elements {
			exact = e.appendKey(b) && exact
			b.WriteByte(',')
		}
		b.WriteByte(']')
	default:
		b.Write(n.raw)
	}
	return exact
}

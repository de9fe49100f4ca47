package cleanse

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// unseen are characters that are not seen, or that reorder what is seen. Some have their place; see needed.
var unseen = &unicode.RangeTable{
	R16: []unicode.Range16{
		{0x00ad, 0x00ad, 1},
		{0x034f, 0x034f, 1},
		{0x061c, 0x061c, 1},
		{0x115f, 0x1160, 1},
		{0x17b4, 0x17b5, 1},
		{0x180b, 0x180f, 1},
		{0x200b, 0x200f, 1},
		{0x202a, 0x202e, 1},
		{0x2060, 0x206f, 1},
		{0x3164, 0x3164, 1},
		{0xfdd0, 0xfdef, 1},
		{0xfe00, 0xfe0f, 1},
		{0xfeff, 0xfeff, 1},
		{0xffa0, 0xffa0, 1},
		{0xfff0, 0xfffb, 1},
		{0xfffe, 0xffff, 1},
	},
	R32: []unicode.Range32{
		{0x1bca0, 0x1bca3, 1}, {0x1d173, 0x1d17a, 1}, {0xe0000, 0xe0fff, 1},
	},
}

func hidden(r rune) bool {
	if r < 0x1000 {
		return r == 0xad || r == 0x34f || r == 0x61c
	}
	return unicode.Is(unseen, r) || r > 0xffff && r&0xfffe == 0xfffe
}

const (
	zwnj      = 0x200c
	zwj       = 0x200d
	textStyle = 0xfe0e
	iconStyle = 0xfe0f
	blackFlag = 0x1f3f4
)

// joined are the scripts in which a joiner or non-joiner changes how a word is written.
var joined = []*unicode.RangeTable{
	unicode.Arabic, unicode.Syriac, unicode.Nko, unicode.Mongolian, unicode.Phags_Pa, unicode.Devanagari, unicode.Bengali,
	unicode.Gurmukhi, unicode.Gujarati, unicode.Oriya, unicode.Tamil, unicode.Telugu, unicode.Kannada, unicode.Malayalam,
	unicode.Sinhala, unicode.Khmer, unicode.Myanmar, unicode.Tibetan, unicode.Javanese, unicode.Balinese,
}

var rightToLeft = []*unicode.RangeTable{unicode.Hebrew, unicode.Arabic, unicode.Syriac, unicode.Thaana, unicode.Nko}

// needed reports whether a hidden character does there what it is for: a joiner in a word of a script that needs it or
// in an emoji, a variation selector after an emoji, a mark of direction beside a letter that is written to the left.
// One of them in a row, never more.
func (p *stripper) needed(r rune, size int) bool {
	next, _ := utf8.DecodeRuneInString(p.in[p.pos+size:])
	switch {
	case r == zwj && emoji(p.last) && emoji(next):
		before, _ := utf8.DecodeLastRune(p.out)
		return before != zwj && before != zwnj
	case p.bound:
		return false
	case r == zwj || r == zwnj:
		return unicode.In(p.last, joined...) && unicode.In(next, joined...)
	case r == textStyle || r == iconStyle:
		return emoji(p.last) || strings.ContainsRune("0123456789#*", p.last)
	case r == 0x200e || r == 0x200f || r == 0x61c:
		return unicode.In(p.last, rightToLeft...) || unicode.In(next, rightToLeft...)
	case r >= 0x180b && r <= 0x180d || r == 0x180f:
		return unicode.Is(unicode.Mongolian, p.last)
	}
	return false
}

// emoji reports whether r can be the base of an emoji. It is generous: arrows and dingbats are among them.
func emoji(r rune) bool {
	switch {
	case r < 0x2000:
		return r == 0xa9 || r == 0xae
	case r < 0x3000:
		return r == 0x203c || r == 0x2049 || r == 0x2122 || r == 0x2139 || r >= 0x2190 && r <= 0x21ff ||
			r >= 0x2300 && r <= 0x23ff || r == 0x24c2 || r >= 0x25a0 && r <= 0x27bf || r >= 0x2900 && r <= 0x297f ||
			r >= 0x2b00 && r <= 0x2bff
	case r < 0x10000:
		return r == 0x3030 || r == 0x303d || r == 0x3297 || r == 0x3299
	}
	return r >= 0x1f000 && r <= 0x1faff
}

// regions are the flags that are written with tag characters: England, Scotland and Wales. No other are in use, so that
// no other text can hide behind a flag.
var regions = []string{tagged("gbeng"), tagged("gbsct"), tagged("gbwls")}

func tagged(s string) string {
	var b strings.Builder
	for _, r := range s {
		b.WriteRune(0xe0000 + r)
	}
	b.WriteRune(0xe007f)
	return b.String()
}

// flag keeps a black flag, and the region that it is the flag of.
func (p *stripper) flag(size int) {
	for _, region := range regions {
		if strings.HasPrefix(p.in[p.pos+size:], region) {
			p.out = append(p.out, p.in[p.pos:p.pos+size+len(region)]...)
			p.pos += size + len(region)
			p.last, p.bound = blackFlag, true
			return
		}
	}
	p.put(blackFlag, size)
}

package registry

import (
	"fmt"
	"unicode"
	"unicode/utf8"
)

// Codes of findings about text. All of them block: a person who reads the text does not see what a model reads.
const (
	codeHidden   = "hidden_character"
	codeBidi     = "bidirectional_character"
	codeControl  = "control_character"
	codeTerminal = "terminal_escape"
	codeTag      = "tag_character"
)

// unseen is one character that must not be in text that a model reads.
type unseen struct {
	code string
	r    rune
}

func (u unseen) describe() string { return fmt.Sprintf("U+%04X, %s", u.r, unseenNames[u.code]) }

var unseenNames = map[string]string{
	codeHidden:   "a character that is not drawn",
	codeBidi:     "a character that reorders the text around it",
	codeControl:  "a control character",
	codeTerminal: "the start of a terminal escape",
	codeTag:      "a tag character, which can carry a hidden message",
}

// findUnseen returns the first character of s that a person would not see as it is, for each code.
// Line breaks and tabs are text where lines is true. An emoji's joiners and selectors, and the joiners that
// Arabic and Indic spelling needs, are text.
func findUnseen(s string, lines bool) []unseen {
	var found []unseen
	var seen [5]bool
	before := rune(-1)
	for i, r := range s {
		code := classify(r)
		if code != "" && !allowedHere(before, r, s[i+utf8.RuneLen(r):], lines) {
			if k := codeIndex(code); !seen[k] {
				seen[k] = true
				found = append(found, unseen{code, r})
			}
		}
		before = r
	}
	return found
}

func codeIndex(code string) int {
	switch code {
	case codeHidden:
		return 0
	case codeBidi:
		return 1
	case codeControl:
		return 2
	case codeTerminal:
		return 3
	}
	return 4
}

// classify gives the code for a character that is not plainly visible, or "".
func classify(r rune) string {
	switch {
	case r < utf8.RuneSelf && r >= ' ' && r != 0x7f:
		return ""
	case r == 0x1b || r == 0x9b:
		return codeTerminal
	case unicode.Is(unicode.Cc, r):
		return codeControl
	case r == 0x061c, r == 0x200e, r == 0x200f, r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
		return codeBidi
	case r >= 0xe0000 && r <= 0xe007f:
		return codeTag
	case unicode.Is(notDrawn, r), unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Noncharacter_Code_Point):
		return codeHidden
	}
	return ""
}

// notDrawn are the default-ignorable characters which are not of category Cf, and the blank that is a symbol.
var notDrawn = &unicode.RangeTable{
	R16: []unicode.Range16{
		{Lo: 0x034f, Hi: 0x034f, Stride: 1}, // combining grapheme joiner
		{Lo: 0x115f, Hi: 0x1160, Stride: 1}, // Hangul fillers
		{Lo: 0x17b4, Hi: 0x17b5, Stride: 1}, // Khmer inherent vowels
		{Lo: 0x180b, Hi: 0x180f, Stride: 1}, // Mongolian selectors
		{Lo: 0x2800, Hi: 0x2800, Stride: 1}, // Braille blank
		{Lo: 0x3164, Hi: 0x3164, Stride: 1}, // Hangul filler
		{Lo: 0xfe00, Hi: 0xfe0f, Stride: 1}, // variation selectors
		{Lo: 0xffa0, Hi: 0xffa0, Stride: 1}, // half-width Hangul filler
		{Lo: 0xfff0, Hi: 0xfff8, Stride: 1},
	},
	R32: []unicode.Range32{
		{Lo: 0xe0080, Hi: 0xe0fff, Stride: 1}, // variation selectors supplement and unassigned ignorables
	},
}

// joining are the scripts whose spelling needs the zero-width joiner and non-joiner between letters.
var joining = []*unicode.RangeTable{
	unicode.Arabic, unicode.Syriac, unicode.Devanagari, unicode.Bengali, unicode.Gurmukhi, unicode.Gujarati,
	unicode.Oriya, unicode.Tamil, unicode.Telugu, unicode.Kannada, unicode.Malayalam, unicode.Sinhala, unicode.Khmer,
}

// allowedHere reports whether r, which is not drawn by itself, belongs between what is before and after it.
func allowedHere(before, r rune, rest string, lines bool) bool {
	after, _ := utf8.DecodeRuneInString(rest)
	switch r {
	case '\n', '\r', '\t':
		return lines
	case 0xfe0e, 0xfe0f: // how to draw the emoji or symbol before it
		return pictured(before) || before == '#' || before == '*' || before >= '0' && before <= '9'
	case 0x200d:
		return (pictured(before) || before == 0xfe0f) && pictured(after) || unicode.In(before, joining...) && unicode.In(after, joining...)
	case 0x200c:
		return unicode.In(before, joining...) && unicode.In(after, joining...)
	}
	return false
}

// pictured reports whether r may be drawn as an emoji.
func pictured(r rune) bool {
	return unicode.In(r, unicode.So, unicode.Sm, unicode.Sk) || r == 0x203c || r == 0x2049 || r == 0x3030 || r == 0x303d
}

// visible returns s fit for a message: at most limit characters, with everything unseen replaced.
func visible(s string, limit int) string {
	out := make([]rune, 0, min(len(s), limit))
	for _, r := range s {
		if len(out) == limit {
			return string(out) + "…"
		}
		if r == utf8.RuneError || classify(r) != "" {
			r = '\ufffd'
		}
		out = append(out, r)
	}
	return string(out)
}

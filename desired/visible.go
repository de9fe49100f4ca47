package desired

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Visible returns s fit for one line of a terminal, a log or a page: what is not drawn, reorders the text around it or
// moves a cursor is written as \u{…}, and so is a backslash, so that different texts stay different.
func Visible(s string) string {
	if !strings.ContainsFunc(s, hidden) && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch _, size := utf8.DecodeRuneInString(s[i:]); {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x{%02X}`, s[i])
		case hidden(r):
			fmt.Fprintf(&b, `\u{%X}`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

func hidden(r rune) bool {
	if r >= ' ' && r < utf8.RuneSelf && r != 0x7f && r != '\\' {
		return false
	}
	return r == '\\' || !unicode.IsGraphic(r) || unicode.Is(unicode.Zs, r) ||
		unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector) || r == 0x2800
}

// quoted is s for a message: shortened, visible and in quotes.
func quoted(s string) string {
	const most = 60
	if utf8.RuneCountInString(s) > most {
		s = string([]rune(s)[:most]) + "…"
	}
	return `"` + Visible(s) + `"`
}

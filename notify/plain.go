package notify

import (
	"strings"
	"unicode/utf8"

	"countersign/desired"
)

// Plain is a text of an agent or a server, fit for a message: what is not drawn, reorders the text around it or breaks
// the line is written as \u{…}, and what is longer than most characters is cut.
func Plain(s string, most int) string {
	cut := false
	if len(s) > 4*most { // more characters than that cannot be in it
		s, cut = strings.ToValidUTF8(s[:4*most], ""), true
	}
	s = desired.Visible(s)
	if utf8.RuneCountInString(s) > most {
		s, cut = string([]rune(s)[:most-1]), true
	}
	if cut {
		s += "…"
	}
	return s
}

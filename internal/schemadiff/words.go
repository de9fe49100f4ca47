package schemadiff

import (
	"bytes"
	"strings"
	"unicode"
)

// textWords says what the keywords for people and models are.
var textWords = []struct{ keyword, is string }{
	{"title", "title"},
	{"description", "description"},
	{"default", "value that is meant when none is sent"},
	{"examples", "list of examples"},
	{"$comment", "comment"},
	{"deprecated", "note that it is out of use"},
	{"readOnly", "note that it is only read"},
	{"writeOnly", "note that it is only written"},
}

// texts notes what is said to people and models in other words.
func (w *walk) texts(p both) {
	if w.list == nil {
		return
	}
	for _, t := range textWords {
		a, b := p.a.get(t.keyword), p.b.get(t.keyword)
		if bytes.Equal(a.text(), b.text()) {
			continue
		}
		meaning := "The " + t.is + " is another one."
		switch {
		case a == nil:
			meaning = "There is a " + t.is + " now."
		case b == nil:
			meaning = "The " + t.is + " is gone."
		}
		w.add(p.of(t.keyword, TextOnly, meaning))
	}
}

// says is the sentence about a rule with a subject like "upper limit".
func says(subject string, added, removed bool, kind Kind) string {
	s := "The " + subject
	switch kind {
	case TextOnly:
		return s + " is written differently and means the same."
	case Wider, NewPower:
		if removed {
			return s + " is gone."
		}
		return s + " is looser: more is accepted."
	case Narrower:
		if added {
			return s + " is new: less is accepted."
		}
		return s + " is stricter: less is accepted."
	case Breaking:
	}
	switch {
	case added:
		return s + " is new, and what was accepted may be refused."
	case removed:
		return s + " is gone, and what was accepted may be refused."
	}
	return s + " is another one, and what was accepted may be refused."
}

// maxName is how much of a property's name is repeated.
const maxName = 60

// quoted is the name of a property, in quotes, with nothing in it that is not plainly visible.
func quoted(name string) string {
	var b strings.Builder
	b.WriteString("“")
	n := 0
	for _, r := range name {
		if n++; n > maxName {
			b.WriteString("…")
			break
		}
		if !visible(r) {
			r = unicode.ReplacementChar
		}
		b.WriteRune(r)
	}
	b.WriteString("”")
	return b.String()
}

// visible reports whether a character shows itself, and cannot end the quotes.
func visible(r rune) bool {
	if r < unicode.MaxASCII {
		return r >= ' '
	}
	return unicode.In(r, unicode.L, unicode.N) && !unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r)
}

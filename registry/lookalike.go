package registry

import (
	"strings"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// Skeleton is a name as a hasty eye sees it: compatibility forms, upper and lower case, letters of other scripts that
// look Latin, and the digits and letters that are easily taken for one another (1, l, I, i and |; 0 and o) are one.
// Names that look alike have one skeleton; whether two names of one skeleton really look alike, [lookAlike] says,
// since i and l alone do not. Characters that are not drawn leave no trace. It is idempotent, and "" only for "".
//
// Skeletons are stored. Who changes what it does empties tools.skeleton in a migration; the leader fills it anew.
func Skeleton(name string) string {
	s := name
	for range 8 { // each round makes it simpler; the second seldom finds anything
		next := easilyTaken.Replace(folded(s))
		if next == s {
			break
		}
		s = next
	}
	return s
}

var easilyTaken = strings.NewReplacer("1", "l", "i", "l", "|", "l", "0", "o")

// asDrawn makes one what fonts draw alike, while upper and lower case still differ.
var asDrawn = strings.NewReplacer("1", "l", "I", "l", "|", "l", "0", "O")

// lookAlike reports whether a and b are drawn nearly alike, or differ in upper and lower case alone.
func lookAlike(a, b string) bool {
	return folded(a) == folded(b) || fold(asDrawn.Replace(latin(a))) == fold(asDrawn.Replace(latin(b)))
}

// folded is a text in Latin letters where they look so, without its case.
func folded(s string) string {
	if isPlain(s) {
		return strings.ToLower(s)
	}
	return fold(latin(s))
}

// isPlain reports whether s is printable ASCII, of which nothing looks like another script.
func isPlain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// fold takes away the case. Folding can make what has another compatibility form, and the other way round, so it goes
// on until nothing changes; two rounds do for all of Unicode.
func fold(s string) string {
	for range 4 {
		next := norm.NFKC.String(cases.Fold().String(s))
		if next == s {
			break
		}
		s = next
	}
	return s
}

// latin writes a name in Latin letters, if all its letters can pass for Latin. One that cannot gives the whole name
// away as what it is, and the name stays as it is.
func latin(name string) string {
	s := drawn(norm.NFKC.String(name))
	for _, r := range s {
		if unicode.IsLetter(r) && !passesForLatin(r) {
			return s
		}
	}
	return norm.NFKC.String(strings.Map(toLatin, s))
}

// drawn leaves out what is not drawn, unless nothing would be left.
func drawn(s string) string {
	out := strings.Map(func(r rune) rune {
		if classify(r) != "" {
			return -1
		}
		return r
	}, s)
	if out == "" {
		return s
	}
	return out
}

func passesForLatin(r rune) bool {
	_, alike := latinFor[r]
	return alike || unicode.Is(unicode.Latin, r)
}

func toLatin(r rune) rune {
	if l, alike := latinFor[r]; alike {
		return l
	}
	return r
}

// mixedScripts gives the first letter of another script in a name that is otherwise Latin, if the letter could pass for
// a Latin one, else 0.
func mixedScripts(name string) rune {
	var odd rune
	plain := false
	for _, r := range name {
		_, alike := latinFor[r]
		switch {
		case unicode.Is(unicode.Latin, r):
			plain = true
		case alike && odd == 0:
			odd = r
		}
	}
	if !plain {
		return 0
	}
	return odd
}

// drawnAs lists, for each Latin letter, the letters that common fonts draw like it: Cyrillic, Greek, Armenian, Cherokee,
// and what Latin itself has twice. Full-width and other compatibility forms are no part of it: NFKC knows them. Pairs
// of letters that look like one (rn and m, vv and w) are none either: too many honest words differ in them.
var drawnAs = map[rune]string{
	'A': "АΑᎪ", 'B': "ВΒᏴ", 'C': "СᏟ", 'D': "Ꭰ", 'E': "ЕΕᎬ", 'F': "Ϝ", 'G': "ԌᏀ", 'H': "НΗᎻҺ", 'I': "ІΙӀ",
	'J': "ЈᎫͿ", 'K': "КΚᏦ", 'L': "ԼᏞ", 'M': "МΜϺᎷ", 'N': "Ν", 'O': "ОΟՕ", 'P': "РΡᏢ", 'Q': "Ԛ", 'R': "ᎡᏒ",
	'S': "ЅՏᏚ", 'T': "ТΤᎢ", 'U': "Ս", 'V': "ᏙѴ", 'W': "ԜᎳᏔ", 'X': "ХΧ", 'Y': "УΥҮᎩ", 'Z': "ΖᏃ",
	'a': "аαɑ", 'c': "сᴄ", 'd': "ԁ", 'e': "е", 'g': "ցɡ", 'h': "һհ", 'i': "іιı", 'j': "јϳ", 'k': "кκ", 'l': "ӏ",
	'n': "ո", 'o': "оοօᴏ", 'p': "рρ", 'q': "ԛզգ", 'r': "г", 's': "ѕꜱ", 'u': "υսᴜ", 'v': "νѵᴠ", 'w': "ԝωաᴡ", 'x': "хχ",
	'y': "уγүყ", 'z': "ᴢ",
}

// latinFor is drawnAs the other way round, with Cherokee's small letters, which are drawn as its capitals.
var latinFor = func() map[rune]rune {
	m := map[rune]rune{}
	for l, others := range drawnAs {
		for _, r := range others {
			m[r] = l
			if unicode.Is(unicode.Cherokee, r) {
				m[unicode.ToLower(r)] = l
			}
		}
	}
	return m
}()

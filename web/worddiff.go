package web

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/sergi/go-diff/diffmatchpatch"
)

// wordsToCompare bounds how many words of a text are compared, after what is the same at both ends. What is longer
// counts as replaced as a whole: a comparison must not take seconds because somebody wrote a megabyte.
const wordsToCompare = 2000

// piece is a stretch of a text that is on both sides, or only on its own.
type piece struct {
	text    string
	changed bool
}

// compareWords takes two texts apart into what they share and what only one of them has, word by word. Joined again,
// each side is the text that was given.
func compareWords(before, after string) (left, right []piece) {
	old, now := wordsOf(before), wordsOf(after)
	head := 0
	for head < len(old) && head < len(now) && old[head] == now[head] {
		head++
	}
	tail := 0
	for tail < len(old)-head && tail < len(now)-head && old[len(old)-1-tail] == now[len(now)-1-tail] {
		tail++
	}
	left = add(left, old[:head], false)
	right = add(right, now[:head], false)
	l, r := compareMiddle(old[head:len(old)-tail], now[head:len(now)-tail])
	left, right = append(left, l...), append(right, r...)
	left = add(left, old[len(old)-tail:], false)
	right = add(right, now[len(now)-tail:], false)
	return left, right
}

func add(pieces []piece, words []string, changed bool) []piece {
	if len(words) == 0 {
		return pieces
	}
	return append(pieces, piece{strings.Join(words, ""), changed})
}

// compareMiddle compares what differs at both ends. Each word stands for one character in the comparison.
func compareMiddle(old, now []string) (left, right []piece) {
	if len(old) > wordsToCompare || len(now) > wordsToCompare {
		return add(nil, old, true), add(nil, now, true)
	}
	runeOf, wordOf := map[string]rune{}, []string{}
	encode := func(words []string) []rune {
		out := make([]rune, len(words))
		for i, word := range words {
			r, known := runeOf[word]
			if !known {
				r = firstCode + rune(len(wordOf)) //nolint:gosec // twice wordsToCompare at most
				runeOf[word] = r
				wordOf = append(wordOf, word)
			}
			out[i] = r
		}
		return out
	}
	decode := func(coded string) []string {
		var words []string
		for _, r := range coded {
			words = append(words, wordOf[r-firstCode])
		}
		return words
	}
	d := diffmatchpatch.New()
	d.DiffTimeout = 0 // the words are bounded, so that the answer is the same on every machine
	diffs := d.DiffCleanupSemantic(d.DiffMainRunes(encode(old), encode(now), false))
	for _, diff := range diffs {
		words := decode(diff.Text)
		switch diff.Type {
		case diffmatchpatch.DiffDelete:
			left = add(left, words, true)
		case diffmatchpatch.DiffInsert:
			right = add(right, words, true)
		case diffmatchpatch.DiffEqual:
			left, right = add(left, words, false), add(right, words, false)
		}
	}
	return left, right
}

// firstCode begins a stretch of characters without surrogates that is larger than all words that are compared.
const firstCode = 0x20000

// wordsOf takes a text apart: words, stretches of white space, and all else character by character. A stretch of
// one hidden character, or of tag characters, is a word, as it is shown as one.
func wordsOf(s string) []string {
	var words []string
	for i := 0; i < len(s); {
		n := wordLength(s[i:])
		words = append(words, s[i:i+n])
		i += n
	}
	return words
}

func wordLength(s string) int {
	r, size := utf8.DecodeRuneInString(s)
	if hidden(r, s) {
		_, n := glyph(s)
		return n
	}
	class := classOf(r)
	for n := size; ; {
		next, size := utf8.DecodeRuneInString(s[n:])
		if size == 0 || hidden(next, s[n:]) || !unicode.Is(unicode.M, next) && (class == 0 || classOf(next) != class) {
			return n
		}
		n += size
	}
}

// classOf tells letters and digits (1) from white space (2) and from all else (0).
func classOf(r rune) int {
	switch {
	case unicode.IsLetter(r), unicode.IsDigit(r), r == '_':
		return 1
	case unicode.IsSpace(r):
		return 2
	}
	return 0
}

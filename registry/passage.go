package registry

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// passages calls each with every text below value that a model would read, in a fixed order.
func passages(at *step, value any, each func(at *step, text string)) {
	switch v := value.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			passages(&step{at, key}, v[key], each)
		}
	case []any:
		for i, element := range v {
			passages(&step{at, strconv.Itoa(i)}, element, each)
		}
	case string:
		each(at, v)
	}
}

// sentences cuts a text where sentences end.
func sentences(text string) []string {
	var out []string
	start := 0
	for i, r := range text {
		ends := r == '\n' || r == '!' || r == '?' || r == ';' || r == '。'
		if r == '.' { // not the dot within a name or a number
			rest := text[i+1:]
			ends = rest == "" || rest[0] == ' ' || rest[0] == '\n'
		}
		if ends {
			out = append(out, text[start:i])
			start = i + 1
		}
	}
	return append(out, text[start:])
}

// wordsOf cuts a sentence into words; what joins the parts of a name belongs to the word.
func wordsOf(sentence string) []string {
	words := strings.FieldsFunc(sentence, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r) && !strings.ContainsRune("_-./'’", r)
	})
	for i, w := range words {
		words[i] = strings.Trim(w, "_-./'’")
	}
	return slices.DeleteFunc(words, func(w string) bool { return w == "" })
}

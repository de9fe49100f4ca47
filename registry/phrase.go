package registry

import (
	"slices"
	"strings"
)

// phrase is a way to say something: one word of each of its steps, in order, in one sentence, and no more than apart
// words from one step to the next. It is no grammar, and needs none: it orders a queue.
type phrase struct {
	rule  int // index of what it means
	apart int
	steps []map[string]bool
}

// say makes a phrase from its steps, each a list of words.
func say(rule, apart int, steps ...string) phrase {
	p := phrase{rule: rule, apart: apart}
	for _, s := range steps {
		p.steps = append(p.steps, wordSet(s))
	}
	return p
}

// phrasebook finds many phrases in one pass over the words of a text.
type phrasebook struct {
	phrases []phrase
	places  map[string][]place // where a word stands in phrases, later steps first
}

type place struct{ phrase, step int }

func newPhrasebook(phrases []phrase) phrasebook {
	b := phrasebook{phrases: phrases, places: map[string][]place{}}
	for i, p := range phrases {
		for step, words := range slices.Backward(p.steps) {
			for w := range words {
				b.places[w] = append(b.places[w], place{i, step})
			}
		}
	}
	return b
}

// in gives the rules whose phrases are in a sentence, in order. The time it takes grows with the words alone.
func (b phrasebook) in(words []string) []int {
	var found []int
	reached := map[place]int{} // a step, with all before it → where its last word stood
	for at, w := range words {
		for _, pl := range b.places[w] {
			p := b.phrases[pl.phrase]
			if pl.step > 0 {
				before, is := reached[place{pl.phrase, pl.step - 1}]
				if !is || at-before > p.apart {
					continue
				}
			}
			if pl.step == len(p.steps)-1 {
				found = append(found, p.rule)
			}
			reached[pl] = at
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// plainWords are the words of a sentence as a phrasebook knows them: lower case, look-alike letters made Latin, and
// without apostrophes.
func plainWords(sentence string) []string {
	words := wordsOf(folded(sentence))
	for i, w := range words {
		if strings.ContainsAny(w, "'’") {
			words[i] = strings.Map(func(r rune) rune {
				if r == '\'' || r == '’' {
					return -1
				}
				return r
			}, w)
		}
	}
	return words
}

package cleanse

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"

	ahocorasick "github.com/BobuSumisu/aho-corasick"
	"github.com/spf13/viper"
	"github.com/zricethezav/gitleaks/v8/config"
)

// ruleset is the default rules of gitleaks, with the words of which one has to be near for a rule to be tried.
//
// Their patterns are slow, so they see little of a text. A key is in a dense run of characters; a rule for what has a
// certain look (a prefix, say) is tried where its word is in the run or just before, one for name = value where its word is just
// before the sign.
type ruleset struct {
	rules    []config.Rule
	assigned []bool // by rule: it is for name = value
	blocks   []bool // by rule: it is for a block of lines
	allowed  []*config.Allowlist
	words    *ahocorasick.Trie
	wordsOf  [][]int // rules, by the number of the word
	wordless []int
}

// loadRules reads the rules once. They are compiled into the program, so that they cannot fail to load.
var loadRules = sync.OnceValue(func() *ruleset {
	set, err := readRules(config.DefaultConfig)
	if err != nil {
		panic(err) //nolint:forbidigo // the rules are a constant; a test loads them
	}
	return set
})

func readRules(toml string) (*ruleset, error) {
	v := viper.New()
	v.SetConfigType("toml")
	if err := v.ReadConfig(strings.NewReader(toml)); err != nil {
		return nil, fmt.Errorf("reading the rules for secrets: %w", err)
	}
	var file config.ViperConfig
	if err := v.Unmarshal(&file); err != nil {
		return nil, fmt.Errorf("reading the rules for secrets: %w", err)
	}
	compiled, err := file.Translate()
	if err != nil {
		return nil, fmt.Errorf("compiling the rules for secrets: %w", err)
	}
	set := &ruleset{allowed: compiled.Allowlists}
	numbers, words := map[string]int{}, []string{}
	for _, id := range compiled.OrderedRules {
		rule := compiled.Rules[id]
		if rule.Regex == nil || rule.Path != nil {
			continue // about files, of which there are none here
		}
		set.rules = append(set.rules, rule)
		set.blocks = append(set.blocks, strings.Contains(rule.Regex.String(), `[\s\S`))
		set.assigned = append(set.assigned, strings.Contains(rule.Regex.String(), "(?:=|>|:"))
		for _, w := range rule.Keywords {
			n, known := numbers[w]
			if !known {
				n = len(words)
				numbers[w], words, set.wordsOf = n, append(words, w), append(set.wordsOf, nil)
			}
			set.wordsOf[n] = append(set.wordsOf[n], len(set.rules)-1)
		}
		if len(rule.Keywords) == 0 {
			set.wordless = append(set.wordless, len(set.rules)-1)
		}
	}
	set.words = ahocorasick.NewTrieBuilder().AddStrings(words).Build()
	return set, nil
}

// secret is a part of a text that a rule names.
type secret struct {
	span
	rule string
}

// How far from a run things may be: the sign before it, and the word before that or before the run; what a pattern sees.
const (
	signAhead = 8
	wordAhead = 48
	before    = 160
	behind    = 24
	longRun   = 8 << 10  // of a longer run only both ends are looked at
	longBlock = 16 << 10 // of several lines

	secretCost = 512 // of finding that a match is no exception, in bytes of the budget
)

// search looks for secrets in one text. It has a budget: what is left when it is spent counts as found.
type search struct {
	set    *ruleset
	s      string
	low    []byte // s with ASCII in lower case
	budget int
	found  []secret
}

func newSearch(s string, size int) *search {
	return &search{set: loadRules(), s: s, low: lower(s), budget: min(8*size, 16<<20) + 256<<10}
}

// run looks at one dense run.
func (q *search) run(at span) {
	if at.end-at.start > longRun {
		q.run(span{at.start, at.start + longRun/2})
		q.run(span{at.end - longRun/2, at.end})
		return
	}
	if n := len(q.found); n > 0 && q.found[n-1].end >= at.end {
		return
	}
	for _, n := range q.words(at) {
		near := span{max(0, at.start-before), min(len(q.s), at.end+behind)}
		switch {
		case q.set.blocks[n]:
			near = span{at.start, min(len(q.s), at.start+longBlock)}
		case q.set.assigned[n]:
			near.start = max(0, at.start-signAhead-wordAhead)
		}
		if q.budget -= near.end - near.start; q.budget < 0 {
			q.found = append(q.found, secret{at, "unchecked"})
			return
		}
		known := len(q.found)
		q.found = q.set.apply(q.found, &q.set.rules[n], q.s[near.start:near.end], near.start)
		q.budget -= secretCost * (len(q.found) - known)
	}
}

// words are the rules whose word is where it has to be for a run.
func (q *search) words(at span) []int {
	from, sign := max(0, at.start-wordAhead-signAhead), q.signBefore(at.start)
	var wanted []int
	q.set.words.Walk(q.low[from:at.end], func(last, _, word int64) bool {
		for _, n := range q.set.wordsOf[word] {
			if (!q.set.assigned[n] || sign > 0 && from+int(last) < sign) && !slices.Contains(wanted, n) {
				wanted = append(wanted, n)
			}
		}
		return true
	})
	return append(wanted, q.set.wordless...)
}

// signBefore returns the place of the sign that gives the value at i to a name, 0 if there is none.
func (q *search) signBefore(i int) int {
	for n := i - 1; n >= max(0, i-signAhead); n-- {
		if strings.IndexByte("=>:|?,", q.s[n]) >= 0 {
			return n
		}
	}
	return 0
}

// apply appends what one rule finds.
func (set *ruleset) apply(found []secret, rule *config.Rule, part string, from int) []secret {
	for _, m := range rule.Regex.FindAllStringSubmatchIndex(part, -1) {
		at := span{m[0], m[1]}
		for g := 1; g < len(m)/2; g++ {
			if (rule.SecretGroup == 0 || rule.SecretGroup == g) && m[2*g] >= 0 && m[2*g] < m[2*g+1] {
				at = span{m[2*g], m[2*g+1]}
				break
			}
		}
		text := part[at.start:at.end]
		if rule.Entropy != 0 && entropy(text) <= rule.Entropy {
			continue
		}
		match := part[m[0]:m[1]]
		if exempt(set.allowed, text, match, part, at) || exempt(rule.Allowlists, text, match, part, at) {
			continue
		}
		found = append(found, secret{span{from + at.start, from + at.end}, rule.RuleID})
	}
	return found
}

// exempt reports whether the rules say themselves that this is no secret.
func exempt(lists []*config.Allowlist, text, match, part string, at span) bool {
	for _, list := range lists {
		target := text
		switch list.RegexTarget {
		case "match":
			target = match
		case "line":
			start := strings.LastIndexByte(part[:at.start], '\n') + 1
			line, _ := lineAt(part, start)
			target = part[line.start:max(line.end, at.end)]
		}
		byPattern := list.RegexAllowed(target)
		byWord, _ := list.ContainsStopWord(text)
		if list.MatchCondition == config.AllowlistMatchAnd {
			if (byPattern || len(list.Regexes) == 0) && (byWord || len(list.StopWords) == 0) && len(list.Paths)+len(list.Commits) == 0 {
				return true
			}
			continue
		}
		if byPattern || byWord {
			return true
		}
	}
	return false
}

// lower lowers ASCII letters only, so that places stay where they are.
func lower(s string) []byte {
	b := []byte(s)
	for i, c := range b {
		if classes[c]&upper != 0 {
			b[i] = c + 'a' - 'A'
		}
	}
	return b
}

// entropy is Shannon's, in bits a character.
func entropy(s string) float64 {
	counts, total := map[rune]int{}, 0
	for _, r := range s {
		counts[r]++
		total++
	}
	bits := 0.0
	for _, n := range counts {
		p := float64(n) / float64(total)
		bits -= p * math.Log2(p)
	}
	return bits
}

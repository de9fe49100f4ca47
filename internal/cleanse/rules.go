package cleanse

import (
	"fmt"
	"math"
	"strings"
	"sync"

	ahocorasick "github.com/BobuSumisu/aho-corasick"
	"github.com/spf13/viper"
	"github.com/zricethezav/gitleaks/v8/config"
)

// ruleset is the default rules of gitleaks, with the words of which one has to be near for a rule to be tried.
type ruleset struct {
	rules    []config.Rule
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

// find appends the secrets in s[from:to].
func (set *ruleset) find(found []secret, s string, from, to int) []secret {
	part := s[from:to]
	wanted := make([]bool, len(set.rules))
	for _, n := range set.wordless {
		wanted[n] = true
	}
	set.words.Walk([]byte(lower(part)), func(_, _, word int64) bool {
		for _, n := range set.wordsOf[word] {
			wanted[n] = true
		}
		return true
	})
	for n := range set.rules {
		if wanted[n] {
			found = set.apply(found, &set.rules[n], part, from)
		}
	}
	return found
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
func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if classes[c]&upper != 0 {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
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

package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// argument is one row of "exactly what will be sent".
type argument struct {
	name, kind string
	value      string // as text: a string's content, or JSON
	masked     string // instead of the value: the rule that hides it, and how long it is
}

// A secretRule names what is never shown. It hides a value on the screen only: what is sent, and hashed, has it.
type secretRule struct {
	name  string
	key   *regexp.Regexp // of the key in lower_snake_case
	value *regexp.Regexp // of a string
}

var secretRules = []secretRule{
	{name: "credentials", key: regexp.MustCompile(`(^|_)(pass(word|wd|phrase|code)?|pwd|secret|token|bearer|authorization|credential|cookie|(api|access|private|secret|signing|encryption)_?key|apikey)s?($|_)`)},
	{name: "token formats", value: regexp.MustCompile(`\b(gh[pousr]_|github_pat_|glpat-|sk-|sk_live_|rk_live_|xox[abeprs]-|AKIA|ASIA|npm_|hf_|cst_|csk_|csa_)[A-Za-z0-9_-]{12,}|\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.|-----BEGIN [A-Z ]*PRIVATE KEY|(?i:\bbearer )[A-Za-z0-9._~+/-]{12,}`)},
	{name: "address with a password", value: regexp.MustCompile(`\b[a-z][a-z0-9+.-]*://[^\s/:@]*:[^\s/@]+@`)},
}

// counts are keys that name a number of tokens, not a token.
var counts = regexp.MustCompile(`(^|_)(max|min|num|total|count|limit|input|output|prompt|completion)_tokens?$|_tokens?_(count|limit|used)$|^tokens$`)

// ruleFor is the name of the rule that hides a value under a key, or "".
func ruleFor(key string, value json.RawMessage) string {
	if len(value) == 0 || value[0] == 'n' || value[0] == 't' || value[0] == 'f' {
		return ""
	}
	key = snake(key)
	text := ""
	if value[0] == '"' {
		_ = json.Unmarshal(value, &text) // it was decoded from JSON
	}
	isNumber := value[0] == '-' || value[0] >= '0' && value[0] <= '9'
	for _, rule := range secretRules {
		if rule.key != nil && rule.key.MatchString(key) && (!isNumber || !counts.MatchString(key)) {
			return rule.name
		}
		if rule.value != nil && text != "" && rule.value.MatchString(text) {
			return rule.name
		}
	}
	return ""
}

// snake writes accessToken, Access-Token, AWSSecretKey and ACCESS.TOKEN in lower case with _ between the words.
func snake(key string) string {
	var out strings.Builder
	runes := []rune(key)
	for i, r := range runes {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			out.WriteByte('_')
			continue
		}
		if i > 0 && unicode.IsUpper(r) {
			afterLower := unicode.IsLower(runes[i-1]) || unicode.IsDigit(runes[i-1])
			beforeLower := unicode.IsUpper(runes[i-1]) && i+1 < len(runes) && unicode.IsLower(runes[i+1])
			if afterLower || beforeLower {
				out.WriteByte('_')
			}
		}
		out.WriteRune(unicode.ToLower(r))
	}
	return out.String()
}

func maskWords(rule string, value json.RawMessage) string {
	switch value[0] {
	case '"':
		var text string
		_ = json.Unmarshal(value, &text) // it was decoded from JSON
		return fmt.Sprintf("Hidden by rule “%s”, %s", rule, plural(utf8.RuneCountInString(text), "character", "characters"))
	case '{', '[':
		return fmt.Sprintf("Hidden by rule “%s”, %s", rule, sizeOf(len(value)))
	}
	return fmt.Sprintf("Hidden by rule “%s”, a number", rule)
}

// argumentRows takes canonical arguments apart, in their order. What is no object has no rows.
func argumentRows(canonical []byte) []argument {
	var rows []argument
	_ = members(canonical, func(key string, value json.RawMessage) { // canonical JSON was read before it was hashed
		row := argument{name: key, kind: kindOf(value), value: string(value)}
		switch {
		case ruleFor(key, value) != "":
			row.masked, row.value = maskWords(ruleFor(key, value), value), ""
		case row.kind == "string":
			_ = json.Unmarshal(value, &row.value) // it was decoded from JSON
		case row.kind == "object" || row.kind == "array":
			row.value = indented(mask(value))
		}
		rows = append(rows, row)
	})
	return rows
}

func kindOf(value json.RawMessage) string {
	if len(value) == 0 {
		return ""
	}
	switch value[0] {
	case '"':
		return "string"
	case '{':
		return "object"
	case '[':
		return "array"
	case 't', 'f':
		return "boolean"
	case 'n':
		return "null"
	}
	return "number"
}

// members calls each for the members of a JSON object, in their order.
func members(object []byte, each func(key string, value json.RawMessage)) error {
	dec := json.NewDecoder(bytes.NewReader(object))
	dec.UseNumber()
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return err
	}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return err
		}
		key, ok := t.(string)
		if !ok {
			return fmt.Errorf("reading a member: %v is no key", t)
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return err
		}
		each(key, value)
	}
	return nil
}

func quoted(s string) json.RawMessage {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		return json.RawMessage(`""`)
	}
	return bytes.TrimSpace(out.Bytes())
}

func indented(value []byte) string {
	var out bytes.Buffer
	if err := json.Indent(&out, value, "", "  "); err != nil {
		return string(value)
	}
	return out.String()
}

// hiddenCues says which arguments have characters that a reader would not see as what they are.
func hiddenCues(canonical []byte) []Cue {
	var where []string
	for _, r := range argumentRows(canonical) {
		if slices.ContainsFunc(append(runs(r.name), runs(r.value)...), func(r run) bool { return r.glyph }) {
			where = append(where, r.name)
		}
	}
	if len(where) == 0 {
		return nil
	}
	text := "in the argument " + where[0]
	if len(where) > 1 {
		text += fmt.Sprintf(" and %d more", len(where)-1)
	}
	return []Cue{{Tone: "write", Icon: "search", Strong: "Hidden characters", Text: text + ", shown below where they stand."}}
}

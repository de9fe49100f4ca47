package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
)

// argument is one row of "exactly what will be sent".
type argument struct {
	name, kind, value string
	masked            string // the rule that hides the value, and its length
	code              bool   // nested JSON
}

// secretRules name what is never shown. They hide a value on the screen; what is sent, and hashed, has it.
var secretRules = []struct {
	name string
	key  *regexp.Regexp
	text *regexp.Regexp
}{
	{"credentials", regexp.MustCompile(`(?i)(^|[_.-])(pass(word|wd|phrase)?|secret|token|api[_-]?key|authorization|credential|private[_-]?key)s?($|[_.-])`), nil},
	{"known token formats", nil, regexp.MustCompile(`^(ghp_|github_pat_|sk-|xox[abp]-|AKIA|eyJ[A-Za-z0-9_-]+\.eyJ|-----BEGIN |cst_|csk_)`)},
}

func maskedBy(key, text string) string {
	for _, rule := range secretRules {
		if rule.key != nil && rule.key.MatchString(key) || rule.text != nil && rule.text.MatchString(text) {
			return rule.name
		}
	}
	return ""
}

// argumentRows takes canonical arguments apart, in their order.
func argumentRows(canonical []byte) []argument {
	var rows []argument
	dec := json.NewDecoder(bytes.NewReader(canonical))
	dec.UseNumber()
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return rows
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return rows
		}
		rows = append(rows, row(fmt.Sprint(key), value))
	}
	return rows
}

func row(key string, value json.RawMessage) argument {
	a := argument{name: key, value: string(value)}
	switch {
	case len(value) == 0:
		return a
	case value[0] == '"':
		a.kind = "string"
		_ = json.Unmarshal(value, &a.value) // it is canonical JSON
		if rule := maskedBy(key, a.value); rule != "" {
			a.masked = fmt.Sprintf("Hidden by rule “%s”, %d characters", rule, len([]rune(a.value)))
		}
	case value[0] == '{' || value[0] == '[':
		a.kind, a.code = "object", true
		if value[0] == '[' {
			a.kind = "array"
		}
		if rule := maskedBy(key, ""); rule != "" {
			a.masked = fmt.Sprintf("Hidden by rule “%s”, %d bytes", rule, len(value))
		}
		a.value = indented(mask(value))
	case value[0] == 't' || value[0] == 'f':
		a.kind = "boolean"
	case value[0] == 'n':
		a.kind = "null"
	default:
		a.kind = "number"
		if rule := maskedBy(key, ""); rule != "" {
			a.masked = fmt.Sprintf("Hidden by rule “%s”, %d characters", rule, len(value))
		}
	}
	return a
}

// mask hides secrets inside nested JSON; what is no secret stays byte for byte.
func mask(value json.RawMessage) json.RawMessage {
	if len(value) == 0 {
		return value
	}
	switch value[0] {
	case '{':
		rows := []string{}
		dec := json.NewDecoder(bytes.NewReader(value))
		dec.UseNumber()
		if _, err := dec.Token(); err != nil {
			return value
		}
		for dec.More() {
			key, err := dec.Token()
			if err != nil {
				return value
			}
			var inner json.RawMessage
			if err := dec.Decode(&inner); err != nil {
				return value
			}
			name := fmt.Sprint(key)
			if r := row(name, inner); r.masked != "" {
				inner = quoted(r.masked)
			} else {
				inner = mask(inner)
			}
			rows = append(rows, string(quoted(name))+":"+string(inner))
		}
		return json.RawMessage("{" + strings.Join(rows, ",") + "}")
	case '[':
		var items []json.RawMessage
		if err := json.Unmarshal(value, &items); err != nil {
			return value
		}
		out := []string{}
		for _, item := range items {
			if r := row("", item); r.masked != "" {
				item = quoted(r.masked)
			} else {
				item = mask(item)
			}
			out = append(out, string(item))
		}
		return json.RawMessage("[" + strings.Join(out, ",") + "]")
	}
	return value
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

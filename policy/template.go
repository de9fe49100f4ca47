package policy

import (
	"regexp"
	"strings"
)

// template is a resource whose URI is an RFC 6570 template.
type template struct {
	tool    int
	pattern *regexp.Regexp
}

// newTemplate reads uri as a template; ok is false if it is a plain URI.
//
// {id} stands for a part of a path: one byte or more, none of / ? #. An expression
// with an operator, such as {+path} or {?q}, stands for any text. That is wider
// than the RFC: a resource is then judged as one that is known, by its rules, and
// not left to whatever the server makes of it.
func newTemplate(uri string) (pattern *regexp.Regexp, ok bool) {
	if !strings.Contains(uri, "{") {
		return nil, false
	}
	var b strings.Builder
	b.WriteString(`\A(?s:`)
	for uri != "" {
		literal, rest, found := strings.Cut(uri, "{")
		b.WriteString(regexp.QuoteMeta(literal))
		if !found {
			break
		}
		expression, after, closed := strings.Cut(rest, "}")
		if !closed {
			return nil, false
		}
		if expression != "" && strings.ContainsRune("+#./;?&", rune(expression[0])) {
			b.WriteString(`.*`)
		} else {
			b.WriteString(`[^/?#]+`)
		}
		uri = after
	}
	b.WriteString(`)\z`)
	compiled, err := regexp.Compile(b.String())
	return compiled, err == nil
}

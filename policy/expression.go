package policy

import (
	"regexp"
	"strings"
)

// What a gateway that evaluates the document with another engine needs of the language: patterns as regular expressions
// in the syntax of RE2, which every engine knows, and which takes linear time.

// GlobExpression returns a regular expression that matches what Glob does with pattern, of texts that are UTF-8.
func GlobExpression(pattern string) string {
	var b strings.Builder
	b.WriteString(`\A(?s:`)
	for i, literal := range strings.Split(pattern, "*") {
		switch {
		case i > 0 && literal == "" && strings.HasSuffix(b.String(), `.*`): // ** is *
			continue
		case i > 0:
			b.WriteString(`.*`)
		}
		b.WriteString(regexp.QuoteMeta(literal))
	}
	b.WriteString(`)\z`)
	return b.String()
}

// TemplateExpression returns a regular expression that matches the URIs that are judged as the resource of a URI
// template; ok is false for a plain URI, which matches itself alone.
func TemplateExpression(uri string) (expression string, ok bool) {
	pattern, ok := newTemplate(uri)
	if !ok {
		return "", false
	}
	return pattern.String(), true
}

// UserPattern splits the pattern of a user into patterns of the issuer and the subject; issuer is empty for any.
func UserPattern(pattern string) (issuer, subject string) {
	issuer, subject, _ = splitUser(pattern)
	return issuer, subject
}

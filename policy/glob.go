package policy

import "strings"

// Glob reports whether s matches pattern, in which * stands for any text, also
// none, and every other byte for itself.
func Glob(pattern, s string) bool {
	star, mark := -1, 0
	p, i := 0, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && pattern[p] == s[i]:
			p++
			i++
		case star >= 0: // let the last star take one byte more
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// isGlob reports whether a pattern can match more than itself.
func isGlob(pattern string) bool { return strings.IndexByte(pattern, '*') >= 0 }

func anyGlob(patterns []string, s string) bool {
	for _, p := range patterns {
		if Glob(p, s) {
			return true
		}
	}
	return false
}

// splitUser splits the pattern of a user into those of issuer and subject. Only
// what holds "://" is an issuer, as some providers use | inside a subject.
func splitUser(pattern string) (issuer, subject string, qualified bool) {
	issuer, subject, found := strings.Cut(pattern, "|")
	if found && strings.Contains(issuer, "://") {
		return issuer, subject, true
	}
	return "", pattern, false
}

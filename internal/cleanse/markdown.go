package cleanse

import (
	"maps"
	"strings"
)

// paragraph is what of s comes before the next blank line.
func paragraph(s string) string {
	for i := 0; ; {
		n := strings.IndexByte(s[i:], '\n')
		if n < 0 {
			return s
		}
		i += n + 1
		line, _ := lineAt(s, i)
		if i < len(s) && strings.TrimLeft(s[line.start:line.end], " \t") == "" {
			return s[:i]
		}
		if i >= len(s) {
			return s
		}
	}
}

// closingBracket returns the index of the bracket that closes the one at open, -1 if none does.
func closingBracket(s string, open int) int {
	depth := 0
	for i := open; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '[':
			depth++
		case ']':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

// destination reads what stands between the parentheses of a link, after the opening one: an address and perhaps a
// title. n is the length with the closing parenthesis.
func destination(s string) (address string, n int, ok bool) {
	i := skip(s, 0)
	start := i
	if strings.HasPrefix(s[i:], "<") {
		for i++; i < len(s) && s[i] != '>' && s[i] != '\n'; i++ {
			if s[i] == '\\' {
				i++
			}
		}
		if i >= len(s) || s[i] != '>' {
			return "", 0, false
		}
		address = s[start+1 : i]
		i++
	} else {
		depth := 0
		for ; i < len(s) && s[i] > ' ' && (s[i] != ')' || depth > 0); i++ {
			switch s[i] {
			case '\\':
				i++
			case '(':
				depth++
			case ')':
				depth--
			}
		}
		i = min(i, len(s))
		address = s[start:i]
	}
	if i = title(s, skip(s, i)); i < len(s) && s[i] == ')' {
		return address, i + 1, true
	}
	return "", 0, false
}

// title skips the title of a link, if there is one at i, and the space after it.
func title(s string, i int) int {
	if i >= len(s) || strings.IndexByte(`"'(`, s[i]) < 0 {
		return i
	}
	closing := s[i]
	if closing == '(' {
		closing = ')'
	}
	for i++; i < len(s) && s[i] != closing; i++ {
		if s[i] == '\\' {
			i++
		}
	}
	return skip(s, i+1)
}

func skip(s string, i int) int {
	i = min(i, len(s))
	for i < len(s) && strings.IndexByte(space, s[i]) >= 0 {
		i++
	}
	return i
}

// labels are what addresses that load are defined as, normalised.
type labels map[string]bool

// and is the union.
func (l labels) and(m labels) labels {
	if len(l) == 0 {
		return m
	}
	maps.Copy(l, m)
	return l
}

func (l labels) has(label string) bool { return len(l) > 0 && l[normalised(label)] }

// maxLabel is how long a label may be; Markdown allows no longer ones.
const maxLabel = 1000

// definitions returns the labels that a text defines as addresses that load.
func (f *Filter) definitions(s string) labels {
	var found labels
	for i := 0; ; {
		n := strings.Index(s[i:], "]:")
		if n < 0 {
			return found
		}
		i += n + 2
		start := skip(s, i)
		address := s[start:min(len(s), start+lookAhead)]
		if end := strings.IndexAny(address, space+"]"); end >= 0 {
			address = address[:end]
		}
		if !f.fetches(address) {
			continue
		}
		before := s[max(0, i-2-maxLabel) : i-2]
		if found == nil {
			found = labels{}
		}
		found[normalised(before[strings.LastIndexByte(before, '[')+1:])] = true
	}
}

// normalised is a label as Markdown compares it.
func normalised(label string) string {
	return strings.ToLower(strings.ToUpper(strings.Join(strings.Fields(label), " ")))
}

package cleanse

import (
	"slices"
	"strings"
)

// marker begins what stands for a secret.
const marker = "[secret removed: "

// Around a string that may be a key, so much of the text is looked at: names of variables stand before it.
const (
	before = 200
	behind = 60
)

// redact replaces secrets.
func redact(s string) (string, bool) {
	var found []secret
	keys := dense(s)
	for _, near := range windows(keys, len(s)) {
		found = loadRules().find(found, s, near.start, near.end)
	}
	found = encoded(found, s, keys)
	found = passwords(found, s)
	found = accounts(found, s)
	if len(found) == 0 {
		return s, false
	}
	return cut(s, found)
}

// cut replaces the secrets that were found, the outermost where they overlap.
func cut(s string, found []secret) (string, bool) {
	slices.SortStableFunc(found, func(a, b secret) int {
		if a.start != b.start {
			return a.start - b.start
		}
		return b.end - a.end
	})
	ours := markers(s)
	var out strings.Builder
	copied := 0
	for i := 0; i < len(found); i++ {
		at := found[i]
		for i+1 < len(found) && found[i+1].start < at.end {
			i++
			at.end = max(at.end, found[i].end)
		}
		if within(ours, at.span) {
			continue
		}
		out.WriteString(s[copied:at.start])
		out.WriteString(marker + at.rule + "]")
		copied = at.end
	}
	if copied == 0 {
		return s, false
	}
	out.WriteString(s[copied:])
	return out.String(), true
}

// markers are the places of what stands for secrets that were removed before.
func markers(s string) []span {
	var all []span
	for i := 0; ; {
		n := strings.Index(s[i:], marker)
		if n < 0 {
			return all
		}
		start := i + n
		end := strings.IndexByte(s[start:min(len(s), start+len(marker)+80)], ']')
		if end < 0 {
			i = start + len(marker)
			continue
		}
		i = start + end + 1
		all = append(all, span{start, i})
	}
}

// within reports whether at touches a marker.
func within(ours []span, at span) bool {
	n, _ := slices.BinarySearchFunc(ours, at.start, func(o span, start int) int {
		if o.end <= start {
			return -1
		}
		return 1
	})
	return n < len(ours) && ours[n].start < at.end
}

// dense returns the runs of characters in which a key could be: long, and with a digit in it or with capitals inside.
func dense(s string) []span {
	var runs []span
	start, seen := 0, class(0)
	for i := range len(s) {
		c := classes[s[i]]
		if c&token != 0 {
			seen |= c
			continue
		}
		if i-start >= 12 && isDense(i-start, seen) {
			runs = append(runs, span{start, i})
		}
		start, seen = i+1, 0
	}
	if isDense(len(s)-start, seen) {
		runs = append(runs, span{start, len(s)})
	}
	return runs
}

func isDense(length int, seen class) bool {
	return length >= 12 && seen&digit != 0 || length >= 32 && seen&upper != 0
}

// windows are what of a text of that length is near the runs, without overlaps.
func windows(runs []span, length int) []span {
	var all []span
	for _, r := range runs {
		w := span{max(0, r.start-before), min(length, r.end+behind)}
		if n := len(all); n > 0 && w.start <= all[n-1].end {
			all[n-1].end = w.end
			continue
		}
		all = append(all, w)
	}
	return all
}

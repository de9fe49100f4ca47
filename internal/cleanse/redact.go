package cleanse

import (
	"math/bits"
	"slices"
	"strings"
)

// marker begins what stands for a secret.
const marker = "[secret removed: "

// redact replaces secrets.
func redact(s string) (string, bool) {
	found := secretsIn(s, dense(s), len(s))
	found = passwords(found, s)
	found = accounts(found, s)
	if len(found) == 0 {
		return s, false
	}
	return cut(s, found)
}

// secretsIn appends what the rules find at the runs of s, and what is found when they are decoded.
func secretsIn(s string, runs []span, size int) []secret {
	found := []secret{}
	if len(runs) > 0 {
		q := newSearch(s, size)
		for _, at := range runs {
			q.run(at)
		}
		found = encoded(append(found, q.found...), s, runs)
	}
	return percents(found, s)
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

// dense returns the runs of characters in which a key could be: long, of many different characters, and with a digit
// in it or with capitals inside. The first line of a private key is one too.
func dense(s string) []span {
	var runs []span
	for start := 0; start+minRun <= len(s); {
		last := start + minRun - 1
		for last >= start && classes[s[last]]&token != 0 {
			last--
		}
		if last >= start { // what ends here was too short
			start = last + 1
			continue
		}
		end, seen := start, class(0)
		for end < len(s) && classes[s[end]]&token != 0 {
			seen |= classes[s[end]]
			end++
		}
		if isDense(s[start:end], seen) {
			runs = append(runs, span{start, end})
		}
		start = end + 1
	}
	return runs
}

// minRun is how long a run is at least: the first line of a private key, up to a space.
const minRun = 10

func isDense(run string, seen class) bool {
	switch {
	case strings.HasPrefix(run, "-----"):
		return true
	case len(run) >= 12 && seen&digit != 0, len(run) >= 32 && seen&upper != 0:
		return distinct(run[:min(len(run), 1<<10)]) >= 8
	}
	return false
}

// distinct counts the different characters of a run.
func distinct(run string) int {
	var low, high uint64
	for i := range len(run) {
		if c := run[i]; c < 64 {
			low |= 1 << c
		} else {
			high |= 1 << (c - 64)
		}
	}
	return bits.OnesCount64(low) + bits.OnesCount64(high)
}

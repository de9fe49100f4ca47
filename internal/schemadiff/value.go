package schemadiff

import (
	"slices"
	"strconv"
	"strings"
)

// values lists all values that a schema can accept, where it says so: those of "const", or else of "enum"; nil: it
// does not. Not all of them need to pass its other keywords.
func (n *node) values() []*node {
	if c := n.listed("const"); c != nil {
		return c
	}
	return n.listed("enum")
}

// listed are the values of "enum" or "const"; nil: absent.
func (n *node) listed(keyword string) []*node {
	value := n.get(keyword)
	switch {
	case value == nil:
		return nil
	case keyword == "const":
		return []*node{value}
	case len(value.elements) == 0:
		return []*node{} // nothing is accepted
	}
	return value.elements
}

// keys are texts that stand for values: different ones for values that are known to differ.
func keys(values []*node) map[string]bool {
	all := make(map[string]bool, len(values))
	for _, v := range values {
		key, _ := v.key()
		all[key] = true
	}
	return all
}

// missing counts the values that have no key in the set.
func missing(values []*node, in map[string]bool) (n int) {
	for _, v := range values {
		if key, _ := v.key(); !in[key] {
			n++
		}
	}
	return n
}

// apart reports whether it is certain that no value is in both lists.
func apart(a, b []*node) bool {
	in := keys(a)
	for _, v := range slices.Concat(a, b) {
		if _, exact := v.key(); !exact {
			return false
		}
	}
	return missing(b, in) == len(b)
}

// values compares "enum" and "const".
func (w *walk) values(p both) {
	for _, keyword := range []string{"enum", "const"} {
		if differ, _ := w.differ(p, []string{keyword}); len(differ) == 0 {
			continue
		}
		a, b := p.a.listed(keyword), p.b.listed(keyword)
		w.steps -= 2 * (len(a) + len(b))
		kind := kindOf(lists(b, p.a.values()), lists(a, p.b.values()))
		w.add(p.of(keyword, kind, p.valuesMeaning(a, b, kind)))
	}
}

// lists reports whether all values that can be are in a list; nil: a list of everything.
func lists(list, values []*node) bool {
	return list == nil || values != nil && missing(values, keys(list)) == 0
}

func (p both) valuesMeaning(a, b []*node, kind Kind) string {
	switch {
	case kind == TextOnly:
		return "The values that are accepted are written differently and are the same."
	case b == nil && p.typesA == typeString:
		return "Any text is accepted where only " + counted(len(a), "value was.", "values were.")
	case b == nil:
		return "Any value is accepted where only " + counted(len(a), "value was.", "values were.")
	case a == nil:
		return "Only " + counted(len(b), "value is accepted now.", "values are accepted now.")
	}
	var parts []string
	if more := missing(b, keys(a)); more > 0 {
		parts = append(parts, counted(more, "more value is accepted.", "more values are accepted."))
	}
	if fewer := missing(a, keys(b)); fewer > 0 {
		parts = append(parts, counted(fewer, "value that was accepted is refused.", "values that were accepted are refused."))
	}
	return strings.Join(parts, " ")
}

func counted(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + more
}

package schemadiff

import (
	"bytes"
	"encoding/json"
)

// Bounds of the work on a pair of schemas, and of the list. Real ones stay far below.
const (
	maxSteps   = 100_000
	maxChanges = 500
	maxHops    = 32    // references that lead to nothing but another one
	maxNested  = 1_000 // schemas within schemas, references followed
)

// Compare returns what differs between two schemas, in the order of their keywords; nil if they are equal in meaning
// and in text, whatever the space and the order of keys. A schema that is absent (no text at all) accepts anything.
// It never fails: what it cannot read, follow or finish is Breaking.
func Compare(before, after json.RawMessage) []Change {
	if bytes.Equal(before, after) {
		return nil
	}
	a, okA := read(before)
	b, okB := read(after)
	if !okA || !okB || !a.root.isSchema() || !b.root.isSchema() {
		return []Change{{Kind: Breaking, Before: before, After: after, Meaning: "One of the two is not a schema that can be read."}}
	}
	if bytes.Equal(a.root.raw, b.root.raw) {
		return nil
	}
	var changes []Change
	w := &walk{work: &work{steps: maxSteps, proving: map[pair]int{}}, list: &changes, seen: map[pair]visit{}, reached: map[*node]bool{}}
	w.documents(a, b)
	return w.finish(a, b)
}

// work is what all proofs within one comparison share.
type work struct {
	steps   int // left
	nested  int // schemas we are inside of
	depth   int // how far into the value we are
	proving map[pair]int
}

type pair struct{ a, b *node }

// visit is how deep in the value a pair was met first, and whether we are still inside it.
type visit struct {
	depth int
	open  bool
}

// walk goes through two schemas once, either to list the changes or to find whether there is one that breaks.
type walk struct {
	*work

	list    *[]Change // nil: a proof
	failed  bool      // something broke
	cut     bool      // the list is full
	seen    map[pair]visit
	reached map[*node]bool // through references
}

// step spends a part of the budget; too deep is too much.
func (w *work) step() bool {
	if w.steps--; w.nested > maxNested {
		w.steps = -1
	}
	return w.steps >= 0
}

// add notes a change.
func (w *walk) add(c Change) {
	w.failed = w.failed || !c.Kind.compatible()
	switch {
	case w.list == nil:
	case len(*w.list) < maxChanges:
		*w.list = append(*w.list, c)
	default:
		w.cut = true
	}
}

// over says that nothing more can be learnt: a proof has failed, or the budget is spent.
func (w *walk) over() bool { return w.steps < 0 || w.list == nil && w.failed }

// documents compares what concerns the schemas as wholes, and then their roots.
func (w *walk) documents(a, b *document) {
	tangled := a.tangled() || b.tangled()
	same := !tangled && a.draft == b.draft && w.same(a.root, b.root)
	switch {
	case same:
	case a.draft != b.draft:
		w.whole("/$schema", a, b, "The schema is written in another dialect, so what it meant cannot be compared.")
	case a.draft == unknownDraft:
		w.whole("/$schema", a, b, "The schema is written in a dialect that we do not know.")
	}
	if tangled {
		w.whole("", a, b, "The schema refers to its parts in a way that cannot be followed.")
	}
	if a.root.endless() || b.root.endless() {
		w.whole("", a, b, "The schema refers to itself without end.")
		return
	}
	w.schema("", a.root, b.root)
	w.definitions(a.root, b.root)
}

// whole notes a change that leaves nothing provable.
func (w *walk) whole(at string, a, b *document, meaning string) {
	c := Change{Path: at, Kind: Breaking, Before: a.root.text(), After: b.root.text(), Meaning: meaning}
	if at != "" {
		c.Before, c.After = a.root.get(at[1:]).text(), b.root.get(at[1:]).text()
	}
	w.add(c)
}

// finish says what the list does not.
func (w *walk) finish(a, b *document) []Change {
	last := Change{Before: a.root.text(), After: b.root.text()}
	switch {
	case w.steps < 0:
		last.Kind, last.Meaning = Breaking, "The schemas are too large to compare."
	case w.cut:
		last.Kind, last.Meaning = Breaking, "There are more differences than are listed here."
	case len(*w.list) == 0:
		last.Kind, last.Meaning = TextOnly, "The schema is written differently and means the same."
	default:
		return *w.list
	}
	return append(*w.list, last)
}

// schema compares two subschemas for the same value. at is where the later one is.
func (w *walk) schema(at string, a, b *node) {
	if w.over() || !w.step() || w.sameText(a, b) {
		return
	}
	from, to := w.follow(a, at), w.follow(b, at)
	if meaning := unclear(from, to); meaning != "" {
		w.add(Change{Path: at, Kind: Breaking, Before: a.text(), After: b.text(), Meaning: meaning})
		return
	}
	a, b, at = from.node, to.node, to.at
	p := pair{a, b}
	if v, met := w.seen[p]; met {
		if v.open && w.depth <= v.depth {
			w.add(Change{Path: at, Kind: Breaking, Before: a.text(), After: b.text(), Meaning: "The schema refers to itself without end."})
		}
		return
	}
	w.seen[p] = visit{w.depth, true}
	w.nested++
	w.resolved(at, a, b)
	w.nested--
	w.seen[p] = visit{w.depth, false}
}

// unclear says why references do not tell what two schemas mean.
func unclear(a, b followed) string {
	switch {
	case a.node == nil || b.node == nil:
		return "A reference leads to a place that is not there, or outside of the schema."
	case a.vague || b.vague || !bytes.Equal(a.beside, b.beside):
		return "Something stands beside a reference, which readers of this dialect do not agree on."
	}
	return ""
}

// deeper compares two subschemas for a part of the value.
func (w *walk) deeper(at string, a, b *node) {
	w.depth++
	w.schema(at, a, b)
	w.depth--
}

// proves reports whether it is proven that b accepts whatever a does.
func (w *work) proves(a, b *node) bool {
	if b.isTrue() || a.isFalse() || w.sameText(a, b) {
		return true
	}
	p := pair{a, b}
	if depth, open := w.proving[p]; open {
		return w.depth > depth // by induction over the size of the value
	}
	w.proving[p] = w.depth
	proof := walk{work: w, seen: map[pair]visit{}}
	proof.schema("", a, b)
	delete(w.proving, p)
	return !proof.failed && w.steps >= 0
}

// provesDeeper is proves for a part of the value.
func (w *work) provesDeeper(a, b *node) bool {
	w.depth++
	defer func() { w.depth-- }()
	return w.proves(a, b)
}

// sameText reports whether two schemas have one meaning because they have one text.
func (w *work) sameText(a, b *node) bool { return !a.refers && !b.refers && w.equal(a.raw, b.raw) }

// equal reports whether two texts are the same. Long ones cost more.
func (w *work) equal(a, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	w.steps -= len(a) / 512
	return bytes.Equal(a, b)
}

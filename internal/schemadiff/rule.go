package schemadiff

import (
	"encoding/json"

	"countersign/canonical"
)

// rule is for keywords that mean something only together, and whose schemas, if any, are only asked for a proof.
type rule struct {
	keywords []string
	types    types // of the values that they look at
	subject  string
	implied  func(w *work, from, to *node) bool // whatever from accepts passes these keywords of to

	// rest says that the keyword is for what its neighbours leave, so that its meaning may change where it does not.
	rest bool
}

// both is a pair of schemas for one value, after references.
type both struct {
	at             string
	a, b           *node
	typesA, typesB types
}

// resolved compares two schemas that are no references.
func (w *walk) resolved(at string, a, b *node) {
	p := both{at: at, a: a, b: b, typesA: a.types(), typesB: b.types()}
	w.texts(p)
	switch {
	case a.isFalse():
		if !b.isFalse() {
			w.add(p.change(Wider, "Something is accepted where nothing was."))
		}
		return
	case b.isFalse():
		w.add(p.change(Breaking, "Nothing is accepted here any more."))
		return
	}
	if w.malformed(p) || !w.types(p) {
		return
	}
	w.values(p)
	w.reference(p)
	for i := range rules {
		w.judge(p, &rules[i])
	}
	w.properties(p)
	w.tuple(p)
	w.conjunction(p)
	w.alternatives(p, "anyOf")
	w.alternatives(p, "oneOf")
	w.unknown(p)
	w.names(p)
}

// change is about the whole place.
func (p both) change(kind Kind, meaning string) Change {
	return Change{Path: p.at, Kind: kind, Before: p.a.text(), After: p.b.text(), Meaning: meaning}
}

// of is a change of one keyword.
func (p both) of(keyword string, kind Kind, meaning string) Change {
	return Change{
		Path: below(p.at, keyword), Kind: kind,
		Before: p.a.get(keyword).text(), After: p.b.get(keyword).text(), Meaning: meaning,
	}
}

// judge notes whether keywords changed, and by the proofs in both directions what that means.
func (w *walk) judge(p both, r *rule) {
	differ, refers := w.differ(p, r.keywords)
	if len(differ) == 0 && !refers && !r.rest || w.over() {
		return
	}
	forth := p.typesA&r.types == 0 || r.implied(w.work, p.a, p.b)
	if w.list == nil {
		w.failed = w.failed || !forth
		return
	}
	back := p.typesB&r.types == 0 || r.implied(w.work, p.b, p.a)
	if len(differ) == 0 && forth && (back || r.rest) {
		return
	}
	if len(differ) == 0 { // only what they refer to
		differ = r.keywords[:1]
	}
	kind := kindOf(forth, back)
	if r.rest && kind == Wider && p.a.schema(differ[0]).isFalse() {
		kind = NewPower
	}
	c := p.of(differ[0], kind, "")
	if len(differ) > 1 {
		c.Path, c.Before, c.After = p.at, p.a.only(differ), p.b.only(differ)
	}
	c.Meaning = says(r.subject, c.Before == nil, c.After == nil, kind)
	w.add(c)
}

// kindOf is the table of the package comment.
func kindOf(forth, back bool) Kind {
	switch {
	case forth && back:
		return TextOnly
	case forth:
		return Wider
	case back:
		return Narrower
	}
	return Breaking
}

// differ gives the keywords that are written differently, and whether any holds a reference.
func (w *work) differ(p both, keywords []string) (differ []string, refers bool) {
	for _, k := range keywords {
		a, b := p.a.get(k), p.b.get(k)
		if !w.equal(a.text(), b.text()) {
			differ = append(differ, k)
		} else if a != nil && (a.refers || k == "$ref") {
			refers = true
		}
	}
	return differ, refers
}

// only is the schema with only some of its keywords; nil if it has none of them.
func (n *node) only(keywords []string) json.RawMessage {
	var members []canonical.Member
	for _, k := range keywords {
		if m := n.get(k); m != nil {
			members = append(members, canonical.Member{Key: k, Value: m.raw})
		}
	}
	if members == nil {
		return nil
	}
	return canonical.AppendObject(nil, members)
}

// unknown notes keywords that we do not understand and that differ.
func (w *walk) unknown(p both) {
	for _, k := range union(p.a, p.b) {
		if classOf(k) == unknown && !w.equal(p.a.get(k).text(), p.b.get(k).text()) {
			w.add(p.of(k, Breaking, "A keyword that we do not understand is another one, so nothing can be said of what it means."))
		}
	}
}

// names notes what a schema or its dialect is called. A whole schema may be called anything, in a dialect that is
// known; what a part is called may decide what it means.
func (w *walk) names(p both) {
	for _, k := range []string{"$schema", "$id"} {
		a, b := p.a.get(k), p.b.get(k)
		switch {
		case p.a.isRoot() && p.b.isRoot():
			known := p.a.draft() == p.b.draft() && p.a.draft() != unknownDraft // or else it is said of the whole
			if (known || k == "$id") && !w.equal(a.text(), b.text()) {
				w.add(p.of(k, TextOnly, "The schema, or its dialect, is named differently."))
			}
		case a != nil && !p.a.isRoot() || b != nil && !p.b.isRoot():
			if !w.equal(a.text(), b.text()) {
				w.add(p.of(k, Breaking, "A part of the schema has a name of its own, which may change what it means."))
			}
		}
	}
}

package schemadiff

import (
	"slices"
)

// properties compares what objects may have: named properties, those whose names fit a pattern, and all others.
//
// The value of a property passes the schemas of its name and of each pattern that its name fits, or else that for all
// others. We do not ask which name fits which pattern: a proof must hold whether it does or not.
func (w *walk) properties(p both) {
	if p.typesA&p.typesB&typeObject == 0 {
		return // an object was never accepted, or is not any more, which the type says
	}
	w.required(p)
	a, b := p.a.get("properties"), p.b.get("properties")
	for _, name := range union(a, b) {
		at := below(below(p.at, "properties"), name)
		before, after := a.member(name), b.member(name)
		switch {
		case before == nil:
			w.newProperty(p, at, name, after)
		case after == nil:
			w.goneProperty(p, at, name, before)
		case before.isFalse() && !after.isFalse():
			w.add(Change{
				Path: at, Kind: NewPower, Before: before.text(), After: after.text(),
				Meaning: quoted(name) + " may be sent, which was refused.",
			})
		case after.isFalse() && !before.isFalse():
			w.add(refusedProperty(at, name, before, after))
		default:
			w.deeper(at, before, after)
		}
	}
	w.patterns(p)
	w.otherProperties(p)
}

// required notes names that must be sent, or need not be any more.
func (w *walk) required(p both) {
	a, b := p.a.get("required").items(), p.b.get("required").items()
	was, is := keys(a), keys(b)
	for _, n := range b {
		if missing([]*node{n}, was) > 0 {
			w.add(Change{
				Path: below(p.at, "required"), Kind: Breaking, After: n.text(),
				Meaning: quoted(n.string()) + " must be sent from now on.",
			})
		}
	}
	for _, n := range a {
		if missing([]*node{n}, is) > 0 {
			w.add(Change{
				Path: below(p.at, "required"), Kind: Wider, Before: n.text(),
				Meaning: quoted(n.string()) + " need not be sent any more.",
			})
		}
	}
}

func refusedProperty(at, name string, before, after *node) Change {
	return Change{
		Path: at, Kind: Breaking, Before: before.text(), After: after.text(),
		Meaning: quoted(name) + " may not be sent any more.",
	}
}

// newProperty is about a name that the schema did not speak of. Where others were let in, it could come with any
// value that they could have.
func (w *walk) newProperty(p both, at, name string, after *node) {
	c := Change{Path: at, After: after.text()}
	forth := w.othersProve(p.a, after)
	if after.isFalse() {
		c.Kind, c.Meaning = TextOnly, quoted(name)+" is said to be refused, which it was."
		if !forth {
			c = refusedProperty(at, name, nil, after)
		}
		w.add(c)
		return
	}
	c.Kind, c.Meaning = NewPower, "One more value may be sent: "+quoted(name)+"."
	w.add(c)
	if forth || w.over() {
		return
	}
	back := p.a.get("patternProperties") == nil && w.provesDeeper(after, p.a.schema("additionalProperties"))
	c.Kind, c.Meaning = kindOf(false, back), quoted(name)+" could be sent before without being named, with other values than it may have now."
	w.add(c)
}

// rest is the schema for properties that fit no name and no pattern, or one that accepts more than that.
func rest(n *node) *node {
	if s := n.get("additionalProperties"); s != nil {
		return s
	}
	if s := n.get("unevaluatedProperties"); s != nil && n.draft() == draft2020 && !n.hasInPlace() {
		return s
	}
	return anything
}

// hasInPlace reports whether other schemas see the same value.
func (n *node) hasInPlace() bool {
	return slices.ContainsFunc(n.keys, func(k string) bool { return keywords[k].inPlace || k == "$ref" })
}

// othersProve reports whether a schema accepts whatever a property could be that has no schema by its name: what fits
// a pattern, whichever that is, or what is none of those.
func (w *work) othersProve(n, schema *node) bool {
	patterns := n.get("patternProperties")
	w.steps -= len(patterns.names())
	if w.steps < 0 || !w.provesDeeper(rest(n), schema) {
		return false
	}
	for _, k := range patterns.names() {
		if w.steps < 0 || !w.provesDeeper(patterns.members[k], schema) {
			return false
		}
	}
	return true
}

// goneProperty is about a name that the schema does not speak of any more.
func (w *walk) goneProperty(p both, at, name string, before *node) {
	rest := p.b.schema("additionalProperties")
	if rest.isFalse() {
		if !before.isFalse() {
			w.add(refusedProperty(at, name, before, nil))
			return
		}
		w.add(Change{Path: at, Kind: TextOnly, Before: before.text(), Meaning: quoted(name) + " is refused without being named."})
		return
	}
	c := Change{Path: at, Before: before.text()}
	forth := w.provesDeeper(before, rest)
	c.Kind = kindOf(forth, w.list != nil && p.b.get("patternProperties") == nil && w.provesDeeper(rest, before))
	c.Meaning = quoted(name) + " is not described any more: what is accepted is the same as under any other name."
	w.add(c)
}

// patterns compares the schemas for names that fit a pattern.
func (w *walk) patterns(p both) {
	a, b := p.a.get("patternProperties"), p.b.get("patternProperties")
	for _, pattern := range union(a, b) {
		at := below(below(p.at, "patternProperties"), pattern)
		before, after := a.member(pattern), b.member(pattern)
		switch {
		case before == nil:
			w.newPattern(p, at, after)
		case after == nil:
			forth := w.provesDeeper(before, p.b.schema("additionalProperties"))
			w.add(Change{
				Path: at, Kind: kindOf(forth, false), Before: before.text(),
				Meaning: "A pattern for names is gone: such properties are accepted as any others are.",
			})
		default:
			w.deeper(at, before, after)
		}
	}
}

// newPattern is about names which fit a pattern that is new. Any property that was accepted may have such a name.
func (w *walk) newPattern(p both, at string, after *node) {
	c := Change{Path: at, After: after.text()}
	if rest(p.a).isFalse() && !after.isFalse() {
		c.Kind, c.Meaning = NewPower, "Properties are accepted if their names fit a pattern, which were refused."
		w.add(c)
	}
	named := p.a.get("properties")
	forth := w.othersProve(p.a, after)
	w.steps -= len(named.names())
	for _, name := range named.names() {
		forth = forth && w.provesDeeper(named.members[name], after)
	}
	if !forth {
		c.Kind, c.Meaning = Breaking, "A property whose name fits a new pattern may be refused."
		w.add(c)
	} else if c.Kind == "" {
		c.Kind, c.Meaning = Wider, "Properties whose names fit a new pattern are accepted whatever is said of others."
		w.add(c)
	}
}

// otherProperties compares what is said of properties that fit no name and no pattern.
func (w *walk) otherProperties(p both) {
	a, b := p.a.schema("additionalProperties"), p.b.schema("additionalProperties")
	switch {
	case a.isFalse() && !b.isFalse():
		w.add(p.of("additionalProperties", NewPower, "Properties that are not named may be sent, which were refused."))
	case b.isFalse() && !a.isFalse():
		w.add(p.of("additionalProperties", Narrower, "Only properties that are named may be sent now."))
	default:
		w.deeper(below(p.at, "additionalProperties"), a, b)
	}
}

// impliedUnevaluatedProperties holds if all that was described still is.
func impliedUnevaluatedProperties(w *work, from, to *node) bool {
	rest := to.schema("unevaluatedProperties")
	if rest.isTrue() {
		return true
	}
	for k := range keywords {
		if (keywords[k].inPlace || k == "$ref") && !w.sameKeyword(k, from, to) {
			return false
		}
	}
	for _, name := range from.get("properties").names() {
		if to.get("properties").member(name) == nil {
			return false
		}
	}
	patterns := from.get("patternProperties").names()
	if !slices.Equal(patterns, to.get("patternProperties").names()) {
		return false
	}
	if from.get("additionalProperties") != nil && to.get("additionalProperties") == nil {
		return false
	}
	return from.get("unevaluatedProperties") != nil && w.provesDeeper(from.get("unevaluatedProperties"), rest)
}

// impliedNames compares what is said of the names themselves.
func impliedNames(w *work, from, to *node) bool {
	return w.provesDeeper(from.schema("propertyNames"), to.schema("propertyNames"))
}

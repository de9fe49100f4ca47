package schemadiff

import "strconv"

// reference compares "$ref" with neighbours, which is one schema of a conjunction.
func (w *walk) reference(p both) {
	a, _ := p.a.target()
	b, at := p.b.target()
	if a != nil && b != nil {
		w.schema(at, a, b)
		return
	}
	w.judge(p, &rule{keywords: []string{"$ref"}, types: allTypes, subject: "reference to another part of the schema", implied: impliedReference})
}

// impliedReference is for a reference on one side only.
func impliedReference(w *work, from, to *node) bool {
	if to.get("$ref") == nil {
		return true
	}
	must, _ := to.target()
	if must == nil {
		return false
	}
	return w.proves(from, must)
}

// conjunction compares "allOf", each schema of which must be implied.
func (w *walk) conjunction(p both) {
	a, b := p.a.get("allOf").items(), p.b.get("allOf").items()
	if w.oneByOne(a, b) {
		w.pairs(p, "allOf", a, b)
		return
	}
	w.judge(p, &rule{keywords: []string{"allOf"}, types: allTypes, subject: "list of conditions that all hold", implied: impliedAll})
}

func impliedAll(w *work, from, to *node) bool {
	for _, must := range to.get("allOf").items() {
		if !w.some(from.get("allOf").items(), must) && !w.proves(from, must) {
			return false
		}
	}
	return true
}

// some reports whether one of the schemas proves another.
func (w *work) some(schemas []*node, must *node) bool {
	w.steps -= len(schemas)
	for _, s := range schemas {
		if w.proves(s, must) {
			return true
		}
	}
	return false
}

// alternatives compares "anyOf", or "oneOf", which is the same where no value passes two of its schemas.
func (w *walk) alternatives(p both, keyword string) {
	a, b := p.a.get(keyword).items(), p.b.get(keyword).items()
	if w.oneByOne(a, b) && (keyword == "anyOf" || w.sameKeyword(keyword, p.a, p.b) || w.exclusive(a) && w.exclusive(b)) {
		w.pairs(p, keyword, a, b)
		return
	}
	implied := impliedAny
	if keyword == "oneOf" {
		implied = impliedOne
	}
	w.judge(p, &rule{keywords: []string{keyword}, types: allTypes, subject: "list of alternatives", implied: implied})
}

func impliedAny(w *work, from, to *node) bool {
	alternatives := to.get("anyOf")
	return alternatives == nil || w.choice(from, alternatives.items())
}

func impliedOne(w *work, from, to *node) bool {
	one := to.get("oneOf")
	switch {
	case one == nil:
		return true
	case from.get("oneOf") != nil && w.permuted(from.get("oneOf").items(), one.items()):
		return true
	}
	return w.exclusive(one.items()) && w.choice(from, one.items())
}

// choice reports whether all that a schema accepts passes one of several: the schema as a whole the same one, or each
// of its own alternatives some of them.
func (w *work) choice(from *node, of []*node) bool {
	for _, own := range [][]*node{from.get("anyOf").items(), from.get("oneOf").items()} {
		all := len(own) > 0
		for _, s := range own {
			all = all && w.amongst(s, of)
		}
		if all {
			return true
		}
	}
	return w.amongst(from, of)
}

// amongst reports whether one of several schemas accepts whatever another does. It tries those of the same text first.
func (w *work) amongst(s *node, of []*node) bool {
	w.steps -= len(of)
	for _, other := range of {
		if w.sameText(s, other) {
			return true
		}
	}
	for _, other := range of {
		if w.proves(s, other) {
			return true
		}
	}
	return false
}

// permuted reports whether two lists hold the same schemas in whatever order.
func (w *work) permuted(a, b []*node) bool {
	if len(a) != len(b) {
		return false
	}
	left := append([]*node{}, b...)
	for _, s := range a {
		found := false
		for i, other := range left {
			if found = w.same(s, other); found {
				left = append(left[:i], left[i+1:]...)
				break
			}
		}
		if !found {
			return false
		}
	}
	return true
}

// exclusive reports whether it is certain that no value passes two of the schemas: their types or values differ.
func (w *work) exclusive(schemas []*node) bool {
	for i, s := range schemas {
		for _, other := range schemas[:i] {
			if !w.step() || !w.disjoint(s, other) {
				return false
			}
		}
	}
	return true
}

func (w *work) disjoint(a, b *node) bool {
	if a.isReference() || b.isReference() {
		return false
	}
	if a.types()&b.types() == 0 {
		return true
	}
	x, y := a.values(), b.values()
	w.steps -= len(x) + len(y)
	return x != nil && y != nil && apart(x, y)
}

// oneByOne reports whether two lists are alike enough to compare their schemas in pairs: at most one pair differs.
func (w *work) oneByOne(a, b []*node) bool {
	if len(a) != len(b) {
		return false
	}
	differ := 0
	for i := range a {
		if !w.same(a[i], b[i]) {
			differ++
		}
	}
	return differ <= 1
}

func (w *walk) pairs(p both, keyword string, a, b []*node) {
	for i := range a {
		w.schema(below(below(p.at, keyword), strconv.Itoa(i)), a[i], b[i])
	}
}

// impliedNot turns the question around.
func impliedNot(w *work, from, to *node) bool {
	refused, had := to.get("not"), from.get("not")
	return refused == nil || had != nil && w.proves(refused, had)
}

func impliedCondition(w *work, from, to *node) bool {
	condition := to.get("if")
	then, otherwise := to.schema("then"), to.schema("else")
	if condition == nil || then.isTrue() && otherwise.isTrue() {
		return true
	}
	if had := from.get("if"); had != nil && w.same(had, condition) &&
		w.proves(from.schema("then"), then) && w.proves(from.schema("else"), otherwise) {
		return true
	}
	return w.proves(from, then) && w.proves(from, otherwise)
}

// impliedDependents is for what holds if a property is there: more properties, or another schema.
func impliedDependents(keyword string) func(*work, *node, *node) bool {
	return func(w *work, from, to *node) bool {
		must := to.get(keyword)
		for _, name := range must.names() {
			had := from.get(keyword).member(name)
			if !w.dependent(from, had, must.members[name]) {
				return false
			}
		}
		return true
	}
}

func (w *work) dependent(from, had, must *node) bool {
	if must.isArray() {
		sent := keys(from.get("required").items())
		w.steps -= len(sent)
		if had != nil && had.isArray() {
			for k := range keys(had.elements) {
				sent[k] = true
			}
		}
		return missing(must.elements, sent) == 0
	}
	return had != nil && had.isSchema() && w.proves(had, must) || w.proves(from, must)
}

package schemadiff

import "slices"

// malformed notes the first keyword of either schema whose value we do not understand. Nothing can be proven of a
// schema that has one.
func (w *walk) malformed(p both) bool {
	k := firstMalformed(p.a)
	if k == "" {
		k = firstMalformed(p.b)
	}
	if k == "" {
		return false
	}
	if !w.same(p.a, p.b) {
		w.add(p.of(k, Breaking, "A keyword has a value that we do not understand, so nothing can be said of what differs."))
	}
	return true
}

func firstMalformed(n *node) string {
	for _, k := range n.keys {
		if !n.wellFormed(k, n.members[k]) {
			return k
		}
	}
	return ""
}

// wellFormed reports whether the value of a keyword is one that we can reason about.
func (n *node) wellFormed(keyword string, v *node) bool {
	switch keyword {
	case "type":
		return v.isTypeName() || v.isArray() && all(v.elements, (*node).isTypeName)
	case "enum":
		return v.isArray()
	case "minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum":
		_, ok := v.number()
		return ok
	case "multipleOf":
		step, ok := v.number()
		return ok && step.Sign() > 0
	case "minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties", "minContains", "maxContains":
		_, ok := v.count()
		return ok
	case "pattern", "format", "contentEncoding", "contentMediaType", "$ref":
		return v.isString()
	case "uniqueItems":
		return v.isBool()
	case "required":
		return v.isArray() && all(v.elements, (*node).isString)
	case "items":
		return v.isSchema() || n.draft() == draft07 && v.isArray() && all(v.elements, (*node).isSchema)
	case "dependentRequired":
		return v.isObject() && all(v.children(), isNames)
	case "dependencies":
		return v.isObject() && all(v.children(), func(d *node) bool { return d.isSchema() || isNames(d) })
	case "prefixItems":
		return n.draft() != draft07 && v.isArray() && all(v.elements, (*node).isSchema)
	}
	switch classOf(keyword) {
	case one:
		return v.isSchema()
	case list:
		return v.isArray() && len(v.elements) > 0 && all(v.elements, (*node).isSchema)
	case byName, definitions:
		return v.isObject() && all(v.children(), (*node).isSchema)
	case unknown, text, plain, naming:
	}
	return true
}

func (n *node) isTypeName() bool { return n.isString() && typeNames[n.string()] != 0 }

func isNames(n *node) bool { return n.isArray() && all(n.elements, (*node).isString) }

func all(nodes []*node, is func(*node) bool) bool {
	return !slices.ContainsFunc(nodes, func(n *node) bool { return !is(n) })
}

package schemadiff

import (
	"math/big"
	"strconv"
)

// tupleOf takes the schemas for elements apart: those at the start, one by one, and that for all the others.
func tupleOf(n *node) (first []*node, firstKey string, rest *node, restKey string) {
	items := n.get("items")
	switch {
	case n.draft() != draft07:
		return n.get("prefixItems").items(), "prefixItems", n.schema("items"), "items"
	case items != nil && items.isArray():
		return items.elements, "items", n.schema("additionalItems"), "additionalItems"
	}
	return nil, "items", n.schema("items"), "items"
}

// tuple compares the schemas for elements.
func (w *walk) tuple(p both) {
	if p.typesA&p.typesB&typeArray == 0 {
		return // a list was never accepted, or is not any more, which the type says
	}
	a, keyA, restA, _ := tupleOf(p.a)
	b, keyB, restB, restKey := tupleOf(p.b)
	for i := range max(len(a), len(b)) {
		x, y, key := restA, restB, keyA
		if i < len(a) {
			x = a[i]
		}
		if i < len(b) {
			y, key = b[i], keyB
		}
		w.deeper(below(below(p.at, key), strconv.Itoa(i)), x, y)
	}
	at := below(p.at, restKey)
	switch {
	case restB.isFalse() && !restA.isFalse():
		w.add(Change{
			Path: at, Kind: Narrower, Before: restA.text(), After: restB.text(),
			Meaning: "Only the elements that are described one by one are accepted now.",
		})
	default:
		w.deeper(at, restA, restB)
	}
}

// impliedContains counts the elements that pass "contains".
func impliedContains(w *work, from, to *node) bool {
	must, least, most := containsOf(to)
	if must == nil || least.Sign() == 0 && most == nil {
		return true
	}
	had, leastHad, mostHad := containsOf(from)
	if had == nil || leastHad.Cmp(least) < 0 && (most == nil || least.Sign() > 0) {
		return false
	}
	if most == nil {
		return w.provesDeeper(had, must)
	}
	return mostHad != nil && mostHad.Cmp(most) <= 0 && w.same(had, must)
}

// containsOf is the schema that some elements must pass, and how many; a nil number is no limit.
func containsOf(n *node) (schema *node, least, most *big.Rat) {
	if n.draft() == draft07 {
		return n.get("contains"), big.NewRat(1, 1), nil
	}
	most, _ = n.get("maxContains").count()
	return n.get("contains"), countOr(n, "minContains", 1), most
}

// impliedUnevaluatedItems holds if all else that is said of elements stayed as it was.
func impliedUnevaluatedItems(w *work, from, to *node) bool {
	rest := to.schema("unevaluatedItems")
	if rest.isTrue() {
		return true
	}
	for k := range keywords {
		if elementKeyword(k) && !w.sameKeyword(k, from, to) {
			return false
		}
	}
	return from.get("unevaluatedItems") != nil && w.provesDeeper(from.get("unevaluatedItems"), rest)
}

// elementKeyword reports whether a keyword has a say in which elements count as described.
func elementKeyword(k string) bool {
	switch k {
	case "items", "prefixItems", "additionalItems", "contains", "minContains", "maxContains", "$ref":
		return true
	}
	return keywords[k].inPlace
}

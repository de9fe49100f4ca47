package schemadiff

import (
	"math/big"
	"slices"
)

// rules are all keywords that are judged and not walked into, in the order in which they are listed.
var rules []rule

func init() {
	rules = []rule{
		{keywords: []string{"minimum", "exclusiveMinimum"}, types: typeNumber, subject: "lower limit", implied: impliedMinimum},
		{keywords: []string{"maximum", "exclusiveMaximum"}, types: typeNumber, subject: "upper limit", implied: impliedMaximum},
		{keywords: []string{"multipleOf"}, types: typeNumber, subject: "step between the numbers", implied: impliedMultiple},
		{keywords: []string{"minLength"}, types: typeString, subject: "shortest length of the text", implied: atLeast("minLength")},
		{keywords: []string{"maxLength"}, types: typeString, subject: "longest length of the text", implied: atMost("maxLength")},
		{keywords: []string{"pattern"}, types: typeString, subject: "pattern of the text", implied: equal("pattern")},
		{keywords: []string{"format"}, types: allTypes, subject: "format", implied: equal("format")},
		{keywords: []string{"contentEncoding", "contentMediaType", "contentSchema"}, types: typeString, subject: "rule for what the text contains", implied: impliedContent},
		{keywords: []string{"minItems"}, types: typeArray, subject: "least number of elements", implied: atLeast("minItems")},
		{keywords: []string{"maxItems"}, types: typeArray, subject: "largest number of elements", implied: atMost("maxItems")},
		{keywords: []string{"uniqueItems"}, types: typeArray, subject: "rule that no element comes twice", implied: impliedUnique},
		{keywords: []string{"contains", "minContains", "maxContains"}, types: typeArray, subject: "rule for what the list must contain", implied: impliedContains},
		{keywords: []string{"unevaluatedItems"}, types: typeArray, subject: "rule for the elements that nothing else describes", implied: impliedUnevaluatedItems, rest: true},
		{keywords: []string{"unevaluatedProperties"}, types: typeObject, subject: "rule for the properties that nothing else describes", implied: impliedUnevaluatedProperties, rest: true},
		{keywords: []string{"minProperties"}, types: typeObject, subject: "least number of properties", implied: atLeast("minProperties")},
		{keywords: []string{"maxProperties"}, types: typeObject, subject: "largest number of properties", implied: atMost("maxProperties")},
		{keywords: []string{"propertyNames"}, types: typeObject, subject: "rule for the names of properties", implied: impliedNames},
		{keywords: []string{"dependentRequired"}, types: typeObject, subject: "rule for what must be sent together", implied: impliedDependents("dependentRequired")},
		{keywords: []string{"dependentSchemas"}, types: typeObject, subject: "rule for what must be sent together", implied: impliedDependents("dependentSchemas")},
		{keywords: []string{"dependencies"}, types: typeObject, subject: "rule for what must be sent together", implied: impliedDependents("dependencies")},
		{keywords: []string{"not"}, types: allTypes, subject: "rule for what is refused", implied: impliedNot},
		{keywords: []string{"if", "then", "else"}, types: allTypes, subject: "rule that depends on the value", implied: impliedCondition},
	}
}

// equal is for keywords that we cannot reason about.
func equal(keyword string) func(*work, *node, *node) bool {
	return func(w *work, from, to *node) bool {
		return to.get(keyword) == nil || w.equal(from.get(keyword).text(), to.get(keyword).text())
	}
}

func atLeast(keyword string) func(*work, *node, *node) bool {
	return func(_ *work, from, to *node) bool {
		return countOr(to, keyword, 0).Cmp(countOr(from, keyword, 0)) <= 0
	}
}

func atMost(keyword string) func(*work, *node, *node) bool {
	return func(_ *work, from, to *node) bool {
		limit, is := to.get(keyword).count()
		had, was := from.get(keyword).count()
		return !is || was && had.Cmp(limit) <= 0
	}
}

// countOr is the number at a keyword, or what holds without it. It is well formed.
func countOr(n *node, keyword string, without int64) *big.Rat {
	if count, ok := n.get(keyword).count(); ok {
		return count
	}
	return big.NewRat(without, 1)
}

func impliedMinimum(_ *work, from, to *node) bool {
	limit, strict := to.bound("minimum", "exclusiveMinimum", 1)
	had, wasStrict := from.bound("minimum", "exclusiveMinimum", 1)
	return limit == nil || had != nil && within(had.Cmp(limit), wasStrict, strict)
}

func impliedMaximum(_ *work, from, to *node) bool {
	limit, strict := to.bound("maximum", "exclusiveMaximum", -1)
	had, wasStrict := from.bound("maximum", "exclusiveMaximum", -1)
	return limit == nil || had != nil && within(-had.Cmp(limit), wasStrict, strict)
}

// within reports whether one bound keeps to another, when it is inside of it (1), at it (0) or outside (-1).
func within(position int, strict, mustBeStrict bool) bool {
	return position > 0 || position == 0 && (strict || !mustBeStrict)
}

// bound is the tighter of two bounds, and whether it is the one that excludes itself; nil: there is none. up is 1
// where the greater one is the tighter, and else -1.
func (n *node) bound(including, excluding string, up int) (value *big.Rat, strict bool) {
	value, _ = n.get(including).number()
	open, ok := n.get(excluding).number()
	if ok && (value == nil || up*open.Cmp(value) >= 0) {
		return open, true
	}
	return value, false
}

func impliedMultiple(_ *work, from, to *node) bool {
	step, is := to.get("multipleOf").number()
	if !is {
		return true
	}
	if had, was := from.get("multipleOf").number(); was && new(big.Rat).Quo(had, step).IsInt() {
		return true
	}
	return from.types()&typeFraction == 0 && new(big.Rat).Inv(step).IsInt()
}

func impliedUnique(_ *work, from, to *node) bool {
	unique := func(n *node) bool { u := n.get("uniqueItems"); return u != nil && u.isTrue() }
	return !unique(to) || unique(from)
}

// impliedContent leaves alone what a text contains, unless nothing is said of it any more.
func impliedContent(w *work, from, to *node) bool {
	all := []string{"contentEncoding", "contentMediaType", "contentSchema"}
	differ, refers := w.differ(both{a: from, b: to}, all)
	return len(differ) == 0 && !refers || !slices.ContainsFunc(all, func(k string) bool { return to.get(k) != nil })
}

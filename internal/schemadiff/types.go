package schemadiff

import "strings"

// types is a set of types of values.
type types uint8

// The types. A number is an integer or a fraction.
const (
	typeNull types = 1 << iota
	typeBoolean
	typeObject
	typeArray
	typeString
	typeInteger
	typeFraction

	typeNumber = typeInteger | typeFraction
	allTypes   = typeNumber<<1 - 1 | typeNumber
)

var typeNames = map[string]types{
	"null": typeNull, "boolean": typeBoolean, "object": typeObject, "array": typeArray,
	"string": typeString, "integer": typeInteger, "number": typeNumber,
}

// declared is what "type" allows.
func declared(n *node) types {
	t := n.get("type")
	switch {
	case t == nil:
		return allTypes
	case t.isString():
		return typeNames[t.string()]
	}
	var all types
	for _, e := range t.items() {
		all |= typeNames[e.string()]
	}
	return all
}

// maxUnions is how deep typesOf looks into unions within unions.
const maxUnions = 4

// types has the type of everything that a schema accepts, and perhaps more: it does not follow references.
func (n *node) types() types {
	if !n.typed {
		n.accepts, n.typed = typesOf(n, 0), true
	}
	return n.accepts
}

func typesOf(n *node, nested int) types {
	if n.isFalse() {
		return 0
	}
	if n.isReference() || nested > maxUnions {
		return allTypes
	}
	all := declared(n)
	if values := n.values(); values != nil {
		var of types
		for _, v := range values {
			of |= typeOf(v)
		}
		all &= of
	}
	for _, keyword := range []string{"anyOf", "oneOf"} {
		if union := n.get(keyword); union != nil && union.isArray() {
			var of types
			for _, e := range union.elements {
				of |= typesOf(e, nested+1)
			}
			all &= of
		}
	}
	return all
}

// typeOf is the type of a value, or both of a number that is too large to compute with.
func typeOf(n *node) types {
	switch {
	case n.isObject():
		return typeObject
	case n.isArray():
		return typeArray
	case n.isString():
		return typeString
	case n.isBool():
		return typeBoolean
	case !n.isNumber():
		return typeNull
	}
	value, ok := n.number()
	switch {
	case !ok:
		return typeNumber
	case value.IsInt():
		return typeInteger
	}
	return typeFraction
}

// types compares "type". It returns false if the schemas have no value in common, so that nothing else matters.
func (w *walk) types(p both) bool {
	if differ, _ := w.differ(p, []string{"type"}); len(differ) == 0 {
		return true
	}
	forth, back := p.typesA&^declared(p.b) == 0, p.typesB&^declared(p.a) == 0
	if p.typesA&p.typesB == 0 && p.typesA != 0 {
		w.add(p.of("type", Breaking, "Another type: "+p.typesB.words()+" instead of "+p.typesA.words()+"."))
		return false
	}
	more, fewer := p.typesB&^p.typesA, p.typesA&^p.typesB
	meaning := "The type is written differently and means the same."
	switch {
	case !forth && !back:
		meaning = "Another type: " + p.typesB.words() + " instead of " + p.typesA.words() + "."
	case forth && !back && p.typesB == allTypes:
		meaning = "The type is not checked here any more."
	case forth && !back:
		meaning = "Accepted as well: " + more.words() + "."
	case back && !forth:
		meaning = "Not accepted any more: " + fewer.words() + "."
	}
	w.add(p.of("type", kindOf(forth, back), meaning))
	return true
}

// words names the types for people.
func (t types) words() string {
	if t == allTypes {
		return "anything"
	}
	var words []string
	for _, w := range []struct {
		of   types
		word string
	}{
		{typeString, "text"},
		{typeNumber, "numbers"},
		{typeInteger, "whole numbers"},
		{typeFraction, "fractions"},
		{typeBoolean, "yes or no"},
		{typeObject, "objects"},
		{typeArray, "lists"},
		{typeNull, "null"},
	} {
		if t&w.of == w.of {
			words = append(words, w.word)
			t &^= w.of
		}
	}
	if len(words) == 0 {
		return "nothing"
	}
	return strings.Join(words, ", ")
}

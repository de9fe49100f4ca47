package schemadiff

import "slices"

// class says what the value of a keyword is.
type class int

const (
	unknown     class = iota
	text              // for people and models; it accepts and refuses nothing
	plain             // a value
	one               // a schema, or in draft-07 a list of them, or a value where that is no schema
	list              // a list of schemas
	byName            // schemas by name
	definitions       // schemas by name that hold only where they are referred to
	naming            // a name for the schema, or for its dialect
)

// keyword is what we know of one.
type keyword struct {
	class   class
	inPlace bool // its schemas are for the same value, and not for a part of it
}

var keywords = map[string]keyword{
	"title": {class: text}, "description": {class: text}, "default": {class: text}, "examples": {class: text},
	"$comment": {class: text}, "deprecated": {class: text}, "readOnly": {class: text}, "writeOnly": {class: text},

	"type": {class: plain}, "enum": {class: plain}, "const": {class: plain},
	"minimum": {class: plain}, "exclusiveMinimum": {class: plain}, "maximum": {class: plain}, "exclusiveMaximum": {class: plain},
	"multipleOf": {class: plain}, "minLength": {class: plain}, "maxLength": {class: plain}, "pattern": {class: plain},
	"format": {class: plain}, "contentEncoding": {class: plain}, "contentMediaType": {class: plain},
	"minItems": {class: plain}, "maxItems": {class: plain}, "uniqueItems": {class: plain},
	"minContains": {class: plain}, "maxContains": {class: plain},
	"minProperties": {class: plain}, "maxProperties": {class: plain}, "required": {class: plain}, "dependentRequired": {class: plain},
	"$ref": {class: plain}, "$schema": {class: naming}, "$id": {class: naming},

	"properties": {class: byName}, "patternProperties": {class: byName}, "additionalProperties": {class: one},
	"propertyNames": {class: one}, "unevaluatedProperties": {class: one},
	"items": {class: one}, "prefixItems": {class: list}, "additionalItems": {class: one}, "contains": {class: one},
	"unevaluatedItems": {class: one}, "contentSchema": {class: one},

	"allOf": {list, true}, "anyOf": {list, true}, "oneOf": {list, true}, "not": {one, true},
	"if": {one, true}, "then": {one, true}, "else": {one, true},
	"dependentSchemas": {byName, true}, "dependencies": {byName, true},

	"$defs": {class: definitions}, "definitions": {class: definitions},
}

func classOf(keyword string) class { return keywords[keyword].class }

// subschemas gives the schemas at a keyword, and whether they are for the same value as the schema that has it.
func subschemas(keyword string, n *node) (sub []*node, inPlace bool) {
	k := keywords[keyword]
	switch k.class {
	case one:
		if n.isArray() {
			return n.elements, k.inPlace
		}
		return []*node{n}, k.inPlace
	case list:
		return n.elements, k.inPlace
	case byName, definitions:
		return n.children(), k.inPlace
	case unknown, text, plain, naming:
	}
	return nil, false
}

// member is the value of a key; nil: absent.
func (n *node) member(key string) *node {
	if n == nil {
		return nil
	}
	return n.members[key]
}

// names are the keys of an object that may be absent.
func (n *node) names() []string {
	if n == nil {
		return nil
	}
	return n.keys
}

// items are the elements of an array that may be absent.
func (n *node) items() []*node {
	if n == nil {
		return nil
	}
	return n.elements
}

// union has the keys of both objects: those of b, and then those that only a has.
func union(a, b *node) []string {
	all := slices.Clone(b.names())
	for _, k := range a.names() {
		if b.member(k) == nil {
			all = append(all, k)
		}
	}
	return all
}

package schemadiff_test

import (
	"encoding/json"
	"maps"
	"slices"

	"pgregory.net/rapid"
)

// schemas draws small schemas over a small vocabulary, so that keywords meet, and changes them.
type schemas struct {
	*rapid.T

	draft07 bool
}

var (
	names    = []string{"a", "b", "c"}
	patterns = []string{"^a", "b", "^[ac]$", "."}
	scalars  = []any{nil, true, false, num("0"), num("1"), num("1.0"), num("2"), num("1.5"), "", "a", "bb"}
	refs     = []string{"#/$defs/x", "#/$defs/y", "#/$defs/y", "#"}

	ofNumbers = []string{"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}
	ofStrings = []string{"minLength", "maxLength", "pattern", "format"}
	ofArrays  = []string{"items", "items", "prefixItems", "additionalItems", "minItems", "maxItems", "uniqueItems", "contains", "minContains", "maxContains", "unevaluatedItems"}
	ofObjects = []string{
		"properties", "properties", "properties", "required", "additionalProperties", "additionalProperties", "patternProperties", "propertyNames",
		"minProperties", "maxProperties", "dependentRequired", "dependentSchemas", "dependencies", "unevaluatedProperties",
	}
	ofAnything = []string{"type", "enum", "const", "allOf", "anyOf", "anyOf", "oneOf", "oneOf", "not", "if", "if", "then", "else", "$ref", "$ref", "description", "minimum", "x-unknown"}
)

func num(s string) json.Number { return json.Number(s) }

func pick[T any](s *schemas, from []T) T { return from[s.n(len(from))] }

// n draws one of the first n numbers.
func (s *schemas) n(n int) int { return rapid.IntRange(0, n-1).Draw(s.T, "n") }

// root draws a whole schema: mostly a few keywords of one family, which have much to do with each other.
func (s *schemas) root() map[string]any {
	root := map[string]any{}
	if s.n(5) == 0 {
		root, _ = s.schema(3).(map[string]any)
		if root == nil {
			root = map[string]any{}
		}
		root["$defs"] = map[string]any{"x": s.schema(2), "y": s.schema(1)}
	} else {
		about := pick(s, [][]string{ofNumbers, ofStrings, ofArrays, ofArrays, ofObjects, ofObjects, ofAnything, ofAnything})
		for range 1 + s.n(4) {
			s.put(root, pick(s, about), s.n(2))
		}
		root["$defs"] = map[string]any{"x": s.tiny(), "y": s.tiny()}
	}
	if s.draft07 {
		root["$schema"] = "http://json-schema.org/draft-07/schema#"
	}
	return root
}

// tiny draws a schema of one keyword.
func (s *schemas) tiny() any {
	return clone(pick(s, []any{
		true, false,
		map[string]any{"type": "string"},
		map[string]any{"type": "integer"},
		map[string]any{"type": "number"},
		map[string]any{"type": []any{"string", "null"}},
		map[string]any{"const": num("1")},
		map[string]any{"enum": []any{num("1"), num("2"), "a"}},
		map[string]any{"minimum": num("1")},
		map[string]any{"maxLength": num("1")},
		map[string]any{"required": []any{"a"}},
		map[string]any{"properties": map[string]any{"a": map[string]any{"type": "integer"}}},
		map[string]any{"$ref": "#/$defs/y"},
	}))
}

func (s *schemas) schema(depth int) any {
	switch s.n(12) {
	case 0:
		return true
	case 1:
		return s.n(3) > 0
	case 2:
		return map[string]any{"type": pick(s, []string{"string", "null", "object"})}
	}
	m := map[string]any{}
	about := s.about(m)
	for range s.n(4) + 1 {
		k := pick(s, about)
		if s.n(5) == 0 {
			k = pick(s, ofAnything)
		}
		s.put(m, k, depth)
	}
	return m
}

// about chooses what a schema is about, and mostly says so.
func (s *schemas) about(m map[string]any) []string {
	type kind struct {
		types    []string
		keywords []string
	}
	k := pick(s, []kind{
		{[]string{"object"}, ofObjects},
		{[]string{"object"}, ofObjects},
		{[]string{"array"}, ofArrays},
		{[]string{"integer", "number"}, ofNumbers},
		{[]string{"string"}, ofStrings},
		{[]string{"null", "boolean"}, ofAnything},
	})
	switch s.n(6) {
	case 0:
	case 1:
		m["type"] = []any{pick(s, k.types), pick(s, []string{"null", "boolean", "string"})}
		if l := m["type"].([]any); l[0] == l[1] {
			m["type"] = l[0]
		}
	default:
		m["type"] = pick(s, k.types)
	}
	return k.keywords
}

// put gives a schema a keyword, with a value of any kind that it can have.
func (s *schemas) put(m map[string]any, k string, depth int) {
	deeper := func() any {
		if depth <= 0 {
			return s.tiny()
		}
		return s.schema(depth - 1)
	}
	switch k {
	case "type":
		m[k] = pick(s, []any{"string", "integer", "number", "object", "array", "boolean", "null"})
	case "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum":
		m[k] = pick(s, []any{num("0"), num("1"), num("1.5"), num("2"), num("1e0")})
	case "multipleOf":
		m[k] = pick(s, []any{num("1"), num("2"), num("0.5"), num("1.5")})
	case "minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties", "minContains", "maxContains":
		m[k] = num(pick(s, []string{"0", "1", "2", "3"}))
	case "pattern":
		m[k] = pick(s, patterns)
	case "format":
		m[k] = pick(s, []string{"date", "email"})
	case "uniqueItems":
		m[k] = s.n(2) == 0
	case "properties", "dependentSchemas":
		m[k] = s.byName(names, deeper)
	case "patternProperties":
		m[k] = s.byName(patterns, deeper)
	case "required":
		m[k] = s.some(names)
	case "dependentRequired", "dependencies":
		m[k] = s.byName(names, func() any {
			if k == "dependencies" && s.n(2) == 0 {
				return deeper()
			}
			return s.some(names)
		})
	case "enum":
		m[k] = s.values()
	case "const":
		m[k] = s.value(1)
	case "allOf", "anyOf", "oneOf", "prefixItems":
		m[k] = []any{deeper()}
		for range s.n(3) {
			m[k] = append(m[k].([]any), deeper())
		}
	case "$ref":
		m[k] = pick(s, refs)
	case "description":
		m[k] = pick(s, []string{"one", "two"})
	case "x-unknown":
		m[k] = num("1")
	default:
		m[k] = deeper()
	}
	if k == "items" && s.draft07 && s.n(2) == 0 {
		m[k] = []any{deeper(), deeper()}[:1+s.n(2)]
	}
}

func (s *schemas) byName(from []string, value func() any) map[string]any {
	m := map[string]any{}
	for range 1 + s.n(2) {
		m[pick(s, from)] = value()
	}
	return m
}

func (s *schemas) some(from []string) []any {
	list := []any{}
	for _, x := range from {
		if s.n(2) == 0 {
			list = append(list, x)
		}
	}
	return list
}

func (s *schemas) values() []any {
	list := []any{}
	for _, v := range scalars {
		if s.n(4) == 0 {
			list = append(list, v)
		}
	}
	return append(list, s.value(1))
}

func (s *schemas) value(depth int) any {
	switch {
	case depth > 0 && s.n(6) == 0:
		return []any{s.value(depth - 1)}
	case depth > 0 && s.n(6) == 0:
		return map[string]any{pick(s, names): s.value(depth - 1)}
	}
	return pick(s, scalars)
}

// sorted gives the keys of an object in an order that does not change from run to run.
func sorted(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }

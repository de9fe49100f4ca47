package schemadiff_test

import (
	"encoding/json"
	"maps"
	"slices"
)

// change returns a copy of a schema that differs in one way, mostly.
func (s *schemas) change(root map[string]any) map[string]any {
	root = clone(root).(map[string]any)
	places := placesIn(root)
	at := pick(s, places)
	switch s.n(10) {
	case 0:
		at.set(s.schema(1))
	case 1:
		at.set(s.wrap(at.get()))
	case 2:
		at.set(s.n(2) == 0)
	default:
		if m, is := at.get().(map[string]any); is {
			s.keyword(m)
		} else {
			at.set(s.schema(1))
		}
	}
	return root
}

// wrap puts a schema where another one asks for it, or for a bit more or less.
func (s *schemas) wrap(schema any) any {
	switch s.n(7) {
	case 0:
		return map[string]any{"allOf": []any{schema}}
	case 1:
		return map[string]any{"anyOf": []any{schema, map[string]any{"type": "null"}}}
	case 2:
		return map[string]any{"oneOf": []any{map[string]any{"type": "null"}, schema}}
	case 3:
		return map[string]any{"not": map[string]any{"not": schema}}
	case 4:
		return map[string]any{"not": schema}
	case 5:
		return map[string]any{"if": s.schema(0), "then": schema}
	}
	return map[string]any{"$ref": pick(s, refs)}
}

// keyword changes, adds or removes a keyword.
func (s *schemas) keyword(m map[string]any) {
	here := slices.DeleteFunc(sorted(m), func(k string) bool { return k == "$defs" || k == "$schema" })
	if len(here) == 0 || s.n(4) == 0 {
		s.put(m, pick(s, slices.Concat(ofObjects, ofArrays, ofNumbers, ofStrings, ofAnything)), 1)
		return
	}
	k := pick(s, here)
	if s.n(4) == 0 {
		delete(m, k)
		return
	}
	switch v := m[k].(type) {
	case json.Number:
		s.put(m, k, 1)
	case []any:
		m[k] = s.list(k, v)
	case map[string]any:
		s.members(k, v)
	default:
		s.put(m, k, 1)
	}
}

func (s *schemas) list(k string, v []any) []any {
	another := func() any {
		m := map[string]any{}
		s.put(m, k, 1)
		if l, is := m[k].([]any); is {
			if len(l) == 0 {
				return "a"
			}
			return l[s.n(len(l))]
		}
		return m[k]
	}
	switch {
	case len(v) > 1 && s.n(3) == 0:
		slices.Reverse(v)
	case len(v) > 1 && s.n(2) == 0:
		i := s.n(len(v))
		v = slices.Delete(v, i, i+1)
	default:
		if x := another(); (k != "type" && k != "required") || !slices.Contains(v, x) {
			v = append(v, x)
		}
	}
	return v
}

func (s *schemas) members(k string, v map[string]any) {
	switch k {
	case "properties", "patternProperties", "dependentSchemas", "dependentRequired", "dependencies":
	default:
		s.keyword(v)
		return
	}
	if len(v) > 1 && s.n(2) == 0 {
		delete(v, pick(s, sorted(v)))
		return
	}
	m := map[string]any{}
	s.put(m, k, 1)
	maps.Copy(v, m[k].(map[string]any))
}

// place is where a schema stands.
type place struct {
	get func() any
	set func(any)
}

// placesIn finds the schemas within a schema. It knows of keywords by itself.
func placesIn(m map[string]any) []place {
	var places []place
	member := func(m map[string]any, k string) {
		places = append(places, place{func() any { return m[k] }, func(v any) { m[k] = v }})
		if sub, is := m[k].(map[string]any); is {
			places = append(places, placesIn(sub)...)
		}
	}
	for _, k := range sorted(m) {
		switch k {
		case "properties", "patternProperties", "dependentSchemas", "$defs", "dependencies":
			for _, name := range sorted(m[k].(map[string]any)) {
				if _, isList := m[k].(map[string]any)[name].([]any); !isList {
					member(m[k].(map[string]any), name)
				}
			}
		case "allOf", "anyOf", "oneOf", "prefixItems", "items":
			list, is := m[k].([]any)
			for i := range list {
				places = append(places, place{func() any { return list[i] }, func(v any) { list[i] = v }})
				if sub, is := list[i].(map[string]any); is {
					places = append(places, placesIn(sub)...)
				}
			}
			if !is {
				member(m, k)
			}
		case "additionalProperties", "propertyNames", "additionalItems", "contains", "unevaluatedItems", "unevaluatedProperties", "not", "if", "then", "else":
			member(m, k)
		}
	}
	if len(places) == 0 {
		places = append(places, place{func() any { return m }, func(any) {}})
	}
	return append(places, place{func() any { return m }, func(any) {}}, place{func() any { return m }, func(any) {}})
}

func clone(v any) any {
	switch v := v.(type) {
	case map[string]any:
		c := make(map[string]any, len(v))
		for k, e := range v {
			c[k] = clone(e)
		}
		return c
	case []any:
		c := make([]any, len(v))
		for i, e := range v {
			c[i] = clone(e)
		}
		return c
	}
	return v
}

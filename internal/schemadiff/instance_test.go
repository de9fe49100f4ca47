package schemadiff_test

import (
	"encoding/json"
	"maps"
	"math/rand/v2"
	"strings"
)

// instances draws values that a schema may well accept. It aims and often misses; who accepts what is for the
// validator to say.
type instances struct {
	*rand.Rand

	root map[string]any
}

var (
	numbers = []json.Number{"0", "1", "1.0", "2", "1.5", "0.5", "3", "4", "-1", "1e0"}
	strs    = []string{"", "a", "b", "ab", "bb", "abc", "2020-01-02", "a@b.example"}
)

func (i *instances) one(of []any) any { return of[i.IntN(len(of))] }

// anything draws any value.
func (i *instances) anything(depth int) any {
	if depth > 0 && i.IntN(2) == 0 {
		if i.IntN(2) == 0 {
			list := []any{}
			for range i.IntN(4) {
				list = append(list, i.anything(depth-1))
			}
			return list
		}
		m := map[string]any{}
		for range i.IntN(4) {
			m[i.name()] = i.anything(depth - 1)
		}
		return m
	}
	switch i.IntN(4) {
	case 0:
		return numbers[i.IntN(len(numbers))]
	case 1:
		return strs[i.IntN(len(strs))]
	}
	return i.one(scalars)
}

func (i *instances) name() string { return []string{"a", "b", "c", "d", "ab", ""}[i.IntN(6)] }

// of draws a value with a schema in mind.
func (i *instances) of(schema any, depth int) any {
	m, is := schema.(map[string]any)
	if !is || depth <= 0 || i.IntN(12) == 0 {
		return i.anything(max(depth, 0))
	}
	if ref, is := m["$ref"].(string); is && i.IntN(3) > 0 {
		return i.of(i.target(ref), depth-1)
	}
	if c, is := m["const"]; is {
		return c
	}
	if e, is := m["enum"].([]any); is && len(e) > 0 {
		return i.one(e)
	}
	for _, k := range []string{"allOf", "anyOf", "oneOf"} {
		if l, is := m[k].([]any); is && len(l) > 0 && i.IntN(3) > 0 {
			return i.of(i.merged(m, i.one(l), k), depth)
		}
	}
	switch i.typeOf(m) {
	case "object":
		return i.object(m, depth)
	case "array":
		return i.array(m, depth)
	case "string":
		return i.string(m)
	case "integer", "number":
		return numbers[i.IntN(len(numbers))]
	case "boolean":
		return i.IntN(2) == 0
	case "null":
		return nil
	}
	return i.anything(depth)
}

func (i *instances) target(ref string) any {
	if name, is := strings.CutPrefix(ref, "#/$defs/"); is {
		return i.root["$defs"].(map[string]any)[name]
	}
	return i.root
}

// merged is a schema with the keywords of one within it, roughly.
func (i *instances) merged(m map[string]any, with any, without string) map[string]any {
	all := clone(m).(map[string]any)
	delete(all, without)
	if w, is := with.(map[string]any); is {
		maps.Copy(all, w)
	}
	return all
}

func (i *instances) typeOf(m map[string]any) string {
	switch t := m["type"].(type) {
	case string:
		return t
	case []any:
		return i.one(t).(string)
	}
	for _, about := range []struct {
		of   string
		keys []string
	}{{"object", ofObjects}, {"array", ofArrays}, {"string", ofStrings}, {"number", ofNumbers}} {
		for _, k := range about.keys {
			if _, has := m[k]; has && i.IntN(4) > 0 {
				return about.of
			}
		}
	}
	return ""
}

func (i *instances) object(m map[string]any, depth int) any {
	o := map[string]any{}
	properties, _ := m["properties"].(map[string]any)
	matching, _ := m["patternProperties"].(map[string]any)
	value := func(name string) any {
		if p, has := properties[name]; has {
			return i.of(p, depth-1)
		}
		for _, p := range matching {
			if i.IntN(2) == 0 {
				return i.of(p, depth-1)
			}
		}
		if rest, has := m["additionalProperties"]; has {
			return i.of(rest, depth-1)
		}
		return i.anything(1)
	}
	required, _ := m["required"].([]any)
	for _, name := range required {
		o[name.(string)] = value(name.(string))
	}
	for _, name := range sorted(properties) {
		if i.IntN(2) == 0 {
			o[name] = value(name)
		}
	}
	for range i.IntN(3) {
		name := i.name()
		o[name] = value(name)
	}
	return o
}

func (i *instances) array(m map[string]any, depth int) any {
	list := []any{}
	first, _ := m["prefixItems"].([]any)
	rest := m["items"]
	if tuple, is := m["items"].([]any); is {
		first, rest = tuple, m["additionalItems"]
	}
	for n := range i.IntN(4) {
		switch {
		case n < len(first):
			list = append(list, i.of(first[n], depth-1))
		case m["contains"] != nil && i.IntN(2) == 0:
			list = append(list, i.of(m["contains"], depth-1))
		case rest != nil:
			list = append(list, i.of(rest, depth-1))
		default:
			list = append(list, i.anything(1))
		}
	}
	return list
}

func (i *instances) string(m map[string]any) any {
	if m["format"] == "date" {
		return "2020-01-02"
	}
	return strs[i.IntN(len(strs))]
}

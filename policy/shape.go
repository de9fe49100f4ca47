package policy

import (
	"encoding/json"
	"slices"
	"strings"
)

// shape is what an input schema says of one value, as far as a condition can go wrong by it. The zero shape may be
// anything: so is whatever is put together from several schemas, or refers to another document.
type shape struct {
	root   map[string]any // of the schema, for references
	schema map[string]any // nil: anything
}

// shapeOf reads the input schema of a tool. Of a resource, the arguments are its URI.
func shapeOf(t Tool) shape {
	text := t.InputSchema
	if t.Kind == KindResource {
		text = json.RawMessage(`{"type":"object","properties":{"uri":{"type":"string"}},"required":["uri"]}`)
	}
	var root map[string]any
	if len(text) == 0 || json.Unmarshal(text, &root) != nil {
		return shape{}
	}
	return shape{root: root}.at(root)
}

// at returns the shape that a part of the schema describes.
func (s shape) at(part any) shape {
	schema, _ := part.(map[string]any)
	for range 8 { // references to references
		reference, ok := schema["$ref"].(string)
		if !ok {
			break
		}
		schema, _ = s.lookup(reference).(map[string]any)
	}
	if schema["$ref"] != nil {
		return shape{}
	}
	for _, mixed := range []string{"allOf", "anyOf", "oneOf", "not", "if", "$dynamicRef", "dependentSchemas"} {
		if schema[mixed] != nil {
			return shape{}
		}
	}
	return shape{root: s.root, schema: schema}
}

// lookup follows a reference within the document; nil if there is nothing, or if it leads elsewhere.
func (s shape) lookup(reference string) any {
	path, ok := strings.CutPrefix(reference, "#")
	if !ok {
		return nil
	}
	var part any = s.root
	for name := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		if name == "" {
			continue
		}
		object, _ := part.(map[string]any)
		part = object[strings.NewReplacer("~1", "/", "~0", "~").Replace(name)]
	}
	return part
}

// types are what a value may be, in the words of JSON Schema; nil is anything. An integer is a number here.
func (s shape) types() []string {
	var types []string
	switch t := s.schema["type"].(type) {
	case string:
		types = []string{t}
	case []any:
		for _, one := range t {
			if name, ok := one.(string); ok {
				types = append(types, name)
			}
		}
	}
	if i := slices.Index(types, "integer"); i >= 0 {
		types[i] = "number"
	}
	return types
}

// may reports whether a value may be one of some types.
func (s shape) may(types ...string) bool {
	mine := s.types()
	return mine == nil || slices.ContainsFunc(mine, func(t string) bool { return slices.Contains(types, t) })
}

// member returns the shape of a member of an object; known is false if the schema names others and not this one.
// Whether the schema says so or not, others are hardly ever meant to be given.
func (s shape) member(name string) (m shape, known bool) {
	properties, listed := s.schema["properties"].(map[string]any)
	if part, ok := properties[name]; ok {
		return s.at(part), true
	}
	more := s.schema["additionalProperties"]
	if !listed || len(properties) == 0 && more != false || s.schema["patternProperties"] != nil || more != nil && more != false {
		return shape{}, true
	}
	return shape{}, false
}

// requires reports whether an object always has a member.
func (s shape) requires(name string) bool {
	required, _ := s.schema["required"].([]any)
	return slices.Contains(required, any(name))
}

// element returns the shape of the elements of a list, or of the values of an object whose names are not known.
func (s shape) element() shape {
	if s.schema["prefixItems"] != nil {
		return shape{}
	}
	return s.at(s.schema["items"])
}

// typeWords says types for people to read: "text or a number".
func typeWords(types []string) string {
	words := make([]string, len(types))
	for i, t := range types {
		switch t {
		case "string":
			words[i] = "text"
		case "number":
			words[i] = "a number"
		case "boolean":
			words[i] = "true or false"
		case "array":
			words[i] = "a list"
		case "object":
			words[i] = "an object"
		default:
			words[i] = visible(t)
		}
	}
	return strings.Join(words, " or ")
}

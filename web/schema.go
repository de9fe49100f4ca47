package web

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// A schema is read for people so far; all of it stands beneath, as received.
const (
	argumentsToShow = 60
	argumentDepth   = 4
)

// Arguments reads a JSON Schema as a list of what may be given, required ones first; more says that there is more.
func Arguments(schema []byte) (list []Argument, more bool) {
	r := schemaReader{}
	r.properties(parse(schema), "", 0)
	return r.list, r.more
}

type schemaReader struct {
	list []Argument
	more bool
}

// member is a JSON value that may be of any type; what is of another type than asked for counts as absent.
type member struct{ value any }

func parse(raw []byte) member {
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return member{}
	}
	return member{v}
}

func (m member) get(name string) member {
	object, _ := m.value.(map[string]any)
	return member{object[name]}
}

func (m member) text() string {
	text, _ := m.value.(string)
	return text
}

func (m member) list() []any {
	list, _ := m.value.([]any)
	return list
}

func (r *schemaReader) properties(schema member, path string, depth int) {
	properties, _ := schema.get("properties").value.(map[string]any)
	required := schema.get("required").list()
	var names []string
	for name := range properties {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		if x, y := slices.Contains(required, any(a)), slices.Contains(required, any(b)); x != y {
			if x {
				return -1
			}
			return 1
		}
		return strings.Compare(a, b)
	})
	for _, name := range names {
		if len(r.list) == argumentsToShow || depth == argumentDepth {
			r.more = true
			return
		}
		property := member{properties[name]}
		at := path + name
		r.list = append(r.list, Argument{
			Path: at, Type: typeWords(property), Description: property.get("description").text(), Required: slices.Contains(required, any(name)),
		})
		r.properties(property, at+".", depth+1)
		r.properties(property.get("items"), at+"[].", depth+1)
	}
}

// typeWords says what a schema takes: its type and its bounds.
func typeWords(schema member) string {
	var parts []string
	switch t := schema.get("type"); {
	case t.text() != "":
		parts = append(parts, t.text())
	case len(t.list()) > 0:
		for _, one := range t.list() {
			parts = append(parts, fmt.Sprint(one))
		}
		parts = []string{strings.Join(parts, " or ")}
	case schema.get("$ref").text() != "":
		parts = append(parts, "as "+schema.get("$ref").text())
	default:
		parts = append(parts, "anything")
	}
	if of := typeOf(schema.get("items")); of != "" {
		parts[0] += " of " + of
	}
	if enum := schema.get("enum").list(); len(enum) > 0 {
		parts = append(parts, "one of "+enumWords(enum))
	}
	for _, bound := range []struct{ name, words string }{
		{"format", ""},
		{"pattern", "matching "},
		{"const", "always "},
		{"minimum", "at least "},
		{"maximum", "at most "},
		{"exclusiveMinimum", "more than "},
		{"exclusiveMaximum", "less than "},
		{"minLength", "length from "},
		{"maxLength", "length up to "},
		{"maxItems", "items up to "},
	} {
		if v := schema.get(bound.name).value; v != nil {
			parts = append(parts, bound.words+fmt.Sprint(v))
		}
	}
	return strings.Join(parts, ", ")
}

func typeOf(items member) string {
	if items.value == nil {
		return ""
	}
	if t := items.get("type").text(); t != "" {
		return t
	}
	return "anything"
}

// enumWords lists the first values of an enumeration.
func enumWords(values []any) string {
	const shown = 8
	var out []string
	for _, v := range values[:min(shown, len(values))] {
		out = append(out, fmt.Sprint(v))
	}
	if len(values) > shown {
		out = append(out, fmt.Sprintf("and %d more", len(values)-shown))
	}
	return strings.Join(out, ", ")
}

package registry

import (
	"net/url"
	"strconv"
	"strings"
)

// unsafe says why a schema must not even be compiled or run: a code and a sentence, or "".
func unsafe(root map[string]any) (code, message string) {
	m := measure{root: root, known: map[string]int{}, open: map[string]bool{}}
	m.walk(root, 0)
	if m.code == "" && m.most > maxSchemaWork {
		m.refuse("schema_explosive", "The schema refers to itself, or tries too many alternatives on one value, to be checked safely.")
	}
	return m.code, m.message
}

// measure walks a schema before it is compiled: first size and references (walk), then what it costs (work).
type measure struct {
	root          map[string]any
	nodes         int
	code, message string // the first reason to refuse

	most  int             // the most subschemas that one value meets
	known map[string]int  // reference → its work
	open  map[string]bool // references being followed
}

func (m *measure) refuse(code, message string) {
	if m.code == "" {
		m.code, m.message = code, message
	}
}

func (m *measure) walk(value any, depth int) {
	if m.nodes++; depth > maxSchemaDepth || m.nodes > maxSchemaNodes {
		m.refuse("schema_too_large", "The schema is nested too deeply, or has too many parts, to be checked safely.")
		return
	}
	switch v := value.(type) {
	case []any:
		for _, element := range v {
			m.walk(element, depth+1)
		}
	case map[string]any:
		m.references(v, depth)
		for _, element := range v {
			m.walk(element, depth+1)
		}
		if m.code == "" {
			m.most = max(m.most, m.work(v))
		}
	}
}

// references refuses every reference but the plain one to a place in this schema.
func (m *measure) references(schema map[string]any, depth int) {
	if _, moves := schema["$id"].(string); moves && depth > 0 {
		m.refuse("schema_reference", "A part of the schema has an address of its own ($id), which hides what a reference means.")
	}
	for _, keyword := range []string{"$ref", "$dynamicRef", "$recursiveRef"} {
		ref, is := schema[keyword].(string)
		switch {
		case !is:
		case !strings.HasPrefix(ref, "#"):
			m.refuse("schema_remote_reference", "The schema refers to something outside itself: "+visible(ref, 100))
		case keyword != "$ref" || ref == "#":
			m.refuse("schema_self_reference", "The schema refers to itself as a whole.")
		default:
			if _, found := resolve(m.root, ref); !found {
				m.refuse("schema_reference", "The schema refers to a place that is not there: "+visible(ref, 100))
			}
		}
	}
}

// inPlace are the keywords whose subschemas see the same value as the schema they stand in.
var inPlace = []string{"allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas", "dependencies"}

// endless is the work of a reference that comes back to itself without having gone into the value.
const endless = maxSchemaWork + 1

// work counts the subschemas that one value meets at schema, references followed, up to endless.
func (m *measure) work(schema any) int {
	object, is := schema.(map[string]any)
	if !is {
		return 1
	}
	total := 1
	for _, keyword := range inPlace {
		switch v := object[keyword].(type) {
		case []any:
			for _, s := range v {
				total = min(endless, total+m.work(s))
			}
		case map[string]any:
			total = min(endless, total+m.workOf(keyword, v))
		}
	}
	if ref, is := object["$ref"].(string); is && total < endless {
		total = min(endless, total+m.follow(ref))
	}
	return total
}

// workOf is for the keywords that hold one schema, and those that hold one for each property.
func (m *measure) workOf(keyword string, v map[string]any) int {
	if keyword != "dependentSchemas" && keyword != "dependencies" {
		return m.work(v)
	}
	total := 0
	for _, s := range v {
		total = min(endless, total+m.work(s))
	}
	return total
}

func (m *measure) follow(ref string) int {
	if n, known := m.known[ref]; known {
		return n
	}
	target, found := resolve(m.root, ref)
	if m.open[ref] || !found {
		return endless
	}
	m.open[ref] = true
	n := m.work(target)
	delete(m.open, ref)
	m.known[ref] = n
	return n
}

// resolve finds the place in root that a reference like "#/$defs/money" points to.
func resolve(root any, ref string) (value any, found bool) {
	pointer, err := url.PathUnescape(strings.TrimPrefix(ref, "#"))
	if err != nil || !strings.HasPrefix(pointer, "/") {
		return nil, false
	}
	value = root
	for part := range strings.SplitSeq(pointer[1:], "/") {
		part = strings.NewReplacer("~1", "/", "~0", "~").Replace(part)
		switch v := value.(type) {
		case map[string]any:
			if value, found = v[part]; !found {
				return nil, false
			}
		case []any:
			i, err := strconv.Atoi(part)
			if err != nil || i < 0 || i >= len(v) {
				return nil, false
			}
			value = v[i]
		default:
			return nil, false
		}
	}
	return value, true
}

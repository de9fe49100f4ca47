package desired

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"countersign/policy"
)

// reader walks the nodes of one file and fills values. It goes on after a fault, so that all are found.
type reader struct {
	file   string
	faults []Fault
	places Places // of what is being read, by the path inside of its object
	path   string
}

// field is one field of an object.
type field struct {
	name string
	need bool
	read func(ast.Node)
}

func (r *reader) fault(n ast.Node, format string, args ...any) {
	r.faults = append(r.faults, Fault{r.place(n), fmt.Sprintf(format, args...)})
}

func (r *reader) place(n ast.Node) Place {
	switch v := n.(type) {
	case nil:
		return Place{File: r.file, Line: 1, Column: 1}
	case *ast.MappingNode:
		if !v.IsFlowStyle && len(v.Values) > 0 {
			return r.place(v.Values[0].Key)
		}
	case *ast.MappingValueNode:
		return r.place(v.Key)
	}
	return placeOf(r.file, n.GetToken())
}

// kindOf says what a node is, for a person.
func kindOf(n ast.Node) string {
	switch n.(type) {
	case ast.MapNode:
		return "fields"
	case *ast.SequenceNode:
		return "a list"
	case *ast.StringNode, *ast.LiteralNode:
		return "text"
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "a number"
	case *ast.BoolNode:
		return "true or false"
	}
	return "nothing"
}

// object reads the fields of n, which is what. It reports whether n has fields at all.
func (r *reader) object(n ast.Node, what string, fields ...field) bool {
	object, ok := n.(ast.MapNode)
	if !ok {
		r.fault(n, "%s is %s; expected the fields %s", what, kindOf(n), names(fields))
		return false
	}
	said := map[string]Place{}
	for entries := object.MapRange(); entries.Next(); {
		key := entries.Key()
		name := keyName(key)
		f := fieldNamed(fields, name)
		first, twice := said[name]
		switch {
		case twice:
			r.fault(key, "%s is said twice, first in line %d; expected it once", quoted(name), first.Line)
			continue
		case f == nil:
			r.fault(key, "%s has no field %s; expected %s", what, quoted(name), names(fields))
		default:
			outer := r.path
			r.path = strings.TrimPrefix(outer+"."+name, ".")
			r.places[r.path] = r.place(key)
			f.read(entries.Value())
			r.path = outer
		}
		said[name] = r.place(key)
	}
	for _, f := range fields {
		if _, given := said[f.name]; f.need && !given {
			r.fault(n, "%s lacks %s", what, f.name)
		}
	}
	return true
}

func keyName(key ast.MapKeyNode) string {
	if text, ok := key.(*ast.StringNode); ok {
		return text.Value
	}
	return key.GetToken().Value
}

func fieldNamed(fields []field, name string) *field {
	for i := range fields {
		if fields[i].name == name {
			return &fields[i]
		}
	}
	return nil
}

func names(fields []field) string {
	all := make([]string, len(fields))
	for i, f := range fields {
		all[i] = f.name
	}
	last := len(all) - 1
	if last == 0 {
		return all[0]
	}
	return strings.Join(all[:last], ", ") + " or " + all[last]
}

// list reads each entry of a list.
func (r *reader) list(read func(ast.Node)) func(ast.Node) {
	return func(n ast.Node) {
		list, ok := n.(*ast.SequenceNode)
		if !ok {
			r.fault(n, "%s is %s; expected a list", r.path, kindOf(n))
			return
		}
		outer := r.path
		for i, entry := range list.Values {
			r.path = outer + "[" + strconv.Itoa(i) + "]"
			r.places[r.path] = r.place(entry)
			read(entry)
		}
		r.path = outer
	}
}

// text reads text that is not empty.
func (r *reader) text(into *string) func(ast.Node) {
	return func(n ast.Node) {
		switch v := n.(type) {
		case *ast.StringNode:
			*into = v.Value
		case *ast.LiteralNode:
			*into = v.Value.Value
		case ast.MapNode, *ast.SequenceNode, *ast.NullNode:
			r.fault(n, "%s is %s; expected text", r.path, kindOf(n))
			return
		default:
			r.fault(n, "%s is %s; expected text, so put it in quotes", r.path, kindOf(n))
			return
		}
		if *into == "" {
			r.fault(n, "%s is empty; expected text, or leave it out", r.path)
		}
	}
}

// texts reads a list of text that is not empty.
func (r *reader) texts(into *[]string) func(ast.Node) { return texts(r, into) }

func texts[T ~string](r *reader, into *[]T) func(ast.Node) {
	return func(n ast.Node) {
		if list, ok := n.(*ast.SequenceNode); ok && len(list.Values) == 0 {
			r.fault(n, "%s is an empty list; name something, or leave it out", r.path)
		}
		r.list(func(entry ast.Node) {
			var s string
			r.text(&s)(entry)
			*into = append(*into, T(s))
		})(n)
	}
}

// parsed reads text that has a form of its own.
func parsed[T any](r *reader, parse func(string) (T, error), keep func(T)) func(ast.Node) {
	return func(n ast.Node) {
		var s string
		before := len(r.faults)
		r.text(&s)(n)
		if len(r.faults) > before {
			return
		}
		v, err := parse(s)
		if err != nil {
			r.fault(n, "%s is %s; %v", r.path, quoted(s), err)
			return
		}
		keep(v)
	}
}

func (r *reader) time(into **time.Time) func(ast.Node) {
	return parsed(r, parseTime, func(at time.Time) { *into = &at })
}

func (r *reader) truth(into *bool) func(ast.Node) {
	return func(n ast.Node) {
		v, ok := n.(*ast.BoolNode)
		if !ok {
			r.fault(n, "%s is %s; expected true or false", r.path, kindOf(n))
			return
		}
		*into = v.Value
	}
}

// number reads a whole number of moderate size; what it may be is for Check to say.
func (r *reader) number(into *int) func(ast.Node) { return number(r, into) }

func number[T int | int64](r *reader, into *T) func(ast.Node) {
	return func(n ast.Node) {
		v, ok := n.(*ast.IntegerNode)
		if ok {
			given, err := strconv.ParseInt(v.GetToken().Value, 10, strconv.IntSize)
			*into, ok = T(given), err == nil
		}
		if !ok {
			r.fault(n, "%s is %s; expected a whole number", r.path, kindOf(n))
		}
	}
}

func (r *reader) subject(into *policy.Subject) func(ast.Node) {
	return func(n ast.Node) {
		r.object(n, r.path,
			field{"everyone", false, r.truth(&into.Everyone)},
			field{"users", false, r.texts(&into.Users)},
			field{"groups", false, r.texts(&into.Groups)},
			field{"agents", false, r.texts(&into.Agents)},
			field{"models", false, r.texts(&into.Models)},
			field{"allow_declared", false, r.truth(&into.AllowDeclared)})
	}
}

func (r *reader) resource(into *policy.Resource) func(ast.Node) {
	return func(n ast.Node) {
		r.object(n, r.path,
			field{"servers", false, r.texts(&into.Servers)},
			field{"labels", false, r.texts(&into.Labels)},
			field{"kinds", false, texts(r, &into.Kinds)},
			field{"names", false, r.texts(&into.Names)},
			field{"risks", false, texts(r, &into.Risks)},
			field{"tool_labels", false, r.texts(&into.ToolLabels)})
	}
}

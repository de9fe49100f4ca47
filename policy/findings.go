package policy

import (
	"fmt"
	"slices"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
)

// ConditionFindings says, in sentences, what expr asks of the arguments that the tool's input schema does not have, or has
// as something else. There are none if it fits, for all that the schema tells, and if expr does not compile. A schema that
// names members is taken to name all of them, unless it says otherwise.
func ConditionFindings(expr string, tool Tool) []string {
	found, _ := findingsOf(expr, tool)
	return found
}

// ConditionNotes says which arguments expr takes for given that a call may leave out: it cannot be evaluated then. That
// may be what is meant.
func ConditionNotes(expr string, tool Tool) []string {
	_, notes := findingsOf(expr, tool)
	return notes
}

func findingsOf(expr string, tool Tool) (found, notes []string) {
	c, err := compileCondition(expr)
	if err != nil || !c.usesArgs {
		return nil, nil
	}
	w := fitting{
		checked: c.checked,
		scope:   map[string]part{varArgs: {path: varArgs, shape: shapeOf(tool)}}, asked: map[string]bool{}, optional: map[string]bool{},
	}
	w.wants(c.checked.Expr(), "boolean")
	w.visit(c.checked.Expr())
	for _, path := range w.order {
		if !w.asked[path] {
			w.notes = append(w.notes, fmt.Sprintf("A call may leave out %s, which has() asks about.", path))
		}
	}
	return w.found, w.notes
}

// part is a part of the arguments, and what the schema says of it.
type part struct {
	path  string
	shape shape
}

// fitting compares an expression with a schema.
type fitting struct {
	checked  *ast.AST
	scope    map[string]part // the variables that stand for parts of the arguments
	asked    map[string]bool // paths that has() asks for
	optional map[string]bool
	order    []string // of optional
	found    []string
	notes    []string
}

func (w *fitting) say(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(w.found, text) {
		w.found = append(w.found, text)
	}
}

// visit looks at e and all within it.
func (w *fitting) visit(e ast.Expr) {
	switch e.Kind() {
	case ast.SelectKind:
		w.visit(e.AsSelect().Operand())
		w.member(e)
	case ast.CallKind:
		w.call(e)
	case ast.ComprehensionKind:
		w.comprehension(e.AsComprehension())
	case ast.ListKind:
		for _, element := range e.AsList().Elements() {
			w.visit(element)
		}
	case ast.MapKind:
		for _, entry := range e.AsMap().Entries() {
			w.visit(entry.AsMapEntry().Key())
			w.visit(entry.AsMapEntry().Value())
		}
	case ast.IdentKind, ast.LiteralKind, ast.StructKind, ast.UnspecifiedExprKind:
	}
}

// of returns the part of the arguments that e is; ok is false if it is none, or nobody knows which.
func (w *fitting) of(e ast.Expr) (p part, ok bool) {
	switch {
	case e.Kind() == ast.IdentKind:
		p, ok = w.scope[e.AsIdent()]
	case e.Kind() == ast.SelectKind && !e.AsSelect().IsTestOnly():
		return w.within(e.AsSelect().Operand(), e.AsSelect().FieldName())
	case e.Kind() == ast.CallKind && e.AsCall().FunctionName() == operators.Index:
		args := e.AsCall().Args()
		if name := textOf(args[1]); name != "" {
			return w.within(args[0], name)
		}
		if list, ok := w.of(args[0]); ok && !list.shape.may("object") {
			return part{path: list.path + "[]", shape: list.shape.element()}, true
		}
	}
	return p, ok
}

func (w *fitting) within(operand ast.Expr, name string) (p part, ok bool) {
	object, ok := w.of(operand)
	if !ok {
		return part{}, false
	}
	m, _ := object.shape.member(name)
	return part{path: object.path + "." + visible(name), shape: m}, true
}

// member looks at the choice of a member.
func (w *fitting) member(e ast.Expr) {
	s := e.AsSelect()
	object, ok := w.of(s.Operand())
	if !ok {
		return
	}
	path := object.path + "." + visible(s.FieldName())
	if s.IsTestOnly() {
		w.asked[path] = true
	}
	w.choose(object, s.FieldName(), path, s.IsTestOnly())
}

// choose looks at the choice of a member of a part of the arguments.
func (w *fitting) choose(object part, name, path string, testOnly bool) {
	if !object.shape.may("object") {
		w.say("%s is %s, which has no members.", object.path, typeWords(object.shape.types()))
		return
	}
	_, known := object.shape.member(name)
	switch {
	case !known:
		w.say("There is no %s.", path)
	case !testOnly && object.shape.schema["properties"] != nil && !object.shape.requires(name) && !w.optional[path]:
		w.optional[path] = true
		w.order = append(w.order, path)
	}
}

// wants notes that e is used as something that it is not.
func (w *fitting) wants(e ast.Expr, kinds ...string) {
	if p, ok := w.of(e); ok && !p.shape.may(kinds...) {
		w.say("%s is %s, and the condition takes it for %s.", p.path, typeWords(p.shape.types()), typeWords(kinds))
	}
}

// comprehension looks at what a macro such as all goes through, and gives its variable a shape.
func (w *fitting) comprehension(c ast.ComprehensionExpr) {
	w.visit(c.IterRange())
	w.wants(c.IterRange(), "array", "object")
	list, ok := w.of(c.IterRange())
	outer, shadowed := w.scope[c.IterVar()]
	delete(w.scope, c.IterVar())
	if ok && !list.shape.may("object") {
		w.scope[c.IterVar()] = part{path: list.path + "[]", shape: list.shape.element()}
	}
	for _, e := range []ast.Expr{c.AccuInit(), c.LoopCondition(), c.LoopStep(), c.Result()} {
		w.visit(e)
	}
	delete(w.scope, c.IterVar())
	if shadowed {
		w.scope[c.IterVar()] = outer
	}
}

// call looks at what a function or an operator is given.
func (w *fitting) call(e ast.Expr) {
	call := e.AsCall()
	args := call.Args()
	if call.IsMemberFunction() {
		args = append([]ast.Expr{call.Target()}, args...)
	}
	for _, a := range args {
		w.visit(a)
	}
	switch name := call.FunctionName(); name {
	case operators.LogicalAnd, operators.LogicalOr, operators.LogicalNot:
		for _, a := range args {
			w.wants(a, "boolean")
		}
	case operators.Conditional:
		w.wants(args[0], "boolean")
	case operators.Equals, operators.NotEquals:
		w.alike(args[0], args[1], "string", "number", "boolean", "array", "object")
	case operators.Less, operators.LessEquals, operators.Greater, operators.GreaterEquals:
		w.alike(args[0], args[1], "string", "number", "boolean")
	case operators.In:
		w.wants(args[1], "array", "object")
		w.among(args[0], args[1])
	case operators.Index:
		if p, ok := w.of(args[0]); ok && textOf(args[1]) != "" {
			w.choose(p, textOf(args[1]), p.path+"."+visible(textOf(args[1])), false)
		} else {
			w.wants(args[0], "array", "object")
		}
	case operators.Add:
		w.alike(args[0], args[1], "string", "number", "array")
	case operators.Subtract, operators.Multiply, operators.Divide, operators.Modulo, operators.Negate:
		for _, a := range args {
			w.wants(a, "number")
		}
	case "size":
		w.wants(args[0], "string", "array", "object")
	case "startsWith", "endsWith", "contains", "matches":
		for _, a := range args {
			w.wants(a, "string")
		}
	case "timestamp", "duration":
		w.wants(args[0], "string", "number")
	default:
		if timeZoned(name) {
			w.time(args[0])
		}
	}
}

// time notes that a part of the arguments is used as a point in time, which JSON has none of.
func (w *fitting) time(e ast.Expr) {
	if p, ok := w.of(e); ok {
		w.say("%s is no point in time before it is made one, with timestamp(%s).", p.path, p.path)
	}
}

// alike notes that two things are compared, or put together, that are never of one kind.
func (w *fitting) alike(a, b ast.Expr, kinds ...string) {
	w.wantsAs(a, b, kinds)
	w.wantsAs(b, a, kinds)
}

// wantsAs notes that e is used with something of another kind.
func (w *fitting) wantsAs(e, other ast.Expr, kinds []string) {
	theirs := w.kinds(other)
	switch {
	case theirs == nil:
		w.wants(e, append(kinds, "null")...)
	case !slices.Equal(theirs, []string{"null"}):
		w.wants(e, theirs...)
	}
}

// among notes that something is looked for in a list that has none of its kind.
func (w *fitting) among(e, list ast.Expr) {
	if p, ok := w.of(list); ok {
		if kinds := w.kinds(e); kinds != nil && !p.shape.may("object") && !p.shape.element().may(kinds...) {
			w.say("%s is a list of %s, and the condition looks there for %s.", p.path, typeWords(p.shape.element().types()), typeWords(kinds))
		}
		return
	}
	if t := w.checked.GetType(list.ID()); t.Kind() == types.ListKind && len(t.Parameters()) == 1 {
		if kinds := kindsOf(t.Parameters()[0]); kinds != nil {
			w.wants(e, kinds...)
		}
	}
}

// kinds are what e may be, in the words of JSON Schema; nil is anything, and none is nothing that JSON has.
func (w *fitting) kinds(e ast.Expr) []string {
	if p, ok := w.of(e); ok {
		return p.shape.types()
	}
	return kindsOf(w.checked.GetType(e.ID()))
}

func kindsOf(t *types.Type) []string {
	switch t.Kind() {
	case types.IntKind, types.UintKind, types.DoubleKind:
		return []string{"number"}
	case types.StringKind:
		return []string{"string"}
	case types.BoolKind:
		return []string{"boolean"}
	case types.ListKind:
		return []string{"array"}
	case types.MapKind:
		return []string{"object"}
	case types.NullTypeKind:
		return []string{"null"}
	case types.TimestampKind, types.DurationKind, types.BytesKind:
		return []string{strings.ToLower(strings.TrimPrefix(t.String(), "google.protobuf."))}
	default:
		return nil
	}
}

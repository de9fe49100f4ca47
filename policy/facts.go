package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/interpreter"

	"countersign/canonical"
)

// facts are what expressions can ask of one call. They are gathered when the first expression asks, and each expression
// is evaluated once for each tool.
type facts struct {
	request Request
	args    ref.Val // the arguments; nil until they were read
	unread  error   // why there are none
	known   map[string]any
	answers map[*condition]answer
	spent   uint64 // what all expressions did cost
	server  *Server
	tool    *Tool
}

// answer is what became of evaluating an expression.
type answer struct {
	yes bool
	err error
}

// newFacts is what can be asked of r.
func newFacts(r Request) *facts { return &facts{request: r, known: map[string]any{}} }

// turn puts f to use for another tool.
func (f *facts) turn(s *Server, t *Tool) {
	if f.tool == t {
		return
	}
	f.server, f.tool, f.answers = s, t, map[*condition]answer{}
	delete(f.known, varTool)
}

// evaluate answers c, from memory if it was asked before. It never panics: what would is an error.
func (f *facts) evaluate(c *condition) answer {
	if a, ok := f.answers[c]; ok {
		return a
	}
	a := f.ask(c)
	f.answers[c] = a
	return a
}

func (f *facts) ask(c *condition) (a answer) {
	defer func() {
		if r := recover(); r != nil {
			a = answer{err: fmt.Errorf("evaluating a condition: %v", r)}
		}
	}()
	if f.spent > maxDecisionCost {
		return answer{err: errors.New("the expressions of this decision take too long")}
	}
	value, details, err := c.program.Eval(interpreter.Activation(f))
	f.spent += costOf(details)
	if err != nil {
		return answer{err: err}
	}
	yes, ok := value.(types.Bool)
	if !ok {
		return answer{err: errors.New("the expression is neither true nor false")}
	}
	return answer{yes: bool(yes)}
}

// costOf is what an evaluation did cost, as far as it went.
func costOf(details *cel.EvalDetails) uint64 {
	if details != nil {
		if cost := details.ActualCost(); cost != nil {
			return *cost
		}
	}
	return maxCost
}

// Parent is for interpreter.Activation.
func (f *facts) Parent() interpreter.Activation { return nil }

// ResolveName returns the value of a variable. Arguments that cannot be read exactly are not there.
func (f *facts) ResolveName(name string) (any, bool) {
	if name == varArgs {
		if f.args == nil && f.unread == nil {
			f.args, f.unread = readArguments(f.request.Arguments)
		}
		return f.args, f.unread == nil
	}
	if v, ok := f.known[name]; ok {
		return v, true
	}
	v, ok := f.look(name)
	if ok {
		f.known[name] = v
	}
	return v, ok
}

func (f *facts) look(name string) (any, bool) {
	switch name {
	case varPrincipal:
		return f.request.Principal.value(), f.request.Principal != nil
	case varTool:
		return newObject(map[string]any{"name": f.tool.Name, "kind": string(f.tool.Kind), "risk": string(f.tool.Risk)}), true
	case varServer:
		return newObject(map[string]any{"name": f.server.Name, "labels": append([]string{}, f.server.Labels...), "team": f.server.Team}), true
	case varNow:
		return types.Timestamp{Time: f.request.Now.UTC()}, true
	}
	return nil, false
}

// value is what is known of p.
func (p *Principal) value() ref.Val {
	if p == nil {
		return nil
	}
	known := map[string]any{}
	for name, text := range map[string]string{
		"issuer": p.Issuer, "subject": p.Subject, "agent": p.Agent, "model": p.Model, "model_assurance": string(p.ModelAssurance),
	} {
		if text != "" {
			known[name] = text
		}
	}
	if p.Groups != nil {
		known["groups"] = p.Groups
	}
	if len(p.AMR) > 0 {
		known["amr"] = p.AMR
	}
	if !p.AuthTime.IsZero() {
		known["auth_time"] = types.Timestamp{Time: p.AuthTime.UTC()}
	}
	return newObject(known)
}

// object is a map whose members come in the order of their names, so that an expression which goes through them says the
// same each time.
type object struct {
	traits.Mapper
	names []string
}

// Iterator goes through the names.
func (o object) Iterator() traits.Iterator {
	return types.NewStringList(types.DefaultTypeAdapter, o.names).Iterator()
}

func newObject[V any](members map[string]V) ref.Val {
	values := make(map[ref.Val]ref.Val, len(members))
	names := make([]string, 0, len(members))
	for name, v := range members {
		names = append(names, name)
		values[types.String(name)] = types.DefaultTypeAdapter.NativeToValue(v)
	}
	slices.Sort(names)
	return object{types.NewRefValMap(types.DefaultTypeAdapter, values), names}
}

// readArguments reads the arguments of a call. They are an object that canonical.Check passes, and every number in it is
// one that CEL keeps: an integer of 64 bits, with or without a sign and however it is spelt, or a number whose float64
// has it as its shortest decimal.
func readArguments(data json.RawMessage) (ref.Val, error) {
	if len(data) == 0 {
		return newObject(map[string]ref.Val{}), nil
	}
	limits := canonical.Limits{MaxBytes: canonical.MaxArgumentBytes, MaxDepth: canonical.MaxArgumentDepth, FoldedKeys: true}
	if err := canonical.Check(data, limits); err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var tree map[string]any
	if err := d.Decode(&tree); err != nil {
		return nil, err
	}
	if tree == nil {
		return nil, errors.New("the arguments are not an object")
	}
	return readValue(tree)
}

// readValue reads a part of the arguments, which are not deep.
func readValue(v any) (ref.Val, error) {
	switch v := v.(type) {
	case map[string]any:
		members := make(map[string]ref.Val, len(v))
		for name, inner := range v {
			value, err := readValue(inner)
			if err != nil {
				return nil, err
			}
			members[name] = value
		}
		return newObject(members), nil
	case []any:
		elements := make([]ref.Val, len(v))
		for i, inner := range v {
			value, err := readValue(inner)
			if err != nil {
				return nil, err
			}
			elements[i] = value
		}
		return types.NewRefValList(types.DefaultTypeAdapter, elements), nil
	case json.Number:
		return readNumber(v)
	}
	return types.DefaultTypeAdapter.NativeToValue(v), nil
}

func readNumber(n json.Number) (ref.Val, error) {
	if digits, ok := canonical.Integer([]byte(n)); ok {
		if i, err := strconv.ParseInt(digits, 10, 64); err == nil {
			return types.Int(i), nil
		}
		if u, err := strconv.ParseUint(digits, 10, 64); err == nil {
			return types.Uint(u), nil
		}
	}
	if f, ok := canonical.Float([]byte(n)); ok {
		return types.Double(f), nil
	}
	return nil, errors.New("a number among the arguments cannot be kept exactly")
}

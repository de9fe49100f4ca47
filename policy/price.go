package policy

import (
	"regexp/syntax"
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"countersign/canonical"
)

// What expressions may cost, in units of about a tenth of a microsecond. The estimate takes arguments to be as long as
// they may be, so it refuses only what multiplies them; what a call really costs is counted, and ends where it is too much.
const (
	maxEstimate     = 2_000_000_000
	maxCost         = 300_000   // of one expression
	maxDecisionCost = 1_000_000 // of all of one decision
)

// Prices that CEL's own list leaves out or knows only where the types are known.
const (
	bytesForOne = 10   // bytes of text that one unit goes through
	zonePrice   = 1000 // of finding a time zone
	stepShare   = 50   // steps of a pattern, on one byte of text, that one unit pays for
)

// Sizes that the estimate goes by, beside that of all arguments.
const (
	sizeOfOthers  = 256 // such as the groups of a principal
	sizeOfElement = 16  // of a list among the arguments
)

// price says what calls cost: before an expression is used for any arguments, and while it is for some.
type price struct {
	patterns map[string]uint64 // how many steps the program of a regular expression has
}

// EstimateSize says how much the variables hold. What is inside of an element of a list is taken to be little: all of
// them together are no more than the list.
func (price) EstimateSize(node cost.AstNode) *cost.SizeEstimate {
	path := node.Path()
	if len(path) == 0 {
		return nil
	}
	inside := func(s string) bool { return strings.HasPrefix(s, "@") }
	size := cost.SizeEstimate{Max: canonical.MaxArgumentBytes}
	switch {
	case path[0] != varArgs:
		size.Max = sizeOfOthers
	case slices.ContainsFunc(path, inside):
		size.Max = sizeOfElement
	}
	size.Key, size.Elem = &cost.SizeEstimate{Max: sizeOfElement}, &cost.SizeEstimate{Max: sizeOfElement}
	return &size
}

// EstimateCallCost is for those calls that CEL takes to cost the same whatever they are about.
func (p price) EstimateCallCost(function, _ string, target *cost.AstNode, args []cost.AstNode) *cost.CallEstimate {
	if target != nil {
		args = append([]cost.AstNode{*target}, args...)
	}
	var units float64
	switch {
	case function == "matches" && len(args) == 2:
		units = float64(p.steps(textOf(args[1].Expr()))) / stepShare
	case linear(function):
		units = 1. / bytesForOne
	case timeZoned(function) && len(args) == 2:
		return &cost.CallEstimate{CostEstimate: cost.FixedCostEstimate(zonePrice)}
	default:
		return nil
	}
	size := cost.SizeEstimate{Max: canonical.MaxArgumentBytes}
	if known := args[0].ComputedSize(); known != nil {
		size.Max = min(size.Max, known.Max)
	}
	return &cost.CallEstimate{CostEstimate: size.MultiplyByCostFactor(units).Add(cost.FixedCostEstimate(1))}
}

// CallCost is what a call did cost.
func (p price) CallCost(function, _ string, args []ref.Val, _ ref.Val) *uint64 {
	units := uint64(1)
	switch {
	case function == operators.Conditional || function == operators.Index:
	case function == "matches" && len(args) == 2:
		pattern, _ := args[1].(types.String)
		units += length(args[0]) * p.steps(string(pattern)) / stepShare
	case timeZoned(function) && len(args) == 2:
		units += zonePrice
	case (function == "startsWith" || function == "endsWith") && len(args) == 2:
		units += min(length(args[0]), length(args[1])) / bytesForOne
	case function == operators.In || function == operators.OldIn:
		units += weigh(args[1])
	case function == operators.Equals || function == operators.NotEquals:
		units += min(weigh(args[0]), weigh(args[1]))
	default:
		for _, a := range args {
			units += length(a) / bytesForOne
		}
	}
	return &units
}

// linear reports whether a function goes through a text whose length CEL does not count.
func linear(function string) bool {
	switch function {
	case "size", "int", "uint", "double", "bool", "timestamp", "duration":
		return true
	}
	return false
}

// timeZoned reports whether a function may take the name of a time zone.
func timeZoned(function string) bool { return strings.HasPrefix(function, "get") }

// length is that of a text in bytes; anything else has none.
func length(v ref.Val) uint64 {
	switch v := v.(type) {
	case types.String:
		return uint64(len(v))
	case types.Bytes:
		return uint64(len(v))
	}
	return 0
}

// weigh counts what a comparison with v may go through. It stops where that is too much anyway.
func weigh(v ref.Val) uint64 {
	left := uint64(maxCost)
	weighAll(v, &left)
	return maxCost - left
}

func weighAll(v ref.Val, left *uint64) {
	units := 1 + length(v)/bytesForOne
	if units >= *left {
		*left = 0
		return
	}
	*left -= units
	switch v := v.(type) {
	case traits.Mapper:
		for it := v.Iterator(); *left > 0 && it.HasNext() == types.True; {
			key := it.Next()
			weighAll(key, left)
			weighAll(v.Get(key), left)
		}
	case traits.Lister:
		for it := v.Iterator(); *left > 0 && it.HasNext() == types.True; {
			weighAll(it.Next(), left)
		}
	}
}

// steps returns how many steps the program of a pattern has; one that is not known has as many as it may.
func (p price) steps(pattern string) uint64 {
	if n, ok := p.patterns[pattern]; ok {
		return n
	}
	return maxPatternSteps
}

// admitCall refuses a call whose pattern or time zone is not written out, since its cost and whether it is one at all
// would be known only when it is used. Patterns get the steps that they take.
func admitCall(call ast.CallExpr, patterns map[string]uint64) error {
	args := call.Args()
	if call.IsMemberFunction() {
		args = append([]ast.Expr{call.Target()}, args...)
	}
	switch {
	case call.FunctionName() == "matches" && len(args) == 2:
		pattern := textOf(args[1])
		if pattern == "" {
			return wrong("", "matches a pattern that is not written out")
		}
		parsed, err := syntax.Parse(pattern, syntax.Perl)
		if err != nil {
			return wrong("", "matches a pattern that is no regular expression")
		}
		program, err := syntax.Compile(parsed.Simplify())
		if err != nil {
			return wrong("", "matches a pattern that is no regular expression")
		}
		patterns[pattern] = uint64(len(program.Inst))
	case timeZoned(call.FunctionName()) && len(args) == 2:
		if !isTimeZone(textOf(args[1])) {
			return wrong("", "names a time zone that is not known, or not written out")
		}
	}
	return nil
}

// textOf returns the text of a literal, "" for anything else.
func textOf(e ast.Expr) string {
	if e == nil || e.Kind() != ast.LiteralKind {
		return ""
	}
	text, _ := e.AsLiteral().(types.String)
	return string(text)
}

// isTimeZone accepts names such as Europe/Berlin and offsets such as +02:00.
func isTimeZone(name string) bool {
	if strings.Contains(name, ":") {
		_, err := time.Parse("-07:00", "+"+strings.TrimLeft(name, "+-"))
		return err == nil
	}
	if name == "" || name == "Local" { // which is another one on each machine
		return false
	}
	_, err := time.LoadLocation(name)
	return err == nil
}

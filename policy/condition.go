package policy

import (
	"fmt"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
)

// maxConditionBytes is how long a condition or requirement may be.
const maxConditionBytes = 4096

// CheckCondition reports what is wrong with expr as the condition of a grant or guardrail or what an effect requires,
// as an *Error in field: it does not compile, is not true or false, or could cost too much.
func CheckCondition(field, expr string) error {
	if _, err := compileCondition(expr); err != nil {
		return inField(field, err)
	}
	return nil
}

// condition is an expression made ready to evaluate. It is immutable.
type condition struct {
	text      string
	checked   *ast.AST
	program   cel.Program
	usesArgs  bool // what it says depends on the arguments of the call
	usesOffer bool // on the tool or its server
}

// compiled keeps conditions by their text: a rule is compiled when it is saved, published, received and indexed, and
// that is the same each time. It is emptied when it is full, and holds nothing but what follows from the text.
var compiled struct {
	sync.Mutex
	known map[string]*condition
}

const maxCompiled = 4096

// compileCondition compiles expr; the error is an *Error.
func compileCondition(expr string) (*condition, error) {
	compiled.Lock()
	known := compiled.known[expr]
	compiled.Unlock()
	if known != nil {
		return known, nil
	}
	c, err := newCondition(expr)
	if err != nil {
		return nil, err
	}
	compiled.Lock()
	defer compiled.Unlock()
	if compiled.known == nil || len(compiled.known) >= maxCompiled {
		compiled.known = map[string]*condition{}
	}
	compiled.known[expr] = c
	return c, nil
}

// conditions are those of one document: each distinct expression is compiled once.
type conditions map[string]*condition

// compile returns nil for no expression.
func (c conditions) compile(expr string) (*condition, error) {
	if expr == "" {
		return nil, nil //nolint:nilnil // no expression is no condition
	}
	if known, ok := c[expr]; ok {
		return known, nil
	}
	made, err := compileCondition(expr)
	if err != nil {
		return nil, err
	}
	c[expr] = made
	return made, nil
}

func newCondition(expr string) (c *condition, err error) {
	if problem := textProblem(expr, maxConditionBytes); problem != "" {
		return nil, wrong("", problem)
	}
	defer func() {
		if recover() != nil {
			c, err = nil, wrong("", "cannot be compiled")
		}
	}()
	env, err := environment()
	if err != nil {
		return nil, fmt.Errorf("preparing to compile conditions: %w", err)
	}
	checked, issues := env.Compile(expr)
	if issues.Err() != nil {
		return nil, wrong("", issueText(issues))
	}
	if t := checked.OutputType(); !t.IsExactType(types.BoolType) && !t.IsExactType(types.DynType) {
		return nil, wrong("", "is of type "+visible(t.String())+", not true or false")
	}
	patterns, err := admit(checked.NativeRep().Expr())
	if err != nil {
		return nil, err
	}
	price := price{patterns: patterns}
	if estimate, err := env.EstimateCost(checked, price); err != nil || estimate.Max > maxEstimate {
		return nil, wrong("", "could take too long to evaluate: it goes through long arguments again and again")
	}
	program, err := env.Program(checked, cel.EvalOptions(cel.OptOptimize), cel.CostTracking(price), cel.CostLimit(maxCost))
	if err != nil {
		return nil, wrong("", "cannot be evaluated: "+firstLine(err.Error()))
	}
	e := checked.NativeRep().Expr()
	return &condition{
		text: expr, checked: checked.NativeRep(), program: program,
		usesArgs: uses(e, varArgs), usesOffer: uses(e, varTool) || uses(e, varServer),
	}, nil
}

// issueText says the first of issues, and where it is.
func issueText(issues *cel.Issues) string {
	all := issues.Errors()
	if len(all) == 0 {
		return "does not compile: " + firstLine(issues.Err().Error())
	}
	first := all[0]
	return fmt.Sprintf("does not compile, at character %d: %s", first.Location.Column()+1, firstLine(first.Message))
}

// firstLine shortens what the compiler says, which repeats parts of the expression.
func firstLine(s string) string {
	const most = 200
	s, _, _ = strings.Cut(s, "\n")
	s = strings.ReplaceAll(s, " (in container '')", "")
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return visible(s)
}

// admit refuses what the checker lets pass and we do not, and returns how many steps the regular expressions take.
func admit(e ast.Expr) (patterns map[string]uint64, err error) {
	patterns = map[string]uint64{}
	ast.PostOrderVisit(e, ast.NewExprVisitor(func(e ast.Expr) {
		switch {
		case err != nil:
		case e.Kind() == ast.StructKind:
			err = wrong("", "makes an object of a type; conditions only look at what there is")
		case e.Kind() == ast.CallKind:
			err = admitCall(e.AsCall(), patterns)
		}
	}))
	return patterns, err
}

// uses reports whether e mentions a variable. A variable of a comprehension that has its name counts as well.
func uses(e ast.Expr, variable string) bool {
	found := false
	ast.PostOrderVisit(e, ast.NewExprVisitor(func(e ast.Expr) {
		found = found || e.Kind() == ast.IdentKind && e.AsIdent() == variable
	}))
	return found
}

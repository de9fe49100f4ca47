package policy

import (
	"sync"
	_ "time/tzdata" // so that now.getHours("Europe/Berlin") means the same on every machine

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/types"
)

// Limits on what an expression is made of, beside its length.
const (
	maxExpressionNodes = 2000
	maxExpressionDepth = 50
	maxPatternSteps    = 500 // of the program that a regular expression becomes
)

// environment is what every expression is compiled in. It is made when the first is.
var environment = sync.OnceValues(func() (*cel.Env, error) {
	registry, err := types.NewRegistry()
	if err != nil {
		return nil, err
	}
	return cel.NewCustomEnv(
		cel.StdLib(),
		cel.CustomTypeProvider(vocabulary{registry}),
		cel.CrossTypeNumericComparisons(true),
		cel.DefaultUTCTimeZone(true),
		cel.ParserExpressionSizeLimit(maxConditionBytes),
		cel.ParserRecursionLimit(maxExpressionDepth),
		cel.ExpressionNodeLimit(maxExpressionNodes),
		cel.RegexProgramSizeLimit(maxPatternSteps),
		cel.ASTValidators(cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals(), cel.ValidateRegexLiterals()),
		cel.CostSizingStrategy(cost.AggregateSizingStrategy()),
		cel.Variable(varArgs, cel.MapType(cel.StringType, cel.DynType)),
		cel.Variable(varPrincipal, cel.ObjectType(varPrincipal)),
		cel.Variable(varTool, cel.ObjectType(varTool)),
		cel.Variable(varServer, cel.ObjectType(varServer)),
		cel.Variable(varNow, cel.TimestampType),
	)
})

// The variables of an expression.
const (
	varArgs      = "args"
	varPrincipal = "principal"
	varTool      = "tool"
	varServer    = "server"
	varNow       = "now"
)

// members are what the variables that are objects have.
var members = map[string]map[string]*cel.Type{
	varPrincipal: {
		"issuer": cel.StringType, "subject": cel.StringType, "groups": cel.ListType(cel.StringType),
		"agent": cel.StringType, "model": cel.StringType, "model_assurance": cel.StringType,
		"amr": cel.ListType(cel.StringType), "auth_time": cel.TimestampType,
	},
	varTool:   {"name": cel.StringType, "kind": cel.StringType, "risk": cel.StringType},
	varServer: {"name": cel.StringType, "labels": cel.ListType(cel.StringType), "team": cel.StringType},
}

// vocabulary tells the type checker what members the variables have, so that a misspelt one is found when it is saved.
type vocabulary struct{ *types.Registry }

func (v vocabulary) FindStructType(name string) (*types.Type, bool) {
	if _, ok := members[name]; ok {
		return types.NewTypeTypeWithParam(types.NewObjectType(name)), true
	}
	return v.Registry.FindStructType(name)
}

func (v vocabulary) FindStructFieldNames(name string) ([]string, bool) {
	fields, ok := members[name]
	if !ok {
		return v.Registry.FindStructFieldNames(name)
	}
	var names []string
	for field := range fields {
		names = append(names, field)
	}
	return names, true
}

func (v vocabulary) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	fields, ok := members[name]
	if !ok {
		return v.Registry.FindStructFieldType(name, field)
	}
	t, ok := fields[field]
	if !ok {
		return nil, false
	}
	return &types.FieldType{Type: t}, true
}

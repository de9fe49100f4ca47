package registry

import (
	"context"

	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
)

// checkCondition complains of an expression that is none.
func checkCondition(invalid *problem.Error, condition string) {
	if condition != "" {
		invalid.Field("condition", "Conditions are not known yet.")
	}
}

// ConditionFindings says what an expression asks of the arguments that the tools a resource reaches today do not take,
// a sentence each; none if it fits all of them. It needs identity.ReadPolicy.
//
// Problems: Invalid invalid_condition, with the field condition: it is no condition, or it fits none of these tools;
// Invalid invalid_resource.
func (r *Registry) ConditionFindings(_ context.Context, who identity.Principal, expr string, _ policy.Resource) ([]string, error) {
	if err := who.Can(identity.ReadPolicy, ""); err != nil {
		return nil, err
	}
	invalid := problem.New(problem.Invalid, "invalid_condition", "This is no condition.")
	if checkCondition(invalid, expr); len(invalid.Fields) > 0 {
		return nil, invalid
	}
	return nil, nil
}

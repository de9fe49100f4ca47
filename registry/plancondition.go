package registry

import (
	"maps"
	"slices"
	"strings"

	"countersign/policy"
)

// suitCheck is a comparison of the expressions of a rule with the tools that it will reach.
type suitCheck struct {
	step        int // of the plan
	rule        string
	expressions expressions
	path        func(field string) string
}

// compare has the expressions of the rule that the next step is about compared, once it is known what it will reach.
func (p *planner) compare(all expressions, rule string, path func(string) string) {
	if len(all) > 0 {
		p.compared = append(p.compared, suitCheck{len(p.steps), rule, all, path})
	}
}

// checkSuits compares expressions with the tools of the document that is foreseen. What suits some of them is noted as a
// consequence of the step, and so is what suits none where rules go back to what they were: nobody has just misspelt them.
func (p *planner) checkSuits(after *policy.Document) error {
	for _, c := range p.compared {
		reached := reachedFrom(after, c.rule)
		for _, field := range slices.Sorted(maps.Keys(c.expressions)) {
			s := suitOf(c.expressions[field], after, reached)
			if s.none() && !p.rulesOnly {
				p.invalid.Field(c.path(setField(field)), s.refusal())
				continue
			}
			said := append([]string{p.steps[c.step].Consequence}, bounded(s.said)...)
			said = slices.DeleteFunc(said, func(s string) bool { return s == "" })
			p.steps[c.step].Consequence = strings.Join(said, "; ")
		}
	}
	if len(p.invalid.Fields) > 0 {
		return p.invalid
	}
	return nil
}

// reachedFrom says of a tool of the document whether the rule of that id points to it.
func reachedFrom(d *policy.Document, rule string) func(*policy.Tool) bool {
	grant := slices.IndexFunc(d.Grants, func(g policy.Grant) bool { return g.ID == rule })
	guardrail := slices.IndexFunc(d.Guardrails, func(g policy.Guardrail) bool { return g.ID == rule })
	return func(t *policy.Tool) bool {
		return grant >= 0 && slices.Contains(t.Grants, grant) || guardrail >= 0 && slices.Contains(t.Guardrails, guardrail)
	}
}

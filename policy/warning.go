package policy

import "fmt"

// Warning is something that a compiled policy allows but its authors can hardly
// mean.
type Warning struct {
	Code    string `json:"code"`
	Rule    string `json:"rule,omitempty"` // id of the grant or guardrail
	Tool    string `json:"tool,omitempty"` // id of the tool
	Message string `json:"message"`
}

// The codes of warnings.
const (
	WarnReachesNothing = "reaches_nothing"    // a rule matches no tool of the audience
	WarnGrantOver      = "grant_over"         // the window of a grant has passed
	WarnUnapprovable   = "nobody_can_approve" // a tool is held, and nobody may approve
)

func reachesNothing(what, id, name string) Warning {
	return Warning{
		Code: WarnReachesNothing, Rule: id,
		Message: fmt.Sprintf("The %s %q reaches no tool that this audience may see.", what, name),
	}
}

func grantIsOver(g Grant) Warning {
	return Warning{
		Code: WarnGrantOver, Rule: g.ID,
		Message: fmt.Sprintf("The grant %q is over; it allows nothing any more.", g.Name),
	}
}

// unapprovable warns of tools whose guardrails, taken together, leave no team
// that may approve. Guardrails with narrower subjects may still let some calls be
// approved, so it counts only those for everyone.
func (d *Document) unapprovable() []Warning {
	var warnings []Warning
	for i := range d.Servers {
		s := &d.Servers[i]
		for j := range s.Tools {
			t := &s.Tools[j]
			var demands []*Approval
			for _, g := range t.Guardrails {
				if rule := &d.Guardrails[g]; rule.Subject.Everyone && rule.Effect.Approval != nil {
					demands = append(demands, rule.Effect.Approval)
				}
			}
			if a := unite(demands, s.Team); a != nil && len(a.Teams) == 0 {
				warnings = append(warnings, Warning{
					Code: WarnUnapprovable, Tool: t.ID,
					Message: fmt.Sprintf("Calls of %q on %s wait for an approval that no team may give.", t.Name, s.Name),
				})
			}
		}
	}
	return warnings
}

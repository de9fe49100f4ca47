package policy

// Step is one rule that Explain looked at.
type Step struct {
	Rule    string `json:"rule"` // "grant" or "guardrail"
	Index   int    `json:"index"`
	ID      string `json:"id"`
	Name    string `json:"name"`
	Matched bool   `json:"matched"`
	Miss    Miss   `json:"miss,omitempty"` // why it did not match
	Met     bool   `json:"met,omitempty"`  // it matched and demands a second factor, which the caller has
}

// Explain goes through every rule that reaches the tool of r, guardrails first,
// and says whether it matches, for people to read. It is empty for a tool that is
// not known. For a resource it explains the template that Decide judged by.
func (ix *Index) Explain(r Request) []Step {
	v := ix.Decide(r)
	if v.Tool == nil || r.Principal == nil {
		return nil
	}
	c := ix.terms.resolve(r.Principal, nil)
	var steps []Step
	for _, g := range v.Tool.Guardrails {
		miss := ix.guardrails[g].misses(&c)
		rule := &ix.document.Guardrails[g]
		met := miss == "" && rule.Effect.MFA && r.Principal.SecondFactor()
		steps = append(steps, Step{"guardrail", g, rule.ID, rule.Name, miss == "", miss, met})
	}
	for _, g := range v.Tool.Grants {
		miss := ix.grants[g].misses(&c, r.Now)
		rule := &ix.document.Grants[g]
		steps = append(steps, Step{"grant", g, rule.ID, rule.Name, miss == "", miss, false})
	}
	return steps
}

package delivery

import (
	"fmt"
	"sync"

	"countersign/canonical"
	"countersign/policy"
)

// Bounds on comparing conditions with tools; what is not compared counts as fitting.
const (
	mostFitted = 20     // tools of a rule
	mostFits   = 10_000 // comparisons that are remembered
)

// fits remembers which expressions suit which definitions.
type fits struct {
	mu    sync.Mutex
	known map[fit]bool
}

type fit struct {
	expr       string
	definition canonical.Digest
}

// suits reports whether all that the expression asks of the arguments, the tool takes.
func (f *fits) suits(expr string, t *policy.Tool) bool {
	key := fit{expr, t.Definition}
	f.mu.Lock()
	suits, known := f.known[key]
	f.mu.Unlock()
	if known {
		return suits
	}
	suits = len(policy.ConditionFindings(expr, *t)) == 0
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.known == nil || len(f.known) >= mostFits {
		f.known = map[fit]bool{}
	}
	f.known[key] = suits
	return suits
}

// misfit follows one expression of a rule through the tools that it reaches.
type misfit struct {
	expr   string
	looked int
	fits   bool
}

// unfit warns of conditions that suit none of the tools that their rule reaches: an argument is misspelt, or the tools
// changed.
func (k knowledge) unfit(d *policy.Document) []policy.Warning {
	grants, guardrails := map[int]*misfit{}, map[int]*misfit{}
	for i, g := range d.Grants {
		if g.Condition != "" {
			grants[i] = &misfit{expr: g.Condition}
		}
	}
	for i, g := range d.Guardrails {
		if expr := g.Condition; expr != "" {
			guardrails[i] = &misfit{expr: expr}
		} else if g.Effect.Require != "" {
			guardrails[i] = &misfit{expr: g.Effect.Require}
		}
	}
	if len(grants)+len(guardrails) == 0 {
		return nil
	}
	for i := range d.Servers {
		for j := range d.Servers[i].Tools {
			t := &d.Servers[i].Tools[j]
			k.look(t, t.Grants, grants)
			k.look(t, t.Guardrails, guardrails)
		}
	}
	var warnings []policy.Warning
	say := func(what, id, name string, m *misfit) {
		if m != nil && m.looked > 0 && !m.fits {
			warnings = append(warnings, policy.Warning{
				Code: WarnUnfitCondition, Rule: id,
				Message: fmt.Sprintf("The condition of the %s %q suits none of the tools that it reaches: they have no such arguments.", what, name),
			})
		}
	}
	for i, g := range d.Grants {
		say("grant", g.ID, g.Name, grants[i])
	}
	for i, g := range d.Guardrails {
		say("guardrail", g.ID, g.Name, guardrails[i])
	}
	return warnings
}

func (k knowledge) look(t *policy.Tool, rules []int, conditions map[int]*misfit) {
	for _, rule := range rules {
		m := conditions[rule]
		if m == nil || m.fits {
			continue
		}
		m.looked++
		m.fits = m.looked > mostFitted || k.suits(m.expr, t)
	}
}

package policy

import (
	"fmt"
	"iter"
	"slices"
)

// Teams goes through the lists of teams that e has, with the field of each: "approval.alternatives[0].teams".
func (e Effect) Teams() iter.Seq2[string, []string] {
	return func(yield func(string, []string) bool) {
		a := e.Approval
		if a == nil || !yield("approval.teams", a.Teams) {
			return
		}
		for i, way := range a.Alternatives {
			if !yield(fmt.Sprintf("approval.alternatives[%d].teams", i), way.Teams) {
				return
			}
		}
		if a.Fallback != nil && !yield("approval.fallback.teams", a.Fallback.Teams) {
			return
		}
		if a.BreakGlass != nil {
			yield("approval.break_glass.teams", a.BreakGlass.Teams)
		}
	}
}

// WithTeams returns e with what other returns in the place of each team that e has. It shares none of them with e.
func (e Effect) WithTeams(other func(team string) string) Effect {
	if e.Approval == nil {
		return e
	}
	others := func(teams []string) []string {
		teams = slices.Clone(teams)
		for i := range teams {
			teams[i] = other(teams[i])
		}
		return teams
	}
	a := *e.Approval
	a.Teams, a.Alternatives = others(a.Teams), slices.Clone(a.Alternatives)
	for i := range a.Alternatives {
		a.Alternatives[i].Teams = others(a.Alternatives[i].Teams)
	}
	if a.Fallback != nil {
		f := *a.Fallback
		f.Teams = others(f.Teams)
		a.Fallback = &f
	}
	if a.BreakGlass != nil {
		b := *a.BreakGlass
		b.Teams = others(b.Teams)
		a.BreakGlass = &b
	}
	e.Approval = &a
	return e
}

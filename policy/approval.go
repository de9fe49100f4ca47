package policy

import (
	"cmp"
	"slices"
)

// What guardrails demand of one call is united into the strictest: whoever may approve by the union may approve by each
// of them alone.
//
//	ways           every combination of a way of each: the greatest quorum, the teams that all of them accept
//	deny quorum    the least; so is the time to wait
//	evidence, not_granter, step_up   what any of them asks for
//	scope, fallback, break_glass     only what all of them allow
//
// If no combination leaves a team, nobody can approve, and the call never runs; Compile warns of it. Where combinations
// would be more than maxWays only that of the first way of each is left, however few of them lead anywhere: so one
// guardrail more never gives back what too many took.

// maxWays is the most alternatives that a call is ever held with.
const maxWays = 16

// DefaultPendingSeconds is how long an approval may wait where nothing is said.
const DefaultPendingSeconds = 15 * 60

// DefaultReviewSeconds is within which time an emergency is to be reviewed where nothing is said.
const DefaultReviewSeconds = 24 * 3600

// Ways returns all sets of approvers of whom any one is enough: the first, and the alternatives to it.
func (a *Approval) Ways() []Approvers {
	first := Approvers{Quorum: a.Quorum, OwningTeam: a.OwningTeam, Teams: a.Teams}
	return append([]Approvers{first}, a.Alternatives...)
}

// unite returns the strictest of what is demanded of a call to a server that team owns; nil if nothing is. It never
// changes a demand.
func unite(demands []*Approval, team string) *Approval {
	if len(demands) == 0 {
		return nil
	}
	u := demands[0].resolved(team)
	for _, a := range demands[1:] {
		u.tighten(a.resolved(team))
	}
	ways := strictestWays(demands, team)
	if u.StepUp != nil && u.StepUp.impossible() {
		ways, u.Fallback, u.BreakGlass = nil, nil, nil
	}
	u.dropEmpty()
	u.Alternatives, u.OwningTeam, u.Teams = nil, false, []string{}
	if len(ways) > 0 {
		u.Quorum, u.OwningTeam, u.Teams = ways[0].Quorum, ways[0].OwningTeam, ways[0].Teams
		u.Alternatives = slices.Clip(ways[1:])
	}
	if len(u.Alternatives) == 0 {
		u.Alternatives = nil
	}
	return &u
}

// dropEmpty leaves out what nobody could make use of.
func (a *Approval) dropEmpty() {
	if f := a.Fallback; f != nil && (len(f.Teams) == 0 || f.AfterSeconds >= cmp.Or(a.PendingSeconds, DefaultPendingSeconds)) {
		a.Fallback = nil
	}
	if a.BreakGlass != nil && len(a.BreakGlass.Teams) == 0 {
		a.BreakGlass = nil
	}
}

// resolved is a with its owning team by its id, save that of its ways.
func (a *Approval) resolved(team string) Approval {
	r := *a
	r.DenyQuorum = max(a.DenyQuorum, 1)
	r.StepUp = a.StepUp.and(nil)
	if f := a.Fallback; f != nil {
		way := Approvers{f.Quorum, f.OwningTeam, f.Teams}.resolved(team)
		r.Fallback = &Fallback{f.AfterSeconds, way.Quorum, way.OwningTeam, way.Teams}
	}
	if b := a.BreakGlass; b != nil {
		way := Approvers{1, b.OwningTeam, b.Teams}.resolved(team)
		r.BreakGlass = &BreakGlass{way.OwningTeam, way.Teams, b.ReviewSeconds}
	}
	return r
}

// tighten adds what another demand asks for, beside the ways to meet it.
func (a *Approval) tighten(b Approval) {
	a.Quorum = max(a.Quorum, b.Quorum)
	a.DenyQuorum = min(a.DenyQuorum, b.DenyQuorum)
	a.PendingSeconds = shorter(a.PendingSeconds, b.PendingSeconds, DefaultPendingSeconds)
	a.Evidence, a.NotGranter = a.Evidence || b.Evidence, a.NotGranter || b.NotGranter
	a.StepUp = a.StepUp.and(b.StepUp)
	a.Scope = a.Scope.and(b.Scope)
	a.Fallback = a.Fallback.and(b.Fallback)
	a.BreakGlass = a.BreakGlass.and(b.BreakGlass)
}

// and is what both allow.
func (s *Scope) and(t *Scope) *Scope {
	if s == nil || t == nil {
		return nil
	}
	return &Scope{
		MaxUses: min(s.MaxUses, t.MaxUses), MaxSeconds: min(s.MaxSeconds, t.MaxSeconds), Free: inBoth(s.Free, t.Free),
	}
}

// and is the fallback of both; neither has an owning team that is not among its teams.
func (f *Fallback) and(g *Fallback) *Fallback {
	if f == nil || g == nil {
		return nil
	}
	way := Approvers{f.Quorum, f.OwningTeam, f.Teams}.and(Approvers{g.Quorum, g.OwningTeam, g.Teams})
	return &Fallback{max(f.AfterSeconds, g.AfterSeconds), way.Quorum, way.OwningTeam, way.Teams}
}

func (b *BreakGlass) and(c *BreakGlass) *BreakGlass {
	if b == nil || c == nil {
		return nil
	}
	way := Approvers{1, b.OwningTeam, b.Teams}.and(Approvers{1, c.OwningTeam, c.Teams})
	return &BreakGlass{way.OwningTeam, way.Teams, shorter(b.ReviewSeconds, c.ReviewSeconds, DefaultReviewSeconds)}
}

// shorter returns the lesser of two times, where 0 is the usual one.
func shorter(a, b, usual int) int {
	if a == b {
		return a
	}
	return min(cmp.Or(a, usual), cmp.Or(b, usual))
}

// inBoth returns what is in a and b, in the order of a.
func inBoth(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return !slices.Contains(b, s) })
}

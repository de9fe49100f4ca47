package policy

import (
	"cmp"
	"slices"
)

// union gathers the approvals that guardrails demand of one call into the
// strictest: the greatest quorum, the least deny quorum and time, and as voters
// only the teams that every one of the guardrails accepts. If that leaves no
// team, nobody can approve, and the call never runs; Compile warns of it.
type union struct {
	approval *Approval
}

// add takes in one more demand, of a tool whose server is owned by team. A nil
// demand is none. It never changes what a is part of.
func (u *union) add(a *Approval, team string) {
	if a == nil {
		return
	}
	next := Approval{
		Quorum: a.Quorum, DenyQuorum: max(a.DenyQuorum, 1), PendingSeconds: a.PendingSeconds,
		Teams: a.voters(team),
	}
	if prior := u.approval; prior != nil {
		next.Quorum = max(next.Quorum, prior.Quorum)
		next.DenyQuorum = min(next.DenyQuorum, prior.DenyQuorum)
		next.PendingSeconds = shorter(next.PendingSeconds, prior.PendingSeconds)
		next.Teams = slices.DeleteFunc(next.Teams, func(t string) bool { return !slices.Contains(prior.Teams, t) })
	}
	next.OwningTeam = team != "" && slices.Contains(next.Teams, team)
	u.approval = &next
}

// voters returns the ids of the teams whose members may vote, sorted.
func (a *Approval) voters(owning string) []string {
	teams := slices.Clone(a.Teams)
	if a.OwningTeam && owning != "" {
		teams = append(teams, owning)
	}
	slices.Sort(teams)
	return slices.Compact(teams)
}

// DefaultPendingSeconds is how long an approval may wait where nothing is said.
const DefaultPendingSeconds = 15 * 60

// shorter returns the lesser of two times to wait, where 0 is the default.
func shorter(a, b int) int {
	if a == b {
		return a
	}
	return min(cmp.Or(a, DefaultPendingSeconds), cmp.Or(b, DefaultPendingSeconds))
}

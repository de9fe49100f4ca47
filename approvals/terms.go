package approvals

import (
	"cmp"
	"reflect"
	"slices"
	"time"

	"countersign/policy"
)

// terms are what a request has to meet: the approval that the policy demands, with every team by its id, sorted, and
// the people who may not give it because they made a grant that allows the call.
type terms struct {
	demand   policy.Approval
	granters []string // people; none unless the demand says NotGranter

	// Of a request: its fallback was asked, or one person approved it in an emergency.
	escalated, emergency bool
}

// demanded are the terms of a verdict that holds. A hold that does not say by whom is one that nobody can lift.
func demanded(v policy.Verdict) terms {
	t := terms{demand: policy.Approval{Quorum: 1, DenyQuorum: 1}, granters: []string{}}
	if v.Approval == nil {
		return t
	}
	owner := ""
	if v.Server != nil {
		owner = v.Server.Team
	}
	a := *v.Approval
	first := inFull(policy.Approvers{Quorum: a.Quorum, OwningTeam: a.OwningTeam, Teams: a.Teams}, owner)
	a.Quorum, a.OwningTeam, a.Teams = first.Quorum, false, first.Teams
	a.DenyQuorum = max(1, a.DenyQuorum)
	a.Alternatives = append([]policy.Approvers(nil), a.Alternatives...) // nil when there are none, as the database has it
	for i, set := range a.Alternatives {
		a.Alternatives[i] = inFull(set, owner)
	}
	if f := a.Fallback; f != nil {
		set := inFull(policy.Approvers{Quorum: f.Quorum, OwningTeam: f.OwningTeam, Teams: f.Teams}, owner)
		a.Fallback = &policy.Fallback{AfterSeconds: f.AfterSeconds, Quorum: set.Quorum, Teams: set.Teams}
	}
	if s := a.StepUp; s != nil {
		a.StepUp = &policy.StepUp{MaxAgeSeconds: s.MaxAgeSeconds, MFA: s.MFA, ACR: slices.Clone(s.ACR)} // empty is not nil
		slices.Sort(a.StepUp.ACR)
	}
	if s := a.Scope; s != nil {
		a.Scope = &policy.Scope{MaxUses: s.MaxUses, MaxSeconds: s.MaxSeconds, Free: sorted(s.Free)}
	}
	if b := a.BreakGlass; b != nil {
		set := inFull(policy.Approvers{OwningTeam: b.OwningTeam, Teams: b.Teams}, owner)
		a.BreakGlass = &policy.BreakGlass{Teams: set.Teams, ReviewSeconds: b.ReviewSeconds}
	}
	t.demand = a
	return t
}

// inFull names the owning team like the others.
func inFull(set policy.Approvers, owner string) policy.Approvers {
	teams := slices.Clone(set.Teams)
	if set.OwningTeam && owner != "" {
		teams = append(teams, owner)
	}
	return policy.Approvers{Quorum: max(1, set.Quorum), Teams: sorted(teams)}
}

// sorted is a set as the database and the comparisons of terms want it; nil when it is empty.
func sorted(set []string) []string {
	if len(set) == 0 {
		return nil
	}
	set = slices.Sorted(slices.Values(set))
	return slices.Compact(set)
}

// sets are the alternatives: any one of them, with its quorum, is enough. The fallback is one once it was asked.
func (t *terms) sets() []policy.Approvers {
	sets := append([]policy.Approvers{{Quorum: t.demand.Quorum, Teams: t.demand.Teams}}, t.demand.Alternatives...)
	if f := t.demand.Fallback; f != nil && t.escalated {
		sets = append(sets, policy.Approvers{Quorum: f.Quorum, Teams: f.Teams})
	}
	return sets
}

// summary is the sets in short: the least quorum, and the teams of which each may have a say.
func (t *terms) summary() (quorum int, teams []string) {
	sets := t.sets()
	quorum, teams = sets[0].Quorum, []string{}
	for _, set := range sets {
		quorum = min(quorum, set.Quorum)
		teams = append(teams, set.Teams...)
	}
	slices.Sort(teams)
	return quorum, slices.Compact(teams)
}

// escalateAfter is how long a request waits for those who are asked first; 0 is for ever.
func (t *terms) escalateAfter() time.Duration {
	if t.demand.Fallback == nil {
		return 0
	}
	return time.Duration(t.demand.Fallback.AfterSeconds) * time.Second
}

// pendingFor is how long a request may wait at all.
func (t *terms) pendingFor(otherwise time.Duration) time.Duration {
	return cmp.Or(time.Duration(t.demand.PendingSeconds)*time.Second, otherwise)
}

// equal reports whether who decides, and how, is the same under both. How long a request waits was settled when it was
// made.
func (t *terms) equal(old terms) bool {
	a, b := t.demand, old.demand
	a.PendingSeconds, b.PendingSeconds = 0, 0
	return reflect.DeepEqual(a, b) && slices.Equal(t.granters, old.granters)
}

func (r *row) terms() terms {
	return terms{demand: r.Terms, granters: r.Granters, escalated: r.EscalatedAt != nil, emergency: r.Emergency}
}

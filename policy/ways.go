package policy

import (
	"reflect"
	"slices"
)

// strictestWays returns every combination of a way to meet each of some demands, none of which another makes needless.
func strictestWays(demands []*Approval, team string) []Approvers {
	all := distinctWays(demands, team)
	combinations := 1
	for _, ways := range all {
		combinations = min(combinations*len(ways), maxWays+1)
	}
	var united []Approvers
	for i, ways := range all {
		if combinations > maxWays {
			ways = ways[:1]
		}
		if i == 0 {
			united = ways
			continue
		}
		united = combined(united, ways)
	}
	return needed(united)
}

// distinctWays returns the ways of each demand, once of those that have the same.
func distinctWays(demands []*Approval, team string) [][]Approvers {
	var all [][]Approvers
	for _, a := range demands {
		ways := a.Ways()
		for i := range ways {
			ways[i] = ways[i].resolved(team)
		}
		known := func(other []Approvers) bool { return reflect.DeepEqual(other, ways) }
		if !slices.ContainsFunc(all, known) {
			all = append(all, ways)
		}
	}
	return all
}

func combined(a, b []Approvers) []Approvers {
	united := make([]Approvers, 0, len(a)*len(b))
	for _, x := range a {
		for _, y := range b {
			united = append(united, x.and(y))
		}
	}
	return united
}

// needed returns those ways that somebody could go and that no other way makes easier for all who could.
func needed(ways []Approvers) []Approvers {
	var kept []Approvers
	for i, w := range ways {
		easier := func(j int) bool {
			if j == i || !ways[j].easierThan(w) {
				return false
			}
			return j < i || !w.easierThan(ways[j]) // of two that are the same the first is kept
		}
		if len(w.Teams) > 0 && !slices.ContainsFunc(places(len(ways)), easier) {
			kept = append(kept, w)
		}
	}
	return kept
}

// places returns the numbers below n.
func places(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

// easierThan reports whether all who are enough for b are enough for a.
func (a Approvers) easierThan(b Approvers) bool {
	return a.Quorum <= b.Quorum && len(inBoth(b.Teams, a.Teams)) == len(b.Teams)
}

// resolved is a with its teams sorted, each once, and the owning team by its id among them.
func (a Approvers) resolved(team string) Approvers {
	teams := slices.Clone(a.Teams)
	if a.OwningTeam && team != "" {
		teams = append(teams, team)
	}
	slices.Sort(teams)
	teams = slices.Compact(teams)
	return Approvers{Quorum: a.Quorum, OwningTeam: team != "" && slices.Contains(teams, team), Teams: teams}
}

// and is who is enough for both, of one server.
func (a Approvers) and(b Approvers) Approvers {
	return Approvers{
		Quorum: max(a.Quorum, b.Quorum), OwningTeam: a.OwningTeam && b.OwningTeam, Teams: inBoth(a.Teams, b.Teams),
	}
}

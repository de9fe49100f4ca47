package delivery

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"countersign/policy"
)

// Codes of warnings, beside those of package policy. Each is said of one audience, and of no more than it may see.
const (
	WarnGrantUnreachable = "grant_unreachable" // all it allows is denied to everyone
	WarnUnfitCondition   = "unfit_condition"   // it suits no tool that it reaches
	WarnUnknownGroup     = "unknown_group"     // no person who ever signed in has it
)

// maxWarnings bounds what is kept of a policy that is odd everywhere: the gravest stay.
const maxWarnings = 200

// listed keeps an empty list a list in JSON.
func listed(warnings []policy.Warning) []policy.Warning {
	if warnings == nil {
		return []policy.Warning{}
	}
	return warnings
}

// gravity orders warnings: what blocks people first, what does nothing last.
var gravity = map[string]int{
	policy.WarnUnapprovable: 1, WarnUnfitCondition: 2, WarnGrantUnreachable: 3, WarnUnknownGroup: 4, policy.WarnReachesNothing: 5, policy.WarnGrantOver: 6,
}

// doubts adds to the warnings of a compile what only the registry can tell, the gravest first.
func doubts(d *policy.Document, compiled []policy.Warning, k knowledge) []policy.Warning {
	all := slices.Concat(compiled, k.nobody(d), k.unfit(d), k.unreachable(d), k.unmappable(d))
	all = slices.DeleteFunc(all, func(w policy.Warning) bool { return w.Code == policy.WarnReachesNothing && k.elsewhere(w.Rule) })
	slices.SortStableFunc(all, func(a, b policy.Warning) int { return cmp.Compare(gravity[a.Code], gravity[b.Code]) })
	return all
}

// nobody warns where the people who may approve a server's calls are fewer than it takes, once for each guardrail and
// server.
func (k knowledge) nobody(d *policy.Document) []policy.Warning {
	var warnings []policy.Warning
	for i := range d.Servers {
		s := &d.Servers[i]
		said := map[int]bool{}
		for j := range s.Tools {
			for _, g := range s.Tools[j].Guardrails {
				if said[g] {
					continue
				}
				said[g] = true
				if why := k.tooFew(d.Guardrails[g].Effect.Approval, s.Team); why != "" {
					warnings = append(warnings, policy.Warning{
						Code: policy.WarnUnapprovable, Rule: d.Guardrails[g].ID, Tool: s.Tools[j].ID,
						Message: fmt.Sprintf("Nobody can approve calls on %s that %q holds: %s.", s.Name, d.Guardrails[g].Name, why),
					})
				}
			}
		}
	}
	return warnings
}

// tooFew says why an approval cannot come about, "" if it can: by none of its ways, nor by the one it escalates to. An
// emergency is no way to approve what is done every day.
func (k knowledge) tooFew(a *policy.Approval, owner string) string {
	if a == nil {
		return ""
	}
	ways := a.Ways()
	if f := a.Fallback; f != nil {
		ways = append(ways, policy.Approvers{Quorum: f.Quorum, OwningTeam: f.OwningTeam, Teams: f.Teams})
	}
	var why []string
	for _, way := range ways {
		lack := k.lacking(way, owner)
		if lack == "" {
			return ""
		}
		why = append(why, lack)
	}
	return strings.Join(slices.Compact(why), "; ")
}

// lacking says why some approvers are too few, "" if they are not. Whoever has a group of a team may decide for it,
// however many they are.
func (k knowledge) lacking(a policy.Approvers, owner string) string {
	teams := slices.Clone(a.Teams)
	if a.OwningTeam {
		teams = append(teams, owner)
	}
	var names []string
	people := map[string]bool{}
	for _, id := range teams {
		team, known := k.teams[id]
		if !known || len(team.Groups) > 0 {
			return ""
		}
		names = append(names, team.Name)
		for _, p := range team.Members {
			people[p] = true
		}
	}
	slices.Sort(names)
	who := strings.Join(slices.Compact(names), ", ")
	switch {
	case len(names) == 0 || len(people) >= a.Quorum:
		return ""
	case len(people) == 0:
		return who + " has neither a group nor a member"
	}
	return fmt.Sprintf("it takes %d, and %s has %d", a.Quorum, who, len(people))
}

// unreachable warns of grants whose every tool is denied to everyone, whatever the call. What an emergency denies is
// meant to be so.
func (k knowledge) unreachable(d *policy.Document) []policy.Warning {
	by := make([]int, len(d.Grants)) // 1 + the guardrail that denies the last of its tools; -1: some tool is open
	for i := range d.Servers {
		for j := range d.Servers[i].Tools {
			t := &d.Servers[i].Tools[j]
			denied := -1
			for _, g := range t.Guardrails {
				if k.closes(&d.Guardrails[g]) {
					denied = g + 1
					break
				}
			}
			for _, g := range t.Grants {
				if denied < 0 || by[g] >= 0 {
					by[g] = denied
				}
			}
		}
	}
	var warnings []policy.Warning
	for i, g := range by {
		if g > 0 {
			warnings = append(warnings, policy.Warning{
				Code: WarnGrantUnreachable, Rule: d.Grants[i].ID,
				Message: fmt.Sprintf("The grant %q allows nothing: all it reaches is denied to everyone, as by %q.", d.Grants[i].Name, d.Guardrails[g-1].Name),
			})
		}
	}
	return warnings
}

// closes reports whether a guardrail denies every call of what it reaches.
func (k knowledge) closes(g *policy.Guardrail) bool {
	return g.Effect.Deny && g.Subject.Everyone && g.Condition == "" && nobodyIn(g.Except) && !k.emergency[g.ID]
}

// nobodyIn reports whether s names nobody.
func nobodyIn(s policy.Subject) bool {
	return !s.Everyone && len(s.Users)+len(s.Groups)+len(s.Agents)+len(s.Models) == 0
}

// unmappable warns of groups that no person who ever signed in has: in the rules, and of the teams that own the servers.
func (k knowledge) unmappable(d *policy.Document) []policy.Warning {
	if len(k.unseen) == 0 {
		return nil
	}
	var warnings []policy.Warning
	say := func(what, rule, name string, groups []string) {
		for _, g := range groups {
			if k.unseen[g] {
				warnings = append(warnings, policy.Warning{
					Code: WarnUnknownGroup, Rule: rule,
					Message: fmt.Sprintf("The %s %q names the group %q, which no person who signed in here ever had. Is it spelt so?", what, name, g),
				})
			}
		}
	}
	for i := range d.Grants {
		say("grant", d.Grants[i].ID, d.Grants[i].Name, d.Grants[i].Subject.Groups)
	}
	for i := range d.Guardrails {
		g := &d.Guardrails[i]
		say("guardrail", g.ID, g.Name, slices.Concat(g.Subject.Groups, g.Except.Groups))
	}
	owners := map[string]bool{}
	for i := range d.Servers {
		owners[d.Servers[i].Team] = true
	}
	for _, id := range slices.Sorted(maps.Keys(owners)) {
		say("team", "", k.teams[id].Name, k.teams[id].Groups)
	}
	return warnings
}

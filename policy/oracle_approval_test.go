package policy_test

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"countersign/policy"
)

// oracleSignedIn judges a sign-in as the tests draw it.
func oracleSignedIn(s policy.StepUp, r policy.Request) bool {
	p := r.Principal
	fresh := !p.AuthTime.IsZero() && !p.AuthTime.Add(time.Duration(s.MaxAgeSeconds)*time.Second).Before(r.Now) && !p.AuthTime.After(r.Now.Add(time.Minute))
	return (s.MaxAgeSeconds == 0 || fresh) && (!s.MFA || oracleTwoFactors(p)) && (s.ACR == nil || p.ACR != "" && slices.Contains(s.ACR, p.ACR))
}

// oracleSignIn is what all ask for.
func oracleSignIn(all []policy.StepUp) *policy.StepUp {
	if len(all) == 0 {
		return nil
	}
	var one policy.StepUp
	for _, s := range all {
		one.MFA = one.MFA || s.MFA
		if s.MaxAgeSeconds > 0 && (one.MaxAgeSeconds == 0 || s.MaxAgeSeconds < one.MaxAgeSeconds) {
			one.MaxAgeSeconds = s.MaxAgeSeconds
		}
		if s.ACR != nil && one.ACR == nil {
			one.ACR = slices.Clone(s.ACR)
		}
	}
	for _, s := range all {
		if s.ACR != nil {
			one.ACR = oracleShared(one.ACR, s.ACR)
		}
	}
	return &one
}

func oracleShared(a, b []string) []string {
	shared := []string{}
	for _, s := range a {
		if slices.Contains(b, s) {
			shared = append(shared, s)
		}
	}
	return shared
}

func oracleDemands(src policy.Source, ids []string) []policy.Approval {
	var demands []policy.Approval
	for _, id := range ids {
		for _, g := range src.Guardrails {
			if g.ID == id {
				demands = append(demands, *g.Effect.Approval)
			}
		}
	}
	return demands
}

// oracleUnion goes through all combinations as one counts, and keeps those that nothing makes needless.
func oracleUnion(demands []policy.Approval, team string) *policy.Approval {
	all := policy.Approval{DenyQuorum: 99, Teams: []string{}}
	var signIns []policy.StepUp
	var lists [][]policy.Approvers
	total := 1
	for i, d := range demands {
		all.Quorum, all.DenyQuorum = max(all.Quorum, d.Quorum), min(all.DenyQuorum, max(d.DenyQuorum, 1))
		switch {
		case i == 0:
			all.PendingSeconds = d.PendingSeconds
		case all.PendingSeconds != d.PendingSeconds:
			all.PendingSeconds = min(pending(all), pending(d))
		}
		all.Evidence, all.NotGranter = all.Evidence || d.Evidence, all.NotGranter || d.NotGranter
		if d.StepUp != nil {
			signIns = append(signIns, *d.StepUp)
		}
		ways := oracleWays(d, team)
		if !slices.ContainsFunc(lists, func(l []policy.Approvers) bool { return fmt.Sprint(l) == fmt.Sprint(ways) }) {
			lists = append(lists, ways)
			total *= len(ways)
		}
	}
	if total > 16 {
		for i := range lists {
			lists[i] = lists[i][:1]
		}
		total = 1
	}
	all.StepUp = oracleSignIn(signIns)
	nobody := all.StepUp != nil && all.StepUp.ACR != nil && len(all.StepUp.ACR) == 0
	if !nobody {
		oracleAllowances(&all, demands, team)
	} else {
		all.Scope = oracleScope(demands)
	}
	ways := oracleNeeded(oracleCombinations(lists, total))
	if !nobody && len(ways) > 0 {
		all.Quorum, all.OwningTeam, all.Teams, all.Alternatives = ways[0].Quorum, ways[0].OwningTeam, ways[0].Teams, ways[1:]
	}
	return &all
}

func oracleWays(d policy.Approval, team string) []policy.Approvers {
	ways := append([]policy.Approvers{{Quorum: d.Quorum, OwningTeam: d.OwningTeam, Teams: d.Teams}}, d.Alternatives...)
	for i, w := range ways {
		ways[i] = oracleWay(w, team)
	}
	return ways
}

func oracleWay(w policy.Approvers, team string) policy.Approvers {
	set := map[string]bool{}
	for _, t := range w.Teams {
		set[t] = true
	}
	if w.OwningTeam {
		set[team] = true
	}
	delete(set, "")
	teams := []string{}
	for t := range set {
		teams = append(teams, t)
	}
	slices.Sort(teams)
	return policy.Approvers{Quorum: w.Quorum, OwningTeam: set[team], Teams: teams}
}

// oracleCombinations counts from 0 in a system with as many digits as there are lists; the last counts fastest.
func oracleCombinations(lists [][]policy.Approvers, total int) []policy.Approvers {
	var ways []policy.Approvers
	for n := range total {
		var way policy.Approvers
		for i, rest := len(lists)-1, n; i >= 0; i-- {
			one := lists[i][rest%len(lists[i])]
			rest /= len(lists[i])
			if way.Quorum == 0 {
				way = one
				continue
			}
			way = policy.Approvers{Quorum: max(way.Quorum, one.Quorum), OwningTeam: way.OwningTeam && one.OwningTeam, Teams: oracleShared(way.Teams, one.Teams)}
		}
		ways = append(ways, way)
	}
	return ways
}

func oracleNeeded(ways []policy.Approvers) []policy.Approvers {
	var kept []policy.Approvers
	for i, w := range ways {
		needless := len(w.Teams) == 0
		for j, other := range ways {
			covers := other.Quorum <= w.Quorum && !slices.ContainsFunc(w.Teams, func(t string) bool { return !slices.Contains(other.Teams, t) })
			same := other.Quorum == w.Quorum && slices.Equal(other.Teams, w.Teams)
			needless = needless || j != i && covers && (!same || j < i)
		}
		if !needless {
			kept = append(kept, w)
		}
	}
	return kept
}

// oracleAllowances are what all demands allow.
func oracleAllowances(all *policy.Approval, demands []policy.Approval, team string) {
	all.Scope = oracleScope(demands)
	fallback, glass := true, true
	for _, d := range demands {
		fallback, glass = fallback && d.Fallback != nil, glass && d.BreakGlass != nil
	}
	if fallback {
		var after int
		var lists [][]policy.Approvers
		for _, d := range demands {
			after = max(after, d.Fallback.AfterSeconds)
			lists = append(lists, []policy.Approvers{oracleWay(policy.Approvers{Quorum: d.Fallback.Quorum, OwningTeam: d.Fallback.OwningTeam, Teams: d.Fallback.Teams}, team)})
		}
		way := oracleCombinations(lists, 1)[0]
		if len(way.Teams) > 0 && after < pending(*all) {
			all.Fallback = &policy.Fallback{AfterSeconds: after, Quorum: way.Quorum, OwningTeam: way.OwningTeam, Teams: way.Teams}
		}
	}
	if glass {
		review := demands[0].BreakGlass.ReviewSeconds
		var lists [][]policy.Approvers
		for _, d := range demands {
			if d.BreakGlass.ReviewSeconds != review {
				review = min(cmp.Or(review, 86400), cmp.Or(d.BreakGlass.ReviewSeconds, 86400))
			}
			lists = append(lists, []policy.Approvers{oracleWay(policy.Approvers{Quorum: 1, OwningTeam: d.BreakGlass.OwningTeam, Teams: d.BreakGlass.Teams}, team)})
		}
		if way := oracleCombinations(lists, 1)[0]; len(way.Teams) > 0 {
			all.BreakGlass = &policy.BreakGlass{OwningTeam: way.OwningTeam, Teams: way.Teams, ReviewSeconds: review}
		}
	}
}

func oracleScope(demands []policy.Approval) *policy.Scope {
	least := &policy.Scope{MaxUses: 9999, MaxSeconds: 999999}
	for i, d := range demands {
		if d.Scope == nil {
			return nil
		}
		least.MaxUses, least.MaxSeconds = min(least.MaxUses, d.Scope.MaxUses), min(least.MaxSeconds, d.Scope.MaxSeconds)
		if i == 0 {
			least.Free = d.Scope.Free
		}
		least.Free = oracleShared(least.Free, d.Scope.Free)
	}
	return least
}

func pending(a policy.Approval) int { return cmp.Or(a.PendingSeconds, policy.DefaultPendingSeconds) }

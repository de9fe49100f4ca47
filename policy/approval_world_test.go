package policy_test

import (
	"pgregory.net/rapid"

	"countersign/policy"
)

// Random demands are drawn from few teams, so that those of several guardrails meet often.

var drawFree = rapid.SampledFrom([]string{"n", "s"})

var drawApprovers = rapid.Custom(func(t *rapid.T) policy.Approvers {
	a := policy.Approvers{
		Quorum: rapid.IntRange(1, 3).Draw(t, "quorum"), OwningTeam: rapid.Bool().Draw(t, "owning team"),
		Teams: rapid.SliceOfNDistinct(drawTeam, 0, 2, rapid.ID).Draw(t, "teams"),
	}
	if len(a.Teams) == 0 {
		a.OwningTeam = true
	}
	return a
})

var drawStepUp = rapid.Custom(func(t *rapid.T) *policy.StepUp {
	s := policy.StepUp{
		MaxAgeSeconds: rapid.SampledFrom([]int{0, 1, 59, 61, 3600}).Draw(t, "max age"), MFA: rapid.Bool().Draw(t, "mfa"),
		ACR: rapid.SampledFrom([][]string{nil, {"low"}, {"high"}, {"low", "high"}}).Draw(t, "acr"),
	}
	if s.MaxAgeSeconds == 0 && s.ACR == nil {
		s.MFA = true
	}
	return &s
})

var drawApproval = rapid.Custom(func(t *rapid.T) *policy.Approval {
	first := drawApprovers.Draw(t, "first")
	a := policy.Approval{
		Quorum: first.Quorum, OwningTeam: first.OwningTeam, Teams: first.Teams,
		DenyQuorum: rapid.IntRange(0, 3).Draw(t, "deny quorum"), PendingSeconds: rapid.SampledFrom([]int{0, 60, 3600}).Draw(t, "pending"),
	}
	if rapid.Bool().Draw(t, "plain") {
		return &a
	}
	a.Alternatives = rapid.SliceOfN(drawApprovers, 0, 4).Draw(t, "alternatives")
	if a.Alternatives != nil && len(a.Alternatives) == 0 {
		a.Alternatives = nil
	}
	a.Evidence, a.NotGranter = rapid.Bool().Draw(t, "evidence"), rapid.Bool().Draw(t, "not granter")
	if rapid.Bool().Draw(t, "fallback") {
		f := drawApprovers.Draw(t, "fallback approvers")
		a.Fallback = &policy.Fallback{AfterSeconds: rapid.SampledFrom([]int{1, 50, 59}).Draw(t, "after"), Quorum: f.Quorum, OwningTeam: f.OwningTeam, Teams: f.Teams}
	}
	if rapid.Bool().Draw(t, "step up") {
		a.StepUp = drawStepUp.Draw(t, "of approvers")
	}
	if rapid.Bool().Draw(t, "scope") {
		a.Scope = &policy.Scope{
			MaxUses: rapid.IntRange(1, 3).Draw(t, "uses"), MaxSeconds: rapid.IntRange(1, 3).Draw(t, "seconds"),
			Free: rapid.SliceOfNDistinct(drawFree, 0, 2, rapid.ID).Draw(t, "free"),
		}
	}
	if rapid.Bool().Draw(t, "break glass") {
		b := drawApprovers.Draw(t, "break glass approvers")
		a.BreakGlass = &policy.BreakGlass{OwningTeam: b.OwningTeam, Teams: b.Teams, ReviewSeconds: rapid.SampledFrom([]int{0, 60}).Draw(t, "review")}
	}
	return &a
})

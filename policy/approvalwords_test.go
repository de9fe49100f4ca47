package policy_test

import (
	"testing"

	"countersign/policy"
)

func TestWordsOfEffectsThatAskPeople(t *testing.T) {
	t.Parallel()
	names := policy.Wording{Teams: map[string]string{"t1": "Security", "t2": "On call"}}
	for _, c := range []struct {
		effect policy.Effect
		want   string
	}{
		{
			policy.Effect{StepUp: &policy.StepUp{MaxAgeSeconds: 300, MFA: true, ACR: []string{"phr", "ph\u202er"}}},
			`only when signed in at most 5 minutes ago, with a second factor, as phr or ph\u202er`,
		},
		{policy.Effect{StepUp: &policy.StepUp{MaxAgeSeconds: 90}}, "only when signed in at most 90 seconds ago"},
		{
			policy.Effect{Approval: &policy.Approval{Quorum: 1, OwningTeam: true, Alternatives: []policy.Approvers{{Quorum: 2, Teams: []string{"t1", "t9"}}}}},
			"only with the approval of one person of the owning team, or of 2 people of team Security or team t9",
		},
		{
			policy.Effect{Approval: &policy.Approval{
				Quorum: 1, Teams: []string{"t1"}, Evidence: true, NotGranter: true, StepUp: &policy.StepUp{MaxAgeSeconds: 3600},
				Fallback:   &policy.Fallback{AfterSeconds: 600, Quorum: 1, Teams: []string{"t2"}},
				Scope:      &policy.Scope{MaxUses: 5, MaxSeconds: 3600, Free: []string{"path", "mode"}},
				BreakGlass: &policy.BreakGlass{Teams: []string{"t2"}},
			}},
			"only with the approval of one person of team Security, after 10 minutes also of one person of team On call, " +
				"in an emergency of one person of team On call alone, reviewed within 1 day, never of who made or last changed the grant, " +
				"given by who has signed in at most 1 hour ago, asked for with the caller's own token, " +
				"which may go for up to 5 more calls within 1 hour, in which path or mode may differ",
		},
	} {
		if got := c.effect.Words(names); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
	if got, want := (policy.Scope{MaxUses: 1, MaxSeconds: 60}).Words(), "one more call within 1 minute"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestWordsOfVerdictsThatAskPeople(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		verdict policy.Verdict
		want    string
	}{
		{
			policy.Verdict{Reason: policy.ReasonStepUpRequired, StepUp: &policy.StepUp{MaxAgeSeconds: 300, MFA: true}},
			"Denied until the caller has signed in at most 5 minutes ago, with a second factor.",
		},
		{
			policy.Verdict{Reason: policy.ReasonStepUpRequired, StepUp: &policy.StepUp{ACR: []string{}}},
			"Denied until the caller has signed in as nothing that all of the guardrails accept.",
		},
		{
			policy.Verdict{
				Reason: policy.ReasonApprovalRequired, Outcome: policy.Hold, Server: &policy.Server{Team: "t1"},
				Approval: &policy.Approval{
					Quorum: 1, OwningTeam: true, Teams: []string{"t1", "t2"}, Alternatives: []policy.Approvers{{Quorum: 2, OwningTeam: true, Teams: []string{"t1"}}},
					Fallback: &policy.Fallback{AfterSeconds: 60, Quorum: 1, OwningTeam: true, Teams: []string{"t1"}},
				},
			},
			"Held until it has the approval of one person of the owning team or team t2, or of 2 people of the owning team, after 1 minute also of one person of the owning team.",
		},
		{
			policy.Verdict{Reason: policy.ReasonApprovalRequired, Outcome: policy.Hold, Approval: &policy.Approval{Quorum: 1}},
			"Held until it has the approval of one person of no team.",
		},
	} {
		if got := c.verdict.Words(policy.Wording{}); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

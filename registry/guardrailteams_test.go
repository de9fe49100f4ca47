package registry

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"countersign/internal/problem"
	"countersign/policy"
)

// approvers has a team wherever an approval can have one, and every other member as well.
func approvers(team string) policy.Effect {
	return policy.Effect{Approval: &policy.Approval{
		Quorum: 1, Teams: []string{team}, Alternatives: []policy.Approvers{{Quorum: 2, OwningTeam: true}, {Quorum: 2, Teams: []string{team}}},
		Fallback: &policy.Fallback{AfterSeconds: 60, Quorum: 1, Teams: []string{team}},
		Evidence: true, NotGranter: true, StepUp: &policy.StepUp{MaxAgeSeconds: 300, MFA: true, ACR: []string{"phr"}},
		Scope:      &policy.Scope{MaxUses: 5, MaxSeconds: 3600, Free: []string{"path"}},
		BreakGlass: &policy.BreakGlass{Teams: []string{team}, ReviewSeconds: 7200},
	}}
}

func TestTeamsOfGuardrailsExist(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n := NewGuardrail{Name: "Many ways", Subject: everyone(), Resource: policy.Resource{Servers: []string{"*"}}, Effect: approvers("tem_nobody")}
	_, err := w.CreateGuardrail(w.ctx, w.admin, n)
	got := wantProblem(t, err, problem.Invalid, "invalid_guardrail").Fields
	want := map[string]string{}
	for _, field := range []string{"teams", "alternatives[1].teams", "fallback.teams", "break_glass.teams"} {
		want["effect.approval."+field] = "There is no such team."
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	n.Effect = approvers(w.team)
	made, err := w.CreateGuardrail(w.ctx, w.admin, n)
	w.must(err)
	n.Effect = n.Effect.WithTeams(func(team string) string { return team })
	n.Effect.Approval.Fallback.Teams = []string{"tem_nobody"}
	_, err = w.ChangeGuardrail(w.ctx, w.admin, made.ID, made.Version, n)
	if p := wantProblem(t, err, problem.Invalid, "invalid_guardrail"); len(p.Fields) != 1 || p.Fields["effect.approval.fallback.teams"] == "" {
		t.Errorf("the fields are %v", p.Fields)
	}
	if now, err := w.Guardrail(w.ctx, w.admin, made.ID); err != nil || cmp.Diff(approvers(w.team), now.Effect) != "" {
		t.Errorf("it became %+v, %v", now.Effect.Approval, err)
	}
}

// TestFilesNameTheTeamsOfGuardrails applies what names teams in every place, exports it, and finds nothing to change.
func TestFilesNameTheTeamsOfGuardrails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	set := read(t, `
	teams:
		- {name: Security, groups: [sec]}
	guardrails:
		- key: many.ways
			name: Many ways
			for: {everyone: true}
			on: {servers: ["*"]}
			approval:
				owning_team: true
				alternatives:
					- {quorum: 2, teams: [SECURITY]}
				fallback: {after: 5m, teams: [security]}
				step_up: {max_age: 5m, mfa: true, acr: [phr]}
				scope: {max_uses: 5, within: 1h, free: [path]}
				break_glass: {teams: [Security], review: 2h}
		- key: fresh
			name: Fresh
			for: {everyone: true}
			on: {servers: ["*"]}
			step_up: {max_age: 15m}
`)
	_, err := w.apply(w.admin, set, PlanOptions{})
	w.must(err)
	if n := w.count(`
		select count(*) from guardrails g, teams t
		where t.name = 'Security' and g.key = 'many.ways' and g.effect #> '{approval,alternatives,0,teams}' = to_jsonb(array[t.id])
		  and g.effect #> '{approval,fallback,teams}' = to_jsonb(array[t.id]) and g.effect #> '{approval,break_glass,teams}' = to_jsonb(array[t.id])`); n != 1 {
		t.Error("the guardrail does not name the team by its id everywhere")
	}
	out := w.export()
	for _, g := range out.Guardrails {
		if a := g.Approval; g.Key == "many.ways" && (a.Alternatives[0].Teams[0] != "Security" || a.Fallback.Teams[0] != "Security" || a.BreakGlass.Teams[0] != "Security") {
			t.Errorf("exported as %+v", a)
		}
	}
	if plan := w.plan(out, PlanOptions{Prune: true}); len(plan.Changes) != 0 {
		t.Errorf("what was exported changes %+v", plan.Changes)
	}
	out = read(t, `
	guardrails:
		- key: another
			name: Another
			for: {everyone: true}
			on: {servers: ["*"]}
			approval: {owning_team: true, break_glass: {teams: [Nobody]}}
`)
	_, err = w.Plan(w.ctx, w.viewer, out, PlanOptions{})
	if p := wantProblem(t, err, problem.Invalid, "invalid_set"); p.Fields["guardrails[another].approval.break_glass.teams"] == "" {
		t.Errorf("the fields are %v", p.Fields)
	}
}

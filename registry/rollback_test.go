package registry

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"countersign/desired"
	"countersign/internal/problem"
	"countersign/policy"
)

func (w *world) rollback(generation int64) Plan {
	w.t.Helper()
	plan, err := w.PlanRollback(w.ctx, w.viewer, generation)
	w.must(err)
	done, err := w.Rollback(w.ctx, w.admin, generation, plan.Digest, "it was better")
	w.must(err)
	return done
}

// rules is what files would say of the grants and guardrails now.
func (w *world) rules() desired.Set {
	all := w.export()
	return desired.Set{Grants: all.Grants, Guardrails: all.Guardrails}
}

func TestRollbackMakesRulesWhatTheyWere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	server, tool := w.pinned()
	w.grant("a")
	b := w.grant("b")
	then, rules := w.generation(), w.rules()
	_, err := w.EndGrant(w.ctx, w.admin, b.ID, b.Version, "")
	w.must(err)
	w.grant("c")
	rails, err := w.Guardrails(w.ctx, w.admin, false)
	w.must(err)
	_, err = w.EndGuardrail(w.ctx, w.admin, rails[0].ID, rails[0].Version, "in the way")
	w.must(err)
	_, _, err = w.SuspendTool(w.ctx, w.owner, tool.ID, "leaks")
	w.must(err)
	read, err := w.Server(w.ctx, w.admin, server.ID)
	w.must(err)
	_, err = w.SetState(w.ctx, w.owner, server.ID, read.Version, Suspended, "")
	w.must(err)

	plan, err := w.PlanRollback(w.ctx, w.viewer, then)
	w.must(err)
	var kinds []string
	for _, c := range plan.Changes {
		kinds = append(kinds, string(c.Kind)+" "+c.What)
	}
	if diff := cmp.Diff([]string{"add grant", "add guardrail", "end grant"}, kinds); diff != "" {
		t.Error(diff)
	}
	_, err = w.Rollback(w.ctx, w.machine(), then, plan.Digest, "why not")
	wantProblem(t, err, problem.Forbidden, "interactive_only")
	_, err = w.Rollback(w.ctx, w.owner, then, plan.Digest, "why not")
	wantProblem(t, err, problem.Forbidden, "not_allowed")
	_, err = w.Rollback(w.ctx, w.admin, then, plan.Digest, " ")
	wantProblem(t, err, problem.Invalid, "invalid_reason")
	_, err = w.Rollback(w.ctx, w.admin, then, "sha256:"+strings.Repeat("0", 64), "why not")
	wantProblem(t, err, problem.Precondition, "plan_changed")
	before := w.generation()
	if done := w.rollback(then); done.Generation != before+1 || w.generation() != before+1 {
		t.Errorf("generation %d after %d", done.Generation, before)
	}
	if diff := cmp.Diff(rules, w.rules()); diff != "" {
		t.Error(diff)
	}
	suspended, err := w.Suspensions(w.ctx, w.viewer)
	w.must(err)
	if read, _ = w.Server(w.ctx, w.admin, server.ID); len(suspended) != 1 || read.State != Suspended {
		t.Error("the rollback lifted a suspension")
	}
	moves, err := w.Moves(w.ctx, w.viewer, "", 1)
	w.must(err)
	if m := moves.Items[0]; m.Kind != "policy.rolled_back" || m.TargetID != fmt.Sprint(then) || m.ActorID != w.admin.ID {
		t.Errorf("moved by %+v", m)
	}
	if again := w.rollback(then); !again.Empty() || w.generation() != before+1 {
		t.Error("a second rollback does something")
	}
	_, err = w.PlanRollback(w.ctx, w.viewer, before+50)
	wantProblem(t, err, problem.NotFound, "no_such_generation")
}

// A suspension that was lifted since does not come back.
func TestRollbackSuspendsNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rail, then, err := w.SuspendAgent(w.ctx, w.admin, "cursor", "")
	w.must(err)
	_, err = w.EndGuardrail(w.ctx, w.admin, rail.ID, rail.Version, "mended")
	w.must(err)
	if plan := w.rollback(then); !plan.Empty() {
		t.Errorf("%+v", plan.Changes)
	}
}

// Whatever was changed, each generation can be made the present again, from any other.
func TestRollbackToAnyGeneration(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.pinned()
	random := rand.New(rand.NewPCG(4, 2))
	then := map[int64]desired.Set{w.generation(): w.rules()}
	for range 25 {
		w.changeARule(random)
		then[w.generation()] = w.rules()
	}
	for generation, want := range then {
		w.rollback(generation)
		if diff := cmp.Diff(want, w.rules()); diff != "" {
			t.Fatalf("generation %d: %s", generation, diff)
		}
	}
}

// changeARule makes, changes or ends a grant or a guardrail.
func (w *world) changeARule(random *rand.Rand) {
	w.t.Helper()
	grants, err := w.Grants(w.ctx, w.admin, GrantFilter{})
	w.must(err)
	rails, err := w.Guardrails(w.ctx, w.admin, false)
	w.must(err)
	name := fmt.Sprintf("r%d", random.IntN(1000))
	who, on := policy.Subject{Users: []string{name}}, policy.Resource{Servers: []string{"*"}}
	effects := []policy.Effect{{Deny: true}, {MFA: true}, {RateLimit: &policy.RateLimit{Calls: 7, Seconds: 60}}, {Approval: &policy.Approval{Quorum: 1, Teams: []string{w.team}}}}
	rail := NewGuardrail{Name: name, Subject: who, Resource: on, Effect: effects[random.IntN(len(effects))]}
	switch kind := random.IntN(6); {
	case kind == 0 && len(grants.Items) > 0:
		g := grants.Items[random.IntN(len(grants.Items))]
		_, err = w.EndGrant(w.ctx, w.admin, g.ID, g.Version, "")
	case kind == 1 && len(grants.Items) > 0:
		g := grants.Items[random.IntN(len(grants.Items))]
		_, err = w.ChangeGrant(w.ctx, w.admin, g.ID, g.Version, NewGrant{Name: name, Subject: who, Resource: on})
	case kind == 2 && len(rails) > 0:
		g := rails[random.IntN(len(rails))]
		_, err = w.EndGuardrail(w.ctx, w.admin, g.ID, g.Version, "random")
	case kind == 3 && len(rails) > 0:
		g := rails[random.IntN(len(rails))]
		_, err = w.ChangeGuardrail(w.ctx, w.admin, g.ID, g.Version, rail)
	case kind == 4:
		_, err = w.CreateGuardrail(w.ctx, w.admin, rail)
	default:
		w.grant(name)
	}
	w.must(err)
}

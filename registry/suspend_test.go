package registry

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
)

func TestSuspendATool(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	server, tool := w.pinned()
	_, _, err := w.SuspendTool(w.ctx, w.viewer, tool.ID, "")
	wantProblem(t, err, problem.Forbidden, "not_allowed")
	rail, generation, err := w.SuspendTool(w.ctx, w.owner, tool.ID, "it leaks")
	w.must(err)
	if !rail.Emergency || !rail.Effect.Deny || rail.Reason != "it leaks" || generation != w.generation() {
		t.Errorf("generation %d of %d: %+v", generation, w.generation(), rail)
	}
	_, _, err = w.SuspendTool(w.ctx, w.owner, tool.ID, "")
	wantProblem(t, err, problem.Conflict, "already_suspended")
	all, err := w.Suspensions(w.ctx, w.viewer)
	w.must(err)
	if len(all) != 1 || all[0].Generation != generation {
		t.Fatalf("%+v", all)
	}
	if kind, on, name := all[0].Suspended(); kind != SuspendedTool || on != server.Name || name != tool.Name {
		t.Errorf("%s %s %s", kind, on, name)
	}
	if w.events("tool.suspended") != 1 || w.events("guardrail.created") != 1 {
		t.Error("events are missing")
	}
	_, err = w.ChangeGuardrail(w.ctx, w.admin, rail.ID, rail.Version, NewGuardrail{
		Name: rail.Name, Subject: rail.Subject, Resource: rail.Resource, Effect: policy.Effect{MFA: true},
	})
	wantProblem(t, err, problem.Conflict, "suspension_stays")
	machine := w.machine()
	_, err = w.EndGuardrail(w.ctx, machine, rail.ID, rail.Version, "mended")
	wantProblem(t, err, problem.Forbidden, "interactive_only")
	_, err = w.EndGuardrail(w.ctx, w.admin, rail.ID, rail.Version, "mended")
	w.must(err)
	_, _, err = w.SuspendTool(w.ctx, machine, tool.ID, "again")
	w.must(err)
}

func TestSuspendAnAgentOrAPerson(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, _, err := w.SuspendAgent(w.ctx, w.owner, "cursor", "")
	wantProblem(t, err, problem.Forbidden, "not_allowed")
	for _, name := range []string{"", "c*", "a\u202eb"} {
		_, _, err := w.SuspendAgent(w.ctx, w.admin, name, "")
		wantProblem(t, err, problem.Invalid, "invalid_suspension")
	}
	_, _, err = w.SuspendAgent(w.ctx, w.admin, "cursor", "")
	w.must(err)

	var disabled []string
	w.DisablePerson = func(_ context.Context, _ pgx.Tx, _ identity.Principal, id, _ string) error {
		disabled = append(disabled, id)
		return nil
	}
	issuer, subject := "https://idp.test", "viewer"
	w.must(w.db.Runtime.QueryRow(w.ctx, `select issuer, subject from people where id = $1`, w.viewer.ID).Scan(&issuer, &subject))
	_, _, err = w.SuspendPerson(w.ctx, w.admin, "idp", subject, "")
	wantProblem(t, err, problem.Invalid, "invalid_suspension")
	rail, _, err := w.SuspendPerson(w.ctx, w.admin, issuer, subject, "gone")
	w.must(err)
	if len(disabled) != 1 || disabled[0] != w.viewer.ID || rail.Subject.Users[0] != issuer+"|"+subject {
		t.Errorf("disabled %v by %+v", disabled, rail)
	}
	_, _, err = w.SuspendPerson(w.ctx, w.admin, issuer, "a stranger", "")
	w.must(err)
	if len(disabled) != 1 {
		t.Error("a person who never signed in was disabled")
	}
	all, err := w.Suspensions(w.ctx, w.viewer)
	w.must(err)
	if len(all) != 3 || w.events("person.suspended") != 2 || w.events("agent.suspended") != 1 {
		t.Errorf("%+v", all)
	}
	for _, s := range all {
		if diff := cmp.Diff(everything, s.Resource); diff != "" {
			t.Error(diff)
		}
	}
}

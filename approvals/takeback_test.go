package approvals

import (
	"testing"

	"countersign/identity"
	"countersign/internal/problem"
)

func TestCancel(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.ask(w.call(1))
	_, err := w.queue.Cancel(t.Context(), w.other, r.ID)
	wantProblem(t, err, problem.NotFound, "no_such_approval")
	for range 2 {
		if got, err := w.queue.Cancel(t.Context(), w.gateway, r.ID); err != nil || got.State != Cancelled {
			t.Fatalf("got %+v, %v", got, err)
		}
	}
	w.wantEvents(r, "approval.requested", "approval.cancelled")

	r = w.vote(w.ada, w.ask(w.call(1)), Approve)
	if got, err := w.queue.Cancel(t.Context(), w.gateway, r.ID); err != nil || got.State != Revoked {
		t.Errorf("got %+v, %v", got, err)
	}
	r = w.vote(w.ada, w.ask(w.call(1)), Deny)
	_, err = w.queue.Cancel(t.Context(), w.gateway, r.ID)
	wantProblem(t, err, problem.Conflict, "not_open")
}

func TestRevoke(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r, token := w.claimed(w.call(1))
	_, err := w.queue.Revoke(t.Context(), w.eve, r.ID, "no")
	wantProblem(t, err, problem.Forbidden, "not_a_member")
	_, err = w.queue.Revoke(t.Context(), w.grace, r.ID, " ")
	wantProblem(t, err, problem.Invalid, "reason_missing")
	admin := w.eve
	admin.Roles = []identity.Role{identity.Admin}
	if got, err := w.queue.Revoke(t.Context(), admin, r.ID, "incident 12"); err != nil || got.State != Revoked || got.Reason != "incident 12" {
		t.Fatalf("got %+v, %v", got, err)
	}
	w.wantEvents(r, "approval.requested", "approval.voted", "approval.approved", "confirmation.issued", "confirmation.revoked", "approval.revoked")
	_, err = w.redeem(token, w.call(1), "red_1")
	wantProblem(t, err, problem.Gone, "confirmation_revoked")

	r, token = w.claimed(w.call(1))
	w.mustRedeem(token, w.call(1), "red_1")
	_, err = w.queue.Revoke(t.Context(), w.ada, r.ID, "too late")
	if p := wantProblem(t, err, problem.Conflict, "not_approved"); p.Fields["state"] != "closed" {
		t.Errorf("the state is told as %q", p.Fields["state"])
	}
	r = w.ask(w.call(1))
	_, err = w.queue.Revoke(t.Context(), w.ada, r.ID, "nothing to revoke")
	wantProblem(t, err, problem.Conflict, "not_approved")
}

func TestCancelByTheCaller(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.ask(w.call(1))
	_, err := w.queue.Cancel(t.Context(), w.ada, r.ID)
	wantProblem(t, err, problem.Forbidden, "not_your_call")
	_, err = w.queue.Cancel(t.Context(), w.tomas, "apr_none")
	wantProblem(t, err, problem.NotFound, "no_such_approval")
	machine := w.tomas
	machine.Kind = identity.Client
	_, err = w.queue.Cancel(t.Context(), machine, r.ID)
	wantProblem(t, err, problem.Forbidden, "gateway_only")
	elsewhere := w.tomas
	elsewhere.Issuer = "https://another.example"
	_, err = w.queue.Cancel(t.Context(), elsewhere, r.ID)
	wantProblem(t, err, problem.Forbidden, "not_your_call")
	for range 2 {
		if got, err := w.queue.Cancel(t.Context(), w.tomas, r.ID); err != nil || got.State != Cancelled {
			t.Fatalf("got %+v, %v", got, err)
		}
	}
	r, token := w.claimed(w.call(1))
	if got, err := w.queue.Cancel(t.Context(), w.tomas, r.ID); err != nil || got.State != Revoked {
		t.Errorf("got %+v, %v", got, err)
	}
	_, err = w.redeem(token, w.call(1), redemption(1))
	wantProblem(t, err, problem.Gone, "confirmation_revoked")
}

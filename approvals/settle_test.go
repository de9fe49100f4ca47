package approvals

import (
	"testing"

	"countersign/identity"
	"countersign/internal/problem"
)

// lost is a request whose call was sent, and of which nobody knows how it ended.
func (w *world) lost(order, redemptionID string) Request {
	w.t.Helper()
	r, token := w.claimed(w.call(order))
	w.mustRedeem(token, w.call(order), redemptionID)
	if err := w.queue.Outcome(w.t.Context(), w.gateway, redemptionID, Outcome{Status: Indeterminate}); err != nil {
		w.t.Fatalf("Outcome: %v", err)
	}
	return r
}

func TestSettle(t *testing.T) { //nolint:tparallel // the cases share a world, one after the other
	t.Parallel()
	w := newWorld(t)
	for _, c := range []struct {
		name   string
		s      Settlement
		want   ConfirmationState
		agrees ConfirmationState // a late report that says the same
		denies ConfirmationState
	}{
		{"it ran", Settlement{Ran: true, Reason: "the order is gone"}, Succeeded, Succeeded, Failed},
		{"it did not run", Settlement{Reason: "the order is there"}, Failed, Failed, Succeeded},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.restore(t)
			r := w.lost(c.name, c.name)
			if _, err := w.queue.Settle(t.Context(), w.ada, r.ID, c.s); err != nil {
				t.Fatalf("Settle: %v", err)
			}
			if got := w.confirmation(r); got != c.want {
				t.Errorf("the confirmation is %s, want %s", got, c.want)
			}
			by := read[string](w, `select outcome ->> 'settled_by' from confirmations where approval_id = $1`, r.ID)
			if by != w.ada.ID {
				t.Errorf("settled by %q", by)
			}
			if err := w.queue.Outcome(t.Context(), w.gateway, c.name, Outcome{Status: c.agrees}); err != nil {
				t.Errorf("a late report that agrees: %v", err)
			}
			err := w.queue.Outcome(t.Context(), w.gateway, c.name, Outcome{Status: c.denies})
			wantProblem(t, err, problem.Conflict, "outcome_differs")
			if got := w.confirmation(r); got != c.want {
				t.Errorf("the contradiction made the confirmation %s", got)
			}
			_, err = w.queue.Settle(t.Context(), w.grace, r.ID, c.s)
			wantProblem(t, err, problem.Conflict, "not_indeterminate")
			w.wantEvents(r, "approval.requested", "approval.voted", "approval.approved", "confirmation.issued", "confirmation.redeemed",
				"confirmation.indeterminate", "confirmation.settled", "confirmation.refused", "confirmation.refused")
		})
	}
}

func TestSettleIsForOthersThanTheCaller(t *testing.T) { //nolint:tparallel // the cases share a world, one after the other
	t.Parallel()
	w := newWorld(t)
	r := w.lost("lost", "red_1")
	tomasTheAdmin := w.tomas
	tomasTheAdmin.Roles = []identity.Role{identity.Admin}
	reason := Settlement{Ran: true, Reason: "I looked"}
	for _, c := range []struct {
		name string
		who  identity.Principal
		s    Settlement
		kind problem.Kind
		code string
	}{
		{"the caller", w.tomas, reason, problem.Forbidden, "own_call"},
		{"the caller, an admin", tomasTheAdmin, reason, problem.Forbidden, "own_call"},
		{"somebody else", w.eve, reason, problem.Forbidden, "not_a_member"},
		{"a gateway", w.gateway, reason, problem.Forbidden, "interactive_only"},
		{"without a reason", w.ada, Settlement{Ran: true, Reason: " "}, problem.Invalid, "settlement_incomplete"},
	} {
		_, err := w.queue.Settle(t.Context(), c.who, r.ID, c.s)
		t.Run(c.name, func(t *testing.T) { wantProblem(t, err, c.kind, c.code) })
	}
	_, err := w.queue.Settle(t.Context(), w.ada, "apr_none", reason)
	wantProblem(t, err, problem.NotFound, "no_such_approval")
	if got := w.confirmation(r); got != Indeterminate {
		t.Errorf("the confirmation is %s", got)
	}
}

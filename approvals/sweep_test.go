package approvals

import (
	"testing"

	"countersign/policy"
)

func (w *world) sweep(want int) {
	w.t.Helper()
	got, err := w.queue.Sweep(w.t.Context())
	if err != nil || got != want {
		w.t.Errorf("the sweep changed %d, %v; want %d", got, err, want)
	}
}

func TestSweep(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	lapsed, waiting := w.ask(w.call("lapsed")), w.ask(w.call("waiting"))
	unclaimed := w.vote(w.ada, w.ask(w.call("unclaimed")), Approve)
	claimed, _ := w.claimed(w.call("claimed"))
	unredeemed, _ := w.claimed(w.call("unredeemed"))
	running, token := w.claimed(w.call("running"))
	w.mustRedeem(token, w.call("running"), "red_1")
	lost, token := w.claimed(w.call("lost"))
	w.mustRedeem(token, w.call("lost"), "red_2")
	w.sweep(0)

	w.exec(`update approvals set expires_at = clock_timestamp() where id = $1`, lapsed.ID)
	w.exec(`update approvals set claim_by = clock_timestamp() where id in ($1, $2, $3)`, unclaimed.ID, claimed.ID, unredeemed.ID)
	w.exec(`update confirmations set expires_at = clock_timestamp() where approval_id = $1`, unredeemed.ID)
	w.exec(`update confirmations set outcome_by = clock_timestamp() where approval_id = $1`, lost.ID)
	w.sweep(4)
	for _, want := range []struct {
		request Request
		state   State
		token   ConfirmationState
	}{
		{lapsed, Expired, ""},
		{waiting, Pending, ""},
		{unclaimed, Closed, ""},
		{claimed, Approved, TokenIssued}, // its token still lives
		{unredeemed, Closed, TokenExpired},
		{running, Closed, Redeemed},
		{lost, Closed, Indeterminate},
	} {
		w.wantState(want.request, want.state)
		if want.token != "" && w.confirmation(want.request) != want.token {
			t.Errorf("the token of a %s request is %s, want %s", want.state, w.confirmation(want.request), want.token)
		}
	}
	w.wantEvents(lapsed, "approval.requested", "approval.expired")
	w.wantEvents(unclaimed, "approval.requested", "approval.voted", "approval.approved", "approval.closed")
	w.sweep(0)
	if err := w.queue.Outcome(t.Context(), w.gateway, "red_2", Outcome{Status: Succeeded}); err != nil {
		t.Errorf("a late outcome is refused: %v", err)
	}
}

func TestSweepFollowsThePolicy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pending := w.ask(w.call("pending"))
	approved, _ := w.claimed(w.call("approved"))
	w.exec(`update registry_head set generation = generation + 1`)
	w.sweep(0)
	if n := read[int](w, `select count(*) from approvals where generation = (select generation from registry_head)`); n != 2 {
		t.Errorf("%d requests were judged under the new generation, want 2", n)
	}
	w.quorum(2, 1)
	w.sweep(2)
	w.wantState(pending, Pending)
	w.wantState(approved, Revoked)
	w.wantEvents(pending, "approval.requested", "approval.terms_changed")
	w.change(func(l *law) { l.outcome, l.reason = policy.Deny, policy.ReasonSuspended })
	w.sweep(1)
	w.wantState(pending, Superseded)
}

func TestSweepAfterNewEpoch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pending := w.ask(w.call("pending"))
	approved, _ := w.claimed(w.call("approved"))
	w.exec(`update registry_head set epoch = epoch + 1, generation = generation + 1`)
	w.sweep(2)
	w.wantState(pending, Superseded)
	w.wantState(approved, Revoked)
	if got := w.confirmation(approved); got != TokenRevoked {
		t.Errorf("the token of another epoch is %s", got)
	}
}

// TestTerminalStatesStay goes round the code, to the trigger.
func TestTerminalStatesStay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.ask(w.call(1))
	for _, state := range []State{Denied, Expired, Cancelled, Superseded, Revoked, Closed} {
		w.exec(`alter table approvals disable trigger approvals_terminal`)
		w.exec(`update approvals set state = $1`, state)
		w.exec(`alter table approvals enable trigger approvals_terminal`)
		for _, next := range []State{Pending, Approved, Denied, Expired, Cancelled, Superseded, Revoked, Closed} {
			_, err := w.owner.Exec(t.Context(), `update approvals set state = $1 where id = $2`, next, r.ID)
			if (err == nil) != (next == state) {
				t.Errorf("from %s to %s: %v", state, next, err)
			}
		}
	}
}

// TestSweepWhenAGrantEnds has the time of a grant be over, without a change of policy.
func TestSweepWhenAGrantEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pending := w.ask(w.call("pending"))
	approved := w.vote(w.ada, w.ask(w.call("approved")), Approve)
	w.exec(`insert into grants (id, name, subject, resource, created_by) values ('grt_2', 'Some', '{}', '{}', 'test')`)
	w.sweep(0)
	w.exec(`update grants set not_after = clock_timestamp() where id = 'grt_1'`)
	w.law.document = &policy.Document{Guardrails: w.law.document.Guardrails, Grants: []policy.Grant{{ID: "grt_2"}}}
	w.sweep(0)
	if n := read[int](w, `select count(*) from approvals where grants = '{grt_2}'`); n != 2 {
		t.Errorf("%d requests are allowed by the other grant", n)
	}
	w.exec(`update grants set not_after = clock_timestamp() where id = 'grt_2'`)
	w.law.outcome, w.law.reason = policy.Deny, policy.ReasonNoGrant
	w.sweep(2)
	w.wantState(pending, Superseded)
	w.wantState(approved, Revoked)
}

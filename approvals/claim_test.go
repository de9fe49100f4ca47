package approvals

import (
	"slices"
	"testing"

	"countersign/internal/problem"
	"countersign/policy"
)

func TestClaim(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.ask(w.call(1))
	_, err := w.queue.Claim(t.Context(), w.gateway, r.ID)
	if p := wantProblem(t, err, problem.Conflict, "not_approved"); p.Fields["state"] != "pending" {
		t.Errorf("the state is told as %q", p.Fields["state"])
	}
	w.vote(w.ada, r, Approve)
	_, err = w.queue.Claim(t.Context(), w.other, r.ID)
	wantProblem(t, err, problem.NotFound, "no_such_approval")
	_, err = w.queue.Claim(t.Context(), w.ada, r.ID)
	wantProblem(t, err, problem.Forbidden, "gateway_only")

	tokens := []Token{w.claim(r), w.claim(r), w.claim(r), w.claim(r)}
	_, err = w.queue.Claim(t.Context(), w.gateway, r.ID)
	wantProblem(t, err, problem.RateLimited, "too_many_claims")
	for _, dead := range tokens[:3] {
		_, err := w.redeem(dead, w.call(1), "red_1")
		wantProblem(t, err, problem.Forbidden, "confirmation_unknown")
	}
	w.mustRedeem(tokens[3], w.call(1), "red_1")
	if stored := read[int](w, `select count(*) from confirmations where position(convert_to($1, 'utf8') in token_hash) > 0`, string(tokens[3])[4:20]); stored != 0 {
		t.Error("the database holds the token")
	}
}

// TestClaimAfterTheTokenExpired: within the time to claim, a new confirmation follows the expired one.
func TestClaimAfterTheTokenExpired(t *testing.T) {
	t.Parallel()
	for _, swept := range []bool{false, true} {
		w := newWorld(t)
		r, dead := w.claimed(w.call(1))
		w.exec(`update confirmations set expires_at = clock_timestamp()`)
		if swept {
			w.sweep(1)
		}
		token := w.claim(r)
		_, err := w.redeem(dead, w.call(1), "red_1")
		wantProblem(t, err, problem.Gone, "confirmation_expired")
		w.mustRedeem(token, w.call(1), "red_2")
		want := []string{"confirmation.issued", "confirmation.expired", "confirmation.issued", "confirmation.refused", "confirmation.redeemed"}
		if got := w.events(r)[3:]; !slices.Equal(got, want) {
			t.Errorf("swept %v: got %v, want %v", swept, got, want)
		}
	}
}

func TestClaimAfterPolicyDenies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.vote(w.ada, w.ask(w.call(1)), Approve)
	w.change(func(l *law) { l.outcome, l.reason = policy.Deny, policy.ReasonNoGrant })
	_, err := w.queue.Claim(t.Context(), w.gateway, r.ID)
	wantProblem(t, err, problem.Forbidden, "policy_denied")
	w.wantState(r, Revoked)
	w.wantEvents(r, "approval.requested", "approval.voted", "approval.approved", "approval.revoked", "confirmation.refused")
}

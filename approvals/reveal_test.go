package approvals

import (
	"errors"
	"sync"
	"testing"
	"time"

	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
)

func TestReveal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.exec(`update gateways set kind = 'embedded' where id = $1`, gateway)
	r := w.vote(w.ada, w.ask(w.call("7")), Approve)
	shown, err := w.queue.Reveal(t.Context(), w.tomas, r.ID)
	if err != nil || shown.ExpiresIn != 5*time.Minute {
		t.Fatalf("Reveal: %+v, %v", shown, err)
	}
	_, err = w.queue.Reveal(t.Context(), w.tomas, r.ID)
	wantProblem(t, err, problem.Conflict, "token_revealed")
	_, err = w.queue.Claim(t.Context(), w.gateway, r.ID)
	wantProblem(t, err, problem.Conflict, "token_revealed")

	_, err = w.redeem(shown.Token, w.call("8"), "red_other")
	wantProblem(t, err, problem.Conflict, "call_digest_mismatch")
	w.mustRedeem(shown.Token, w.call("7"), "red_1")
	w.wantEvents(r, "approval.requested", "approval.voted", "approval.approved", "confirmation.issued", "confirmation.revealed",
		"confirmation.refused", "confirmation.refused", "confirmation.refused", "confirmation.redeemed")
}

func TestRevealIsRefused(t *testing.T) { //nolint:tparallel // the cases share a world, one after the other
	t.Parallel()
	w := newWorld(t)
	noSession := person("tomas")
	noSession.SessionID = ""
	for _, c := range []struct {
		name    string
		arrange func(r Request)
		who     identity.Principal
		kind    problem.Kind
		code    string
	}{
		{"who approved", nil, w.ada, problem.Forbidden, "not_the_caller"},
		{"without a session", nil, noSession, problem.Forbidden, "interactive_only"},
		{"a gateway", nil, w.gateway, problem.Forbidden, "not_for_gateways"},
		{"a caller who left", func(Request) { w.exec(`update people set disabled_at = now() where id = 'per_tomas'`) }, w.tomas, problem.Forbidden, "not_the_caller"},
		{"of a proxy", func(Request) { w.exec(`update gateways set kind = 'proxy' where id = $1`, gateway) }, w.tomas, problem.Conflict, "not_embedded"},
		{"what the server claimed", func(r Request) { w.claim(r) }, w.tomas, problem.Conflict, "token_claimed"},
		{"what is taken back", func(r Request) {
			if _, err := w.queue.Revoke(w.t.Context(), w.ada, r.ID, "no"); err != nil {
				w.t.Fatal(err)
			}
		}, w.tomas, problem.Conflict, "not_approved"},
		{"too late", func(r Request) {
			w.exec(`update approvals set claim_by = clock_timestamp() where id = $1`, r.ID)
		}, w.tomas, problem.Conflict, "not_approved"},
		{"what the policy denies by now", func(Request) { w.change(func(l *law) { l.outcome = policy.Deny }) }, w.tomas, problem.Forbidden, "policy_denied"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.restore(t)
			w.exec(`update gateways set kind = 'embedded' where id = $1`, gateway)
			r := w.vote(w.ada, w.ask(w.call(c.name)), Approve)
			if c.arrange != nil {
				c.arrange(r)
			}
			_, err := w.queue.Reveal(t.Context(), c.who, r.ID)
			wantProblem(t, err, c.kind, c.code)
		})
	}
	_, err := w.queue.Reveal(t.Context(), w.tomas, "apr_none")
	wantProblem(t, err, problem.NotFound, "no_such_approval")
}

// Of a caller in several tabs, the server's own claim and somebody who takes the approval back, at most one ends with a
// token that is good, and after a revocation nobody does.
func TestRevealRace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.exec(`update gateways set kind = 'embedded' where id = $1`, gateway)
	other := w.queueOn(w.law.pool)
	for i := range 12 {
		order := redemption(i)
		r := w.vote(w.ada, w.ask(w.call(order)), Approve)
		tokens := make(chan Token, 8)
		var all sync.WaitGroup
		reveal := func(q *Queue) {
			if shown, err := q.Reveal(t.Context(), w.tomas, r.ID); err == nil {
				tokens <- shown.Token
			}
		}
		var revoked bool
		all.Go(func() { reveal(w.queue) })
		all.Go(func() { reveal(other) })
		all.Go(func() {
			if claimed, err := other.Claim(t.Context(), w.gateway, r.ID); err == nil {
				tokens <- claimed.Token
			}
		})
		if i%3 == 0 {
			all.Go(func() {
				_, err := w.queue.Revoke(t.Context(), w.ada, r.ID, "no")
				revoked = err == nil
			})
		}
		all.Wait()
		close(tokens)
		redeemed, issued := 0, 0
		for token := range tokens {
			issued++
			_, err := w.redeem(token, w.call(order), order+string(token[10:20]))
			var p *problem.Error
			switch {
			case err == nil:
				redeemed++
			case !errors.As(err, &p) || p.Kind == problem.Internal:
				t.Errorf("redeeming: %v", err)
			}
		}
		if want := 1; redeemed > want || revoked && redeemed > 0 || !revoked && redeemed != want {
			t.Errorf("round %d: %d of %d tokens were good, revoked: %t", i, redeemed, issued, revoked)
		}
		if n := read[int](w, `select count(*) from confirmations where approval_id = $1`, r.ID); n > 1 {
			t.Errorf("round %d: %d confirmations", i, n)
		}
	}
}

package approvals

import (
	"sync"
	"sync/atomic"
	"testing"

	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
)

// like is a call like the approved one of origin.
func (w *world) like(order any) policy.Call {
	w.t.Helper()
	return w.callOf(map[string]any{"order": order, "dry": false})
}

// How an allowance ends, and what becomes of what it approved.
func TestAllowanceEnds(t *testing.T) { //nolint:tparallel // the cases share a world, one after the other
	t.Parallel()
	w := newWorld(t)
	revoke := func(w *world, a Allowance) {
		if origin, err := w.queue.RevokeAllowance(w.t.Context(), w.grace, a.ID, "enough"); err != nil || origin != a.ApprovalID {
			w.t.Fatalf("RevokeAllowance: %q, %v", origin, err)
		}
	}
	for _, c := range []struct {
		name string
		end  func(w *world, origin Request, a Allowance)
		want AllowanceState
		use  State // of a use that nobody has redeemed
	}{
		{"a person ends it", func(w *world, _ Request, a Allowance) { revoke(w, a) }, AllowanceRevoked, Revoked},
		{"its approval is taken back", func(w *world, origin Request, _ Allowance) {
			if _, err := w.queue.Revoke(w.t.Context(), w.ada, origin.ID, "no"); err != nil {
				w.t.Fatal(err)
			}
		}, AllowanceRevoked, Revoked},
		{"its caller cancels", func(w *world, origin Request, _ Allowance) {
			if _, err := w.queue.Cancel(w.t.Context(), w.gateway, origin.ID); err != nil {
				w.t.Fatal(err)
			}
		}, AllowanceRevoked, Revoked},
		{"its time is up", func(w *world, _ Request, a Allowance) {
			w.exec(`update allowances set expires_at = clock_timestamp() where id = $1`, a.ID)
		}, AllowanceExpired, Approved},
		{"the database was put back", func(w *world, _ Request, _ Allowance) { w.exec(`update registry_head set epoch = 2`) }, AllowanceRevoked, Revoked},
		{"the gateway is revoked", func(w *world, _ Request, _ Allowance) {
			w.exec(`update gateways set revoked_at = now() where id = $1`, gateway)
			w.change(func(*law) {})
		}, AllowanceRevoked, Revoked},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.restore(t)
			origin := w.origin(4, "order")
			redeemed, use := w.like("redeemed "+c.name), w.ask(w.like("waiting"))
			w.mustRedeem(w.claim(w.ask(redeemed)), redeemed, c.name)
			token := w.claim(use)
			c.end(w, origin, w.allowanceOf(origin))
			if _, err := w.queue.Sweep(t.Context()); err != nil {
				t.Fatal(err)
			}
			a := w.allowanceOf(origin)
			if a.State != c.want || a.EndedAt == nil || w.state(use) != c.use {
				t.Errorf("the allowance is %s, and what it approved is %s; want %s and %s", a.State, w.state(use), c.want, c.use)
			}
			if _, err := w.redeem(token, w.like("waiting"), c.name+" 2"); c.use == Revoked && err == nil {
				t.Error("what was taken back is redeemed")
			}
			if r, _, err := w.queue.Ask(t.Context(), w.gateway, w.asking(w.like("later"))); err == nil && r.State == Approved {
				t.Error("it is used after its end")
			}
		})
	}
}

// It is good while those who gave it may still give it.
func TestAllowanceEndsToCountWithItsGiver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.origin(4, "order")
	w.exec(`update people set groups = '{}' where id = 'per_ada'`)
	if r := w.ask(w.like(2)); r.State != Pending {
		t.Errorf("who gave it has left, and a use is %s", r.State)
	}
	w.exec(`update people set groups = '{orders-team}' where id = 'per_ada'`)
	if r := w.ask(w.like(3)); r.State != Approved {
		t.Errorf("who gave it is back, and a use is %s", r.State)
	}
}

func TestRevokeAllowanceIsRefused(t *testing.T) { //nolint:tparallel // the cases share a world, one after the other
	t.Parallel()
	w := newWorld(t)
	a := w.allowanceOf(w.origin(1, "order"))
	for _, c := range []struct {
		name   string
		who    identity.Principal
		id     string
		reason string
		kind   problem.Kind
		code   string
	}{
		{"the caller", w.tomas, a.ID, "x", problem.Forbidden, "own_call"},
		{"somebody else", w.eve, a.ID, "x", problem.Forbidden, "not_a_member"},
		{"a gateway", w.gateway, a.ID, "x", problem.Forbidden, "interactive_only"},
		{"without a reason", w.ada, a.ID, " ", problem.Invalid, "reason_missing"},
		{"what there is not", w.ada, "alw_none", "x", problem.NotFound, "no_such_allowance"},
	} {
		_, err := w.queue.RevokeAllowance(t.Context(), c.who, c.id, c.reason)
		t.Run(c.name, func(t *testing.T) { wantProblem(t, err, c.kind, c.code) })
	}
	use := w.ask(w.like(2)) // uses it up, and is not redeemed: there is still something to take back
	if _, err := w.queue.RevokeAllowance(t.Context(), w.ada, a.ID, "x"); err != nil || w.state(use) != Revoked {
		t.Errorf("taking back what a used up allowance approved: %v, it is %s", err, w.state(use))
	}
	_, err := w.queue.RevokeAllowance(t.Context(), w.ada, a.ID, "x")
	wantProblem(t, err, problem.Conflict, "allowance_ended")
}

// The scope of several approvals is the narrowest of them, and none when one gives none.
func TestAllowanceOfTwoVotes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.generous(9, "dry", "order")
	w.change(func(l *law) { l.approval.Quorum = 2 })
	wide, narrow := &Scope{Uses: 9, Within: 500e9, Free: []string{"dry", "order"}}, &Scope{Uses: 2, Within: 60e9, Free: []string{"order"}}
	r := w.allow(w.grace, w.allow(w.ada, w.ask(w.like(1)), wide), narrow)
	if a := w.allowanceOf(r); a.Uses != 2 || len(a.Free) != 1 || a.ExpiresAt.Sub(a.CreatedAt).Seconds() > 61 {
		t.Errorf("the allowance is %+v", a)
	}
	w.allow(w.grace, w.allow(w.ada, w.ask(w.callOf(map[string]any{"order": 1, "dry": true})), wide), nil)
	if n := read[int](w, `select count(*) from allowances`); n != 1 {
		t.Errorf("one of two gave none, and there are %d allowances", n)
	}
}

// 32 agents' asks over two queues, with somebody who ends it meanwhile: no use too many, and none after the end.
func TestAllowanceRace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	queues := []*Queue{w.queue, w.queueOn(w.law.pool)}
	for round := range 3 {
		w.restore(t)
		const uses = 5
		origin := w.origin(uses, "order")
		a := w.allowanceOf(origin)
		w.mustRedeem(w.claim(origin), w.like(1), redemption(round))
		var ran atomic.Int32
		var all sync.WaitGroup
		for i := range 32 {
			q, call := queues[i%2], w.like(redemption(i/2)) // each call twice
			all.Go(func() {
				r, err := whenFree(func() (Request, error) {
					r, _, err := q.Ask(t.Context(), w.gateway, w.asking(call))
					return r, err
				})
				if err != nil || r.State != Approved {
					return
				}
				claimed, err := whenFree(func() (Claimed, error) { return q.Claim(t.Context(), w.gateway, r.ID) })
				if err != nil {
					return
				}
				in := Redeem{Token: claimed.Token, Call: call, RedemptionID: string(claimed.Token[8:30]), Instance: "i1"}
				if _, err := whenFree(func() (Redemption, error) { return q.Redeem(t.Context(), w.gateway, in) }); err == nil {
					ran.Add(1)
				}
			})
		}
		if round == 2 {
			all.Go(func() {
				if _, err := w.queue.RevokeAllowance(t.Context(), w.ada, a.ID, "enough"); err != nil && !problem.Is(err, problem.Conflict) && !problem.Is(err, problem.Unavailable) {
					t.Errorf("RevokeAllowance: %v", err)
				}
			})
		}
		all.Wait()
		made := read[int32](w, `select count(*) from approvals where allowance_id = $1`, a.ID)
		if a = w.allowanceOf(origin); ran.Load() > uses || made > uses || int32(a.Used) != made {
			t.Errorf("round %d: %d ran, %d were approved, %d are counted, of %d", round, ran.Load(), made, a.Used, uses)
		}
		if round < 2 && ran.Load() != uses {
			t.Errorf("round %d: %d ran, want %d", round, ran.Load(), uses)
		}
		if a.State == AllowanceRevoked {
			if n := read[int](w, `select count(*) from approvals where allowance_id = $1 and state = 'approved'`, a.ID); n != 0 {
				t.Errorf("%d uses are approved after the end", n)
			}
		}
	}
}

// whenFree asks again what was refused only since others were at it.
func whenFree[T any](f func() (T, error)) (v T, err error) {
	for range 50 {
		if v, err = f(); !problem.Is(err, problem.Unavailable) {
			return v, err
		}
	}
	return v, err
}

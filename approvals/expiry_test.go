package approvals

import (
	"context"
	"testing"
	"time"

	"countersign/internal/problem"
	"countersign/policy"
)

// hold runs sql in a transaction of somebody else's, which it commits when another transaction has waited for
// its locks and then release has returned. It returns when sql has run.
func (w *world) hold(release func(), sql string) (done chan struct{}) {
	w.t.Helper()
	tx, err := w.owner.Begin(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := tx.Exec(context.Background(), sql); err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
	done = make(chan struct{})
	go func() {
		defer close(done)
		w.awaitWaiter()
		release()
		if err := tx.Commit(context.Background()); err != nil {
			w.t.Errorf("committing what held the lock: %v", err)
		}
	}()
	return done
}

// awaitWaiter returns when somebody waits for a lock in this database.
func (w *world) awaitWaiter() {
	for range 1000 {
		if read[bool](w, `
			select exists (select from pg_locks where not granted
			               and pid in (select pid from pg_stat_activity where datname = current_database()))`) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	w.t.Error("nobody waited for the lock")
}

// expireInWait makes the next act wait for what sql locks, once it has found everything in order, and lets the
// one row of table expire during that wait.
func (w *world) expireInWait(table, sql string) (done func() chan struct{}) {
	var held chan struct{}
	w.law.meanwhile = func() {
		if held == nil {
			w.exec(`update ` + table + ` set expires_at = clock_timestamp() + interval '100 milliseconds'`)
			held = w.hold(w.until(`select expires_at from `+table), sql)
		}
	}
	return func() chan struct{} { return held }
}

// until returns a function that waits until a time of one row, such as its expiry, is past.
func (w *world) until(sql string) func() {
	return func() {
		for !read[bool](w, `select (`+sql+`) < clock_timestamp()`) {
			time.Sleep(5 * time.Millisecond)
		}
	}
}

// patient makes redemptions wait for locks for as long as a busy machine may take.
func patient(w *world) *world {
	w.queue.lockTimeout = "20s"
	return w
}

// holders are the ways to make a redemption wait: with the two that a WHERE with a clock in it tells apart.
var holders = map[string]string{
	"the token is locked and changed":    `update confirmations set instance = 'somebody'`,
	"the token is only locked":           `select from confirmations for update`,
	"the request is locked and changed":  `update approvals set changed_at = clock_timestamp()`,
	"the request is only locked":         `select from approvals for update`,
	"the request, then its token locked": `with a as (select from approvals for update) select from confirmations where exists (select from a) for update`,
}

// TestExpiryDuringLockWait: a token that runs out while its redemption waits for a lock is not redeemed.
func TestExpiryDuringLockWait(t *testing.T) {
	t.Parallel()
	for name, sql := range holders {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := patient(newWorld(t))
			r, token := w.claimed(w.call(1))
			done := w.expireInWait("confirmations", sql)
			_, err := w.redeem(token, w.call(1), "red_1")
			<-done()
			wantProblem(t, err, problem.Gone, "confirmation_expired")
			if got := w.confirmation(r); got != TokenIssued {
				t.Errorf("the confirmation is %s", got)
			}
			w.wantRefused("expired")
		})
	}
}

// TestExpiryCatchesBareWhere shows that the trap is real: the same wait fools an UPDATE that has the clock in
// its WHERE and does not lock first.
func TestExpiryCatchesBareWhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.claimed(w.call(1))
	w.exec(`update confirmations set expires_at = clock_timestamp() + interval '2 seconds'`)
	done := w.hold(w.until(`select expires_at from confirmations`), `select from confirmations for update`)
	tag, err := w.queue.pool.Exec(t.Context(), `
		update confirmations set state = 'redeemed', redeemed_at = clock_timestamp(), redemption_id = 'red_1'
		where state = 'issued' and expires_at > clock_timestamp()`)
	<-done
	if err != nil || tag.RowsAffected() != 1 {
		t.Errorf("got %s, %v: the trap is gone, and so is the reason for the materialized lock", tag, err)
	}
}

// TestExpiryLockTimeout: a redemption does not wait long, and the same attempt may be made again.
func TestExpiryLockTimeout(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, token := w.claimed(w.call(1))
	answered := make(chan struct{})
	done := w.hold(func() { <-answered }, `select from confirmations for update`)
	_, err := w.redeem(token, w.call(1), "red_1")
	close(answered)
	if p := wantProblem(t, err, problem.Unavailable, "busy"); p.RetryAfter <= 0 {
		t.Error("nothing says when to try again")
	}
	<-done
	w.mustRedeem(token, w.call(1), "red_1")
}

// TestExpiryOfThePolicyDuringLockWait: what the policy was before the wait does not count after it.
func TestExpiryOfThePolicyDuringLockWait(t *testing.T) {
	t.Parallel()
	for name, sql := range holders {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := patient(newWorld(t))
			r, token := w.claimed(w.call(1))
			asked := w.law.asked
			done := w.hold(func() {
				w.change(func(l *law) { l.outcome, l.reason = policy.Deny, policy.ReasonNoGrant })
			}, sql)
			_, err := w.redeem(token, w.call(1), "red_1")
			<-done
			wantProblem(t, err, problem.Forbidden, "policy_denied")
			if w.law.asked != asked+2 {
				t.Errorf("%d evaluations, want 2: before the wait and after", w.law.asked-asked)
			}
			w.wantState(r, Revoked)
		})
	}
}

// TestExpiryOfAVoteDuringLockWait: nor does a request that ran out take a vote.
func TestExpiryOfAVoteDuringLockWait(t *testing.T) {
	t.Parallel()
	for name, sql := range map[string]string{
		"locked and changed": `update approvals set changed_at = clock_timestamp()`,
		"only locked":        `select from approvals for update`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			r := w.ask(w.call(1))
			done := w.expireInWait("approvals", sql)
			_, err := w.queue.Vote(t.Context(), w.ada, r.ID, on(r, Approve))
			<-done()
			wantProblem(t, err, problem.Conflict, "not_pending")
			w.wantState(r, Expired)
		})
	}
}

// TestExpiryApprovesNothing: a request one vote short of its quorum expires like any other.
func TestExpiryApprovesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.quorum(2, 1)
	r := w.vote(w.ada, w.ask(w.call(1)), Approve)
	w.exec(`update approvals set expires_at = clock_timestamp()`)
	_, err := w.queue.Vote(t.Context(), w.grace, r.ID, on(r, Approve))
	wantProblem(t, err, problem.Conflict, "not_pending")
	w.wantState(r, Expired)
	_, err = w.queue.Claim(t.Context(), w.gateway, r.ID)
	wantProblem(t, err, problem.Conflict, "not_approved")
}

// TestExpiryMetByAnybody: whoever meets a request whose time is up ends it, before any sweep.
func TestExpiryMetByAnybody(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		approved bool
		want     State
		meet     func(w *world, r Request) error
	}{
		{"the gateway looks at a pending one", false, Expired, func(w *world, r Request) error {
			_, err := w.queue.Get(context.Background(), w.gateway, r.ID)
			return err
		}},
		{"the gateway looks at an approved one", true, Closed, func(w *world, r Request) error {
			_, err := w.queue.Get(context.Background(), w.gateway, r.ID)
			return err
		}},
		{"the gateway claims", true, Closed, func(w *world, r Request) error {
			_, err := w.queue.Claim(context.Background(), w.gateway, r.ID)
			wantProblem(w.t, err, problem.Conflict, "not_approved")
			return nil
		}},
		{"the agent asks again while pending", false, Expired, func(w *world, r Request) error { return w.asksAnew(r) }},
		{"the agent asks again when approved", true, Closed, func(w *world, r Request) error { return w.asksAnew(r) }},
		{"a person revokes", true, Closed, func(w *world, r Request) error {
			_, err := w.queue.Revoke(context.Background(), w.ada, r.ID, "stop")
			wantProblem(w.t, err, problem.Conflict, "not_approved")
			return nil
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			r := w.ask(w.call(1))
			if test.approved {
				r = w.vote(w.ada, r, Approve)
			}
			w.exec(`update approvals set expires_at = clock_timestamp(), claim_by = case when state = 'approved' then clock_timestamp() end`)
			if err := test.meet(w, r); err != nil {
				t.Fatal(err)
			}
			w.wantState(r, test.want)
			w.sweep(0)
		})
	}
}

func (w *world) asksAnew(r Request) error {
	again, created, err := w.queue.Ask(context.Background(), w.gateway, w.asking(w.call(1)))
	if !created || again.ID == r.ID || again.State != Pending {
		w.t.Errorf("got %+v, want a new pending request", again)
	}
	return err
}

// TestExpiryOfTheClaimLeavesTheToken: a token that was claimed in time lives its own time.
func TestExpiryOfTheClaimLeavesTheToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r, token := w.claimed(w.call(1))
	w.exec(`update approvals set claim_by = clock_timestamp()`)
	w.sweep(0)
	w.mustRedeem(token, w.call(1), "red_1")
	w.wantState(r, Closed)
}

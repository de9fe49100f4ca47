package approvals

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"countersign/policy"
)

// TestAnnounced does to a request what people are told of, and what they are not.
func TestAnnounced(t *testing.T) { //nolint:tparallel // the cases share a world, one after the other
	t.Parallel()
	var told []Notice
	w := newWorld(t, func(c *Config) {
		c.Announce = func(_ context.Context, _ pgx.Tx, n Notice) error { told = append(told, n); return nil }
	})
	for _, test := range []struct {
		name string
		do   func(w *world, r Request)
		want []string // after approval.requested
	}{
		{"approve", func(w *world, r Request) { w.vote(w.ada, r, Approve) }, []string{"approval.approved"}},
		{"deny", func(w *world, r Request) { w.vote(w.ada, r, Deny) }, []string{"approval.denied"}},
		{"ask again", func(w *world, _ Request) { w.ask(w.call("ask again")) }, nil},
		{"cancel", func(w *world, r Request) { w.cancel(r) }, nil},
		{"revoke", func(w *world, r Request) { w.vote(w.ada, r, Approve); w.cancel(r) }, []string{"approval.approved", "approval.revoked"}},
		{"run out of time", func(w *world, _ Request) {
			w.exec(`update approvals set expires_at = clock_timestamp() where state = 'pending'`)
			w.sweep(1)
		}, []string{"approval.expired"}},
		{"wait", func(w *world, r Request) { w.waited(r); w.sweep(1) }, []string{"approval.escalated"}},
		{"change the policy", func(w *world, _ Request) {
			w.change(func(l *law) { l.outcome = policy.Deny })
			w.sweep(1)
		}, []string{"approval.superseded"}},
		{"execute", func(w *world, r Request) {
			w.vote(w.ada, r, Approve)
			w.mustRedeem(w.claim(r), w.call("execute"), redemption(1))
		}, []string{"approval.approved"}},
		{"hear nothing of an execution", func(w *world, r Request) {
			w.vote(w.ada, r, Approve)
			w.mustRedeem(w.claim(r), w.call("hear nothing of an execution"), redemption(2))
			w.exec(`update confirmations set outcome_by = clock_timestamp() where redemption_id = $1`, redemption(2))
			w.sweep(1)
		}, []string{"approval.approved", "confirmation.indeterminate"}},
		{"report that nobody knows", func(w *world, r Request) {
			w.vote(w.ada, r, Approve)
			w.mustRedeem(w.claim(r), w.call("report that nobody knows"), redemption(3))
			if err := w.queue.Outcome(w.t.Context(), w.gateway, redemption(3), Outcome{Status: Indeterminate}); err != nil {
				w.t.Error(err)
			}
		}, []string{"approval.approved", "confirmation.indeterminate"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w.restore(t)
			w.escalating()
			told = nil
			r := w.ask(w.call(test.name))
			test.do(w, r)
			var topics []string
			for _, n := range told {
				topics = append(topics, n.Topic)
				if n.ApprovalID != r.ID || n.Urgent || len(n.TeamIDs) == 0 {
					t.Errorf("told %+v", n)
				}
			}
			if diff := cmp.Diff(append([]string{"approval.requested"}, test.want...), topics); diff != "" {
				t.Error(diff)
			}
			want := map[string]any{
				"server": "com.example/orders", "tool": "delete_orders", "risk": "destructive", "state": "pending",
				"agent": "release-bot", "caller_name": "Tomas Lind",
			}
			if diff := cmp.Diff(want, told[0].Data); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func (w *world) cancel(r Request) {
	w.t.Helper()
	if _, err := w.queue.Cancel(w.t.Context(), w.gateway, r.ID); err != nil {
		w.t.Error(err)
	}
}

// TestNothingHappensThatCannotBeAnnounced: what people are told of and what happened are one.
func TestNothingHappensThatCannotBeAnnounced(t *testing.T) {
	t.Parallel()
	var broken error
	w := newWorld(t, func(c *Config) {
		c.Announce = func(context.Context, pgx.Tx, Notice) error { return broken }
	})
	r := w.ask(w.call(1))
	broken = errors.New("the outbox is full")
	if _, err := w.queue.Vote(t.Context(), w.ada, r.ID, on(r, Approve)); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if _, _, err := w.queue.Ask(t.Context(), w.gateway, w.asking(w.call(2))); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	w.wantState(r, Pending)
	if n := read[int](w, `select (select count(*) from votes) + (select count(*) from approvals)`); n != 1 {
		t.Errorf("there are %d votes and requests", n)
	}
}

package approvals

import (
	"testing"
	"time"

	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
)

// escalating has Night be asked after a minute.
func (w *world) escalating() {
	w.t.Helper()
	w.demand(func(a *policy.Approval) {
		a.Fallback = &policy.Fallback{AfterSeconds: 60, Quorum: 1, Teams: []string{"tem_night"}}
	})
}

// waited lets a request have waited for its fallback.
func (w *world) waited(r Request) {
	w.t.Helper()
	w.exec(`update approvals set escalate_at = clock_timestamp() where id = $1`, r.ID)
}

// now is the request as it is now.
func (w *world) now(r Request) Request {
	w.t.Helper()
	r.State = w.state(r)
	r.Version = read[int64](w, `select version from approvals where id = $1`, r.ID)
	return r
}

func TestEscalation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.escalating()
	r := w.ask(w.call(1))
	if !read[bool](w, `select escalate_at - created_at between interval '59 s' and interval '61 s' from approvals`) {
		t.Error("it does not escalate after a minute")
	}
	expires := read[time.Time](w, `select expires_at from approvals`)
	w.sweep(0)
	_, err := w.queue.Vote(t.Context(), w.noor, r.ID, on(r, Approve))
	wantProblem(t, err, problem.Forbidden, "not_a_member")

	w.waited(r)
	w.sweep(1)
	w.sweep(0)
	if got := w.now(r); got.State != Pending || got.Version != 2 {
		t.Errorf("it is %+v", got)
	}
	if got := read[time.Time](w, `select expires_at from approvals`); !got.Equal(expires) {
		t.Error("there is another time to decide")
	}
	_, err = w.queue.Vote(t.Context(), w.ada, r.ID, on(r, Approve)) // from a page that was open since
	wantProblem(t, err, problem.Conflict, "version_changed")
	if r = w.vote(w.noor, w.now(r), Approve); r.State != Approved {
		t.Errorf("it is %s after the fallback approved", r.State)
	}
	w.wantEvents(r, "approval.requested", "approval.refused", "approval.escalated", "approval.refused", "approval.voted", "approval.approved")
}

// TestEscalationMetByAnybody: whoever meets a request that has waited long enough has its fallback asked.
func TestEscalationMetByAnybody(t *testing.T) { //nolint:tparallel // the cases share a world, one after the other
	t.Parallel()
	w := newWorld(t)
	for _, test := range []struct {
		name string
		meet func(w *world, r Request) error
		code string
	}{
		{"the gateway looks", func(w *world, r Request) error {
			_, err := w.queue.Get(w.t.Context(), w.gateway, r.ID)
			return err
		}, ""},
		{"the agent asks again", func(w *world, _ Request) error {
			_, _, err := w.queue.Ask(w.t.Context(), w.gateway, w.asking(w.call("the agent asks again")))
			return err
		}, ""},
		{"one of the first votes", func(w *world, r Request) error {
			_, err := w.queue.Vote(w.t.Context(), w.ada, r.ID, on(r, Approve))
			return err
		}, "version_changed"},
		{"one of the fallback knows the version to come", func(w *world, r Request) error {
			v := on(r, Deny)
			v.Version++
			_, err := w.queue.Vote(w.t.Context(), w.noor, r.ID, v)
			return err
		}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			w.restore(t)
			w.escalating()
			r := w.ask(w.call(test.name))
			w.waited(r)
			if err := test.meet(w, r); test.code != "" {
				wantProblem(t, err, problem.Conflict, test.code)
			} else if err != nil {
				t.Error(err)
			}
			if got := w.events(r); len(got) < 2 || got[1] != "approval.escalated" {
				t.Errorf("events: %v", got)
			}
		})
	}
}

// TestEscalationDuringLockWait: the time to escalate comes while a vote of the fallback waits for the lock.
func TestEscalationDuringLockWait(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.escalating()
	r := w.ask(w.call(1))
	done := w.hold(func() {}, `update approvals set escalate_at = clock_timestamp()`)
	v := on(r, Approve)
	v.Version++
	got, err := w.queue.Vote(t.Context(), w.noor, r.ID, v)
	<-done
	if err != nil || got.State != Approved {
		t.Errorf("got %+v, %v", got, err)
	}
	w.wantEvents(r, "approval.requested", "approval.escalated", "approval.voted", "approval.approved")
}

// TestEscalationOnce: of several replicas that sweep at once, one escalates.
func TestEscalationOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.escalating()
	r := w.ask(w.call(1))
	w.waited(r)
	swept := make(chan error)
	for range 4 {
		go func() {
			_, err := w.queue.Sweep(t.Context())
			swept <- err
		}()
	}
	for range 4 {
		if err := <-swept; err != nil {
			t.Error(err)
		}
	}
	w.wantEvents(r, "approval.requested", "approval.escalated")
}

func TestEscalationOfWhatIsDecided(t *testing.T) { //nolint:tparallel // the cases share a world, one after the other
	t.Parallel()
	w := newWorld(t)
	for state, end := range map[State]func(w *world, r Request){
		Approved: func(w *world, r Request) { w.vote(w.ada, r, Approve) },
		Denied:   func(w *world, r Request) { w.vote(w.ada, r, Deny) },
		Expired: func(w *world, r Request) {
			w.exec(`update approvals set expires_at = clock_timestamp() where id = $1`, r.ID)
		},
		Pending: func(w *world, _ Request) { w.demand(func(a *policy.Approval) { a.Fallback = nil }) },
	} {
		t.Run(string(state), func(t *testing.T) {
			w.restore(t)
			w.escalating()
			r := w.ask(w.call(string(state)))
			end(w, r)
			if state == Pending {
				w.sweepAll(t)
			} else {
				w.waited(r)
			}
			w.sweepAll(t)
			w.wantState(r, state)
			if read[bool](w, `select exists (select from audit_events where kind = 'approval.escalated' and target_id = $1)`, r.ID) {
				t.Error("it escalated")
			}
		})
	}
}

// TestEscalationAndThePolicy has the policy change when the fallback was asked: it stays asked if it is the same.
func TestEscalationAndThePolicy(t *testing.T) { //nolint:tparallel // the cases share a world, one after the other
	t.Parallel()
	w := newWorld(t)
	for _, test := range []struct {
		name   string
		change func(a *policy.Approval)
		voter  identity.Principal
		may    bool
	}{
		{"more denials, the same fallback", func(a *policy.Approval) { a.DenyQuorum = 2 }, w.noor, true},
		{"no fallback", func(a *policy.Approval) { a.Fallback = nil }, w.noor, false},
		{"another one, which has not waited long enough", func(a *policy.Approval) {
			a.Fallback = &policy.Fallback{AfterSeconds: 600, Quorum: 1, Teams: []string{"tem_leads"}}
		}, w.lin, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			w.restore(t)
			w.escalating()
			r := w.ask(w.call(test.name))
			w.waited(r)
			w.sweepAll(t)
			w.demand(test.change)
			w.sweepAll(t)
			if s, err := standing(t.Context(), w.queue.pool, test.voter, r.ID); err != nil || s.May != test.may {
				t.Errorf("it is %v that %s may vote, %v", s.May, test.voter.Name, err)
			}
		})
	}
	due := read[bool](w, `select escalate_at between created_at + interval '599 s' and created_at + interval '601 s' from approvals where state = 'pending'`)
	if !due {
		t.Error("the other fallback is not asked ten minutes after the ask")
	}
}

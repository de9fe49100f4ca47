package approvals

import (
	"testing"
	"time"

	"countersign/policy"
)

// A session that takes something in while a call of it waits, or when it was approved, does not run it on what was asked of
// it before.
func TestASessionTakesSomethingIn(t *testing.T) { //nolint:tparallel // the cases share a world, one after the other
	t.Parallel()
	w := newWorld(t)
	two := policy.Approval{Quorum: 2, DenyQuorum: 1, OwningTeam: true}
	untrusted := func(ago time.Duration) policy.Taint {
		return policy.Taint{"untrusted": read[time.Time](w, `select clock_timestamp() - $1::interval`, ago)}
	}
	for name, test := range map[string]struct {
		before, after policy.Taint
		approved      bool
		ends          State // of the first request; "" it is joined
	}{
		"while it waits":                    {policy.Taint{}, untrusted(0), false, Superseded},
		"when it was approved":              {policy.Taint{}, untrusted(0), true, Revoked},
		"long ago":                          {policy.Taint{}, untrusted(2 * time.Hour), false, ""},
		"of another label":                  {policy.Taint{}, policy.Taint{"partner": time.Now()}, false, ""},
		"it had before":                     {untrusted(time.Minute), untrusted(0), false, ""},
		"nobody knew, and what is known is": {nil, untrusted(0), false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w.restore(t)
			w.change(func(l *law) { l.tainted = &two })
			call := w.call(name)
			w.caller.Taint = test.before
			first := w.ask(call)
			if test.approved {
				first = w.vote(w.ada, first, Approve)
			}
			w.caller.Taint = test.after
			second := w.ask(call)
			if test.ends == "" {
				if second.ID != first.ID {
					t.Errorf("another request %+v", second)
				}
				return
			}
			w.wantState(first, test.ends)
			if second.ID == first.ID || second.State != Pending {
				t.Fatalf("asked again: %+v", second)
			}
			second = w.vote(w.ada, second, Approve)
			w.wantState(second, Pending)
			w.wantState(w.vote(w.grace, second, Approve), Approved)
		})
	}
}

// Who waits for people does not become clean by it.
func TestASessionStaysAsItWasAtTheAsk(t *testing.T) {
	t.Parallel()
	asked := time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)
	got := shifted(policy.Taint{"untrusted": asked.Add(-time.Minute)}, 2*time.Hour)
	if want := asked.Add(2*time.Hour - time.Minute); !got["untrusted"].Equal(want) {
		t.Errorf("%v, want %v", got, want)
	}
	if shifted(nil, time.Hour) != nil {
		t.Error("what nobody knows became known")
	}
}

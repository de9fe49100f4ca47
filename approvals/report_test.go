package approvals

import (
	"testing"
	"time"

	"countersign/identity"
	"countersign/internal/problem"
)

func TestReport(t *testing.T) {
	t.Parallel()
	w := newWorldAlone(t) // it counts refusals, which stay in the log
	for i := range fatigueAfter {
		r := w.ask(w.call(i))
		w.exec(`update approvals set created_at = clock_timestamp() - interval '60 seconds' where id = $1`, r.ID)
		w.exec(`insert into approval_views (approval_id, person_id, first_at) select $1, 'per_ada', clock_timestamp() - interval '2 seconds'`, r.ID)
		w.vote(w.ada, r, Approve)
	}
	w.vote(w.grace, w.ask(w.call("no")), Deny)
	w.exec(`update approvals set state = 'expired' where id = $1`, w.ask(w.call("late")).ID)
	w.ask(w.call("waits"))
	unknown, _, err := mintToken()
	if err != nil {
		t.Fatal(err)
	}
	_, _ = w.redeem(unknown, w.call(1), redemption(1))
	w.exec(`update approvals set created_at = clock_timestamp() - interval '40 days' where state = 'denied'`)
	got, err := w.queue.Report(t.Context(), w.eve, 30*24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if got.Asked != fatigueAfter+2 || got.Approved != fatigueAfter || got.Denied != 0 || got.Expired != 1 || got.Pending != 1 || got.Mismatches != 1 {
		t.Errorf("counts: %+v", got)
	}
	if got.FirstView.N != fatigueAfter || got.FirstView.Median.Round(time.Second) < 57*time.Second || got.Decision.P95 < got.Decision.Median || got.Decision.N != fatigueAfter {
		t.Errorf("spans: %+v, %+v", got.FirstView, got.Decision)
	}
	if n := len(got.Days); n < 31 || n > 32 || got.Days[n-1].Asked+got.Days[n-2].Asked != got.Asked {
		t.Errorf("days: %+v", got.Days)
	}
	if len(got.Approvers) != 2 || got.Approvers[0].Name != "Ada" || !got.Approvers[0].Fatigued() || got.Approvers[1].Fatigued() || got.Approvers[1].Decisions != 1 {
		t.Errorf("approvers: %+v", got.Approvers)
	}
	_, err = w.queue.Report(t.Context(), w.ada, time.Minute)
	wantProblem(t, err, problem.Invalid, "bad_window")
	_, err = w.queue.Report(t.Context(), identity.Principal{}, 24*time.Hour)
	wantProblem(t, err, problem.Unauthenticated, "sign_in_required")
}

func TestFatigue(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		votes ApproverReport
		want  bool
	}{
		"all, at once":         {ApproverReport{Decisions: 20, Approved: 20, Measured: 20, Think: time.Second}, true},
		"too few to say":       {ApproverReport{Decisions: 19, Approved: 19, Measured: 19, Think: time.Second}, false},
		"one in twenty denied": {ApproverReport{Decisions: 20, Approved: 19, Measured: 20, Think: time.Second}, false},
		"five seconds":         {ApproverReport{Decisions: 20, Approved: 20, Measured: 20, Think: 5 * time.Second}, false},
		"never seen before":    {ApproverReport{Decisions: 20, Approved: 20, Measured: 9, Think: 0}, false},
	} {
		if got := c.votes.Fatigued(); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

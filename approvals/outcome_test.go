package approvals

import (
	"context"
	"slices"
	"strings"
	"testing"

	"countersign/identity"
	"countersign/internal/problem"
)

func TestOutcome(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r, token := w.claimed(w.call(1))
	w.mustRedeem(token, w.call(1), "red_1")
	report := func(who identity.Principal, s ConfirmationState) error {
		return w.queue.Outcome(context.Background(), who, "red_1", Outcome{Status: s, Error: "bad\x00\xff" + strings.Repeat("é", maxReason)})
	}
	wantProblem(t, report(w.other, Succeeded), problem.NotFound, "no_such_redemption")
	wantProblem(t, report(w.gateway, Redeemed), problem.Invalid, "outcome_incomplete")
	wantProblem(t, report(w.ada, Succeeded), problem.Forbidden, "gateway_only")
	for _, step := range []struct {
		report ConfirmationState
		ok     bool
		want   ConfirmationState
	}{
		{Indeterminate, true, Indeterminate},
		{Indeterminate, true, Indeterminate},
		{Failed, true, Failed}, // late, out of the gateway's log
		{Failed, true, Failed},
		{Succeeded, false, Failed},
		{Indeterminate, false, Failed},
	} {
		err := report(w.gateway, step.report)
		if step.ok && err != nil {
			t.Fatalf("%s: %v", step.report, err)
		}
		if !step.ok {
			wantProblem(t, err, problem.Conflict, "outcome_differs")
		}
		if got := w.confirmation(r); got != step.want {
			t.Errorf("after %s the confirmation is %s, want %s", step.report, got, step.want)
		}
	}
	want := []string{"confirmation.indeterminate", "confirmation.finished", "confirmation.refused", "confirmation.refused"}
	if got := w.events(r)[5:]; !slices.Equal(got, want) {
		t.Errorf("recorded %v", got)
	}
}

package approvals

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
)

// signedIn is a person whose session began a while ago, by the database's clock.
func (w *world) signedIn(who identity.Principal, ago time.Duration, acr string, amr ...string) identity.Principal {
	w.t.Helper()
	who.AuthTime, who.ACR, who.AMR = read[time.Time](w, `select clock_timestamp() - $1::interval`, ago), acr, amr
	return who
}

func TestVoteThatNeedsAFreshSignIn(t *testing.T) { //nolint:tparallel // the cases share a world, one after the other
	t.Parallel()
	w := newWorld(t)
	for _, test := range []struct {
		name  string
		needs policy.StepUp
		voter identity.Principal
		want  map[string]string // fields of the refusal; nil: the vote counts
	}{
		{"recent", policy.StepUp{MaxAgeSeconds: 300}, w.signedIn(w.ada, 4*time.Minute, ""), nil},
		{"not recent", policy.StepUp{MaxAgeSeconds: 300}, w.signedIn(w.ada, 301*time.Second, ""), map[string]string{"max_age": "300"}},
		{"nobody knows when", policy.StepUp{MaxAgeSeconds: 300}, person("ada"), map[string]string{"max_age": "300"}},
		{"two factors", policy.StepUp{MFA: true}, w.signedIn(w.ada, time.Hour, "", "pwd", "otp"), nil},
		{"one factor", policy.StepUp{MFA: true}, w.signedIn(w.ada, time.Hour, "", "otp"), map[string]string{"mfa": "true"}},
		{"of the class", policy.StepUp{ACR: []string{"silver", "gold"}}, w.signedIn(w.ada, time.Hour, "gold"), nil},
		{"of another class", policy.StepUp{ACR: []string{"silver", "gold"}}, w.signedIn(w.ada, time.Hour, "bronze"), map[string]string{"acr_values": "gold silver"}},
		{"of no class", policy.StepUp{ACR: []string{"gold"}}, w.signedIn(w.ada, 0, ""), map[string]string{"acr_values": "gold"}},
		{
			"all of it",
			policy.StepUp{MaxAgeSeconds: 60, MFA: true, ACR: []string{"gold"}},
			w.signedIn(w.ada, 2*time.Minute, "gold", "mfa"),
			map[string]string{"max_age": "60", "acr_values": "gold", "mfa": "true"},
		},
		{"what nobody meets", policy.StepUp{ACR: []string{}}, w.signedIn(w.ada, 0, "gold", "mfa"), map[string]string{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w.restore(t)
			w.demand(func(a *policy.Approval) { a.StepUp = &test.needs })
			r := w.ask(w.call(test.name))
			standing, err := standing(t.Context(), w.queue.pool, test.voter, r.ID)
			if err != nil || !standing.May || (standing.Code == "step_up_required") != (test.want != nil) {
				t.Errorf("stands as %+v, %v", standing, err)
			}
			if test.want == nil {
				w.vote(test.voter, r, Approve)
				w.wantState(r, Approved)
				return
			}
			_, err = w.queue.Vote(t.Context(), test.voter, r.ID, on(r, Approve))
			p := wantProblem(t, err, problem.Forbidden, "step_up_required")
			if diff := cmp.Diff(test.want, p.Fields, cmp.Comparer(func(a, b map[string]string) bool { return len(a) == 0 && len(b) == 0 || cmp.Equal(a, b) })); diff != "" {
				t.Error(diff)
			}
			w.vote(test.voter, r, Deny)
			w.wantState(r, Denied)
		})
	}
}

// TestVoteBeforeAFreshSignInWasNeeded has the policy ask for more than the first of two voters had shown.
func TestVoteBeforeAFreshSignInWasNeeded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.quorum(2, 1)
	w.demand(func(a *policy.Approval) { a.Teams = []string{"tem_leads"} })
	r := w.vote(w.ada, w.ask(w.call(1)), Approve)
	w.demand(func(a *policy.Approval) { a.StepUp = &policy.StepUp{MFA: true} })
	w.sweep(1)
	if r = w.vote(w.signedIn(w.grace, 0, "gold", "mfa"), w.now(r), Approve); r.State != Pending {
		t.Fatalf("it is %s, and only one of two had two factors", r.State)
	}
	if r = w.vote(w.signedIn(w.lin, 0, "", "mfa"), r, Approve); r.State != Approved {
		t.Errorf("it is %s after two", r.State)
	}
	if got := read[string](w, `select acr from votes where person_id = 'per_grace'`); got != "gold" {
		t.Errorf("the class of the sign-in is kept as %q", got)
	}
}

// TestApprovalByWhoSignedInOtherwise is taken back when the policy asks for more.
func TestApprovalByWhoSignedInOtherwise(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r, token := w.claimed(w.call(1))
	w.demand(func(a *policy.Approval) { a.StepUp = &policy.StepUp{MFA: true} })
	_, err := w.redeem(token, w.call(1), redemption(1))
	wantProblem(t, err, problem.Forbidden, "policy_denied")
	w.wantState(r, Revoked)
}

func TestEvidenceThatIsRequired(t *testing.T) { //nolint:tparallel // the cases share a world, one after the other
	t.Parallel()
	w := newWorld(t)
	proven := func(order string) Ask {
		in := w.asking(w.call(order))
		in.Evidence = "tomas/release-bot/m1"
		return in
	}
	evidence := func(a *policy.Approval) { a.Evidence = true }
	t.Run("ask", func(t *testing.T) {
		w.restore(t)
		w.demand(evidence)
		_, _, err := w.queue.Ask(t.Context(), w.gateway, w.asking(w.call("asserted")))
		wantProblem(t, err, problem.Forbidden, "evidence_required")
		if r, _, err := w.queue.Ask(t.Context(), w.gateway, proven("proven")); err != nil || r.State != Pending {
			t.Errorf("got %+v, %v", r, err)
		}
	})
	t.Run("vote", func(t *testing.T) {
		w.restore(t)
		r := w.ask(w.call("vote"))
		w.demand(evidence)
		if _, err := w.queue.Vote(t.Context(), w.ada, r.ID, on(r, Approve)); err == nil {
			t.Error("a vote on a call of whoever")
		}
		w.wantState(r, Superseded)
		if got := read[string](w, `select state_reason from approvals where id = $1`, r.ID); got != "evidence_required" {
			t.Errorf("because of %s", got)
		}
	})
	t.Run("sweep", func(t *testing.T) {
		w.restore(t)
		asserted := w.ask(w.call("sweep"))
		sure, _, err := w.queue.Ask(t.Context(), w.gateway, proven("sure"))
		if err != nil {
			t.Fatal(err)
		}
		w.demand(evidence)
		w.sweep(2)
		w.wantState(asserted, Superseded)
		w.wantState(sure, Pending)
	})
	t.Run("claim", func(t *testing.T) {
		w.restore(t)
		r := w.vote(w.ada, w.ask(w.call("claim")), Approve)
		w.demand(evidence)
		_, err := w.queue.Claim(t.Context(), w.gateway, r.ID)
		wantProblem(t, err, problem.Forbidden, "policy_denied")
		w.wantState(r, Revoked)
	})
}

// TestAgeOfASignInStaysThatOfTheAsk: whoever calls is not told to sign in again because approvers take their time.
func TestAgeOfASignInStaysThatOfTheAsk(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var ages []time.Duration
	q := w.queueOn(w.law.pool, func(c *Config) {
		c.Evaluate = func(ctx context.Context, gatewayID string, r policy.Request) (Evaluation, error) {
			ages = append(ages, r.Now.Sub(r.Principal.AuthTime))
			return w.law.evaluate(ctx, gatewayID, r)
		}
	})
	in := w.asking(w.call(1))
	in.Principal.AuthTime = read[time.Time](w, `select clock_timestamp() - interval '2 hours'`)
	r, _, err := q.Ask(t.Context(), w.gateway, in)
	if err != nil {
		t.Fatal(err)
	}
	w.exec(`update approvals set created_at = created_at - interval '1 hour'`) // and an hour goes by
	if r, err = q.Vote(t.Context(), w.ada, r.ID, on(r, Approve)); err != nil {
		t.Fatal(err)
	}
	c, err := q.Claim(t.Context(), w.gateway, r.ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := q.Redeem(t.Context(), w.gateway, Redeem{Token: c.Token, Call: w.call(1), RedemptionID: redemption(1), Instance: "i1"}); err != nil {
		t.Fatal(err)
	}
	// Asked for when the sign-in was an hour old, two hours after it.
	for i, age := range ages[1:] {
		if off := age - time.Hour; len(ages) != 4 || off < 0 || off > time.Minute || age != ages[1] {
			t.Errorf("evaluation %d of %d sees a sign-in that is %s old", i+2, len(ages), age)
		}
	}
}

// TestTermsOfACompiledPolicy has two guardrails hold a call, each in its own way, and a third ask for a fresh sign-in of
// the caller.
func TestTermsOfACompiledPolicy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ix := w.compiled(
		policy.Effect{Approval: &policy.Approval{
			Quorum: 2, OwningTeam: true, Evidence: true, Alternatives: []policy.Approvers{{Quorum: 1, Teams: []string{"tem_leads"}}},
			Scope: &policy.Scope{MaxUses: 5, MaxSeconds: 600, Free: []string{"order"}},
		}},
		policy.Effect{Approval: &policy.Approval{
			Quorum: 1, DenyQuorum: 2, OwningTeam: true, Teams: []string{"tem_leads"}, StepUp: &policy.StepUp{MFA: true},
		}},
		policy.Effect{StepUp: &policy.StepUp{MaxAgeSeconds: 300}},
	)
	q := w.queueOn(w.law.pool, w.judgedBy(func() *policy.Index { return ix }), func(c *Config) {
		c.Evidence = func(ctx context.Context, gateway identity.Principal, token string) (policy.Principal, error) {
			p, err := evidence(ctx, gateway, token)
			p.AuthTime = read[time.Time](w, `select clock_timestamp() - interval '1 minute'`)
			return p, err
		}
	})
	in := w.asking(w.call(1))
	in.Evidence = "tomas/release-bot/m1"
	r, _, err := q.Ask(t.Context(), w.gateway, in)
	if err != nil {
		t.Fatal(err)
	}
	want := policy.Approval{
		Quorum: 2, DenyQuorum: 1, Teams: []string{"tem_orders"}, Evidence: true, StepUp: &policy.StepUp{MFA: true},
		Alternatives: []policy.Approvers{{Quorum: 1, Teams: []string{"tem_leads"}}},
	}
	if diff := cmp.Diff(want, read[policy.Approval](w, `select terms from approvals`), cmpopts.IgnoreFields(policy.Approval{}, "PendingSeconds")); diff != "" {
		t.Error(diff)
	}
	if r, err = q.Vote(t.Context(), w.signedIn(w.lin, 0, "", "mfa"), r.ID, on(r, Approve)); err != nil || r.State != Approved {
		t.Fatalf("got %+v, %v", r, err)
	}
	if _, err := q.Claim(t.Context(), w.gateway, r.ID); err != nil {
		t.Error(err)
	}
}

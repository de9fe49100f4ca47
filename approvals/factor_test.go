package approvals

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"countersign/internal/problem"
	"countersign/policy"
)

// compiled is a policy of one grant for everybody, and of guardrails with these effects.
func (w *world) compiled(effects ...policy.Effect) *policy.Index {
	w.t.Helper()
	call := w.call(1)
	src := policy.Source{
		Issuer: issuer, Audience: "aud_1", Epoch: 1, Generation: 1, MaxStaleSeconds: 300,
		Servers: []policy.Server{{
			ID: server, Name: "com.example/orders", State: policy.Active, Team: "tem_orders",
			Endpoint: policy.Endpoint{Transport: policy.StreamableHTTP, URL: "http://x", Digest: call.EndpointDigest},
			Tools:    []policy.Tool{{ID: tool, Kind: policy.KindTool, Name: "delete_orders", Definition: call.Definition, Risk: policy.Destructive}},
		}},
		Grants: []policy.SourceGrant{{Grant: policy.Grant{ID: "grt_1", Name: "Everyone", Subject: policy.Subject{Everyone: true}}, Resource: policy.Resource{Servers: []string{"*"}}}},
	}
	for i, e := range effects {
		src.Guardrails = append(src.Guardrails, policy.SourceGuardrail{
			Guardrail: policy.Guardrail{ID: "grd_" + string(rune('1'+i)), Name: "rule", Subject: policy.Subject{Everyone: true}, Effect: e},
			Resource:  policy.Resource{Servers: []string{"*"}},
		})
	}
	doc, _, err := policy.Compile(src, time.Now())
	if err != nil {
		w.t.Fatal(err)
	}
	ix, err := policy.NewIndex(doc)
	if err != nil {
		w.t.Fatal(err)
	}
	return ix
}

// judgedBy has a queue judge by a compiled policy, which may be another each time.
func (w *world) judgedBy(ix func() *policy.Index) func(*Config) {
	return func(c *Config) {
		c.Evaluate = func(ctx context.Context, _ string, r policy.Request) (Evaluation, error) {
			var generation int64
			err := w.law.pool.QueryRow(ctx, `select generation from registry_head`).Scan(&generation)
			return Evaluation{Verdict: ix().Decide(r), Generation: generation, Document: ix().Document()}, err
		}
	}
}

// lawful has the queue judge by a compiled policy that holds everything for the owning team, wants a second factor where
// mfa says so, and limits everybody to one call a day.
func lawful(t *testing.T, w *world, mfa *atomic.Bool) func(*Config) {
	t.Helper()
	approval := policy.Effect{Approval: &policy.Approval{Quorum: 1, OwningTeam: true}}
	limit := policy.Effect{RateLimit: &policy.RateLimit{Calls: 1, Seconds: 86400}}
	with, without := w.compiled(approval, limit, policy.Effect{MFA: true}), w.compiled(approval, limit)
	return w.judgedBy(func() *policy.Index {
		if mfa.Load() {
			return with
		}
		return without
	})
}

// TestSecondFactorIsNeededToAsk has a gateway ask for a caller whose sign-in had one factor, and then two. The limit,
// which a gateway counts, does not stop anybody from asking.
func TestSecondFactorIsNeededToAsk(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var mfa atomic.Bool
	mfa.Store(true)
	q := w.queueOn(w.law.pool, lawful(t, w, &mfa))
	for _, amr := range [][]string{nil, {"pwd"}, {"otp"}} {
		in := w.asking(w.call(1))
		in.Principal.AMR = amr
		_, _, err := q.Ask(t.Context(), w.gateway, in)
		if p := wantProblem(t, err, problem.Forbidden, "policy_denied"); p.Fields["reason"] != string(policy.ReasonMFARequired) {
			t.Errorf("%v: refused for %v", amr, p.Fields)
		}
	}
	in := w.asking(w.call(1))
	in.Principal.AMR, in.Evidence = []string{"pwd", "otp"}, "tomas/release-bot/m1" // the token says nothing of it
	if _, _, err := q.Ask(t.Context(), w.gateway, in); wantProblem(t, err, problem.Forbidden, "policy_denied") == nil {
		t.Error("the gateway's word counts for more than the token")
	}
	for order := range 2 {
		in = w.asking(w.call(order))
		in.Principal.AMR = []string{"pwd", "otp"}
		r, created, err := q.Ask(t.Context(), w.gateway, in)
		if err != nil || !created || r.State != Pending {
			t.Fatalf("got %+v, %v, %v", r, created, err)
		}
		if r, err = q.Vote(t.Context(), w.ada, r.ID, on(r, Approve)); err != nil || r.State != Approved {
			t.Fatalf("voting: %+v %v", r, err)
		}
		claim, err := q.Claim(t.Context(), w.gateway, r.ID)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := q.Redeem(t.Context(), w.gateway, Redeem{Token: claim.Token, Call: w.call(order), RedemptionID: "red_" + r.ID, Instance: "i1"}); err != nil {
			t.Errorf("redeeming: %v", err)
		}
	}
}

// TestSecondFactorThatIsWantedMeanwhile has the guardrail begin while a call of a caller without one waits.
func TestSecondFactorThatIsWantedMeanwhile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var mfa atomic.Bool
	q := w.queueOn(w.law.pool, lawful(t, w, &mfa))
	r, _, err := q.Ask(t.Context(), w.gateway, w.asking(w.call(1)))
	if err != nil {
		t.Fatal(err)
	}
	mfa.Store(true)
	w.exec(`update registry_head set generation = generation + 1`)
	if _, err := q.Vote(t.Context(), w.ada, r.ID, on(r, Approve)); err == nil {
		t.Error("a vote on a call that may not run")
	}
	w.wantState(r, Superseded)
}

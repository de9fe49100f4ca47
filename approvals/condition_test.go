package approvals

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"countersign/internal/problem"
	"countersign/policy"
)

// statute is a compiled policy, and a clock, that a test changes.
type statute struct {
	*world

	mu  sync.Mutex
	ix  *policy.Index
	now time.Time
}

// underStatute has the queue judge by a policy with one grant for everyone where allow is true, and an approval by the
// owning team where hold is; "" is always.
func underStatute(t *testing.T, allow, hold string) *statute {
	t.Helper()
	s := &statute{world: newWorld(t), now: time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)}
	s.enact(allow, hold)
	s.queue.cfg.Evaluate = func(ctx context.Context, _ string, r policy.Request) (Evaluation, error) {
		var generation int64
		err := s.law.pool.QueryRow(ctx, `select generation from registry_head`).Scan(&generation)
		s.mu.Lock()
		defer s.mu.Unlock()
		r.Now = s.now
		return Evaluation{Verdict: s.ix.Decide(r), Generation: generation, Document: s.ix.Document()}, err
	}
	return s
}

// enact makes another policy, as a new generation.
func (s *statute) enact(allow, hold string) {
	s.t.Helper()
	call := s.call(1)
	doc, _, err := policy.Compile(policy.Source{
		Issuer: issuer, Audience: "aud_1", Epoch: 1, Generation: 1, MaxStaleSeconds: 300,
		Servers: []policy.Server{{
			ID: server, Name: "com.example/orders", State: policy.Active, Team: "tem_orders",
			Endpoint: policy.Endpoint{Transport: policy.StreamableHTTP, URL: "http://x", Digest: call.EndpointDigest},
			Tools:    []policy.Tool{{ID: tool, Kind: policy.KindTool, Name: "delete_orders", Definition: call.Definition, Risk: policy.Destructive}},
		}},
		Grants: []policy.SourceGrant{{
			Grant:    policy.Grant{ID: "grt_1", Name: "Everyone", Subject: policy.Subject{Everyone: true}, Condition: allow},
			Resource: policy.Resource{Servers: []string{"*"}},
		}},
		Guardrails: []policy.SourceGuardrail{{
			Guardrail: policy.Guardrail{
				ID: "grd_1", Name: "Team", Subject: policy.Subject{Everyone: true}, Condition: hold,
				Effect: policy.Effect{Approval: &policy.Approval{Quorum: 1, OwningTeam: true}},
			},
			Resource: policy.Resource{Servers: []string{"*"}},
		}},
	}, time.Now())
	if err != nil {
		s.t.Fatal(err)
	}
	ix, err := policy.NewIndex(doc)
	if err != nil {
		s.t.Fatal(err)
	}
	s.mu.Lock()
	s.ix = ix
	s.mu.Unlock()
	s.exec(`update registry_head set generation = generation + 1`)
}

func (s *statute) wait(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = s.now.Add(d)
}

// with is a call with these arguments.
func (w *world) with(arguments string) policy.Call {
	c := w.call(1)
	c.Arguments = json.RawMessage(arguments)
	return c
}

func TestGuardrailHoldsWhatItsConditionSays(t *testing.T) {
	t.Parallel()
	s := underStatute(t, "", "args.order > 100")
	token := "cst_" + strings.Repeat("a", 49)
	for arguments, want := range map[string]State{
		`{"order":100}`:                 NotRequired,
		`{"order":101}`:                 Pending,
		`{"order":1e2}`:                 NotRequired,
		`{"order":100.5}`:               Pending,
		`{"order":-9007199254740991}`:   NotRequired,
		`{"order":"100"}`:               Pending, // what it cannot compare, it holds
		`{"order":null}`:                Pending,
		`{"order":[1]}`:                 Pending,
		`{"Order":1}`:                   Pending,
		`{}`:                            Pending,
		`{ "order" : 1.0 , "x" : [ ] }`: NotRequired,
		`{"order":1,"confirmation_token":"` + token + `"}`:   NotRequired,
		`{"order":102,"confirmation_token":"` + token + `"}`: Pending,
	} {
		if got := s.ask(s.with(arguments)); got.State != want {
			t.Errorf("%s: %s, want %s", arguments, got.State, want)
		}
	}
}

func TestGrantThatDoesNotCoverTheArguments(t *testing.T) {
	t.Parallel()
	s := underStatute(t, "args.order <= 100", "")
	for _, arguments := range []string{`{"order":101}`, `{"order":"1"}`, `{}`, `{"order":true}`, `{"ORDER":1}`} {
		_, _, err := s.queue.Ask(t.Context(), s.gateway, s.asking(s.with(arguments)))
		if p := wantProblem(t, err, problem.Forbidden, "policy_denied"); p.Fields["reason"] != string(policy.ReasonConditionNotMet) {
			t.Errorf("%s: refused for %v", arguments, p.Fields)
		}
	}
	call := s.with(`{"order":100}`)
	r, token := s.claimed(call)
	s.mustRedeem(token, call, redemption(1))
	s.wantState(r, Closed)
}

// TestArgumentsOfAConditionAreThoseOfTheDigest sends a token that the digest leaves out: no condition sees it either.
func TestArgumentsOfAConditionAreThoseOfTheDigest(t *testing.T) {
	t.Parallel()
	s := underStatute(t, "!has(args.confirmation_token) && size(args) == 1", "")
	call := s.with(`{"order":1,"confirmation_token":"cst_` + strings.Repeat("a", 49) + `"}`)
	if r := s.ask(call); r.State != Pending {
		t.Errorf("it is %s", r.State)
	}
}

func TestArgumentsThatNobodyCanRead(t *testing.T) {
	t.Parallel()
	s := underStatute(t, "", "args.order > 100")
	for _, arguments := range []string{`{"order":9007199254740993}`, `{"order":1,"order":1000}`, `{"order":1e400}`, `{"order":1,"Order":1000}`, `[1]`} {
		in := Ask{Call: s.with(arguments), Principal: s.caller}
		_, _, err := s.queue.Ask(t.Context(), s.gateway, in)
		wantProblem(t, err, problem.Invalid, "call_malformed")
	}
}

// TestConditionThatChangesWhileACallWaits has the policy turn against the arguments of a call at each of its steps.
func TestConditionThatChangesWhileACallWaits(t *testing.T) {
	t.Parallel()
	call := func(s *statute) policy.Call { return s.with(`{"order":1000}`) }
	t.Run("vote", func(t *testing.T) {
		t.Parallel()
		s := underStatute(t, "args.order <= 1000", "")
		r := s.ask(call(s))
		s.enact("args.order <= 999", "")
		if _, err := s.queue.Vote(t.Context(), s.ada, r.ID, on(r, Approve)); err == nil {
			t.Error("a vote on a call that may not run")
		}
		s.wantState(r, Superseded)
	})
	t.Run("claim", func(t *testing.T) {
		t.Parallel()
		s := underStatute(t, "args.order <= 1000", "")
		r := s.vote(s.ada, s.ask(call(s)), Approve)
		s.enact("args.order <= 999", "")
		_, err := s.queue.Claim(t.Context(), s.gateway, r.ID)
		wantProblem(t, err, problem.Forbidden, "policy_denied")
		s.wantState(r, Revoked)
	})
	t.Run("redeem", func(t *testing.T) {
		t.Parallel()
		s := underStatute(t, "args.order <= 1000", "")
		r, token := s.claimed(call(s))
		s.enact("args.order <= 999", "")
		_, err := s.redeem(token, call(s), redemption(1))
		wantProblem(t, err, problem.Forbidden, "policy_denied")
		s.wantState(r, Revoked)
	})
	t.Run("sweep", func(t *testing.T) {
		t.Parallel()
		s := underStatute(t, "args.order <= 1000", "")
		large, small := s.ask(call(s)), s.ask(s.with(`{"order":1}`))
		s.enact("args.order <= 999", "")
		s.sweep(1)
		s.wantState(large, Superseded)
		s.wantState(small, Pending)
	})
	t.Run("held no more", func(t *testing.T) {
		t.Parallel()
		s := underStatute(t, "", "args.order > 100")
		r := s.ask(call(s))
		s.enact("", "args.order > 1000")
		if again := s.ask(call(s)); again.State != NotRequired {
			t.Errorf("it is %s", again.State)
		}
		s.sweep(0)
		s.wantState(r, Pending)
	})
}

// TestWindowOfAConditionEndsBeforeTheRedemption has no new policy: the time alone takes the permission away.
func TestWindowOfAConditionEndsBeforeTheRedemption(t *testing.T) {
	t.Parallel()
	s := underStatute(t, "now < timestamp('2026-11-02T13:00:00Z')", "")
	call := s.with(`{"order":1}`)
	kept, keptToken := s.claimed(s.with(`{"order":2}`))
	r, token := s.claimed(call)
	s.wait(59 * time.Minute)
	s.mustRedeem(keptToken, s.with(`{"order":2}`), redemption(1))
	s.wantState(kept, Closed)
	s.wait(time.Minute)
	_, err := s.redeem(token, call, redemption(2))
	if p := wantProblem(t, err, problem.Forbidden, "policy_denied"); p.Fields["reason"] != string(policy.ReasonConditionNotMet) {
		t.Errorf("refused for %v", p.Fields)
	}
	s.wantState(r, Revoked)
	if got := s.confirmation(r); got != TokenRevoked {
		t.Errorf("its token is %s", got)
	}
}

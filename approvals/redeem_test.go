package approvals

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"countersign/identity"
	"countersign/internal/postgres"
	"countersign/internal/problem"
	"countersign/policy"
)

// TestLifeOfOneCall goes the straight way: ask, vote, claim, redeem, outcome, and asks again.
func TestLifeOfOneCall(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	call := w.call(1)
	r, token := w.claimed(call)
	w.mustRedeem(token, call, "red_1")
	w.wantState(r, Closed)
	if err := w.queue.Outcome(t.Context(), w.gateway, "red_1", Outcome{Status: Succeeded, ResponseBytes: 12, DurationMS: 34}); err != nil {
		t.Fatal(err)
	}
	w.wantEvents(r, "approval.requested", "approval.voted", "approval.approved", "confirmation.issued", "confirmation.redeemed", "confirmation.finished")
	d, err := w.queue.Detail(t.Context(), w.eve, r.ID)
	if err != nil {
		t.Fatal(err)
	}
	if d.Execution != Succeeded || d.StateReason != "redeemed" || len(d.Timeline) != 6 || len(d.Confirmations) != 1 {
		t.Errorf("the detail shows %+v", d)
	}
	again, created, err := w.queue.Ask(t.Context(), w.gateway, w.asking(call))
	if err != nil || !created || again.ID == r.ID || again.State != Pending {
		t.Errorf("the retry after the redemption got %+v, %v, %v; want a new pending request", again, created, err)
	}
}

// TestRetryDuringExecution: a request is spent when it is redeemed, not when its outcome is known.
func TestRetryDuringExecution(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r, token := w.claimed(w.call(1))
	w.mustRedeem(token, w.call(1), "red_1")
	if again := w.ask(w.call(1)); again.ID == r.ID || again.State != Pending {
		t.Errorf("got %+v, want a new pending request", again)
	}
	_, err := w.queue.Claim(t.Context(), w.gateway, r.ID)
	wantProblem(t, err, problem.Conflict, "not_approved")
}

func TestRedeemRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, test := range []struct {
		name   string
		kind   problem.Kind
		code   string
		reason string // as recorded
		burns  bool
		edit   func(w *world, r Request, who *identity.Principal, in *Redeem)
	}{
		{"another gateway, with the call as it was", problem.Forbidden, "foreign_gateway", "call", false, func(w *world, _ Request, who *identity.Principal, _ *Redeem) { *who = w.other }},
		{"another gateway, with a call of its own", problem.Forbidden, "confirmation_unknown", "wrong_gateway", false, func(w *world, _ Request, who *identity.Principal, in *Redeem) {
			*who = w.other
			in.Call.Gateway = another
		}},
		{"other arguments", problem.Conflict, "call_digest_mismatch", "wrong_call", false, binding(func(c *policy.Call) { c.Arguments = []byte(`{"order":2}`) })},
		{"another server", problem.Conflict, "call_digest_mismatch", "wrong_call", false, binding(func(c *policy.Call) { c.ServerID = "srv_2" })},
		{"another endpoint", problem.Conflict, "call_digest_mismatch", "wrong_call", false, binding(func(c *policy.Call) { c.EndpointDigest[0] ^= 1 })},
		{"another tool", problem.Conflict, "call_digest_mismatch", "wrong_call", false, binding(func(c *policy.Call) { c.Tool = "drop_orders" })},
		{"another kind", problem.Conflict, "call_digest_mismatch", "wrong_call", false, binding(func(c *policy.Call) { c.Kind = policy.KindPrompt })},
		{"another definition", problem.Conflict, "call_digest_mismatch", "wrong_call", false, binding(func(c *policy.Call) { c.Definition[0] ^= 1 })},
		{"another caller", problem.Conflict, "call_digest_mismatch", "wrong_call", false, binding(func(c *policy.Call) { c.Principal.Subject = "ada" })},
		{"another agent", problem.Conflict, "call_digest_mismatch", "wrong_call", false, binding(func(c *policy.Call) { c.Principal.Agent = "else" })},
		{"another model", problem.Conflict, "call_digest_mismatch", "wrong_call", false, binding(func(c *policy.Call) { c.Principal.Model = "m2" })},
		{"the call of another epoch", problem.Conflict, "call_digest_mismatch", "wrong_call", false, binding(func(c *policy.Call) { c.Epoch = 2 })},
		{"another control plane", problem.Forbidden, "foreign_issuer", "call", false, binding(func(c *policy.Call) { c.Issuer = "https://else.example" })},
		{"a call that is not exact", problem.Invalid, "call_malformed", "", false, binding(func(c *policy.Call) { c.Arguments = []byte(`{"n":1e400}`) })},
		{"no redemption id", problem.Invalid, "redemption_incomplete", "", false, func(_ *world, _ Request, _ *identity.Principal, in *Redeem) { in.RedemptionID = "" }},
		{"an instance too long", problem.Invalid, "redemption_incomplete", "", false, func(_ *world, _ Request, _ *identity.Principal, in *Redeem) { in.Instance = strings.Repeat("x", 101) }},
		{"a redemption id with NUL", problem.Invalid, "redemption_incomplete", "", false, func(_ *world, _ Request, _ *identity.Principal, in *Redeem) { in.RedemptionID = "a\x00" }},
		{"a malformed token", problem.Invalid, "token_malformed", "", false, func(_ *world, _ Request, _ *identity.Principal, in *Redeem) { in.Token = in.Token[1:] }},
		{"a token that never was", problem.Forbidden, "confirmation_unknown", "unknown", false, func(w *world, _ Request, _ *identity.Principal, in *Redeem) { in.Token = fresh(w.t) }},
		{"a person", problem.Forbidden, "gateway_only", "", false, func(w *world, _ Request, who *identity.Principal, _ *Redeem) { *who = w.ada }},
		{"an expired token", problem.Gone, "confirmation_expired", "expired", true, func(w *world, _ Request, _ *identity.Principal, _ *Redeem) {
			w.exec(`update confirmations set expires_at = clock_timestamp() where state = 'issued'`)
		}},
		{"a token that the sweep ended", problem.Gone, "confirmation_expired", "expired", true, func(w *world, _ Request, _ *identity.Principal, _ *Redeem) {
			w.exec(`update confirmations set expires_at = clock_timestamp() where state = 'issued'`)
			w.sweep(1)
		}},
		{"a revoked approval", problem.Gone, "confirmation_revoked", "revoked", true, func(w *world, r Request, _ *identity.Principal, _ *Redeem) {
			if _, err := w.queue.Revoke(context.Background(), w.grace, r.ID, "wrong branch"); err != nil {
				w.t.Fatal(err)
			}
		}},
		{"a cancelled call", problem.Gone, "confirmation_revoked", "revoked", true, func(w *world, r Request, _ *identity.Principal, _ *Redeem) {
			if _, err := w.queue.Cancel(context.Background(), w.gateway, r.ID); err != nil {
				w.t.Fatal(err)
			}
		}},
		{"a rotated token", problem.Forbidden, "confirmation_unknown", "unknown", false, func(w *world, r Request, _ *identity.Principal, _ *Redeem) { w.claim(r) }},
		{"a used token", problem.Gone, "confirmation_used", "used", true, func(w *world, _ Request, _ *identity.Principal, in *Redeem) {
			w.mustRedeem(in.Token, in.Call, "red before")
		}},
		{"a finished call, by its own redemption id", problem.Gone, "confirmation_used", "used", true, func(w *world, _ Request, _ *identity.Principal, in *Redeem) {
			w.mustRedeem(in.Token, in.Call, in.RedemptionID)
			if err := w.queue.Outcome(context.Background(), w.gateway, in.RedemptionID, Outcome{Status: Failed}); err != nil {
				w.t.Fatal(err)
			}
		}},
		{"the redemption id, by another instance", problem.Gone, "confirmation_used", "used", true, func(w *world, _ Request, _ *identity.Principal, in *Redeem) {
			w.mustRedeem(in.Token, in.Call, in.RedemptionID)
			in.Instance = "i2"
		}},
		{"a new epoch", problem.Gone, "confirmation_void", "void", true, func(w *world, _ Request, _ *identity.Principal, _ *Redeem) {
			w.exec(`update registry_head set epoch = epoch + 1, generation = generation + 1`)
		}},
		{"a policy that denies by now", problem.Forbidden, "policy_denied", "policy", true, func(w *world, _ Request, _ *identity.Principal, _ *Redeem) {
			w.change(func(l *law) { l.outcome, l.reason = policy.Deny, policy.ReasonNoGrant })
		}},
		{"a tool that drifted", problem.Forbidden, "policy_denied", "policy", true, func(w *world, _ Request, _ *identity.Principal, _ *Redeem) {
			w.change(func(l *law) { l.pinned[0] ^= 1 })
		}},
		{"a policy that asks for more votes by now", problem.Forbidden, "policy_denied", "policy", true, func(w *world, _ Request, _ *identity.Principal, _ *Redeem) { w.quorum(2, 1) }},
		{"a redemption id of another token", problem.Conflict, "redemption_id_used", "redemption_id", false, func(w *world, _ Request, _ *identity.Principal, in *Redeem) {
			_, token := w.claimed(w.call("other"))
			w.mustRedeem(token, w.call("other"), in.RedemptionID)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w.restore(t)
			call := w.call(test.name)
			r, token := w.claimed(call)
			who, in := w.gateway, Redeem{Token: token, Call: call, RedemptionID: "red of " + test.name, Instance: "i1"}
			test.edit(w, r, &who, &in)
			before := w.confirmation(r)
			_, err := w.queue.Redeem(t.Context(), who, in)
			wantProblem(t, err, test.kind, test.code)
			w.wantRefused(test.reason)
			if after := w.confirmation(r); after != before && !test.burns {
				t.Errorf("the refusal moved the confirmation from %s to %s", before, after)
			}
			if test.burns || strings.HasPrefix(test.name, "a rotated") {
				return
			}
			w.mustRedeem(token, call, "right red of "+test.name) // a wrong call burns nothing
		})
	}
}

func binding(f func(*policy.Call)) func(*world, Request, *identity.Principal, *Redeem) {
	return func(_ *world, _ Request, _ *identity.Principal, in *Redeem) { f(&in.Call) }
}

func fresh(t testing.TB) Token {
	t.Helper()
	token, _, err := mintToken()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// wantRefused looks for the one recorded refusal of a redemption.
func (w *world) wantRefused(reason string) {
	w.t.Helper()
	got := read[string](w, `select coalesce(string_agg(detail ->> 'reason', ' '), '') from audit_events where kind = 'confirmation.refused' and id > $1`, w.since)
	if got != reason {
		w.t.Errorf("recorded refusals: %q, want %q", got, reason)
	}
	if n := read[int](w, `select count(*) from audit_events where detail::text like '%cst\_%'`); n != 0 {
		w.t.Error("the audit log holds a token")
	}
}

// TestRedeemMalformedTokenCostsNoQuery: the pool behind the queue cannot be reached at all.
func TestRedeemMalformedTokenCostsNoQuery(t *testing.T) {
	t.Parallel()
	pool, err := pgxpool.New(t.Context(), "postgres://nobody@127.0.0.1:1/nothing")
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	w := &world{t: t, law: newLaw(pool), key: loadKey(t, filepath.Join(t.TempDir(), "key")), caller: policy.Principal{Issuer: idp, Subject: "tomas"}}
	q := w.queueOn(pool)
	who := identity.Principal{Kind: identity.Gateway, ID: gateway, GatewayID: gateway}
	token := []byte(fresh(t))
	token[10] ^= 1
	_, err = q.Redeem(t.Context(), who, Redeem{Token: Token(token), Call: w.call(1), RedemptionID: "r", Instance: "i"})
	wantProblem(t, err, problem.Invalid, "token_malformed")
	if n := pool.Stat().AcquireCount() + pool.Stat().NewConnsCount(); n != 0 {
		t.Errorf("%d connections were asked for", n)
	}
}

func TestRedeemReplay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r, token := w.claimed(w.call(1))
	w.mustRedeem(token, w.call(1), "red_1")
	for range 2 {
		if got, err := w.redeem(token, w.call(1), "red_1"); err != nil || !got.Replayed || got.ApprovalID != r.ID {
			t.Fatalf("the repeated redemption got %+v, %v; want a replay", got, err)
		}
	}
	if n := read[int](w, `select count(*) from audit_events where kind = 'confirmation.redeemed'`); n != 1 {
		t.Errorf("%d redemptions are recorded", n)
	}
	w.exec(`update confirmations set outcome_by = clock_timestamp()`)
	_, err := w.redeem(token, w.call(1), "red_1")
	wantProblem(t, err, problem.Gone, "confirmation_used")
}

// TestRedeemWhilePolicyChanges: the statement requires the generation that was evaluated.
func TestRedeemWhilePolicyChanges(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r, token := w.claimed(w.call(1))
	var once sync.Once
	w.law.meanwhile = func() {
		once.Do(func() { w.change(func(l *law) { l.outcome, l.reason = policy.Deny, policy.ReasonNoGrant }) })
	}
	_, err := w.redeem(token, w.call(1), "red_1")
	wantProblem(t, err, problem.Forbidden, "policy_denied")
	w.wantState(r, Revoked)
	if got := w.confirmation(r); got != TokenRevoked {
		t.Errorf("the confirmation is %s", got)
	}

	r, token = func() (Request, Token) {
		w.change(func(l *law) { l.outcome, l.reason = policy.Hold, policy.ReasonApprovalRequired })
		return w.claimed(w.call(2))
	}()
	w.law.meanwhile = func() { w.exec(`update registry_head set generation = generation + 1`) }
	_, err = w.redeem(token, w.call(2), "red_2")
	wantProblem(t, err, problem.Unavailable, "policy_changing")
	w.law.meanwhile = nil
	w.mustRedeem(token, w.call(2), "red_2")
	w.wantState(r, Closed)
}

// TestRedeemAllowedByNow: a call that needs no approval any more may still use the one it has.
func TestRedeemAllowedByNow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, token := w.claimed(w.call(1))
	w.change(func(l *law) { l.outcome, l.reason = policy.Allow, policy.ReasonAllowed })
	w.mustRedeem(token, w.call(1), "red_1")
}

// TestRedeemIsDurable: whatever the session says, the commit of a redemption is flushed.
func TestRedeemIsDurable(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.exec(`create table settings_seen (synchronous_commit text, lock_timeout text, isolation text);
		grant insert on settings_seen to ` + postgres.RuntimeRole + `;
		create function see_settings() returns trigger language plpgsql as $$ begin
			insert into settings_seen values (current_setting('synchronous_commit'), current_setting('lock_timeout'), current_setting('transaction_isolation'));
			return new; end $$;
		create trigger see_settings before update on confirmations for each row execute function see_settings()`)
	_, token := w.claimed(w.call(1))
	config, err := pgxpool.ParseConfig(w.db.RuntimeDSN)
	if err != nil {
		t.Fatal(err)
	}
	config.ConnConfig.RuntimeParams["synchronous_commit"] = "off"
	config.ConnConfig.RuntimeParams["default_transaction_isolation"] = "serializable"
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	if _, err := w.queueOn(pool).Redeem(t.Context(), w.gateway, Redeem{Token: token, Call: w.call(1), RedemptionID: "r", Instance: "i"}); err != nil {
		t.Fatal(err)
	}
	if got := read[string](w, `select synchronous_commit || ' ' || lock_timeout || ' ' || isolation from settings_seen`); got != "on 250ms read committed" {
		t.Errorf("redeemed with %q", got)
	}
}

func TestClaim(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.ask(w.call(1))
	_, err := w.queue.Claim(t.Context(), w.gateway, r.ID)
	if p := wantProblem(t, err, problem.Conflict, "not_approved"); p.Fields["state"] != "pending" {
		t.Errorf("the state is told as %q", p.Fields["state"])
	}
	w.vote(w.ada, r, Approve)
	_, err = w.queue.Claim(t.Context(), w.other, r.ID)
	wantProblem(t, err, problem.NotFound, "no_such_approval")
	_, err = w.queue.Claim(t.Context(), w.ada, r.ID)
	wantProblem(t, err, problem.Forbidden, "gateway_only")

	tokens := []Token{w.claim(r), w.claim(r), w.claim(r), w.claim(r)}
	_, err = w.queue.Claim(t.Context(), w.gateway, r.ID)
	wantProblem(t, err, problem.RateLimited, "too_many_claims")
	for _, dead := range tokens[:3] {
		_, err := w.redeem(dead, w.call(1), "red_1")
		wantProblem(t, err, problem.Forbidden, "confirmation_unknown")
	}
	w.mustRedeem(tokens[3], w.call(1), "red_1")
	if stored := read[int](w, `select count(*) from confirmations where position(convert_to($1, 'utf8') in token_hash) > 0`, string(tokens[3])[4:20]); stored != 0 {
		t.Error("the database holds the token")
	}
}

// TestClaimAfterTheTokenExpired: within the time to claim, a new confirmation follows the expired one.
func TestClaimAfterTheTokenExpired(t *testing.T) {
	t.Parallel()
	for _, swept := range []bool{false, true} {
		w := newWorld(t)
		r, dead := w.claimed(w.call(1))
		w.exec(`update confirmations set expires_at = clock_timestamp()`)
		if swept {
			w.sweep(1)
		}
		token := w.claim(r)
		_, err := w.redeem(dead, w.call(1), "red_1")
		wantProblem(t, err, problem.Gone, "confirmation_expired")
		w.mustRedeem(token, w.call(1), "red_2")
		want := []string{"confirmation.issued", "confirmation.expired", "confirmation.issued", "confirmation.refused", "confirmation.redeemed"}
		if got := w.events(r)[3:]; !slices.Equal(got, want) {
			t.Errorf("swept %v: got %v, want %v", swept, got, want)
		}
	}
}

func TestClaimAfterPolicyDenies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.vote(w.ada, w.ask(w.call(1)), Approve)
	w.change(func(l *law) { l.outcome, l.reason = policy.Deny, policy.ReasonNoGrant })
	_, err := w.queue.Claim(t.Context(), w.gateway, r.ID)
	wantProblem(t, err, problem.Forbidden, "policy_denied")
	w.wantState(r, Revoked)
	w.wantEvents(r, "approval.requested", "approval.voted", "approval.approved", "approval.revoked", "confirmation.refused")
}

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
	if got := w.events(r)[5:]; !slices.Equal(got, []string{"confirmation.indeterminate", "confirmation.finished"}) {
		t.Errorf("recorded %v", got)
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.ask(w.call(1))
	_, err := w.queue.Cancel(t.Context(), w.other, r.ID)
	wantProblem(t, err, problem.NotFound, "no_such_approval")
	for range 2 {
		if got, err := w.queue.Cancel(t.Context(), w.gateway, r.ID); err != nil || got.State != Cancelled {
			t.Fatalf("got %+v, %v", got, err)
		}
	}
	w.wantEvents(r, "approval.requested", "approval.cancelled")

	r = w.vote(w.ada, w.ask(w.call(1)), Approve)
	if got, err := w.queue.Cancel(t.Context(), w.gateway, r.ID); err != nil || got.State != Revoked {
		t.Errorf("got %+v, %v", got, err)
	}
	r = w.vote(w.ada, w.ask(w.call(1)), Deny)
	_, err = w.queue.Cancel(t.Context(), w.gateway, r.ID)
	wantProblem(t, err, problem.Conflict, "not_open")
}

func TestRevoke(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r, token := w.claimed(w.call(1))
	_, err := w.queue.Revoke(t.Context(), w.eve, r.ID, "no")
	wantProblem(t, err, problem.Forbidden, "not_a_member")
	_, err = w.queue.Revoke(t.Context(), w.grace, r.ID, " ")
	wantProblem(t, err, problem.Invalid, "reason_missing")
	admin := w.eve
	admin.Roles = []identity.Role{identity.Admin}
	if got, err := w.queue.Revoke(t.Context(), admin, r.ID, "incident 12"); err != nil || got.State != Revoked || got.Reason != "incident 12" {
		t.Fatalf("got %+v, %v", got, err)
	}
	w.wantEvents(r, "approval.requested", "approval.voted", "approval.approved", "confirmation.issued", "confirmation.revoked", "approval.revoked")
	_, err = w.redeem(token, w.call(1), "red_1")
	wantProblem(t, err, problem.Gone, "confirmation_revoked")

	r, token = w.claimed(w.call(1))
	w.mustRedeem(token, w.call(1), "red_1")
	_, err = w.queue.Revoke(t.Context(), w.ada, r.ID, "too late")
	if p := wantProblem(t, err, problem.Conflict, "not_approved"); p.Fields["state"] != "closed" {
		t.Errorf("the state is told as %q", p.Fields["state"])
	}
	r = w.ask(w.call(1))
	_, err = w.queue.Revoke(t.Context(), w.ada, r.ID, "nothing to revoke")
	wantProblem(t, err, problem.Conflict, "not_approved")
}

func TestWait(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.ask(w.call(1))
	got, err := w.queue.Wait(t.Context(), w.gateway, r.ID, 20*time.Millisecond)
	if err != nil || got.State != Pending {
		t.Fatalf("got %+v, %v; want pending when the wait is over", got, err)
	}
	done := make(chan Request)
	go func() {
		got, err := w.queue.Wait(context.Background(), w.gateway, r.ID, time.Minute)
		if err != nil {
			t.Errorf("Wait: %v", err)
		}
		done <- got
	}()
	time.Sleep(20 * time.Millisecond)
	w.vote(w.ada, r, Approve)
	select {
	case got := <-done:
		if got.State != Approved {
			t.Errorf("woken with %+v", got)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the vote did not wake the gateway")
	}
	_, err = w.queue.Wait(t.Context(), w.other, r.ID, time.Minute)
	wantProblem(t, err, problem.NotFound, "no_such_approval")

	r = w.ask(w.call(2))
	w.exec(`update approvals set expires_at = clock_timestamp() + interval '50 milliseconds' where id = $1`, r.ID)
	if got, err = w.queue.Wait(t.Context(), w.gateway, r.ID, time.Minute); err != nil || got.State != Expired {
		t.Errorf("got %+v, %v; want expired when the time is up", got, err)
	}
}

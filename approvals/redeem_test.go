package approvals

import (
	"context"
	"path/filepath"
	"strings"
	"sync"
	"testing"

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

func TestRedeemRefusals(t *testing.T) { //nolint:tparallel // the cases share a world, one after the other
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
	if n := read[int](w, `select count(*) from audit_events where kind = 'confirmation.redeemed' and id > $1`, w.since); n != 1 {
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
	w := newWorldAlone(t)
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

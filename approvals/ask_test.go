package approvals

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	"countersign/canonical"
	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
)

func TestAskOpensARequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	call := w.call(7)
	r, created, err := w.queue.Ask(t.Context(), w.gateway, w.asking(call))
	if err != nil {
		t.Fatal(err)
	}
	if !created || r.State != Pending || r.CallDigest != digestOf(t, call) || r.Version != 1 {
		t.Errorf("got %+v, created %v", r, created)
	}
	if r.ExpiresIn <= 14*60e9 || r.ExpiresIn > 15*60e9 {
		t.Errorf("expires in %v, want 15 minutes", r.ExpiresIn)
	}
	w.wantEvents(r, "approval.requested")
	for _, column := range []string{"call", "principal"} {
		if sealed := read[[]byte](w, `select `+column+` from approvals where id = $1`, r.ID); strings.Contains(string(sealed), "tomas") {
			t.Errorf("the column %s is not sealed", column)
		}
	}
}

func TestAskJoinsTheOpenRequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const askers = 16
	ids, created := make([]string, askers), make([]bool, askers)
	var wg sync.WaitGroup
	for i := range askers {
		wg.Go(func() {
			r, c, err := w.queue.Ask(context.Background(), w.gateway, w.asking(w.call(1)))
			if err != nil {
				t.Errorf("Ask: %v", err)
			}
			ids[i], created[i] = r.ID, c
		})
	}
	wg.Wait()
	slices.Sort(ids)
	if len(slices.Compact(ids)) != 1 {
		t.Errorf("identical calls opened %d requests", len(slices.Compact(ids)))
	}
	if n := len(slices.DeleteFunc(created, func(c bool) bool { return !c })); n != 1 {
		t.Errorf("%d asks say that they opened the request, want 1", n)
	}
	if other := w.ask(w.call(2)); other.ID == ids[0] {
		t.Error("another call joined the request")
	}
	if n := read[int](w, `select count(*) from audit_events where kind = 'approval.requested' and id > $1`, w.since); n != 2 {
		t.Errorf("%d events of opened requests, want 2", n)
	}
}

func TestAskJoinsAnApprovedRequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.vote(w.ada, w.ask(w.call(1)), Approve)
	if again := w.ask(w.call(1)); again.ID != r.ID || again.State != Approved {
		t.Errorf("the retry got %+v, want the approved request %s", again, r.ID)
	}
}

func TestAskNotRequired(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.change(func(l *law) { l.outcome, l.reason = policy.Allow, policy.ReasonAllowed })
	r, created, err := w.queue.Ask(t.Context(), w.gateway, w.asking(w.call(1)))
	if err != nil || created || r.State != NotRequired {
		t.Errorf("got %+v, %v, %v; want not_required", r, created, err)
	}
	if n := read[int](w, `select count(*) from approvals`); n != 0 {
		t.Errorf("%d requests were made", n)
	}
}

func TestAskRefusals(t *testing.T) { //nolint:tparallel // the cases share a world, one after the other
	t.Parallel()
	w := newWorld(t)
	for _, test := range []struct {
		name string
		kind problem.Kind
		code string
		edit func(w *world, who *identity.Principal, in *Ask)
	}{
		{"a person", problem.Forbidden, "gateway_only", func(w *world, who *identity.Principal, _ *Ask) { *who = w.ada }},
		{"nobody", problem.Unauthenticated, "sign_in_required", func(_ *world, who *identity.Principal, _ *Ask) { *who = identity.Principal{} }},
		{"the system, which is no gateway", problem.Forbidden, "gateway_only", func(_ *world, who *identity.Principal, _ *Ask) { *who = system }},
		{"another digest", problem.Conflict, "call_digest_mismatch", func(_ *world, _ *identity.Principal, in *Ask) { in.CallDigest[0] ^= 1 }},
		{"another gateway's call", problem.Forbidden, "foreign_gateway", func(w *world, who *identity.Principal, _ *Ask) { *who = w.other }},
		{"another control plane's call", problem.Forbidden, "foreign_issuer", edited(func(c *policy.Call) { c.Issuer = "https://else.example" })},
		{"an argument that is not exact", problem.Invalid, "call_malformed", malformed(`{"n":9007199254740993}`)},
		{"a repeated argument", problem.Invalid, "call_malformed", malformed(`{"n":1,"n":2}`)},
		{"a server that is not known", problem.Forbidden, "policy_denied", edited(func(c *policy.Call) { c.ServerID = "srv_unknown" })},
		{"a server's name with NUL", problem.Invalid, "call_malformed", malformedCall(func(c *policy.Call) { c.ServerID = "srv\x00" })},
		{"another epoch", problem.Forbidden, "policy_denied", edited(func(c *policy.Call) { c.Epoch = 2 })},
		{"another definition", problem.Forbidden, "policy_denied", edited(func(c *policy.Call) { c.Definition[0] ^= 1 })},
		{"another endpoint", problem.Forbidden, "policy_denied", edited(func(c *policy.Call) { c.EndpointDigest[0] ^= 1 })},
		{"another tool", problem.Forbidden, "policy_denied", edited(func(c *policy.Call) { c.Tool = "drop_orders" })},
		{"a call that names another subject", problem.Forbidden, "evidence_mismatch", edited(func(c *policy.Call) { c.Principal.Subject = "ada" })},
		{"a call that names another model", problem.Forbidden, "evidence_mismatch", edited(func(c *policy.Call) { c.Principal.Model = "m2" })},
		{"evidence of somebody else", problem.Forbidden, "evidence_mismatch", func(_ *world, _ *identity.Principal, in *Ask) { in.Evidence = "ada/release-bot/m1" }},
		{"evidence of another agent", problem.Forbidden, "evidence_mismatch", func(_ *world, _ *identity.Principal, in *Ask) { in.Evidence = "tomas/agent/m1" }},
		{"evidence that is not valid", problem.Forbidden, "evidence_invalid", func(_ *world, _ *identity.Principal, in *Ask) { in.Evidence = "forged" }},
		{"a policy that denies", problem.Forbidden, "policy_denied", func(w *world, _ *identity.Principal, _ *Ask) {
			w.change(func(l *law) { l.outcome, l.reason = policy.Deny, policy.ReasonNoGrant })
		}},
		{"a revoked gateway", problem.Forbidden, "policy_denied", func(w *world, _ *identity.Principal, _ *Ask) {
			w.exec(`update gateways set revoked_at = clock_timestamp() where id = $1`, gateway)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w.restore(t)
			who, in := w.gateway, w.asking(w.call(1))
			test.edit(w, &who, &in)
			_, _, err := w.queue.Ask(t.Context(), who, in)
			wantProblem(t, err, test.kind, test.code)
			if n := read[int](w, `select count(*) from approvals`); n != 0 {
				t.Errorf("%d requests were made", n)
			}
			recorded := read[int](w, `select count(*) from audit_events where kind = 'approval.refused' and id > $1`, w.since)
			if want := test.code != "call_malformed" && test.code != "gateway_only" && test.code != "sign_in_required"; want != (recorded == 1) {
				t.Errorf("%d refusals are recorded", recorded)
			}
		})
	}
}

// edited changes the call, and the digest with it.
func edited(f func(*policy.Call)) func(*world, *identity.Principal, *Ask) {
	return func(w *world, _ *identity.Principal, in *Ask) {
		f(&in.Call)
		in.CallDigest = digestOf(w.t, in.Call)
	}
}

func malformed(arguments string) func(*world, *identity.Principal, *Ask) {
	return malformedCall(func(c *policy.Call) { c.Arguments = []byte(arguments) })
}

func malformedCall(f func(*policy.Call)) func(*world, *identity.Principal, *Ask) {
	return func(_ *world, _ *identity.Principal, in *Ask) { f(&in.Call) }
}

func TestAskEvidence(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	in := w.asking(w.call(1))
	if _, _, err := w.queue.Ask(t.Context(), w.gateway, in); err != nil {
		t.Fatal(err)
	}
	in = w.asking(w.call(2))
	in.Evidence = "tomas/release-bot/m1"
	if _, _, err := w.queue.Ask(t.Context(), w.gateway, in); err != nil {
		t.Fatal(err)
	}
	in = w.asking(w.call(3)) // the token says nothing of a model, a header does
	in.Evidence = "tomas/release-bot/"
	if _, _, err := w.queue.Ask(t.Context(), w.gateway, in); err != nil {
		t.Fatal(err)
	}
	page, err := w.queue.List(t.Context(), w.ada, Filter{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range page.Items {
		got = append(got, s.Evidence+" "+s.CallerName)
	}
	want := []string{"verified Name from the token", "verified Name from the token", "asserted Tomas Lind"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	d, err := w.queue.Detail(t.Context(), w.ada, page.Items[0].ID)
	if err != nil || d.Principal.ModelAssurance != policy.Declared {
		t.Errorf("a model out of a header is %q, %v; want declared", d.Principal.ModelAssurance, err)
	}
}

func TestAskCapsPendingRequests(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.PendingCap = 3 })
	for i := range 3 {
		w.ask(w.call(i))
	}
	_, _, err := w.queue.Ask(t.Context(), w.gateway, w.asking(w.call(3)))
	if p := wantProblem(t, err, problem.RateLimited, "too_many_pending"); p.RetryAfter <= 0 {
		t.Error("nothing says when to try again")
	}
	w.ask(w.call(0)) // joining one is no new one
	somebody := w.asking(w.call(3))
	somebody.Call.Principal.Subject, somebody.Principal.Subject = "eve", "eve"
	somebody.CallDigest = digestOf(t, somebody.Call)
	if _, _, err := w.queue.Ask(t.Context(), w.gateway, somebody); err != nil {
		t.Errorf("the agent of somebody else is refused: %v", err)
	}
	w.exec(`update approvals set expires_at = clock_timestamp() - interval '1 second' where caller_subject = 'tomas'`)
	w.ask(w.call(3))
}

func TestAskWhilePolicyChanges(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bumps, before := 0, read[int64](w, `select generation from registry_head`)
	w.law.meanwhile = func() {
		if bumps++; bumps <= 2 {
			w.exec(`update registry_head set generation = generation + 1`)
		}
	}
	r := w.ask(w.call(1))
	if got := read[int64](w, `select generation from approvals where id = $1`, r.ID); got != before+2 || w.law.asked != 3 {
		t.Errorf("the request is of generation %d after %d evaluations, want %d and 3", got, w.law.asked, before+2)
	}
	w.law.meanwhile = func() { w.exec(`update registry_head set generation = generation + 1`) }
	_, _, err := w.queue.Ask(t.Context(), w.gateway, w.asking(w.call(2)))
	wantProblem(t, err, problem.Unavailable, "policy_changing")
}

func TestAskTerms(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.change(func(l *law) {
		l.approval = policy.Approval{Quorum: 2, DenyQuorum: 2, Teams: []string{"tem_other"}, OwningTeam: true, PendingSeconds: 60}
	})
	r := w.ask(w.call(1))
	d, err := w.queue.Detail(t.Context(), w.ada, r.ID)
	if err != nil {
		t.Fatal(err)
	}
	if d.Quorum != 2 || d.DenyQuorum != 2 || !slices.Equal(d.Teams, []string{"Orders", "Other"}) || r.ExpiresIn > 60e9 {
		t.Errorf("got quorum %d, deny quorum %d, teams %v, %v", d.Quorum, d.DenyQuorum, d.Teams, r.ExpiresIn)
	}
	if d.CallDigest == (canonical.Digest{}) || string(d.Arguments) != `{"order":1}` {
		t.Errorf("the call shows as %s %s", d.CallDigest, d.Arguments)
	}
}

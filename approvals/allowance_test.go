package approvals

import (
	"encoding/json"
	"testing"
	"time"

	"countersign/canonical"
	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
)

// generous lets approvers allow a few more calls that differ in the named arguments.
func (w *world) generous(uses int, free ...string) {
	w.t.Helper()
	w.change(func(l *law) {
		l.approval.Scope = &policy.Scope{MaxUses: uses, MaxSeconds: 600, Free: free}
	})
}

// callOf is a call with some arguments.
func (w *world) callOf(arguments map[string]any) policy.Call {
	w.t.Helper()
	call := w.call(0)
	var err error
	if call.Arguments, err = json.Marshal(arguments); err != nil {
		w.t.Fatal(err)
	}
	return call
}

// allow approves a request with a scope.
func (w *world) allow(who identity.Principal, r Request, s *Scope) Request {
	w.t.Helper()
	v := on(r, Approve)
	v.Scope = s
	r, err := w.queue.Vote(w.t.Context(), who, r.ID, v)
	if err != nil {
		w.t.Fatalf("Vote of %s: %v", who.Name, err)
	}
	return r
}

// allowanceOf is the allowance that a request opened.
func (w *world) allowanceOf(r Request) Allowance {
	w.t.Helper()
	page, err := w.queue.Allowances(w.t.Context(), w.ada, AllowanceFilter{Approval: r.ID})
	if err != nil || len(page.Items) != 1 {
		w.t.Fatalf("Allowances: %+v, %v; want one", page.Items, err)
	}
	return page.Items[0]
}

// origin makes an open allowance for calls like delete_orders(order: 1, dry: false).
func (w *world) origin(uses int, free ...string) Request {
	w.t.Helper()
	w.generous(uses, free...)
	r := w.ask(w.callOf(map[string]any{"order": 1, "dry": false}))
	return w.allow(w.ada, r, &Scope{Uses: uses, Within: 10 * time.Minute, Free: free})
}

func TestAllowance(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.origin(2, "order")
	second := w.callOf(map[string]any{"order": 2, "dry": false})
	use := w.ask(second)
	if use.State != Approved || use.Reason != "allowance" || use.ID == r.ID {
		t.Fatalf("a call like the approved one: %+v", use)
	}
	if again := w.ask(second); again.ID != use.ID {
		t.Errorf("asking again makes another request")
	}
	w.mustRedeem(w.claim(use), second, "red_2")
	w.mustRedeem(w.claim(r), w.callOf(map[string]any{"order": 1, "dry": false}), "red_1")
	w.wantEvents(use, "approval.requested", "approval.approved", "confirmation.issued", "confirmation.redeemed")
	w.wantEvents(r, "approval.requested", "approval.voted", "approval.approved", "allowance.opened", "confirmation.issued", "confirmation.redeemed")
	detail := read[string](w, `select detail ->> 'allowance' || ' of ' || (detail ->> 'origin') from audit_events where target_id = $1 and kind = 'approval.approved'`, use.ID)
	a := w.allowanceOf(use)
	if want := a.ID + " of " + r.ID; detail != want {
		t.Errorf("the use says it was approved by %s, want %s", detail, want)
	}
	if a.ApprovalID != r.ID || a.Used != 1 || a.Uses != 2 || a.State != AllowanceOpen || a.GivenBy != "Ada" || !a.MayRevoke || len(a.Free) != 1 {
		t.Errorf("the allowance is %+v", a)
	}

	// The very call that was approved, again, is a use like others. Then there is none left.
	if again := w.ask(w.callOf(map[string]any{"order": 1, "dry": false})); again.State != Approved || again.ID == r.ID {
		t.Errorf("the very call, again: %+v", again)
	}
	if a = w.allowanceOf(r); a.State != AllowanceUsedUp || a.Used != 2 || a.EndedAt == nil {
		t.Errorf("the allowance is %+v", a)
	}
	if over := w.ask(w.callOf(map[string]any{"order": 3, "dry": false})); over.State != Pending {
		t.Errorf("a use too many: %+v", over)
	}
}

// What is different from the approved call in anything but the free arguments is asked for by itself.
func TestAllowanceIsNarrow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.generous(9, "order", "note")
	w.allow(w.ada, w.ask(w.callOf(map[string]any{"order": 1, "dry": false, "why": nil})), &Scope{Uses: 9, Within: time.Minute, Free: []string{"order", "note"}})
	like := func(change func(arguments map[string]any)) policy.Call {
		arguments := map[string]any{"order": 2, "dry": false, "why": nil}
		change(arguments)
		return w.callOf(arguments)
	}
	for _, c := range []struct {
		name string
		call policy.Call
		want State
	}{
		{"another value of a free argument", like(func(a map[string]any) { a["order"] = "two" }), Approved},
		{"without a free argument", like(func(a map[string]any) { delete(a, "order") }), Approved},
		{"with a free argument that was not there", like(func(a map[string]any) { a["note"] = "x" }), Approved},
		{"another value", like(func(a map[string]any) { a["dry"] = true }), Pending},
		{"another type", like(func(a map[string]any) { a["dry"] = "false" }), Pending},
		{"one argument more", like(func(a map[string]any) { a["force"] = true }), Pending},
		{"one argument less", like(func(a map[string]any) { delete(a, "dry") }), Pending},
		{"absent is not null", like(func(a map[string]any) { delete(a, "why") }), Pending},
		{"a free name deeper down", like(func(a map[string]any) { a["why"] = map[string]any{"order": 2} }), Pending},
		{"a free name in other letters", like(func(a map[string]any) { delete(a, "order"); a["Order"] = 2 }), Pending},
	} {
		if got := w.ask(c.call); got.State != c.want {
			t.Errorf("%s: %s, want %s", c.name, got.State, c.want)
		}
	}
	for name, change := range map[string]func(*policy.Call, *policy.Principal){
		"another caller": func(_ *policy.Call, p *policy.Principal) { p.Subject = "ada" },
		"another issuer": func(_ *policy.Call, p *policy.Principal) { p.Issuer = "https://elsewhere.example" },
		"another agent":  func(_ *policy.Call, p *policy.Principal) { p.Agent = "other-bot" },
		"another model":  func(_ *policy.Call, p *policy.Principal) { p.Model = "m2" },
		"another kind":   func(c *policy.Call, _ *policy.Principal) { c.Kind = policy.KindPrompt },
	} {
		call, caller := like(func(map[string]any) {}), w.caller
		change(&call, &caller)
		call.Principal = caller.Identity()
		got, _, err := w.queue.Ask(t.Context(), w.gateway, Ask{Call: call, CallDigest: digestOf(t, call), Principal: caller})
		if err != nil || got.State != Pending {
			t.Errorf("%s: %s, %v; want pending", name, got.State, err)
		}
	}
	call := like(func(map[string]any) {})
	call.Gateway = another
	got, _, err := w.queue.Ask(t.Context(), w.other, w.asking(call))
	if err != nil || got.State != Pending {
		t.Errorf("another gateway: %s, %v; want pending", got.State, err)
	}
	if used := read[int](w, `select used from allowances`); used != 3 {
		t.Errorf("%d uses, want 3", used)
	}
}

// An allowance is good while the policy of now would be met by the approval that gave it.
func TestAllowanceFollowsThePolicy(t *testing.T) { //nolint:tparallel // the cases share a world, one after the other
	t.Parallel()
	w := newWorld(t)
	for _, c := range []struct {
		name   string
		change func(l *law)
		want   State          // of a call like the approved one; "" is a denial
		after  AllowanceState // once the sweep was there
	}{
		{"nothing changed", func(*law) {}, Approved, AllowanceOpen},
		{"two have to approve", func(l *law) { l.approval.Quorum = 2 }, Pending, AllowanceOpen},
		{"another team is asked", func(l *law) { l.approval.OwningTeam, l.approval.Teams = false, []string{"tem_other"} }, Pending, AllowanceOpen},
		{"no scope any more", func(l *law) { l.approval.Scope = nil }, Pending, AllowanceOpen},
		{"fewer uses", func(l *law) { l.approval.Scope.MaxUses = 1 }, Pending, AllowanceOpen},
		{"less time", func(l *law) { l.approval.Scope.MaxSeconds = 60 }, Pending, AllowanceOpen},
		{"fewer free arguments", func(l *law) { l.approval.Scope.Free = nil }, Pending, AllowanceOpen},
		{"it may do more", func(l *law) { l.approval.Scope.MaxUses = 100 }, Approved, AllowanceOpen},
		{"the call is denied", func(l *law) { l.outcome, l.reason = policy.Deny, policy.ReasonNoGrant }, "", AllowanceRevoked},
		{"the tool drifted", func(l *law) { l.pinned = canonical.Sum("test", []byte("new definition")) }, "", AllowanceRevoked},
		{"the server moved", func(l *law) { l.endpoint = canonical.Sum("test", []byte("new endpoint")) }, "", AllowanceRevoked},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.restore(t)
			origin := w.origin(5, "order")
			w.mustRedeem(w.claim(origin), w.callOf(map[string]any{"order": 1, "dry": false}), c.name)
			waiting := w.ask(w.callOf(map[string]any{"order": "claimed later", "dry": false}))
			w.change(func(l *law) {
				scope := *l.approval.Scope
				l.approval.Scope = &scope
				c.change(l)
			})
			got, _, err := w.queue.Ask(t.Context(), w.gateway, w.asking(w.callOf(map[string]any{"order": 2, "dry": false})))
			if c.want == "" {
				wantProblem(t, err, problem.Forbidden, "policy_denied")
			} else if err != nil || got.State != c.want {
				t.Errorf("a call like the approved one is %s, %v; want %s", got.State, err, c.want)
			}
			if _, err := w.queue.Sweep(t.Context()); err != nil {
				t.Fatal(err)
			}
			if a := w.allowanceOf(origin); a.State != c.after {
				t.Errorf("the allowance is %s (%s), want %s", a.State, a.StateReason, c.after)
			}
			if c.after == AllowanceRevoked && w.state(waiting) != Revoked {
				t.Errorf("what it approved and nobody redeemed is %s", w.state(waiting))
			}
		})
	}
}

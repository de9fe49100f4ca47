package approvals

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
)

// glass lets team Other, of which eve is the one member, approve alone.
func (w *world) glass() {
	w.t.Helper()
	w.exec(`insert into team_members (team_id, person_id) values ('tem_other', 'per_eve') on conflict do nothing`)
	w.change(func(l *law) {
		l.approval.Quorum, l.approval.BreakGlass = 2, &policy.BreakGlass{Teams: []string{"tem_other"}, ReviewSeconds: 3600}
	})
}

// emergency is one about what the request is now.
func emergency(r Request) Emergency {
	return Emergency{Reason: "the shop is down", Ticket: "INC-7", Version: r.Version, SeenDigest: r.CallDigest}
}

func TestBreakGlass(t *testing.T) {
	t.Parallel()
	var told []Notice
	w := newWorld(t, func(c *Config) {
		c.Announce = func(_ context.Context, _ pgx.Tx, n Notice) error { told = append(told, n); return nil }
	})
	w.glass()
	r := w.ask(w.call("7"))
	approved, err := w.queue.BreakGlass(t.Context(), w.eve, r.ID, emergency(r))
	if err != nil || approved.State != Approved {
		t.Fatalf("BreakGlass: %+v, %v", approved, err)
	}
	w.mustRedeem(w.claim(r), w.call("7"), "red_1")
	w.wantEvents(r, "approval.requested", "approval.emergency", "approval.approved", "confirmation.issued", "confirmation.redeemed")
	if !slices.ContainsFunc(told, func(n Notice) bool { return n.Topic == "approval.emergency" && n.Urgent }) {
		t.Errorf("people are told %+v", told)
	}
	page, err := w.queue.Reviews(t.Context(), w.ada, ReviewFilter{Open: true})
	if err != nil || len(page.Items) != 1 {
		t.Fatalf("Reviews: %+v, %v", page, err)
	}
	v := page.Items[0]
	left := v.DueAt.Sub(v.OpenedAt)
	if v.ApprovalID != r.ID || v.OpenedByName != "Eve" || v.Ticket != "INC-7" || v.Overdue || !v.MayClose || v.Execution != Redeemed || left.Round(time.Minute) != time.Hour {
		t.Errorf("the review is %+v", v)
	}
}

func TestBreakGlassIsRefused(t *testing.T) { //nolint:tparallel // the cases share a world, one after the other
	t.Parallel()
	w := newWorld(t)
	later := person("eve")
	later.AuthTime = time.Now().Add(-time.Minute)
	for _, c := range []struct {
		name    string
		arrange func(r Request)
		who     identity.Principal
		say     func(e *Emergency)
		kind    problem.Kind
		code    string
	}{
		{"not one of those who are named", nil, w.ada, nil, problem.Forbidden, "not_a_breaker"},
		{"the caller", func(Request) {
			w.exec(`insert into team_members values ('tem_other', 'per_tomas') on conflict do nothing`)
		}, w.tomas, nil, problem.Forbidden, "own_call"},
		{"who answers for the agent", func(Request) {
			w.exec(`insert into agents (agent, name, owner_id, created_by) values ('release-bot', 'Bot', 'per_eve', 'test')`)
		}, w.eve, nil, problem.Forbidden, "own_agent"},
		{"who left", func(Request) { w.exec(`update people set disabled_at = now() where id = 'per_eve'`) }, w.eve, nil, problem.Forbidden, "not_a_breaker"},
		{"a guardrail without", func(Request) { w.change(func(l *law) { l.approval.BreakGlass = nil }) }, w.eve, nil, problem.Forbidden, "no_break_glass"},
		{"a sign-in that is too old", func(Request) { w.change(func(l *law) { l.approval.StepUp = &policy.StepUp{MaxAgeSeconds: 30} }) }, later, nil, problem.Forbidden, "step_up_required"},
		{"who denied", func(r Request) {
			w.exec(`insert into votes (approval_id, person_id, decision, reason, seen_digest, session_id, auth_time) values ($1, 'per_eve', 'deny', 'no', '', 's', now())`, r.ID)
		}, w.eve, nil, problem.Conflict, "already_voted"},
		{"decided already", func(r Request) { w.vote(w.ada, r, Deny) }, w.eve, nil, problem.Conflict, "not_pending"},
		{"denied by the policy", func(Request) { w.change(func(l *law) { l.outcome = policy.Deny }) }, w.eve, nil, problem.Conflict, "not_pending"},
		{"another call", nil, w.eve, func(e *Emergency) { e.SeenDigest[0]++ }, problem.Conflict, "call_changed"},
		{"an old page", nil, w.eve, func(e *Emergency) { e.Version++ }, problem.Conflict, "version_changed"},
		{"no reason", nil, w.eve, func(e *Emergency) { e.Reason = " " }, problem.Invalid, "emergency_incomplete"},
		{"no ticket", nil, w.eve, func(e *Emergency) { e.Ticket = "" }, problem.Invalid, "emergency_incomplete"},
		{"a ticket of two lines", nil, w.eve, func(e *Emergency) { e.Ticket = "a\nb" }, problem.Invalid, "emergency_incomplete"},
		{"a gateway", nil, w.gateway, nil, problem.Forbidden, "interactive_only"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.restore(t)
			w.exec(`update agents set ended_at = now() where ended_at is null`)
			w.glass()
			r := w.ask(w.call(c.name))
			if c.arrange != nil {
				c.arrange(r)
			}
			e := emergency(Request{Version: read[int64](w, `select version from approvals where id = $1`, r.ID), CallDigest: r.CallDigest})
			if c.code == "no_break_glass" || c.code == "step_up_required" { // the page shows the new terms, which are a new version
				e.Version++
			}
			if c.say != nil {
				c.say(&e)
			}
			_, err := w.queue.BreakGlass(t.Context(), c.who, r.ID, e)
			wantProblem(t, err, c.kind, c.code)
			if n := read[int](w, `select count(*) from reviews where approval_id = $1`, r.ID); n != 0 {
				t.Errorf("%d reviews", n)
			}
		})
	}
}

// Somebody whose own approval was not enough may still break the glass; they have one vote.
func TestBreakGlassAfterApproving(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.glass()
	w.exec(`insert into team_members (team_id, person_id) values ('tem_orders', 'per_eve')`)
	r := w.vote(w.eve, w.ask(w.call("7")), Approve)
	if r, err := w.queue.BreakGlass(t.Context(), w.eve, r.ID, emergency(r)); err != nil || r.State != Approved {
		t.Fatalf("BreakGlass: %+v, %v", r, err)
	}
	if n := read[int](w, `select count(*) from votes where approval_id = $1 and emergency`, r.ID); n != 1 {
		t.Errorf("%d votes", n)
	}
}

package approvals

import (
	"testing"

	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
)

// TestVoteOfWhoHasAStake has one person vote whom the separation of duties keeps out, or not.
func TestVoteOfWhoHasAStake(t *testing.T) { //nolint:tparallel // the cases share a world, one after the other
	t.Parallel()
	w := newWorld(t)
	notGranter := func(a *policy.Approval) { a.NotGranter = true }
	for _, test := range []struct {
		name   string
		voter  identity.Principal
		before func(w *world)
		code   string
	}{
		{"answers for the agent", w.ada, func(w *world) { w.owned(w.ada) }, "own_agent"},
		{"another answers for the agent", w.ada, func(w *world) { w.owned(w.grace) }, ""},
		{"answered for the agent once", w.ada, func(w *world) { w.owned(w.ada); w.owned(w.grace) }, ""},
		{"answers for another agent", w.ada, func(w *world) {
			w.exec(`insert into agents (agent, name, owner_id, created_by) values ('other-bot', 'x', 'per_ada', 'test')`)
		}, ""},
		{"made the grant, and that matters", w.ada, func(w *world) {
			w.exec(`update grants set created_by = 'per_ada'`)
			w.demand(notGranter)
		}, "own_grant"},
		{"made the grant, and that does not matter", w.ada, func(w *world) { w.exec(`update grants set created_by = 'per_ada'`) }, ""},
		{"changed the grant last", w.ada, func(w *world) { w.changedGrant(w.ada); w.demand(notGranter) }, "own_grant"},
		{"changed the grant before another did", w.ada, func(w *world) { w.changedGrant(w.ada); w.changedGrant(w.grace); w.demand(notGranter) }, ""},
		{"another made the grant", w.grace, func(w *world) {
			w.exec(`update grants set created_by = 'per_ada'`)
			w.changedGrant(w.ada)
			w.demand(notGranter)
		}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			w.restore(t)
			w.changedGrant(w.eve)
			test.before(w)
			r := w.ask(w.call(test.name))
			for _, d := range []Decision{Approve, Deny} { // who may not approve may not deny
				if test.code != "" {
					_, err := w.queue.Vote(t.Context(), test.voter, r.ID, on(r, d))
					wantProblem(t, err, problem.Forbidden, test.code)
				}
			}
			if test.code == "" {
				w.vote(test.voter, r, Approve)
			}
			standing, err := standing(t.Context(), w.queue.pool, test.voter, r.ID)
			if wantCode := map[string]string{"": "already_voted"}[test.code] + test.code; err != nil || standing.Code != wantCode || standing.Sentence() == "" {
				t.Errorf("stands as %+v, %v", standing, err)
			}
		})
	}
}

// changedGrant is the event that changing the grant leaves.
func (w *world) changedGrant(by identity.Principal) {
	w.t.Helper()
	w.exec(`select audit_append('grant.changed', 'person', $1, '', 'grant', 'grt_1', 'Everyone', '{}', '', '')`, by.ID)
}

// TestVoteThatNoLongerCounts has whoever voted first lose their say before the second vote.
func TestVoteThatNoLongerCounts(t *testing.T) { //nolint:tparallel // the cases share a world, one after the other
	t.Parallel()
	w := newWorld(t)
	for _, test := range []struct {
		name      string
		meanwhile func(w *world)
	}{
		{"answers for the agent by now", func(w *world) { w.owned(w.ada) }},
		{"changed the grant meanwhile", func(w *world) { w.changedGrant(w.ada); w.exec(`update registry_head set generation = generation + 1`) }},
		{"left the group", func(w *world) { w.exec(`update people set groups = '{}' where id = 'per_ada'`) }},
		{"was disabled", func(w *world) { w.exec(`update people set disabled_at = clock_timestamp() where id = 'per_ada'`) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			w.restore(t)
			w.changedGrant(w.eve)
			w.demand(func(a *policy.Approval) { a.Quorum, a.NotGranter, a.Teams = 2, true, []string{"tem_leads"} })
			r := w.vote(w.ada, w.ask(w.call(test.name)), Approve)
			test.meanwhile(w)
			w.sweepAll(t)
			r.Version = read[int64](w, `select version from approvals where id = $1`, r.ID)
			if r = w.vote(w.grace, r, Approve); r.State != Pending {
				t.Fatalf("it is %s after one vote that counts", r.State)
			}
			if r = w.vote(w.lin, r, Approve); r.State != Approved {
				t.Errorf("it is %s after two votes that count", r.State)
			}
		})
	}
}

func (w *world) sweepAll(t *testing.T) {
	t.Helper()
	if _, err := w.queue.Sweep(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestApprovalByWhoChangedTheGrantSince is taken back where its maker may not approve.
func TestApprovalByWhoChangedTheGrantSince(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.demand(func(a *policy.Approval) { a.NotGranter = true })
	r, token := w.claimed(w.call(1))
	w.changedGrant(w.ada)
	w.exec(`update registry_head set generation = generation + 1`)
	_, err := w.redeem(token, w.call(1), redemption(1))
	wantProblem(t, err, problem.Forbidden, "policy_denied")
	w.wantState(r, Revoked)
}

func TestVoteAlternatives(t *testing.T) { //nolint:tparallel // the cases share a world, one after the other
	t.Parallel()
	w := newWorld(t)
	for _, test := range []struct {
		name     string
		approve  []identity.Principal
		deny     []identity.Principal
		want     State
		decision string
	}{
		{"one of Orders", []identity.Principal{w.ada}, nil, Pending, ""},
		{"two of Orders", []identity.Principal{w.ada, w.grace}, nil, Approved, "per_grace"},
		{"one of Leads", []identity.Principal{w.lin}, nil, Approved, "per_lin"},
		{"one of Orders and one of Leads", []identity.Principal{w.ada, w.lin}, nil, Approved, "per_lin"},
		{"one denies", nil, []identity.Principal{w.lin}, Pending, ""},
		{"two deny, of different teams", nil, []identity.Principal{w.ada, w.lin}, Denied, "per_lin"},
		{"two deny and one of Orders approves", []identity.Principal{w.grace}, []identity.Principal{w.ada, w.lin}, Denied, "per_lin"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w.restore(t)
			w.demand(func(a *policy.Approval) {
				a.Quorum, a.DenyQuorum, a.Alternatives = 2, 2, []policy.Approvers{{Quorum: 1, Teams: []string{"tem_leads"}}}
			})
			r := w.ask(w.call(test.name))
			for _, who := range test.approve {
				r = w.vote(who, r, Approve)
			}
			for _, who := range test.deny {
				r = w.vote(who, r, Deny)
			}
			w.wantState(r, test.want)
			if got := read[string](w, `select decided_by from approvals where id = $1`, r.ID); got != test.decision {
				t.Errorf("decided by %q", got)
			}
			_, err := w.queue.Vote(t.Context(), w.noor, r.ID, on(r, Approve))
			wantProblem(t, err, problem.Forbidden, "not_a_member")
		})
	}
}

// TestCountsOfWhoHasAStake: nobody is told that what they may not decide waits for them.
func TestCountsOfWhoHasAStake(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ask(w.call(1))
	forMe := func() int {
		t.Helper()
		counts, err := w.queue.Counts(t.Context(), w.ada)
		if err != nil {
			t.Fatal(err)
		}
		page, err := w.queue.List(t.Context(), w.ada, Filter{Waiting: true, MayDecide: true})
		if err != nil || len(page.Items) != counts.ForMe {
			t.Errorf("%d are listed, %d counted, %v", len(page.Items), counts.ForMe, err)
		}
		return counts.ForMe
	}
	if n := forMe(); n != 1 {
		t.Errorf("%d wait for her", n)
	}
	w.owned(w.ada)
	if n := forMe(); n != 0 {
		t.Errorf("%d of her own agent wait for her", n)
	}
	w.owned(w.eve)
	w.exec(`update approvals set granters = '{per_ada}'`)
	if n := forMe(); n != 0 {
		t.Errorf("%d by her own grant wait for her", n)
	}
}

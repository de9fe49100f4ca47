package approvals

import (
	"context"
	"strings"
	"sync"
	"testing"

	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
)

func TestVoteApproves(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.vote(w.ada, w.ask(w.call(1)), Approve)
	if r.State != Approved || r.Version != 2 || r.ExpiresIn <= 4*60e9 {
		t.Errorf("got %+v, want it approved and to be claimed within 5 minutes", r)
	}
	w.wantEvents(r, "approval.requested", "approval.voted", "approval.approved")
	if got := read[string](w, `select decided_by from approvals where id = $1`, r.ID); got != w.ada.ID {
		t.Errorf("decided by %q", got)
	}
}

func TestVoteDenies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.ask(w.call(1))
	_, err := w.queue.Vote(t.Context(), w.ada, r.ID, Vote{Decision: Deny, Reason: " \n", Version: r.Version, SeenDigest: r.CallDigest})
	if p := wantProblem(t, err, problem.Invalid, "vote_incomplete"); p.Fields["reason"] == "" {
		t.Error("nothing says that the reason is missing")
	}
	r = w.vote(w.ada, r, Deny)
	if r.State != Denied || r.Reason != "not today" {
		t.Errorf("got %+v, want it denied with the reason", r)
	}
	w.wantEvents(r, "approval.requested", "approval.voted", "approval.denied")
	_, err = w.queue.Claim(t.Context(), w.gateway, r.ID)
	wantProblem(t, err, problem.Conflict, "not_approved")
	if again := w.ask(w.call(1)); again.ID == r.ID || again.State != Pending {
		t.Errorf("the retry of a denied call got %+v, want a new request", again)
	}
}

func TestVoteRefusals(t *testing.T) { //nolint:tparallel // the cases share a world, one after the other
	t.Parallel()
	w := newWorld(t)
	for _, test := range []struct {
		name string
		kind problem.Kind
		code string
		edit func(w *world, who *identity.Principal, v *Vote)
	}{
		{"the caller, though of the team", problem.Forbidden, "own_call", func(w *world, who *identity.Principal, _ *Vote) { *who = w.tomas }},
		{"the caller as an admin", problem.Forbidden, "own_call", func(w *world, who *identity.Principal, _ *Vote) {
			*who = w.tomas
			who.Roles = []identity.Role{identity.Admin}
		}},
		{"a person of another team", problem.Forbidden, "not_a_member", func(w *world, who *identity.Principal, _ *Vote) { *who = w.eve }},
		{"an admin of no team", problem.Forbidden, "not_a_member", func(w *world, who *identity.Principal, _ *Vote) {
			*who = w.eve
			who.Roles = []identity.Role{identity.Admin}
		}},
		{"a session that claims the group", problem.Forbidden, "not_a_member", func(w *world, who *identity.Principal, _ *Vote) {
			*who = w.eve
			who.Groups, who.Teams = []string{"orders-team"}, []string{"tem_orders"}
		}},
		{"a member by group since removed", problem.Forbidden, "not_a_member", func(w *world, _ *identity.Principal, _ *Vote) {
			w.exec(`update people set groups = '{}' where id = 'per_ada'`)
		}},
		{"a member by name since removed", problem.Forbidden, "not_a_member", func(w *world, who *identity.Principal, _ *Vote) {
			*who = w.grace
			w.exec(`delete from team_members where person_id = 'per_grace'`)
		}},
		{"a disabled person", problem.Forbidden, "not_a_member", func(w *world, _ *identity.Principal, _ *Vote) {
			w.exec(`update people set disabled_at = clock_timestamp() where id = 'per_ada'`)
		}},
		{"somebody who is not known as a person", problem.Forbidden, "not_a_person", func(_ *world, who *identity.Principal, _ *Vote) { who.ID = "per_nobody" }},
		{"a person under another's identity", problem.Forbidden, "not_a_person", func(_ *world, who *identity.Principal, _ *Vote) { who.Subject = "tomas" }},
		{"the system", problem.Forbidden, "not_a_person", func(_ *world, who *identity.Principal, _ *Vote) { *who = system }},
		{"a person without a session", problem.Forbidden, "interactive_only", func(_ *world, who *identity.Principal, _ *Vote) { who.SessionID = "" }},
		{"a viewer", problem.Forbidden, "not_allowed", func(_ *world, who *identity.Principal, _ *Vote) { who.Roles = []identity.Role{identity.Viewer} }},
		{"the gateway", problem.Forbidden, "interactive_only", func(w *world, who *identity.Principal, _ *Vote) { *who = w.gateway }},
		{"nobody", problem.Unauthenticated, "sign_in_required", func(_ *world, who *identity.Principal, _ *Vote) { *who = identity.Principal{} }},
		{"an older version", problem.Conflict, "version_changed", func(_ *world, _ *identity.Principal, v *Vote) { v.Version-- }},
		{"another call on the screen", problem.Conflict, "call_changed", func(_ *world, _ *identity.Principal, v *Vote) { v.SeenDigest[0] ^= 1 }},
		{"no decision", problem.Invalid, "vote_incomplete", func(_ *world, _ *identity.Principal, v *Vote) { v.Decision = "" }},
		{"a reason too long", problem.Invalid, "vote_incomplete", func(_ *world, _ *identity.Principal, v *Vote) { v.Reason = strings.Repeat("ä", maxReason+1) }},
		{"a reason with NUL", problem.Invalid, "vote_incomplete", func(_ *world, _ *identity.Principal, v *Vote) { v.Reason = "a\x00b" }},
	} {
		t.Run(test.name, func(t *testing.T) {
			w.restore(t)
			r := w.ask(w.call(1))
			who, v := w.ada, on(r, Approve)
			test.edit(w, &who, &v)
			_, err := w.queue.Vote(t.Context(), who, r.ID, v)
			wantProblem(t, err, test.kind, test.code)
			w.wantState(r, Pending)
			if n := read[int](w, `select count(*) from votes`); n != 0 {
				t.Errorf("%d votes were counted", n)
			}
			recorded := read[int](w, `select count(*) from audit_events where kind = 'approval.refused' and target_id = $1`, r.ID)
			if want := test.kind == problem.Forbidden || test.kind == problem.Conflict; want != (recorded == 1) {
				t.Errorf("%d refusals are recorded", recorded)
			}
		})
	}
}

func TestVoteOnWhatIsNotThere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, id := range []string{"", "apr_unknown", "a\x00b", "\xff"} {
		_, err := w.queue.Vote(t.Context(), w.ada, id, Vote{Decision: Approve})
		wantProblem(t, err, problem.NotFound, "no_such_approval")
		_, err = w.queue.Get(t.Context(), w.gateway, id)
		wantProblem(t, err, problem.NotFound, "no_such_approval")
		_, err = w.queue.Claim(t.Context(), w.gateway, id)
		wantProblem(t, err, problem.NotFound, "no_such_approval")
		_, err = w.queue.Detail(t.Context(), w.ada, id)
		wantProblem(t, err, problem.NotFound, "no_such_approval")
		_, err = w.queue.Revoke(t.Context(), w.ada, id, "because")
		wantProblem(t, err, problem.NotFound, "no_such_approval")
		wantProblem(t, w.queue.Outcome(t.Context(), w.gateway, id, Outcome{Status: Failed}), problem.NotFound, "no_such_redemption")
	}
}

// quorum makes approvals need two votes, and denials as many as given.
func (w *world) quorum(approve, deny int) {
	w.change(func(l *law) { l.approval.Quorum, l.approval.DenyQuorum = approve, deny })
}

func TestVoteQuorum(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.quorum(2, 2)
	r := w.vote(w.ada, w.ask(w.call(1)), Approve)
	if r.State != Pending || r.Version != 2 {
		t.Fatalf("after one of two votes: %+v", r)
	}
	_, err := w.queue.Vote(t.Context(), w.ada, r.ID, on(r, Approve))
	wantProblem(t, err, problem.Conflict, "already_voted")
	if r = w.vote(w.grace, r, Approve); r.State != Approved {
		t.Errorf("after two of two votes: %+v", r)
	}
	_, err = w.queue.Vote(t.Context(), w.grace, r.ID, on(r, Deny))
	wantProblem(t, err, problem.Conflict, "not_pending")
}

func TestVoteDenyQuorum(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.quorum(2, 2)
	r := w.vote(w.ada, w.ask(w.call(1)), Deny)
	if r.State != Pending {
		t.Fatalf("after one of two votes to deny: %+v", r)
	}
	if r = w.vote(w.grace, r, Deny); r.State != Denied {
		t.Errorf("after two of two votes to deny: %+v", r)
	}
}

func TestVoteDenialWins(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.quorum(2, 1)
	r := w.vote(w.ada, w.ask(w.call(1)), Approve)
	if r = w.vote(w.grace, r, Deny); r.State != Denied {
		t.Errorf("one approval, one denial of one: %+v", r)
	}
}

// TestVoteOfAMemberRemovedSince: a vote ends to count when its voter leaves the team before the quorum is met.
func TestVoteOfAMemberRemovedSince(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.quorum(2, 1)
	r := w.vote(w.ada, w.ask(w.call(1)), Approve)
	w.exec(`update people set groups = '{}' where id = 'per_ada'`)
	if r = w.vote(w.grace, r, Approve); r.State != Pending {
		t.Fatalf("the vote of somebody who left met the quorum: %+v", r)
	}
	w.exec(`update people set groups = '{orders-team}' where id in ('per_ada', 'per_eve')`)
	d, err := w.queue.Detail(t.Context(), w.eve, r.ID)
	if err != nil || len(d.Votes) != 2 || !d.Votes[0].Counts {
		t.Fatalf("got %+v, %v; want two votes that count again", d.Votes, err)
	}
	if r = w.vote(w.eve, r, Approve); r.State != Approved {
		t.Errorf("with all three in the team: %+v", r)
	}
}

func TestVoteAfterPolicyDenies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.ask(w.call(1))
	w.change(func(l *law) { l.outcome, l.reason = policy.Deny, policy.ReasonNoGrant })
	_, err := w.queue.Vote(t.Context(), w.ada, r.ID, on(r, Approve))
	if p := wantProblem(t, err, problem.Conflict, "not_pending"); p.Fields["state"] != "superseded" {
		t.Errorf("the current state is told as %q", p.Fields["state"])
	}
	w.wantState(r, Superseded)
	w.wantEvents(r, "approval.requested", "approval.superseded", "approval.refused")
}

func TestVoteAfterDrift(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.ask(w.call(1))
	w.change(func(l *law) { l.pinned[0] ^= 1 })
	_, err := w.queue.Vote(t.Context(), w.ada, r.ID, on(r, Approve))
	wantProblem(t, err, problem.Conflict, "not_pending")
	w.wantState(r, Superseded)
}

// TestVoteToDenyNeedsNoPolicy: whatever the policy says, a call can be denied.
func TestVoteToDenyNeedsNoPolicy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.ask(w.call(1))
	w.queue.cfg.Evaluate = func(context.Context, string, policy.Request) (Evaluation, error) {
		return Evaluation{}, problem.New(problem.Unavailable, "policy_behind", "Later.")
	}
	_, err := w.queue.Vote(t.Context(), w.ada, r.ID, on(r, Approve))
	wantProblem(t, err, problem.Unavailable, "policy_behind")
	w.vote(w.ada, r, Deny)
	w.wantState(r, Denied)
}

// TestVoteAfterTermsChanged: a page that was left open over a change of who decides, or of how many, is stale.
func TestVoteAfterTermsChanged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.ask(w.call(1))
	w.quorum(2, 1)
	_, err := w.queue.Vote(t.Context(), w.ada, r.ID, on(r, Approve))
	if p := wantProblem(t, err, problem.Conflict, "version_changed"); p.Fields["version"] != "2" {
		t.Errorf("the current version is told as %q", p.Fields["version"])
	}
	r.Version = 2
	if r = w.vote(w.ada, r, Approve); r.State != Pending {
		t.Errorf("one of two votes: %+v", r)
	}
	w.change(func(l *law) { l.approval.OwningTeam, l.approval.Teams = false, []string{"tem_other"} })
	_, err = w.queue.Vote(t.Context(), w.grace, r.ID, on(r, Approve))
	wantProblem(t, err, problem.Forbidden, "not_a_member")
}

func TestVoteWhilePolicyChanges(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.ask(w.call(1))
	var once sync.Once
	w.law.meanwhile = func() {
		once.Do(func() { w.change(func(l *law) { l.outcome, l.reason = policy.Deny, policy.ReasonNoGrant }) })
	}
	_, err := w.queue.Vote(t.Context(), w.ada, r.ID, on(r, Approve))
	wantProblem(t, err, problem.Conflict, "not_pending")
	w.wantState(r, Superseded)
}

// TestVoteRace lets people vote at once, on two replicas, and looks at what is left: never two decisions,
// never an approval short of its quorum, never one beside a denial.
func TestVoteRace(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name          string
		approve, deny int
		votes         []Decision // of ada, ada in another tab, grace and eve
		want          map[State]bool
	}{
		{"two approve, two are needed", 2, 1, []Decision{Approve, "", Approve, ""}, map[State]bool{Pending: true, Approved: true}},
		{"one person in two tabs, two are needed", 2, 1, []Decision{Approve, Approve, "", ""}, map[State]bool{Pending: true}},
		{"approve and deny, one is enough", 1, 1, []Decision{Approve, "", Deny, ""}, map[State]bool{Approved: true, Denied: true}},
		{"three approve, one is enough", 1, 1, []Decision{Approve, "", Approve, Approve}, map[State]bool{Approved: true}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.exec(`update people set groups = '{orders-team}' where id = 'per_eve'`)
			w.quorum(test.approve, test.deny)
			queues := []*Queue{w.queue, w.queueOn(w.db.NewPool(t))}
			people := []identity.Principal{w.ada, w.ada, w.grace, w.eve}
			for round := range 20 {
				w.raceVotes(queues, people, test.votes, w.ask(w.call(round)), test.want)
			}
		})
	}
}

func (w *world) raceVotes(queues []*Queue, people []identity.Principal, votes []Decision, r Request, want map[State]bool) {
	w.t.Helper()
	var wg sync.WaitGroup
	for i, decision := range votes {
		if decision == "" {
			continue
		}
		wg.Go(func() {
			_, err := queues[i%2].Vote(context.Background(), people[i], r.ID, on(r, decision))
			if err != nil && !problem.Is(err, problem.Conflict) {
				w.t.Errorf("Vote: %v", err)
			}
		})
	}
	wg.Wait()
	state := w.state(r)
	if !want[state] {
		w.t.Errorf("the request is %s", state)
	}
	decisions := read[int](w, `select count(*) from audit_events where target_id = $1 and kind in ('approval.approved', 'approval.denied')`, r.ID)
	if decided := state != Pending; decided != (decisions == 1) {
		w.t.Errorf("%s after %d decisions", state, decisions)
	}
	counted := read[int](w, `select count(*) from votes where approval_id = $1`, r.ID)
	recorded := read[int](w, `select count(*) from audit_events where target_id = $1 and kind = 'approval.voted'`, r.ID)
	if counted != recorded || counted == 0 {
		w.t.Errorf("%d votes, %d events", counted, recorded)
	}
}

package approvals

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"countersign/policy"
)

func TestTermsOfAVerdict(t *testing.T) {
	t.Parallel()
	verdict := policy.Verdict{Server: &policy.Server{Team: "tem_owner"}, Approval: &policy.Approval{
		OwningTeam: true, Teams: []string{"tem_z", "tem_a", "tem_z"},
		Alternatives: []policy.Approvers{{Quorum: 2, OwningTeam: true}, {Quorum: 3, Teams: []string{"tem_b"}}},
		Fallback:     &policy.Fallback{AfterSeconds: 60, Teams: []string{"tem_f"}},
		StepUp:       &policy.StepUp{ACR: []string{}},
		BreakGlass:   &policy.BreakGlass{OwningTeam: true},
	}}
	got := demanded(verdict)
	want := policy.Approval{
		Quorum: 1, DenyQuorum: 1, Teams: []string{"tem_a", "tem_owner", "tem_z"},
		Alternatives: []policy.Approvers{{Quorum: 2, Teams: []string{"tem_owner"}}, {Quorum: 3, Teams: []string{"tem_b"}}},
		Fallback:     &policy.Fallback{AfterSeconds: 60, Quorum: 1, Teams: []string{"tem_f"}},
		StepUp:       &policy.StepUp{ACR: []string{}}, // that nobody meets
		BreakGlass:   &policy.BreakGlass{Teams: []string{"tem_owner"}},
	}
	if diff := cmp.Diff(want, got.demand); diff != "" {
		t.Error(diff)
	}
	if quorum, teams := got.summary(); quorum != 1 || !cmp.Equal(teams, []string{"tem_a", "tem_b", "tem_owner", "tem_z"}) {
		t.Errorf("in short: %d of %v", quorum, teams)
	}
	got.escalated = true
	if _, teams := got.summary(); !cmp.Equal(teams, []string{"tem_a", "tem_b", "tem_f", "tem_owner", "tem_z"}) {
		t.Errorf("with the fallback: %v", teams)
	}
	text, err := json.Marshal(got.demand)
	if err != nil {
		t.Fatal(err)
	}
	var stored terms
	if err := json.Unmarshal(text, &stored.demand); err != nil || !stored.equal(terms{demand: want}) {
		t.Errorf("the database would give back %+v, %v", stored.demand, err)
	}
	if nobody := demanded(policy.Verdict{}); nobody.count([]ballot{{Decision: Approve, Teams: []string{"tem_owner"}}}).approved {
		t.Error("a hold that says nothing can be lifted")
	}
}

// demand is two of Orders, or one of Leads; two denials; after a minute one of Night.
func demand(change ...func(*policy.Approval)) terms {
	a := policy.Approval{
		Quorum: 2, DenyQuorum: 2, Teams: []string{"orders"},
		Alternatives: []policy.Approvers{{Quorum: 1, Teams: []string{"leads"}}},
		Fallback:     &policy.Fallback{AfterSeconds: 60, Quorum: 1, Teams: []string{"night"}},
		StepUp:       &policy.StepUp{MaxAgeSeconds: 300, MFA: true, ACR: []string{"gold", "silver"}},
		Scope:        &policy.Scope{MaxUses: 5, MaxSeconds: 600, Free: []string{"note", "order"}},
		BreakGlass:   &policy.BreakGlass{Teams: []string{"orders"}},
	}
	for _, c := range change {
		c(&a)
	}
	return terms{demand: a}
}

// TestCovers asks of each change of policy whether an approval that was given before it is still good.
func TestCovers(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		change func(*policy.Approval)
		covers bool
	}{
		{"nothing", func(*policy.Approval) {}, true},
		{"more votes", func(a *policy.Approval) { a.Quorum = 3 }, false},
		{"fewer votes", func(a *policy.Approval) { a.Quorum = 1 }, true},
		{"one team more", func(a *policy.Approval) { a.Teams = []string{"orders", "other"} }, true},
		{"another team", func(a *policy.Approval) { a.Teams = []string{"other"} }, false},
		{"no alternative", func(a *policy.Approval) { a.Alternatives = nil }, false},
		{"more votes of the alternative", func(a *policy.Approval) { a.Alternatives[0].Quorum = 2 }, false},
		{"one alternative more", func(a *policy.Approval) {
			a.Alternatives = append(a.Alternatives, policy.Approvers{Quorum: 1, Teams: []string{"x"}})
		}, true},
		{"the ways in another order", func(a *policy.Approval) {
			a.Quorum, a.Teams, a.Alternatives = 1, []string{"leads"}, []policy.Approvers{{Quorum: 2, Teams: []string{"orders"}}}
		}, true},
		{"one denial is enough", func(a *policy.Approval) { a.DenyQuorum = 1 }, false},
		{"three denials", func(a *policy.Approval) { a.DenyQuorum = 3 }, true},
		{"callers are to be proven", func(a *policy.Approval) { a.Evidence = true }, false},
		{"who made the grant may not", func(a *policy.Approval) { a.NotGranter = true }, false},
		{"a fresher sign-in", func(a *policy.Approval) { a.StepUp.MaxAgeSeconds = 60 }, false},
		{"an older sign-in", func(a *policy.Approval) { a.StepUp.MaxAgeSeconds = 600 }, true},
		{"a sign-in of any age", func(a *policy.Approval) { a.StepUp.MaxAgeSeconds = 0 }, true},
		{"one factor", func(a *policy.Approval) { a.StepUp.MFA = false }, true},
		{"one class less", func(a *policy.Approval) { a.StepUp.ACR = []string{"gold"} }, false},
		{"one class more", func(a *policy.Approval) { a.StepUp.ACR = []string{"bronze", "gold", "silver"} }, true},
		{"no class is good", func(a *policy.Approval) { a.StepUp.ACR = []string{} }, false},
		{"any sign-in", func(a *policy.Approval) { a.StepUp = nil }, true},
		{"less time to decide", func(a *policy.Approval) { a.PendingSeconds = 1 }, true},
		{"no fallback, which was not asked", func(a *policy.Approval) { a.Fallback = nil }, true},
		{"no break-glass, which was not broken", func(a *policy.Approval) { a.BreakGlass = nil }, true},
		{"nothing but the call", func(a *policy.Approval) { a.Scope = nil }, true}, // what it allowed beside is judged by itself
	} {
		now := demand(test.change)
		if got := now.covers(demand()); got != test.covers {
			t.Errorf("%s: covers %v", test.name, got)
		}
	}
	for _, test := range []struct {
		name   string
		change func(now, old *terms)
		covers bool
	}{
		{"any sign-in, then this one", func(_, old *terms) { old.demand.StepUp = nil }, false},
		{"made by somebody else", func(now, _ *terms) { now.granters = []string{"per_ada"} }, false},
		{"made by fewer", func(_, old *terms) { old.granters = []string{"per_ada"} }, true},
		{"the fallback was asked", func(_, old *terms) { old.escalated = true }, true},
		{"the fallback was asked, and would be later", func(now, old *terms) { old.escalated, now.demand.Fallback.AfterSeconds = true, 61 }, false},
		{"the fallback was asked, and is gone", func(now, old *terms) { old.escalated, now.demand.Fallback = true, nil }, false},
		{"the fallback was asked, and is another", func(now, old *terms) { old.escalated, now.demand.Fallback.Teams = true, []string{"x"} }, false},
		{"the glass was broken", func(now, old *terms) { old.emergency, now.demand.Quorum = true, 20 }, true},
		{"the glass was broken, and is gone", func(now, old *terms) { old.emergency, now.demand.BreakGlass = true, nil }, false},
		{"the glass was broken by others", func(now, old *terms) { old.emergency, now.demand.BreakGlass.Teams = true, []string{"x"} }, false},
	} {
		now, old := demand(), demand()
		test.change(&now, &old)
		if got := now.covers(old); got != test.covers {
			t.Errorf("%s: covers %v", test.name, got)
		}
	}
}

// TestCount counts votes by the terms of demand. A vote says who, by the teams, and how they signed in.
func TestCount(t *testing.T) {
	t.Parallel()
	at := time.Unix(1_700_000_000, 0)
	yes := func(teams ...string) ballot {
		return ballot{
			Decision: Approve, Teams: teams, AMR: []string{"pwd", "otp"}, ACR: "gold", At: at, AuthTime: at.Add(-5 * time.Minute),
			Scope: &Scope{Uses: 3, Within: time.Minute, Free: []string{"order"}},
		}
	}
	no := func(teams ...string) ballot { return ballot{Decision: Deny, Teams: teams, At: at} }
	but := func(b ballot, change func(*ballot)) ballot { change(&b); return b }
	for _, test := range []struct {
		name             string
		votes            []ballot
		approved, denied bool
	}{
		{"nobody", nil, false, false},
		{"one of Orders", []ballot{yes("orders")}, false, false},
		{"two of Orders", []ballot{yes("orders"), yes("orders")}, true, false},
		{"one of Leads", []ballot{yes("leads")}, true, false},
		{"one of both", []ballot{yes("leads", "orders")}, true, false},
		{"one of Orders, one of Night", []ballot{yes("orders"), yes("night")}, false, false},
		{"one of none", []ballot{yes()}, false, false},
		{"one denies", []ballot{no("orders")}, false, false},
		{"two deny, of whatever teams", []ballot{no("orders"), no("leads")}, false, true},
		{"two deny, one approves", []ballot{no("orders"), yes("leads"), no("orders")}, true, true},
		{"one factor", []ballot{but(yes("leads"), func(b *ballot) { b.AMR = []string{"pwd"} })}, false, false},
		{"no class", []ballot{but(yes("leads"), func(b *ballot) { b.ACR = "" })}, false, false},
		{"too long ago", []ballot{but(yes("leads"), func(b *ballot) { b.AuthTime = at.Add(-5*time.Minute - 1) })}, false, false},
		{"nobody knows when", []ballot{but(yes("leads"), func(b *ballot) { b.AuthTime = time.Time{} })}, false, false},
		{"in time to come", []ballot{but(yes("leads"), func(b *ballot) { b.AuthTime = at.Add(time.Hour) })}, false, false},
		{"one of two too long ago", []ballot{yes("orders"), but(yes("orders"), func(b *ballot) { b.AuthTime = at.Add(-time.Hour) })}, false, false},
	} {
		terms := demand()
		if got := terms.count(test.votes); got.approved != test.approved || got.denied != test.denied {
			t.Errorf("%s: %+v", test.name, got)
		}
	}
	escalated := demand()
	escalated.escalated = true
	if !escalated.count([]ballot{yes("night")}).approved || escalated.count([]ballot{yes("orders")}).approved {
		t.Error("the fallback is no alternative")
	}
}

func TestScopeOfSeveralVotes(t *testing.T) {
	t.Parallel()
	vote := func(s *Scope) ballot { return ballot{Decision: Approve, Teams: []string{"orders"}, Scope: s} }
	wide := &Scope{Uses: 5, Within: 10 * time.Minute, Free: []string{"note", "order"}}
	for _, test := range []struct {
		name  string
		votes []ballot
		want  *Scope
	}{
		{"all there is", []ballot{vote(wide), vote(wide)}, wide},
		{
			"the narrower of each",
			[]ballot{
				vote(&Scope{Uses: 2, Within: 10 * time.Minute, Free: []string{"order"}}), vote(&Scope{Uses: 4, Within: time.Minute, Free: []string{"note", "order"}}),
			},
			&Scope{Uses: 2, Within: time.Minute, Free: []string{"order"}},
		},
		{"one allows nothing", []ballot{vote(wide), vote(nil), vote(wide)}, nil},
		{"who denies has no say in it", []ballot{vote(wide), {Decision: Deny}}, wide},
		{
			"wider than the policy is by now",
			[]ballot{vote(&Scope{Uses: 50, Within: time.Hour, Free: []string{"order", "x"}})},
			&Scope{Uses: 5, Within: 10 * time.Minute, Free: []string{"order"}},
		},
	} {
		terms := demand(func(a *policy.Approval) { a.StepUp = nil })
		if diff := cmp.Diff(test.want, terms.count(test.votes).scope); diff != "" {
			t.Errorf("%s: %s", test.name, diff)
		}
	}
	none := demand(func(a *policy.Approval) { a.StepUp, a.Scope = nil, nil })
	if got := none.count([]ballot{vote(wide)}).scope; got != nil {
		t.Errorf("the policy allows none, and it is %+v", got)
	}
}

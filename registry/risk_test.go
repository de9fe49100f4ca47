package registry

import (
	"strings"
	"sync"
	"testing"

	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
)

// colleague is another member of the team orders.
func (w *world) colleague() identity.Principal {
	w.t.Helper()
	p := w.person("otto", identity.Viewer)
	p.Teams = []string{w.team}
	return p
}

// pinned registers a server with one tool that says nothing of its risk, and pins it.
func (w *world) pinned() (Server, Tool) {
	w.t.Helper()
	s := w.register("orders", tools(tool("list", "v1")))
	w.pinAll(s)
	return s, w.tools(s.ID)["list"]
}

func (w *world) openProposals() []RiskProposal {
	w.t.Helper()
	open, err := w.RiskProposals(w.ctx, w.viewer, true, "")
	w.must(err)
	return open
}

func TestPinBelowWhatTheServerSuggests(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.register("orders", tools(tool("list", "v1"), tool("mark", "v1", `"destructiveHint":false`), tool("read", "v1", `"readOnlyHint":true`)))
	served := w.tools(s.ID)
	pins := func(list, mark, read policy.Risk) []Pin {
		return []Pin{{served["list"].Served.ID, list}, {served["mark"].Served.ID, mark}, {served["read"].Served.ID, read}}
	}
	p := wantProblem(t, w.Pin(w.ctx, w.owner, s.ID, pins(policy.ReadOnly, policy.Write, policy.ReadOnly), ""), problem.Invalid, "invalid_pin")
	if len(p.Fields) != 1 || p.Fields[served["list"].Served.ID] != "list counts as destructive. Proposing a lower risk needs a reason." {
		t.Errorf("fields %v", p.Fields)
	}
	w.must(w.Pin(w.ctx, w.owner, s.ID, pins(policy.ReadOnly, policy.Destructive, policy.ReadOnly), "It only lists."))
	for name, want := range map[string]policy.Risk{"list": policy.Destructive, "mark": policy.Destructive, "read": policy.ReadOnly} {
		if got := w.tools(s.ID)[name].Risk; got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	open := w.openProposals()
	if len(open) != 1 {
		t.Fatalf("open: %+v", open)
	}
	got := open[0]
	if got.ToolName != "list" || got.From != policy.Destructive || got.To != policy.ReadOnly || got.Reason != "It only lists." ||
		got.ProposedBy != w.owner.ID || got.ProposedByName != "OLGA" || got.State != RiskOpen || got.ServerName != s.Name || got.TeamID != w.team {
		t.Errorf("proposal %+v", got)
	}
	if w.events("risk.proposed") != 1 || w.events("definition.pinned") != 3 {
		t.Error("events")
	}
}

func TestLowerRiskTakesTwo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	otto := w.colleague()
	_, list := w.pinned()
	p, err := w.ProposeRisk(w.ctx, w.owner, list.Pinned.ID, policy.Write, "It only marks.")
	w.must(err)
	before := w.generation()

	_, err = w.DecideRisk(w.ctx, w.owner, p.ID, true, "me again")
	wantProblem(t, err, problem.Forbidden, "own_proposal")
	_, err = w.DecideRisk(w.ctx, w.owner, p.ID, false, "never mind")
	wantProblem(t, err, problem.Forbidden, "own_proposal")
	if w.events("access.refused") != 2 {
		t.Error("the refusals are not in the log")
	}
	for code, who := range map[string]identity.Principal{
		"not_allowed": w.viewer, "not_for_gateways": w.edge, "sign_in_required": {},
	} {
		_, err = w.DecideRisk(w.ctx, who, p.ID, true, "")
		if got := problem.From(err).Code; got != code {
			t.Errorf("got %v, want %s", err, code)
		}
	}
	machine := otto
	machine.SessionID = ""
	_, err = w.DecideRisk(w.ctx, machine, p.ID, true, "")
	wantProblem(t, err, problem.Forbidden, "interactive_only")
	_, err = w.DecideRisk(w.ctx, system, p.ID, true, "")
	wantProblem(t, err, problem.Forbidden, "interactive_only")
	_, err = w.DecideRisk(w.ctx, otto, p.ID, false, " ")
	wantProblem(t, err, problem.Invalid, "invalid_reason")
	_, err = w.DecideRisk(w.ctx, otto, "rsk_nobody", true, "")
	wantProblem(t, err, problem.NotFound, "no_such_proposal")
	if w.generation() != before {
		t.Error("a refusal moved the policy")
	}

	got, err := w.DecideRisk(w.ctx, otto, p.ID, true, "")
	w.must(err)
	if got.State != RiskApproved || got.DecidedBy != otto.ID || got.DecidedByName != "OTTO" || got.DecidedAt == nil {
		t.Errorf("proposal %+v", got)
	}
	if risk := w.snapshot(w.db.Runtime).Servers[0].Tools[0].Risk; risk != policy.Write || w.generation() != before+1 {
		t.Errorf("the policy says %s at +%d", risk, w.generation()-before)
	}
	_, err = w.DecideRisk(w.ctx, otto, p.ID, false, "second thoughts")
	wantProblem(t, err, problem.Conflict, "proposal_over")
	if w.events("risk.approved") != 1 {
		t.Error("events")
	}
	all, err := w.RiskProposals(w.ctx, w.viewer, false, list.ServerID)
	w.must(err)
	if len(all) != 1 || len(w.openProposals()) != 0 {
		t.Errorf("listed %+v", all)
	}
}

// The table is the second wall.
func TestOneRowForTwoPeople(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, list := w.pinned()
	p, err := w.ProposeRisk(w.ctx, w.owner, list.Pinned.ID, policy.Write, "It only marks.")
	w.must(err)
	_, err = w.db.Runtime.Exec(w.ctx, `update risk_proposals set state = 'approved', decided_by = proposed_by where id = $1`, p.ID)
	if err == nil || !strings.Contains(err.Error(), "risk_proposals_two_people") {
		t.Errorf("the database let one person do it: %v", err)
	}
}

func TestProposeRiskRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s, list := w.pinned()
	w.observe(s.ID, false, tool("list", "v1"), tool("new", "v1"))
	propose := func(who identity.Principal, definition string, to policy.Risk, reason string) error {
		_, err := w.ProposeRisk(w.ctx, who, definition, to, reason)
		return err
	}
	wantProblem(t, propose(w.owner, list.Pinned.ID, policy.Write, " "), problem.Invalid, "invalid_risk")
	wantProblem(t, propose(w.owner, list.Pinned.ID, policy.Write, "a\u200bb"), problem.Invalid, "invalid_risk")
	wantProblem(t, propose(w.owner, list.Pinned.ID, policy.Destructive, "why not"), problem.Invalid, "invalid_risk")
	wantProblem(t, propose(w.owner, list.Pinned.ID, "harmless", "why not"), problem.Invalid, "invalid_risk")
	wantProblem(t, propose(w.viewer, list.Pinned.ID, policy.Write, "why not"), problem.Forbidden, "not_allowed")
	wantProblem(t, propose(system, list.Pinned.ID, policy.Write, "why not"), problem.Forbidden, "interactive_only")
	wantProblem(t, propose(w.owner, "def_nobody", policy.Write, "why not"), problem.NotFound, "no_such_definition")
	wantProblem(t, propose(w.owner, w.tools(s.ID)["new"].Served.ID, policy.ReadOnly, "why not"), problem.Conflict, "definition_changed")
	w.must(propose(w.owner, list.Pinned.ID, policy.Write, "It only marks."))
	wantProblem(t, propose(w.owner, list.Pinned.ID, policy.ReadOnly, "It only reads."), problem.Conflict, "proposal_open")
	if len(w.openProposals()) != 1 {
		t.Error("more than one is open")
	}
}

func TestWhatMakesAProposalVoid(t *testing.T) {
	t.Parallel()
	for what, tt := range map[string]struct {
		do   func(w *world, s Server, list Tool)
		want string
	}{
		"another definition is pinned": {func(w *world, s Server, _ Tool) {
			w.observe(s.ID, true, tool("list", "v2"))
			w.must(w.Pin(w.ctx, w.owner, s.ID, []Pin{{w.tools(s.ID)["list"].Served.ID, policy.Write}}, ""))
		}, RiskSuperseded},
		"the risk is raised": {func(w *world, s Server, list Tool) {
			w.must(w.Pin(w.ctx, w.owner, s.ID, []Pin{{list.Pinned.ID, policy.Destructive}}, ""))
		}, RiskSuperseded},
		"the same is pinned as it was": {func(w *world, s Server, list Tool) {
			w.must(w.Pin(w.ctx, w.owner, s.ID, []Pin{{list.Pinned.ID, policy.Write}}, ""))
		}, RiskOpen},
		"the server moves": {func(w *world, s Server, _ Tool) {
			_, _, err := w.Move(w.ctx, w.owner, s.ID, w.server(s.ID).Version, Location{Transport: StreamableHTTP, URL: "https://new.acme.example/mcp"})
			w.must(err)
		}, RiskSuperseded},
		"the server retires": {func(w *world, s Server, _ Tool) {
			_, err := w.SetState(w.ctx, w.owner, s.ID, w.server(s.ID).Version, Retired, "")
			w.must(err)
		}, RiskSuperseded},
		"the tool drifts": {func(w *world, s Server, _ Tool) { w.observe(s.ID, true, tool("list", "v2")) }, RiskOpen},
		"it is withdrawn": {func(w *world, _ Server, _ Tool) {
			w.must(w.WithdrawRisk(w.ctx, w.owner, w.openProposals()[0].ID))
		}, RiskWithdrawn},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			s := w.register("orders", tools(tool("list", "v1", `"destructiveHint":false`)))
			w.pinAll(s)
			list := w.tools(s.ID)["list"]
			p, err := w.ProposeRisk(w.ctx, w.owner, list.Pinned.ID, policy.ReadOnly, "It only reads.")
			w.must(err)
			tt.do(w, s, list)
			got, err := w.RiskProposal(w.ctx, w.viewer, p.ID)
			w.must(err)
			if got.State != tt.want {
				t.Errorf("it is %s, want %s", got.State, tt.want)
			}
		})
	}
}

// What slipped past the rules above is found when it is approved.
func TestApprovingWhatIsNotPinnedAnyMore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	otto := w.colleague()
	_, list := w.pinned()
	p, err := w.ProposeRisk(w.ctx, w.owner, list.Pinned.ID, policy.Write, "It only marks.")
	w.must(err)
	_, err = w.db.Owner.Exec(w.ctx, `update tools set pinned_id = null where id = $1`, list.ID)
	w.must(err)
	_, err = w.DecideRisk(w.ctx, otto, p.ID, true, "")
	wantProblem(t, err, problem.Conflict, "definition_changed")
	if got, _ := w.RiskProposal(w.ctx, w.viewer, p.ID); got.State != RiskSuperseded {
		t.Errorf("it is %s", got.State)
	}
	if got := w.tools(list.ServerID)["list"]; got.Risk != policy.Destructive {
		t.Errorf("the tool is %s", got.Risk)
	}
}

func TestWithdrawRisk(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	otto := w.colleague()
	_, list := w.pinned()
	p, err := w.ProposeRisk(w.ctx, w.owner, list.Pinned.ID, policy.Write, "It only marks.")
	w.must(err)
	wantProblem(t, w.WithdrawRisk(w.ctx, otto, p.ID), problem.Forbidden, "not_your_proposal")
	wantProblem(t, w.WithdrawRisk(w.ctx, system, p.ID), problem.Forbidden, "interactive_only")
	wantProblem(t, w.WithdrawRisk(w.ctx, w.owner, "rsk_nobody"), problem.NotFound, "no_such_proposal")
	w.must(w.WithdrawRisk(w.ctx, w.owner, p.ID))
	wantProblem(t, w.WithdrawRisk(w.ctx, w.owner, p.ID), problem.Conflict, "proposal_over")
	if w.events("risk.withdrawn") != 1 {
		t.Error("events")
	}
	declined, err := w.ProposeRisk(w.ctx, w.owner, list.Pinned.ID, policy.Write, "Please.")
	w.must(err)
	got, err := w.DecideRisk(w.ctx, otto, declined.ID, false, "It deletes.")
	w.must(err)
	if got.State != RiskDeclined || got.DecisionReason != "It deletes." || w.events("risk.declined") != 1 {
		t.Errorf("declined %+v", got)
	}
}

// Many who decide at once: one of them does.
func TestDecideRiskOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	otto := w.colleague()
	_, list := w.pinned()
	p, err := w.ProposeRisk(w.ctx, w.owner, list.Pinned.ID, policy.Write, "It only marks.")
	w.must(err)
	var wg sync.WaitGroup
	results := make([]error, 8)
	for i := range results {
		wg.Go(func() { _, results[i] = w.DecideRisk(w.ctx, otto, p.ID, i%2 == 0, "looked") })
	}
	wg.Wait()
	won := 0
	for _, err := range results {
		if err == nil {
			won++
		} else {
			wantProblem(t, err, problem.Conflict, "proposal_over")
		}
	}
	if won != 1 || w.events("risk.approved")+w.events("risk.declined") != 1 {
		t.Errorf("%d decided", won)
	}
}

package registry

import (
	"pgregory.net/rapid"

	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
)

// The steps of the state machine that people take, apart from pins: proposals of a lower risk, and notes.

var machineRisks = []policy.Risk{policy.ReadOnly, policy.Write, policy.Destructive}

func (m *driftMachine) person(rt *rapid.T) identity.Principal {
	return m.people[rapid.IntRange(0, len(m.people)-1).Draw(rt, "person")]
}

// pin is what a pin of the served text makes of the model. The texts of this machine suggest read_only.
func (t *modelTool) pin(who identity.Principal, risk policy.Risk) {
	floor := t.risk
	if floor == "" {
		floor = policy.ReadOnly
	}
	if t.pinned != t.served || risk != t.risk {
		t.open = nil
	}
	if weaker(risk, floor) {
		t.open = &modelProposal{risk, who.ID}
		risk = floor
	}
	t.pinned, t.held, t.risk = t.served, false, risk
}

// keepHeld changes nothing of what is callable.
func (m *driftMachine) keepHeld(rt *rapid.T) {
	name := rapid.SampledFrom(machineNames).Draw(rt, "name")
	tool, known := m.current(rt)[name]
	if !known {
		rt.Skip("unknown")
	}
	served := ""
	if tool.Served != nil {
		served = tool.Served.ID
	}
	err := m.w.KeepHeld(m.w.ctx, m.person(rt), tool.ID, served, "asked the vendor")
	if (err == nil) != m.model[name].held {
		rt.Fatalf("keeping %s held: %v; %+v", name, err, *m.model[name])
	}
}

// propose asks for a lower risk of what is pinned.
func (m *driftMachine) propose(rt *rapid.T) {
	name := rapid.SampledFrom(machineNames).Draw(rt, "name")
	tool, known := m.current(rt)[name]
	if !known || tool.Pinned == nil {
		rt.Skip("not pinned")
	}
	who, to, model := m.person(rt), rapid.SampledFrom(machineRisks).Draw(rt, "risk"), m.model[name]
	_, err := m.w.ProposeRisk(m.w.ctx, who, tool.Pinned.ID, to, "it only reads")
	want := weaker(to, model.risk) && model.open == nil
	if (err == nil) != want {
		rt.Fatalf("proposing %s for %s: %v; %+v", to, name, err, *model)
	}
	if want {
		model.open = &modelProposal{to, who.ID}
	}
}

// decide has anybody decide on any open proposal: it counts only if it is another person.
func (m *driftMachine) decide(rt *rapid.T) {
	p, model := m.openProposal(rt)
	who, approve := m.person(rt), rapid.Bool().Draw(rt, "approve")
	_, err := m.w.DecideRisk(m.w.ctx, who, p.ID, approve, "looked at it")
	if who.ID == model.open.by {
		if !problem.Is(err, problem.Forbidden) {
			rt.Fatalf("the proposer decided: %v", err)
		}
		return
	}
	if err != nil {
		rt.Fatal(err)
	}
	if approve {
		model.risk = model.open.to
		m.lowered++
	}
	model.open = nil
}

func (m *driftMachine) withdraw(rt *rapid.T) {
	p, model := m.openProposal(rt)
	who := m.person(rt)
	err := m.w.WithdrawRisk(m.w.ctx, who, p.ID)
	if (err == nil) != (who.ID == model.open.by) {
		rt.Fatalf("withdrawing: %v", err)
	}
	if err == nil {
		model.open = nil
	}
}

// openProposal picks one; those of the registry must be those of the model.
func (m *driftMachine) openProposal(rt *rapid.T) (RiskProposal, *modelTool) {
	open, err := m.w.RiskProposals(m.w.ctx, m.w.viewer, true, m.server.ID)
	if err != nil {
		rt.Fatal(err)
	}
	want := 0
	for _, tool := range m.model {
		if tool.open != nil {
			want++
		}
	}
	if len(open) != want {
		rt.Fatalf("%d proposals are open, want %d", len(open), want)
	}
	if len(open) == 0 {
		rt.Skip("nothing is proposed")
	}
	p := open[rapid.IntRange(0, len(open)-1).Draw(rt, "proposal")]
	model := m.model[p.ToolName]
	if model.open == nil || model.open.to != p.To || model.open.by != p.ProposedBy || model.risk != p.From {
		rt.Fatalf("proposal %+v, want %+v", p, model)
	}
	return p, model
}

package registry

import (
	"encoding/json"
	"flag"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"countersign/client"
	"countersign/identity"
	"countersign/policy"
)

// driftMachine drives one server with gateways that report whatever they like and a person who pins now and then,
// and keeps a model beside it that is too simple to be wrong.
type driftMachine struct {
	w        *world
	server   Server
	gateways []identity.Principal
	people   []identity.Principal  // of the owning team
	model    map[string]*modelTool // by name
	pins     int
	lowered  int // approved by a second person

	looked     bool                   // the step was a look of a gateway
	compiled   map[string]policy.Tool // at the last check
	held       int
	generation int64
}

// modelTool is what must be true of a tool.
type modelTool struct {
	pinned string // text that a person accepted; "" none
	served string // text served last; "" not offered
	held   bool
	risk   policy.Risk // "" before the first pin
	open   *modelProposal
}

// callable: nothing but exactly what a person accepted.
func (t *modelTool) callable() bool { return t.pinned != "" && t.served == t.pinned && !t.held }

type modelProposal struct {
	to policy.Risk
	by string // person
}

func TestDriftStateMachine(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	gateways := []identity.Principal{w.edge, w.gateway("edge-2", "*")}
	other := w.person("otto", identity.Viewer)
	other.Teams = []string{w.team}
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue { // each step asks a real database
		if err := flag.Set("rapid.checks", "25"); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		m := &driftMachine{w: w, gateways: gateways, people: []identity.Principal{w.owner, other}, model: map[string]*modelTool{}}
		m.server = w.register(fmt.Sprintf("machine-%d", n), tools())
		rt.Repeat(map[string]func(*rapid.T){
			"observe":      func(rt *rapid.T) { m.observe(rt, false) },
			"observe some": func(rt *rapid.T) { m.observe(rt, true) },
			"discover":     m.discover,
			"pin":          m.pin,
			"pin old":      m.pinOld,
			"reject":       m.reject,
			"keep held":    m.keepHeld,
			"propose":      m.propose,
			"decide":       m.decide,
			"withdraw":     m.withdraw,
			"":             m.check,
		})
	})
}

var machineNames = []string{"a", "b", "c"}

// serve draws what an endpoint serves, and what the model makes of it.
func (m *driftMachine) serve(rt *rapid.T, partial bool) []json.RawMessage {
	m.looked = true
	var raws []json.RawMessage
	present := map[string]bool{}
	for _, name := range machineNames {
		text := rapid.SampledFrom([]string{"", "v1", "v1", "v2", "v3", "twice"}).Draw(rt, name)
		tool := m.model[name]
		switch text {
		case "":
			continue
		case "twice":
			raws = append(raws, definitionOf(name, "v1"), definitionOf(name, "v1"))
			if tool != nil {
				tool.held = tool.held || tool.pinned != ""
				tool.served = ""
			}
		default:
			raws = append(raws, definitionOf(name, text))
			if tool == nil {
				tool = &modelTool{}
				m.model[name] = tool
			}
			tool.served = text
			tool.held = tool.held || tool.pinned != "" && tool.pinned != text
		}
		present[name] = true
	}
	for name, tool := range m.model {
		if !partial && !present[name] {
			tool.served = ""
		}
	}
	return raws
}

func definitionOf(name, text string) json.RawMessage { return tool(name, text, `"readOnlyHint":true`) }

func (m *driftMachine) observe(rt *rapid.T, partial bool) {
	raws := m.serve(rt, partial)
	_, err := m.w.Observe(m.w.ctx, rapid.SampledFrom(m.gateways).Draw(rt, "gateway"), client.Observation{
		ServerID: m.server.ID, EndpointDigest: m.server.Endpoint.Digest, Tools: raws, Partial: partial,
	})
	if err != nil {
		rt.Fatal(err)
	}
}

// discover is like an observation, but an offer with anything unreadable fails, and what is missing from it is
// unknown.
func (m *driftMachine) discover(rt *rapid.T) {
	if _, err := m.w.RequestDiscovery(m.w.ctx, m.w.owner, m.server.ID); err != nil {
		rt.Fatal(err)
	}
	job, ok, err := m.w.LeaseDiscovery(m.w.ctx, m.w.edge, client.LeaseRequest{})
	if err != nil || !ok {
		rt.Fatalf("leasing: %v, %v", ok, err)
	}
	before := map[string]string{}
	for name, tool := range m.model {
		before[name] = tool.served
	}
	raws := m.serve(rt, true)
	names := map[string]int{}
	for _, raw := range raws {
		var d struct{ Name string }
		if err := json.Unmarshal(raw, &d); err != nil {
			rt.Fatal(err)
		}
		names[d.Name]++
	}
	if err := m.w.Finish(m.w.ctx, m.w.edge, job.ID, client.Offer{Tools: raws}); err == nil {
		for name, tool := range m.model {
			if names[name] == 0 {
				tool.served = ""
			}
		}
	}
}

// current gives the tools as the registry has them.
func (m *driftMachine) current(rt *rapid.T) map[string]Tool {
	page, err := m.w.Tools(m.w.ctx, m.w.viewer, ToolFilter{ServerID: m.server.ID})
	if err != nil {
		rt.Fatal(err)
	}
	tools := map[string]Tool{}
	for _, t := range page.Items {
		tools[t.Name] = t
	}
	return tools
}

// pin accepts what a tool serves now, with any risk: what is too low is proposed.
func (m *driftMachine) pin(rt *rapid.T) {
	name := rapid.SampledFrom(machineNames).Draw(rt, "name")
	tool, known := m.current(rt)[name]
	if !known || tool.Served == nil {
		rt.Skip("not served")
	}
	who, risk := m.person(rt), rapid.SampledFrom(machineRisks).Draw(rt, "risk")
	if err := m.w.Pin(m.w.ctx, who, m.server.ID, []Pin{{tool.Served.ID, risk}}, "fine"); err != nil {
		rt.Fatalf("pinning what is served: %v", err)
	}
	m.pins++
	m.model[name].pin(who, risk)
}

// pinOld tries to accept something that is not served.
func (m *driftMachine) pinOld(rt *rapid.T) {
	name := rapid.SampledFrom(machineNames).Draw(rt, "name")
	tool, known := m.current(rt)[name]
	if !known {
		rt.Skip("unknown")
	}
	versions, err := m.w.Definitions(m.w.ctx, m.w.viewer, tool.ID)
	if err != nil {
		rt.Fatal(err)
	}
	for _, v := range versions {
		if tool.Served != nil && v.ID == tool.Served.ID {
			continue
		}
		if err := m.w.Pin(m.w.ctx, m.w.owner, m.server.ID, []Pin{{v.ID, policy.ReadOnly}}, "fine"); err == nil {
			rt.Fatalf("pinned v%d, which is not served", v.Number)
		}
	}
}

// reject changes nothing of what is callable.
func (m *driftMachine) reject(rt *rapid.T) {
	tool, known := m.current(rt)[rapid.SampledFrom(machineNames).Draw(rt, "name")]
	if !known || tool.Served == nil || tool.Served.State != Pending {
		rt.Skip("nothing pending")
	}
	if err := m.w.Reject(m.w.ctx, m.w.owner, m.server.ID, tool.Served.ID, "no"); err != nil {
		rt.Fatal(err)
	}
}

// check compares the registry, and what a compile reads of it, with the model.
func (m *driftMachine) check(rt *rapid.T) {
	tools, compiled := m.current(rt), m.compile()
	if len(tools) != len(m.model) {
		rt.Fatalf("%d tools, want %d", len(tools), len(m.model))
	}
	for name, want := range m.model {
		got := tools[name]
		if textOf(got.Pinned) != want.pinned || textOf(got.Served) != want.served || got.Held() != want.held || got.Risk != want.risk {
			rt.Fatalf("%s is pinned %q, served %q, held %v, %s; want %+v", name, textOf(got.Pinned), textOf(got.Served), got.Held(), got.Risk, *want)
		}
		c, inPolicy := compiled[name]
		if inPolicy != (want.pinned != "") || inPolicy && (c.Held == want.callable() || c.Risk != want.risk) {
			rt.Fatalf("%s is compiled as %+v, want %+v", name, c, *want)
		}
		if got.Pinned != nil && got.Pinned.State != Approved {
			rt.Fatalf("%s is pinned to a definition that is %s", name, got.Pinned.State)
		}
	}
	m.checkGeneration(rt, compiled, m.checkQueue(rt))
	m.checkLog(rt, "definition.pinned", m.pins)
	m.checkLog(rt, "risk.approved", m.lowered)
}

func (m *driftMachine) compile() map[string]policy.Tool {
	compiled := map[string]policy.Tool{}
	for _, s := range m.w.snapshot(m.w.db.Runtime).Servers {
		if s.ID == m.server.ID {
			for _, t := range s.Tools {
				compiled[t.Name] = t
			}
		}
	}
	return compiled
}

// checkQueue: everything that is held waits in the queue, with a severity, and nothing else.
func (m *driftMachine) checkQueue(rt *rapid.T) (held int) {
	page, err := m.w.Drifts(m.w.ctx, m.w.viewer, DriftFilter{ServerID: m.server.ID})
	if err != nil {
		rt.Fatal(err)
	}
	for _, tool := range m.model {
		if tool.held {
			held++
		}
	}
	for _, d := range page.Items {
		if !m.model[d.Name].held || d.Severity == "" {
			rt.Fatalf("%s is in the queue: %+v", d.Name, d)
		}
	}
	if len(page.Items) != held {
		rt.Fatalf("%d in the queue, want %d", len(page.Items), held)
	}
	return held
}

// checkGeneration: gateways hear of every change of what is callable, and a look that changes nothing is silent.
func (m *driftMachine) checkGeneration(rt *rapid.T, compiled map[string]policy.Tool, held int) {
	generation := m.w.generation()
	same := cmp.Equal(compiled, m.compiled)
	switch {
	case !same && generation == m.generation:
		rt.Fatalf("the policy changed, its generation did not: %v, then %v", m.compiled, compiled)
	case same && m.looked && held == m.held && generation != m.generation:
		rt.Fatal("a look changed nothing, and moved the generation")
	}
	m.compiled, m.held, m.generation, m.looked = compiled, held, generation, false
}

// checkLog: only a person pins, and only a second one lowers a risk.
func (m *driftMachine) checkLog(rt *rapid.T, kind string, want int) {
	n := m.w.count(`
		select count(*) from audit_events
		where kind = $1 and actor_kind = 'person' and detail ->> 'server_id' = $2`, kind, m.server.ID)
	all := m.w.count(`select count(*) from audit_events where kind = $1 and detail ->> 'server_id' = $2`, kind, m.server.ID)
	if n != want || all != want {
		rt.Fatalf("%s is %d times in the log, %d times by a person, want %d", kind, all, n, want)
	}
}

func textOf(d *Definition) string {
	if d == nil {
		return ""
	}
	return d.Text().Description
}

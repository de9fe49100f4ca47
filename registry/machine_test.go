package registry

import (
	"encoding/json"
	"flag"
	"fmt"
	"testing"

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
	model    map[string]*modelTool // by name
	pins     int
}

// modelTool is what must be true of a tool.
type modelTool struct {
	pinned string // text that a person accepted; "" none
	served string // text served last; "" not offered
	held   bool
}

func TestDriftStateMachine(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	gateways := []identity.Principal{w.edge, w.gateway("edge-2", "*")}
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue { // each step asks a real database
		if err := flag.Set("rapid.checks", "25"); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		m := &driftMachine{w: w, gateways: gateways, model: map[string]*modelTool{}}
		m.server = w.register(fmt.Sprintf("machine-%d", n), tools())
		rt.Repeat(map[string]func(*rapid.T){
			"observe":      func(rt *rapid.T) { m.observe(rt, false) },
			"observe some": func(rt *rapid.T) { m.observe(rt, true) },
			"discover":     m.discover,
			"pin":          m.pin,
			"pin old":      m.pinOld,
			"reject":       m.reject,
			"":             m.check,
		})
	})
}

var machineNames = []string{"a", "b", "c"}

// serve draws what an endpoint serves, and what the model makes of it.
func (m *driftMachine) serve(rt *rapid.T, partial bool) []json.RawMessage {
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

// pin accepts what a tool serves now.
func (m *driftMachine) pin(rt *rapid.T) {
	name := rapid.SampledFrom(machineNames).Draw(rt, "name")
	tool, known := m.current(rt)[name]
	if !known || tool.Served == nil {
		rt.Skip("not served")
	}
	if err := m.w.Pin(m.w.ctx, m.w.owner, m.server.ID, []Pin{{tool.Served.ID, policy.ReadOnly}}, "fine"); err != nil {
		rt.Fatalf("pinning what is served: %v", err)
	}
	m.pins++
	model := m.model[name]
	model.pinned, model.held = model.served, false
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
	tools := m.current(rt)
	if len(tools) != len(m.model) {
		rt.Fatalf("%d tools, want %d", len(tools), len(m.model))
	}
	compiled := map[string]policy.Tool{}
	for _, s := range m.w.snapshot(m.w.db.Runtime).Servers {
		if s.ID == m.server.ID {
			for _, t := range s.Tools {
				compiled[t.Name] = t
			}
		}
	}
	for name, want := range m.model {
		got := tools[name]
		if textOf(got.Pinned) != want.pinned || textOf(got.Served) != want.served || got.Held() != want.held {
			rt.Fatalf("%s is pinned %q, served %q, held %v; want %+v", name, textOf(got.Pinned), textOf(got.Served), got.Held(), *want)
		}
		c, callable := compiled[name]
		if callable != (want.pinned != "") || c.Held != want.held {
			rt.Fatalf("%s is compiled as %+v, want %+v", name, c, *want)
		}
		if got.Pinned != nil && got.Pinned.State != Approved {
			rt.Fatalf("%s is pinned to a definition that is %s", name, got.Pinned.State)
		}
	}
	if n := m.w.count(`select count(*) from audit_events where kind = 'definition.pinned' and detail ->> 'server_id' = $1`, m.server.ID); n != m.pins {
		rt.Fatalf("%d pins in the log, a person pinned %d times", n, m.pins)
	}
}

func textOf(d *Definition) string {
	if d == nil {
		return ""
	}
	return d.Text().Description
}

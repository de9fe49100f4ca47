package registry

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"countersign/canonical"
	"countersign/client"
	"countersign/internal/problem"
	"countersign/policy"
)

func TestPin(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.register("orders", tools(tool("list", "Lists.", `"readOnlyHint":true`), tool("drop", "Drops.", `"destructiveHint":false`), tool("evil", "x\u200by")))
	other := w.register("other", tools(tool("list", "Lists.")))
	list, drop, evil := w.tools(s.ID)["list"], w.tools(s.ID)["drop"], w.tools(s.ID)["evil"]
	pin := func(d *Definition, risk policy.Risk) Pin { return Pin{d.ID, risk} }
	refuse := func(kind problem.Kind, code string, pins ...Pin) {
		t.Helper()
		wantProblem(t, w.Pin(w.ctx, w.owner, s.ID, pins, ""), kind, code)
	}
	if !evil.Served.Blocked() || list.Served.Blocked() {
		t.Error("findings are not kept")
	}
	refuse(problem.Invalid, "invalid_pin")
	refuse(problem.Invalid, "invalid_pin", pin(list.Served, policy.Write), pin(list.Served, policy.Write))
	refuse(problem.Invalid, "invalid_pin", pin(list.Served, "harmless"))
	refuse(problem.Invalid, "invalid_pin", pin(list.Served, ""))
	refuse(problem.NotFound, "no_such_definition", pin(w.tools(other.ID)["list"].Served, policy.Write))
	refuse(problem.Conflict, "definition_blocked", pin(list.Served, policy.ReadOnly), pin(evil.Served, policy.Destructive))
	wantProblem(t, w.Pin(w.ctx, w.viewer, s.ID, []Pin{pin(list.Served, policy.ReadOnly)}, ""), problem.Forbidden, "not_allowed")
	machine := w.owner
	machine.SessionID = ""
	wantProblem(t, w.Pin(w.ctx, machine, s.ID, []Pin{pin(list.Served, policy.ReadOnly)}, ""), problem.Forbidden, "interactive_only")
	wantProblem(t, w.Pin(w.ctx, system, s.ID, []Pin{pin(list.Served, policy.ReadOnly)}, ""), problem.Forbidden, "interactive_only")
	wantProblem(t, w.Pin(w.ctx, w.edge, s.ID, []Pin{pin(list.Served, policy.ReadOnly)}, ""), problem.Forbidden, "not_for_gateways")
	wantProblem(t, w.Pin(w.ctx, w.owner, "srv_nobody", []Pin{pin(list.Served, policy.ReadOnly)}, ""), problem.NotFound, "no_such_server")
	if got := w.server(s.ID); got.Pinned != 0 || got.State != Proposed || w.events("definition.pinned") != 0 {
		t.Fatalf("a refused pin pinned: %+v", got)
	}

	before := w.generation()
	w.must(w.Pin(w.ctx, w.owner, s.ID, []Pin{pin(list.Served, policy.ReadOnly), pin(drop.Served, policy.Write)}, ""))
	if got := w.server(s.ID); got.Pinned != 2 || got.Write != 1 || got.State != Active {
		t.Errorf("server %+v", got)
	}
	if w.generation() != before+1 || w.events("definition.pinned") != 2 || w.events("server.state_changed") != 1 {
		t.Error("generation or events")
	}
	w.must(w.Pin(w.ctx, w.owner, s.ID, []Pin{pin(drop.Served, policy.Destructive)}, "It deletes."))
	if got := w.tools(s.ID)["drop"]; got.Risk != policy.Destructive || got.Pinned.Reason != "It deletes." {
		t.Errorf("drop %+v", got)
	}
}

func TestPinAgainstAChangedDefinition(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.register("orders", tools(tool("list", "v1")))
	onScreen := w.tools(s.ID)["list"].Served
	w.observe(s.ID, false, tool("list", "v2"))
	p := wantProblem(t, w.Pin(w.ctx, w.owner, s.ID, []Pin{{onScreen.ID, policy.Destructive}}, ""), problem.Conflict, "definition_changed")
	if got := p.Fields[onScreen.ID]; got != "list v1 is not what the server serves now: that is v2." {
		t.Errorf("fields %v", p.Fields)
	}
	v2 := w.tools(s.ID)["list"].Served
	if v2.Number != 2 || v2.State != Pending {
		t.Errorf("served %+v", v2)
	}
	w.observe(s.ID, false)
	wantProblem(t, w.Pin(w.ctx, w.owner, s.ID, []Pin{{v2.ID, policy.Destructive}}, ""), problem.Conflict, "definition_changed")
	w.observe(s.ID, false, tool("list", "v1")) // an old one is looked at again
	again := w.tools(s.ID)["list"].Served
	if again.ID != onScreen.ID || again.State != Pending {
		t.Errorf("served %+v", again)
	}
	w.must(w.Pin(w.ctx, w.owner, s.ID, []Pin{{again.ID, policy.Destructive}}, ""))
}

func TestDrift(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	v1, v2 := tool("list", "v1"), tool("list", "v2")
	s := w.register("orders", tools(v1, tool("drop", "d")))
	w.pinAll(s)
	before := w.generation()
	if got := w.observe(s.ID, true, v1); len(got) != 0 || w.generation() != before {
		t.Errorf("held %v without a difference", got)
	}
	reordered := json.RawMessage(`{"description":"v1", "name":"list","annotations":{},"inputSchema":{"properties":{"id":{"maximum":9007199254740993,"type":"integer"}},"type":"object"}}`)
	if got := w.observe(s.ID, true, reordered); len(got) != 0 {
		t.Errorf("held %v for white space and order", got)
	}
	steps := []struct {
		what  string
		serve []json.RawMessage
		held  []string
		bump  int64
		state DefinitionState // of what is served
	}{
		{"changed", []json.RawMessage{v2}, []string{"list"}, 1, Pending},
		{"the same change again", []json.RawMessage{v2}, []string{"list"}, 0, Pending},
		{"changed back", []json.RawMessage{v1}, []string{"list"}, 0, Approved},
		{"and again", []json.RawMessage{v1}, []string{"list"}, 0, Approved},
	}
	for _, step := range steps {
		before = w.generation()
		if diff := cmp.Diff(step.held, w.observe(s.ID, true, step.serve...)); diff != "" {
			t.Errorf("%s: %s", step.what, diff)
		}
		list := w.tools(s.ID)["list"]
		if !list.Held() || list.Pinned.Number != 1 || list.Served.State != step.state || w.generation() != before+step.bump {
			t.Errorf("%s: %+v at generation +%d", step.what, list, w.generation()-before)
		}
	}
	if n := w.events("tool.held"); n != 1 {
		t.Errorf("%d events", n)
	}
	w.must(w.Pin(w.ctx, w.owner, s.ID, []Pin{{w.tools(s.ID)["list"].Served.ID, policy.Destructive}}, "It changed back."))
	if w.tools(s.ID)["list"].Held() {
		t.Error("a person could not release it")
	}

	integer := json.RawMessage(strings.Replace(string(v1), "9007199254740993", "9007199254740992", 1))
	if got := w.observe(s.ID, true, integer); len(got) != 1 {
		t.Error("a large integer changed unseen")
	}
}

func TestDriftOfWhatCannotBeRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for what, serve := range map[string][]json.RawMessage{
		"twice":         {tool("list", "v1"), tool("list", "v1")},
		"twice, broken": {tool("list", "v1"), json.RawMessage(`{"name":"list","x":1,"x":2}`)},
		"duplicate key": {json.RawMessage(`{"name":"list","x":1,"x":2}`)},
		"oversized":     {tool("list", strings.Repeat("x", MaxDefinitionBytes))},
	} {
		s := w.register(strings.ReplaceAll(what, ", ", "-")[:5]+canonical.Sum("test", []byte(what)).Hex()[:8], tools(tool("list", "v1")))
		w.pinAll(s)
		if got := w.observe(s.ID, true, serve...); len(got) != 1 {
			t.Errorf("%s: held %v", what, got)
		}
		list := w.tools(s.ID)["list"]
		if list.HeldReason != HeldBroken {
			t.Errorf("%s: %+v", what, list)
		}
		err := w.Pin(w.ctx, w.owner, s.ID, []Pin{{list.Pinned.ID, policy.Destructive}}, "It is fine.")
		wantProblem(t, err, problem.Conflict, "definition_changed")
	}
}

func TestToolsThatGoAndComeBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.register("orders", tools(tool("list", "v1"), tool("drop", "v1")))
	w.pinAll(s)
	if got := w.observe(s.ID, false, tool("drop", "v1")); len(got) != 0 {
		t.Errorf("held %v", got)
	}
	if list := w.tools(s.ID)["list"]; list.Offered || list.Served != nil || list.Held() || list.Pinned == nil {
		t.Errorf("gone: %+v", list)
	}
	if got := w.observe(s.ID, false, tool("list", "v1"), tool("drop", "v1")); len(got) != 0 {
		t.Errorf("held %v", got)
	}
	w.observe(s.ID, false)
	if got := w.observe(s.ID, false, tool("list", "v2"), tool("drop", "v1")); !cmp.Equal(got, []string{"list"}) {
		t.Errorf("came back changed: held %v", got)
	}
	swapped := []json.RawMessage{tool("drop", "v2"), tool("list", "v1")} // the text of one under the name of the other
	if got := w.observe(s.ID, false, swapped...); !cmp.Equal(got, []string{"drop", "list"}) {
		t.Errorf("held %v", got)
	}
}

func TestObserveRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	far := w.gateway("far", "org.other/*")
	s := w.register("orders", tools(tool("list", "v1")))
	o := client.Observation{ServerID: s.ID, EndpointDigest: s.Endpoint.Digest, Tools: []json.RawMessage{tool("list", "v2")}}
	_, err := w.Observe(w.ctx, far, o)
	wantProblem(t, err, problem.NotFound, "no_such_server")
	if w.events("access.refused") != 1 {
		t.Error("the refusal is not in the log")
	}
	_, err = w.Observe(w.ctx, w.edge, client.Observation{ServerID: "srv_nobody"})
	wantProblem(t, err, problem.NotFound, "no_such_server")
	_, err = w.Observe(w.ctx, w.admin, o)
	wantProblem(t, err, problem.Forbidden, "gateway_only")
	o.EndpointDigest = canonical.Digest{}
	_, err = w.Observe(w.ctx, w.edge, o)
	wantProblem(t, err, problem.Conflict, "endpoint_changed")
	o.Tools = make([]json.RawMessage, MaxItems+1)
	_, err = w.Observe(w.ctx, w.edge, o)
	wantProblem(t, err, problem.TooLarge, "offer_too_large")
	if w.tools(s.ID)["list"].Served.Number != 1 {
		t.Error("a refused observation was used")
	}
}

func TestReject(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.register("orders", tools(tool("list", "v1")))
	w.pinAll(s)
	w.observe(s.ID, true, tool("list", "v2"))
	v2 := w.tools(s.ID)["list"].Served
	wantProblem(t, w.Reject(w.ctx, w.owner, s.ID, v2.ID, " "), problem.Invalid, "invalid_reason")
	wantProblem(t, w.Reject(w.ctx, w.viewer, s.ID, v2.ID, "no"), problem.Forbidden, "not_allowed")
	w.must(w.Reject(w.ctx, w.owner, s.ID, v2.ID, "It asks for too much."))
	wantProblem(t, w.Reject(w.ctx, w.owner, s.ID, v2.ID, "again"), problem.Conflict, "definition_changed")
	w.observe(s.ID, true, tool("list", "v2"))
	list := w.tools(s.ID)["list"]
	if !list.Held() || list.Served.State != Rejected || list.Pinned.Number != 1 || w.events("definition.rejected") != 1 {
		t.Errorf("list %+v", list)
	}
}

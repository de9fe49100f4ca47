package registry

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
)

func (w *world) drift(toolID string) (Drifted, []Difference) {
	w.t.Helper()
	d, differences, err := w.Drift(w.ctx, w.viewer, toolID)
	w.must(err)
	return d, differences
}

func TestDriftQueue(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.register("orders", tools(tool("a", "v1"), tool("b", "v1"), tool("c", "v1"), tool("d", "v1")))
	w.pinAll(s)
	other := w.register("stock", tools(tool("a", "v1")))
	w.pinAll(other)
	w.observe(s.ID, true, tool("c", "v2"))
	w.observe(s.ID, true, tool("a", "v2"))
	w.observe(s.ID, true, tool("b", "v\u202e2")) // blocked: critical
	w.observe(other.ID, true, tool("a", "v1"), tool("a", "v1"))

	var names []string
	f := DriftFilter{Limit: 1}
	for {
		page, err := w.Drifts(w.ctx, w.viewer, f)
		w.must(err)
		for _, d := range page.Items {
			names = append(names, d.ServerName+" "+d.Name)
		}
		if page.Next == "" {
			break
		}
		f.After = page.Next
	}
	want := []string{"com.acme/orders b", "com.acme/stock a", "com.acme/orders c", "com.acme/orders a"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("gravest first, then longest held: %s", diff)
	}
	for what, tt := range map[string]struct {
		f    DriftFilter
		want int
	}{
		"everything":         {DriftFilter{}, 4},
		"of a server":        {DriftFilter{ServerID: other.ID}, 1},
		"of a team":          {DriftFilter{TeamID: w.team}, 4},
		"of nobody's":        {DriftFilter{TeamID: "tem_nobody"}, 0},
		"of a severity":      {DriftFilter{Severity: SeverityCritical}, 1},
		"by a tool's name":   {DriftFilter{Query: "C"}, 4}, // com.acme
		"by a server's":      {DriftFilter{Query: "stock"}, 1},
		"by what is no glob": {DriftFilter{Query: "%"}, 0},
	} {
		page, err := w.Drifts(w.ctx, w.viewer, tt.f)
		if err != nil || len(page.Items) != tt.want {
			t.Errorf("%s: %d, %v; want %d", what, len(page.Items), err, tt.want)
		}
	}
	if n, err := w.DriftCount(w.ctx, w.viewer); err != nil || n != 4 {
		t.Errorf("count %d, %v", n, err)
	}
	for _, after := range []string{"x", "1.2", "1.2.", "9.1.tol", "-1.1.tol", "1.99999999999999999999.tol", "1.1.\x00", "1.-1.tol"} {
		_, err := w.Drifts(w.ctx, w.viewer, DriftFilter{After: after})
		wantProblem(t, err, problem.Invalid, "invalid_cursor")
	}
	_, err := w.SetState(w.ctx, w.owner, other.ID, w.server(other.ID).Version, Retired, "")
	w.must(err)
	if n, _ := w.DriftCount(w.ctx, w.viewer); n != 3 {
		t.Errorf("a retired server waits for nobody: %d", n)
	}
	_, err = w.Drifts(w.ctx, w.edge, DriftFilter{})
	wantProblem(t, err, problem.Forbidden, "not_for_gateways")
}

func TestDriftOfATool(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.register("orders", tools(tool("list", "v1"), tool("drop", "v1")))
	w.pinAll(s)
	list := w.tools(s.ID)["list"]
	if d, differences := w.drift(list.ID); len(differences) != 0 || d.Severity != "" || d.ServerName != s.Name || d.TeamName != "Orders" {
		t.Errorf("without drift: %+v, %v", d, differences)
	}
	w.observe(s.ID, true, tool("list", "v2"))
	d, differences := w.drift(list.ID)
	if len(differences) == 0 || d.Severity == "" || d.Served.Number != 2 || d.Pinned.Number != 1 || d.HeldAt == nil {
		t.Errorf("changed: %+v, %v", d, differences)
	}
	w.observe(s.ID, true, tool("list", "v\u20663"))
	if d, _ := w.drift(list.ID); d.Severity != SeverityCritical {
		t.Errorf("what is blocked is %q", d.Severity)
	}
	w.observe(s.ID, true, tool("list", "v2"))
	if d, _ := w.drift(list.ID); d.Severity != SeverityCritical {
		t.Errorf("another change made it %q: it can hide at the end of the queue", d.Severity)
	}
	w.observe(s.ID, true, tool("list", "v1"))
	if d, differences := w.drift(list.ID); !d.Held() || len(differences) != 0 || d.Severity != SeverityCritical {
		t.Errorf("changed back: %+v, %v", d, differences)
	}
	w.observe(s.ID, false, tool("drop", "v1"))
	if d, differences := w.drift(list.ID); !d.Held() || d.Served != nil || len(differences) != 0 {
		t.Errorf("gone: %+v, %v", d, differences)
	}
	w.observe(s.ID, false, tool("list", "v1"), tool("drop", "v1"))
	w.must(w.Pin(w.ctx, w.owner, s.ID, []Pin{{list.Pinned.ID, policy.Destructive}}, ""))
	if d, _ := w.drift(list.ID); d.Held() || d.Severity != "" {
		t.Errorf("pinned: %+v", d)
	}
	_, _, err := w.Drift(w.ctx, w.viewer, "tol_nobody")
	wantProblem(t, err, problem.NotFound, "no_such_tool")
}

func TestKeepHeld(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.register("orders", tools(tool("list", "v1"), tool("drop", "v1")))
	w.pinAll(s)
	list := w.tools(s.ID)["list"]
	keep := func(who identity.Principal, definition, note string) error {
		return w.KeepHeld(w.ctx, who, list.ID, definition, note)
	}
	wantProblem(t, keep(w.owner, list.Served.ID, "wait"), problem.Conflict, "not_held")
	w.observe(s.ID, true, tool("list", "v2"))
	v2 := w.tools(s.ID)["list"].Served
	before := w.generation()

	wantProblem(t, keep(w.owner, v2.ID, " "), problem.Invalid, "invalid_note")
	wantProblem(t, keep(w.viewer, v2.ID, "wait"), problem.Forbidden, "not_allowed")
	wantProblem(t, keep(system, v2.ID, "wait"), problem.Forbidden, "interactive_only")
	wantProblem(t, w.KeepHeld(w.ctx, w.owner, "tol_nobody", v2.ID, "wait"), problem.NotFound, "no_such_tool")
	if p := wantProblem(t, keep(w.owner, list.Pinned.ID, "wait"), problem.Conflict, "definition_changed"); p.Message !=
		"The server offers v2 by now, not what was on your screen. Nothing was changed; look at v2." {
		t.Errorf("message %q", p.Message)
	}
	wantProblem(t, keep(w.owner, "", "wait"), problem.Conflict, "definition_changed")
	w.must(keep(w.owner, v2.ID, " The vendor looks into it. "))
	d, _ := w.drift(list.ID)
	if !d.Held() || d.HeldNote != "The vendor looks into it." || d.HeldNoteBy != w.owner.ID || d.HeldNoteByName != "OLGA" || d.HeldNoteAt == nil {
		t.Errorf("kept: %+v", d)
	}
	if w.events("drift.kept_held") != 1 || w.generation() != before {
		t.Error("events or generation")
	}
	w.observe(s.ID, false, tool("drop", "v1"))
	wantProblem(t, keep(w.owner, v2.ID, "wait"), problem.Conflict, "definition_changed")
	w.must(keep(w.owner, "", "It went away."))
	w.observe(s.ID, false, tool("list", "v3"), tool("drop", "v1"))
	w.must(w.Pin(w.ctx, w.owner, s.ID, []Pin{{w.tools(s.ID)["list"].Served.ID, policy.Destructive}}, ""))
	if d, _ := w.drift(list.ID); d.Held() || d.HeldNote != "" || d.HeldNoteBy != "" || d.HeldNoteAt != nil {
		t.Errorf("pinned: %+v", d)
	}
}

// What was on the screen when the server changed again is neither accepted nor blocked nor kept.
func TestChangedAgainWhileSomebodyReads(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.register("orders", tools(tool("list", "v1")))
	w.pinAll(s)
	w.observe(s.ID, true, tool("list", "v2"))
	list := w.tools(s.ID)["list"]
	w.observe(s.ID, true, tool("list", "v3"))
	err := w.Pin(w.ctx, w.owner, s.ID, []Pin{{list.Served.ID, policy.Destructive}}, "fine")
	if p := wantProblem(t, err, problem.Conflict, "definition_changed"); p.Fields[list.Served.ID] != "list v2 is not what the server serves now: that is v3." {
		t.Errorf("fields %v", p.Fields)
	}
	err = w.Reject(w.ctx, w.owner, s.ID, list.Served.ID, "no")
	if p := wantProblem(t, err, problem.Conflict, "definition_changed"); p.Message !=
		"list v2 is not what the server serves now: that is v3. Nothing was changed; look at v3." {
		t.Errorf("message %q", p.Message)
	}
	wantProblem(t, w.KeepHeld(w.ctx, w.owner, list.ID, list.Served.ID, "wait"), problem.Conflict, "definition_changed")

	v3 := w.tools(s.ID)["list"].Served
	w.must(w.Reject(w.ctx, w.owner, s.ID, v3.ID, "no"))
	if d, _ := w.drift(list.ID); !d.Held() || d.Severity == "" || d.Served.State != Rejected || d.Pinned.Number != 1 {
		t.Errorf("blocked: %+v", d)
	}
	w.observe(s.ID, true, tool("list", "v2"))
	w.observe(s.ID, true, tool("list", "v3"))
	if d, _ := w.drift(list.ID); !d.Held() || d.Served.ID != v3.ID || d.Served.State != Rejected {
		t.Errorf("served again: %+v", d)
	}
}

// The text of one tool under the name of another, and the other way round, is drift of both.
func TestSwappedNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.register("orders", tools(tool("list", "Lists.", `"readOnlyHint":true`), tool("drop", "Drops.")))
	w.pinAll(s)
	got := w.observe(s.ID, false, tool("drop", "Lists.", `"readOnlyHint":true`), tool("list", "Drops."))
	if !cmp.Equal(got, []string{"drop", "list"}) {
		t.Errorf("held %v", got)
	}
	for _, name := range got {
		if d, differences := w.drift(w.tools(s.ID)[name].ID); d.Severity == "" || len(differences) == 0 {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

func TestManyHeldAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const many = 300
	offer := func(text string) (raws []json.RawMessage) {
		for i := range many {
			raws = append(raws, tool(fmt.Sprintf("t%03d", i), text))
		}
		return raws
	}
	s := w.register("orders", tools(offer("v1")...))
	w.pinAll(s)
	before := w.generation()
	if got := w.observe(s.ID, false, offer("v2")...); len(got) != many || w.generation() != before+1 {
		t.Errorf("held %d at generation +%d", len(got), w.generation()-before)
	}
	if n := w.events("tool.held"); n != many {
		t.Errorf("%d events", n)
	}
	first := w.count(`select count(*) from audit_events a where kind = 'tool.held' and exists (
		select 1 from audit_events b where b.kind = 'tool.held' and b.id > a.id and b.target_name < a.target_name)`)
	if first != 0 {
		t.Errorf("%d events are out of order", first)
	}
}

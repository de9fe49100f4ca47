package registry

import (
	"slices"
	"strings"
	"testing"

	"countersign/identity"
	"countersign/internal/problem"
)

func TestLabelTool(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s, list := w.pinned()
	before := w.generation()
	w.must(w.LabelTool(w.ctx, w.colleague(), list.ID, []string{" egress", "mail", "egress"}))
	if got := w.tools(s.ID)["list"].Labels; !slices.Equal(got, []string{"egress", "mail"}) {
		t.Errorf("labels %q", got)
	}
	if got := w.snapshot(w.db.Runtime).Servers[0].Tools[0].Labels; !slices.Equal(got, []string{"egress", "mail"}) {
		t.Errorf("the policy has %q", got)
	}
	if d, _, err := w.Drift(w.ctx, w.viewer, list.ID); err != nil || len(d.Labels) != 2 {
		t.Errorf("its page has %q, %v", d.Labels, err)
	}
	if w.generation() != before+1 || w.events("tool.labelled") != 1 {
		t.Errorf("generation %d after %d, %d events", w.generation(), before, w.events("tool.labelled"))
	}
	w.must(w.LabelTool(w.ctx, w.owner, list.ID, []string{"mail", "egress"})) // as they are
	if w.generation() != before+1 || w.events("tool.labelled") != 1 {
		t.Error("labels that are the same are a change")
	}

	wantProblem(t, w.LabelTool(w.ctx, w.viewer, list.ID, nil), problem.Forbidden, "not_allowed")
	wantProblem(t, w.LabelTool(w.ctx, w.owner, "tol_none", nil), problem.NotFound, "no_such_tool")
	for _, bad := range [][]string{{strings.Repeat("x", 101)}, {"a\nb"}} {
		wantProblem(t, w.LabelTool(w.ctx, w.owner, list.ID, bad), problem.Invalid, "invalid_tool")
	}
	machine := w.owner
	machine.Kind = identity.Client
	wantProblem(t, w.LabelTool(w.ctx, machine, list.ID, nil), problem.Forbidden, "interactive_only")
	w.must(w.LabelTool(w.ctx, w.owner, list.ID, nil))
	if got := w.tools(s.ID)["list"].Labels; len(got) != 0 {
		t.Errorf("labels %q", got)
	}
}

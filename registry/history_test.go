package registry

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"countersign/internal/problem"
)

func TestHistory(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.register("orders", tools(tool("list", "Lists."), tool("drop", "Drops.")))
	w.pinAll(s)
	w.observe(s.ID, true, tool("list", "Lists everything."))
	said := func(v Version) string {
		return fmt.Sprintf("%s v%d %s pinned:%t served:%t %s", v.ToolName, v.Number, v.State, v.Pinned, v.Served, v.DecidedByName)
	}
	var got []string
	for f := (HistoryFilter{ServerID: s.ID, Limit: 2}); ; {
		page, err := w.History(w.ctx, w.viewer, f)
		w.must(err)
		for _, v := range page.Items {
			got = append(got, said(v))
		}
		if f.After = page.Next; f.After == "" {
			break
		}
	}
	if len(got) != 3 || got[0] != "list v2 pending pinned:false served:true " {
		t.Fatalf("history %q", got)
	}
	page, err := w.History(w.ctx, w.viewer, HistoryFilter{ServerID: s.ID, Query: "LIS"})
	w.must(err)
	if len(page.Items) != 2 || page.Items[1].Reason != "first look" || page.Items[1].Digest != w.tools(s.ID)["list"].Pinned.Digest {
		t.Errorf("of one tool: %+v", page.Items)
	}
	if diff := cmp.Diff("list v1 approved pinned:true served:false OLGA", said(page.Items[1])); diff != "" {
		t.Error(diff)
	}
	_, err = w.History(w.ctx, w.edge, HistoryFilter{ServerID: s.ID})
	wantProblem(t, err, problem.Forbidden, "not_for_gateways")
}

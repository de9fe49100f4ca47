package registry

import (
	"slices"
	"testing"
	"time"

	"countersign/internal/problem"
	"countersign/policy"
)

func TestGrantsReaching(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.register("orders", tools(tool("list", "v1", `"readOnlyHint":true`), tool("drop", "v1")))
	w.pinAll(s)
	w.register("stock", tools(tool("list", "v1")))
	grant := func(name string, r policy.Resource, change func(*NewGrant)) Grant {
		n := NewGrant{Name: name, Subject: everyone(), Resource: r}
		if change != nil {
			change(&n)
		}
		g, err := w.CreateGrant(w.ctx, w.admin, n)
		w.must(err)
		return g
	}
	all := policy.Resource{Servers: []string{"com.acme/*"}}
	grant("all", all, nil)
	grant("reads", policy.Resource{Servers: []string{"com.acme/*"}, Risks: []policy.Risk{policy.ReadOnly}}, nil)
	grant("labelled", policy.Resource{Labels: []string{"env=prod"}, Names: []string{"dr*"}}, nil)
	grant("later", all, func(n *NewGrant) { n.NotBefore = soon(time.Hour) })
	grant("elsewhere", policy.Resource{Servers: []string{"com.acme/stock"}}, nil)
	ended := grant("ended", all, nil)
	_, err := w.EndGrant(w.ctx, w.admin, ended.ID, ended.Version, "")
	w.must(err)

	reaching := func(toolID string) []string {
		t.Helper()
		grants, err := w.GrantsReaching(w.ctx, w.viewer, toolID)
		w.must(err)
		names := []string{}
		for _, g := range grants {
			names = append(names, g.Name)
		}
		return names
	}
	if got := reaching(w.tools(s.ID)["list"].ID); !slices.Equal(got, []string{"later", "reads", "all"}) {
		t.Errorf("list is reached by %v", got)
	}
	w.observe(s.ID, true, tool("drop", "v2")) // who waits while it is held
	if got := reaching(w.tools(s.ID)["drop"].ID); !slices.Equal(got, []string{"later", "labelled", "all"}) {
		t.Errorf("drop is reached by %v", got)
	}
	stock, err := w.ServerNamed(w.ctx, w.viewer, "com.acme/stock")
	w.must(err)
	if got := reaching(w.tools(stock.ID)["list"].ID); len(got) != 0 {
		t.Errorf("what is not pinned is reached by %v", got)
	}
	_, err = w.GrantsReaching(w.ctx, w.viewer, "tol_nobody")
	wantProblem(t, err, problem.NotFound, "no_such_tool")
	_, err = w.GrantsReaching(w.ctx, w.edge, stock.ID)
	wantProblem(t, err, problem.Forbidden, "not_for_gateways")
}

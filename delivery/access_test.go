package delivery

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
	"countersign/registry"
)

func (w *world) allow(r *replica, name string, n registry.NewGrant) registry.Grant {
	w.t.Helper()
	n.Name = name
	if n.Resource.Servers == nil {
		n.Resource.Servers = []string{"*"}
	}
	g, err := r.registry.CreateGrant(w.ctx, w.admin, n)
	w.must(err)
	return g
}

func TestAccessMatrix(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.build(w.db.Runtime)
	g := w.enrol(r, "edge", "com.acme/*")
	w.offer(r, g.Gateway, "com.acme/orders")
	w.offer(r, g.Gateway, "com.acme/mail")
	later := time.Now().Add(time.Hour)
	w.allow(r, "Support", registry.NewGrant{Subject: policy.Subject{Groups: []string{"support"}}, Resource: policy.Resource{Servers: []string{"com.acme/orders"}}})
	w.allow(r, "Support again", registry.NewGrant{Subject: policy.Subject{Groups: []string{"support"}}, Resource: policy.Resource{Servers: []string{"com.acme/mail"}}})
	w.allow(r, "Ann, later", registry.NewGrant{Subject: policy.Subject{Users: []string{"ann"}}, NotBefore: &later})
	_, err := r.registry.CreateGuardrail(w.ctx, w.admin, registry.NewGuardrail{
		Name: "No mail", Subject: policy.Subject{Groups: []string{"support"}}, Resource: policy.Resource{Servers: []string{"com.acme/mail"}},
		Effect: policy.Effect{Deny: true}, Reason: "test",
	})
	w.must(err)

	page, err := r.AccessMatrix(w.ctx, w.admin, AccessFilter{})
	w.must(err)
	got := map[string]AccessCounts{}
	for _, row := range page.Items {
		for _, cell := range row.Cells {
			got[row.Words+" on "+cell.Server] = cell.Counts
		}
	}
	want := map[string]AccessCounts{
		"group support on com.acme/orders": {Allow: 1, Hold: 1, Worst: policy.Destructive},
		"group support on com.acme/mail":   {Deny: 2},
		"user ann on com.acme/orders":      {Allow: 1, Hold: 1, Depends: 2, Worst: policy.Destructive},
		"user ann on com.acme/mail":        {Allow: 1, Hold: 1, Depends: 2, Worst: policy.Destructive},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the matrix (-want +got)\n%s", diff)
	}
	if len(page.Items) != 2 || page.Next != "" || len(page.Items[0].Grants) != 2 {
		t.Errorf("the page is %+v", page)
	}
	first, err := r.AccessMatrix(w.ctx, w.admin, AccessFilter{Limit: 1})
	w.must(err)
	second, err := r.AccessMatrix(w.ctx, w.admin, AccessFilter{Limit: 1, After: first.Next})
	w.must(err)
	if len(first.Items) != 1 || len(second.Items) != 1 || second.Items[0].Words != "user ann" || second.Next != "" {
		t.Errorf("pages %+v, %+v", first, second)
	}
	narrow, err := r.AccessMatrix(w.ctx, w.admin, AccessFilter{Subject: "SUPPORT", Server: "mail", Team: w.team, Risk: policy.ReadOnly, Tools: true})
	w.must(err)
	tool := narrow.Items[0].Cells[0].Tools[0]
	if len(narrow.Items) != 1 || len(narrow.Items[0].Cells[0].Tools) != 1 || tool.Name != "list" || tool.Reason != policy.ReasonDeniedByGuardrail ||
		tool.Guardrails[0].Name != "No mail" || tool.Grants[0].Name != "Support again" {
		t.Errorf("the page is %+v", narrow)
	}
	_, err = r.AccessMatrix(w.ctx, w.admin, AccessFilter{Risk: "some"})
	wantProblem(t, err, problem.Invalid, "invalid_filter")
	_, err = r.AccessMatrix(w.ctx, identity.Principal{}, AccessFilter{})
	wantProblem(t, err, problem.Unauthenticated, "sign_in_required")

	cells, err := r.CallerAccess(w.ctx, w.admin, policy.Principal{Issuer: "https://idp.test", Subject: "tomas", Groups: []string{"support"}}, AccessFilter{})
	w.must(err)
	var says []string
	for _, c := range cells {
		for _, tool := range c.Tools {
			says = append(says, c.Server+" "+tool.Name+" "+string(tool.Reason))
		}
	}
	if diff := cmp.Diff([]string{
		"com.acme/mail drop denied_by_guardrail", "com.acme/mail list denied_by_guardrail",
		"com.acme/orders drop approval_required", "com.acme/orders list allowed",
	}, says); diff != "" {
		t.Errorf("tomas has (-want +got)\n%s", diff)
	}
	cells, err = r.CallerAccess(w.ctx, w.admin, policy.Principal{Subject: "ann"}, AccessFilter{})
	if err != nil || len(cells) != 0 {
		t.Errorf("before her time ann has %v, %v", cells, err)
	}
}

// usedAgo stores that somebody called a tool so long ago.
func (w *world) usedAgo(gatewayID, subject, tool string, ago time.Duration) {
	w.t.Helper()
	w.insertCalls(`
		insert into call_records (call_id, gateway_id, at, server, tool, kind, decision, subject, agent)
		values (gen_random_uuid()::text, $1, clock_timestamp() - $2::interval, 'com.acme/orders', $3, 'tool', 'allowed', $4, 'cursor')`,
		gatewayID, ago, tool, subject)
}

func TestIdleGrants(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	w := newWorld(t)
	r := w.build(w.db.Runtime)
	g := w.enrol(r, "edge", "com.acme/*")
	w.offer(r, g.Gateway, "com.acme/orders")
	soon := time.Now().Add(20 * day)
	user := func(name string) policy.Subject { return policy.Subject{Users: []string{name}} }
	w.allow(r, "Old, never used", registry.NewGrant{Subject: user("cas")})
	w.allow(r, "Old, used long ago", registry.NewGrant{Subject: user("dora")})
	w.allow(r, "Old, used yesterday", registry.NewGrant{Subject: user("eve"), Resource: policy.Resource{Servers: []string{"*"}, Names: []string{"list"}}})
	w.allow(r, "By group", registry.NewGrant{Subject: policy.Subject{Groups: []string{"support"}}})
	w.allow(r, "By a group of somebody else", registry.NewGrant{Subject: policy.Subject{Groups: []string{"finance"}}})
	_, err := w.db.Owner.Exec(w.ctx, `update grants set created_at = clock_timestamp() - interval '200 days'`)
	w.must(err)
	w.allow(r, "New, never used", registry.NewGrant{Subject: user("fay")})
	w.allow(r, "New, ends soon", registry.NewGrant{Subject: user("fay"), NotAfter: &soon})
	w.scan(`insert into people (issuer, subject, name, groups) values ('https://idp.test', 'gus', 'Gus', '{support}') returning id`)
	w.usedAgo(g.ID, "dora", "list", 100*day)
	w.usedAgo(g.ID, "dora", "drop", 120*day)
	w.usedAgo(g.ID, "eve", "list", day)
	w.usedAgo(g.ID, "eve", "drop", 2*day) // not hers by that grant
	w.usedAgo(g.ID, "gus", "drop", 3*day)
	w.usedAgo(g.ID, "cas", "list", 300*day) // before there was a grant

	idle := func(f IdleFilter) []string {
		t.Helper()
		page, err := r.IdleGrants(w.ctx, w.admin, f)
		w.must(err)
		var says []string
		for _, g := range page.Items {
			for _, why := range g.Idle {
				says = append(says, g.Name+": "+string(why))
			}
		}
		slices.Sort(says)
		return says
	}
	if diff := cmp.Diff([]string{
		"New, ends soon: expiring", "Old, never used: never", "Old, used long ago: unused",
	}, idle(IdleFilter{})); diff != "" {
		t.Errorf("idle (-want +got)\n%s", diff)
	}
	if got := idle(IdleFilter{Idle: Unused}); !slices.Equal(got, []string{"Old, used long ago: unused"}) {
		t.Errorf("unused: %v", got)
	}
	page, err := r.IdleGrants(w.ctx, w.admin, IdleFilter{Limit: 1})
	w.must(err)
	if len(page.Items) != 1 || page.Items[0].Name != "Old, never used" || page.Next == "" {
		t.Errorf("the page is %+v", page)
	}
	if rest := idle(IdleFilter{After: page.Next}); len(rest) != 2 {
		t.Errorf("the rest is %v", rest)
	}
	uses, err := r.GrantUses(w.ctx, w.admin)
	w.must(err)
	if len(uses) != 4 {
		t.Errorf("used: %v", uses)
	}
	_, err = r.IdleGrants(w.ctx, identity.Principal{}, IdleFilter{})
	wantProblem(t, err, problem.Unauthenticated, "sign_in_required")

	callers, err := r.Callers(w.ctx, w.admin, "")
	w.must(err)
	names := []string{}
	for _, c := range callers {
		names = append(names, c.Subject)
	}
	if diff := cmp.Diff([]string{"eve", "gus", "ines"}, names); diff != "" {
		t.Errorf("callers (-want +got)\n%s", diff)
	}
	if gus, err := r.Callers(w.ctx, w.admin, "GUS"); err != nil || len(gus) != 1 || !gus[0].Known || !slices.Equal(gus[0].Groups, []string{"support"}) || !slices.Equal(gus[0].Agents, []string{"cursor"}) {
		t.Errorf("gus is %+v, %v", gus, err)
	}
}

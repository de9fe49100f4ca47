package registry

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"countersign/identity"
	"countersign/internal/problem"
)

// otherTeam makes a second team, with a member.
func (w *world) otherTeam() (Team, identity.Principal) {
	w.t.Helper()
	member := w.person("priya", identity.Viewer)
	team, err := w.CreateTeam(w.ctx, w.admin, NewTeam{Name: "Payments", PersonIDs: []string{member.ID}})
	w.must(err)
	member.Teams = []string{team.ID}
	return team, member
}

func TestEdit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.register("orders", tools(tool("list", "Lists.")))
	before := w.generation()

	got, err := w.Edit(w.ctx, w.owner, s.ID, s.Version, Edit{Title: new(" All orders "), Description: new("What customers\nbought.")}, "")
	w.must(err)
	if got.Title != "All orders" || got.Description != "What customers\nbought." || got.Version != s.Version+1 || !cmp.Equal(got.Labels, s.Labels) {
		t.Errorf("server %+v", got)
	}
	if w.generation() != before {
		t.Error("a title is in the policy")
	}
	again, err := w.Edit(w.ctx, w.owner, s.ID, got.Version, Edit{Title: new("All orders"), TeamID: new(w.team)}, "")
	w.must(err)
	if again.Version != got.Version || w.events("server.edited") != 1 {
		t.Error("an edit that changes nothing is one")
	}
	labelled, err := w.Edit(w.ctx, w.owner, s.ID, got.Version, Edit{Labels: new([]string{"tier=1", " env=prod", "tier=1"})}, "")
	w.must(err)
	if !cmp.Equal(labelled.Labels, []string{"env=prod", "tier=1"}) || labelled.Title != "All orders" {
		t.Errorf("server %+v", labelled)
	}
	if w.generation() != before+1 {
		t.Error("gateways do not hear of labels")
	}
	page, err := w.Servers(w.ctx, w.viewer, ServerFilter{Label: "tier=1", TeamID: w.team})
	w.must(err)
	if len(page.Items) != 1 {
		t.Errorf("found %v by label", page.Items)
	}
}

func TestEditRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.register("orders", tools())
	_, stranger := w.otherTeam()
	refuse := func(who identity.Principal, id string, version int64, e Edit, kind problem.Kind, code string, fields ...string) {
		t.Helper()
		_, err := w.Edit(w.ctx, who, id, version, e, "")
		p := wantProblem(t, err, kind, code)
		for _, f := range fields {
			if p.Fields[f] == "" {
				t.Errorf("fields %v, want %s", p.Fields, f)
			}
		}
	}
	title := Edit{Title: new("Other")}
	refuse(stranger, s.ID, s.Version, title, problem.Forbidden, "not_allowed")
	refuse(w.edge, s.ID, s.Version, title, problem.Forbidden, "not_for_gateways")
	refuse(identity.Principal{}, s.ID, s.Version, title, problem.Unauthenticated, "sign_in_required")
	refuse(w.owner, "srv_nobody", 1, title, problem.NotFound, "no_such_server")
	refuse(w.owner, s.ID, s.Version-1, title, problem.Conflict, "server_changed")
	for what, e := range map[string]Edit{
		"title":       {Title: new("a\u202eb")},
		"description": {Description: new(strings.Repeat("x", 2001))},
		"labels":      {Labels: new([]string{strings.Repeat("x", 10<<10)})},
		"team":        {TeamID: new("")},
	} {
		refuse(w.owner, s.ID, s.Version, e, problem.Invalid, "invalid_server", what)
	}
	refuse(w.owner, s.ID, s.Version, Edit{Labels: new([]string{"tier=\x00"})}, problem.Invalid, "invalid_server", "labels")
}

func TestTransfer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.register("orders", tools(tool("list", "Lists.")))
	w.pinAll(s)
	s = w.server(s.ID)
	payments, priya := w.otherTeam()
	before := w.generation()
	to := Edit{TeamID: new(payments.ID), Title: new("Paid orders")}

	_, err := w.Edit(w.ctx, w.owner, s.ID, s.Version, to, " ")
	if p := wantProblem(t, err, problem.Invalid, "invalid_server"); p.Fields["reason"] == "" {
		t.Errorf("fields %v", p.Fields)
	}
	_, err = w.Edit(w.ctx, w.owner, s.ID, s.Version, Edit{TeamID: new("tem_nobody")}, "they asked")
	if p := wantProblem(t, err, problem.Invalid, "invalid_server"); p.Fields["team"] == "" {
		t.Errorf("fields %v", p.Fields)
	}
	_, err = w.Edit(w.ctx, priya, s.ID, s.Version, to, "we want it")
	wantProblem(t, err, problem.Forbidden, "not_allowed")

	got, err := w.Edit(w.ctx, w.owner, s.ID, s.Version, to, "they asked")
	w.must(err)
	if got.TeamName != "Payments" || got.Title != "Paid orders" || got.State != Active || got.Pinned != 1 {
		t.Errorf("server %+v", got)
	}
	if w.generation() != before+1 || w.events("server.transferred") != 1 || w.events("server.edited") != 1 {
		t.Error("generation or events")
	}
	n := w.count(`
		select count(*) from audit_events
		where kind = 'server.transferred' and detail ->> 'from' = $1 and detail ->> 'to_name' = 'Payments' and detail ->> 'reason' = 'they asked'`, w.team)
	if n != 1 {
		t.Error("the event does not say from whom to whom, and why")
	}
	if team := w.snapshot(w.db.Runtime).Servers[0].Team; team != payments.ID {
		t.Errorf("the policy asks %s", team)
	}
	_, err = w.Edit(w.ctx, w.owner, s.ID, got.Version, Edit{TeamID: new(w.team)}, "give it back")
	wantProblem(t, err, problem.Forbidden, "not_allowed")
	_, err = w.SetState(w.ctx, priya, s.ID, got.Version, Retired, "unused")
	w.must(err)
	_, err = w.Edit(w.ctx, priya, s.ID, got.Version+1, Edit{Title: new("x")}, "")
	wantProblem(t, err, problem.Conflict, "server_retired")
}

func TestEditTeam(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	payments, priya := w.otherTeam()
	before := w.generation()

	_, err := w.EditTeam(w.ctx, priya, payments.ID, NewTeam{Name: "Mine", IDPGroups: []string{"x"}})
	wantProblem(t, err, problem.Forbidden, "not_allowed")
	_, err = w.EditTeam(w.ctx, w.admin, "tem_nobody", NewTeam{Name: "Nobody", IDPGroups: []string{"x"}})
	wantProblem(t, err, problem.NotFound, "no_such_team")
	_, err = w.EditTeam(w.ctx, w.admin, payments.ID, NewTeam{Name: "Payments"})
	wantProblem(t, err, problem.Invalid, "invalid_team")
	_, err = w.EditTeam(w.ctx, w.admin, payments.ID, NewTeam{Name: "ORDERS", IDPGroups: []string{"x"}})
	wantProblem(t, err, problem.Conflict, "team_exists")
	_, err = w.EditTeam(w.ctx, w.admin, payments.ID, NewTeam{Name: "Payments", PersonIDs: []string{"per_nobody"}})
	wantProblem(t, err, problem.Invalid, "invalid_team")
	if members, err := w.TeamMembers(w.ctx, w.viewer, payments.ID); err != nil || len(members) != 1 || members[0].ID != priya.ID {
		t.Errorf("members %v, %v", members, err)
	}

	got, err := w.EditTeam(w.ctx, w.admin, payments.ID, NewTeam{Name: "Money", IDPGroups: []string{"pay"}, PersonIDs: []string{w.owner.ID}})
	w.must(err)
	if got.Name != "Money" || !cmp.Equal(got.IDPGroups, []string{"pay"}) || got.Members != 1 {
		t.Errorf("team %+v", got)
	}
	same, err := w.EditTeam(w.ctx, w.admin, payments.ID, NewTeam{Name: "Money", IDPGroups: []string{"pay"}, PersonIDs: []string{w.owner.ID}})
	w.must(err)
	if !cmp.Equal(same, got) || w.events("team.edited") != 1 || w.generation() != before+1 {
		t.Error("an edit that changes nothing is one")
	}
	n := w.count(`
		select count(*) from audit_events
		where kind = 'team.edited' and detail -> 'name' ->> 'from' = 'Payments' and detail ->> 'groups_added' = '["pay"]'
		  and detail -> 'people_removed' = to_jsonb(array[$1::text])`, priya.ID)
	if n != 1 {
		t.Error("the event does not say what changed")
	}
	one, err := w.Team(w.ctx, w.viewer, payments.ID)
	if err != nil || !cmp.Equal(one, got) {
		t.Errorf("team %+v, %v", one, err)
	}
	_, err = w.Team(w.ctx, w.viewer, "tem_nobody")
	wantProblem(t, err, problem.NotFound, "no_such_team")
}

package registry

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"countersign/identity"
	"countersign/internal/problem"
)

func TestAgentIsOwned(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tomas := w.person("tomas")
	n := NewAgent{Agent: "claude-desktop", OwnerID: tomas.ID, Note: " bought in May "}
	for _, who := range []identity.Principal{w.owner, w.viewer, w.edge, {}} {
		_, err := w.RegisterAgent(w.ctx, who, n)
		if !problem.Is(err, problem.Forbidden) && !problem.Is(err, problem.Unauthenticated) {
			t.Errorf("%s %s registers an agent: %v", who.Kind, who.Name, err)
		}
	}
	generation := w.generation()
	made, err := w.RegisterAgent(w.ctx, w.admin, n)
	w.must(err)
	want := Agent{Agent: "claude-desktop", Name: "claude-desktop", OwnerID: tomas.ID, OwnerName: "tomas", Note: "bought in May", Models: []string{}, Version: 1}
	if diff := cmp.Diff(want, made, cmpopts.IgnoreFields(Agent{}, "ID", "OwnerName", "CreatedAt", "ChangedAt")); diff != "" || !strings.HasPrefix(made.ID, "agt_") {
		t.Errorf("%s (-want +got):\n%s", made.ID, diff)
	}
	_, err = w.RegisterAgent(w.ctx, w.admin, NewAgent{Agent: "claude-desktop", OwnerID: w.owner.ID})
	wantProblem(t, err, problem.Conflict, "agent_exists")

	_, err = w.ChangeAgent(w.ctx, w.owner, made.ID, 1, n)
	wantProblem(t, err, problem.Forbidden, "not_allowed")
	same, err := w.ChangeAgent(w.ctx, w.admin, made.ID, 1, n)
	w.must(err)
	if same.Version != 1 || w.events("agent.changed") != 0 {
		t.Errorf("saying the same made version %d", same.Version)
	}
	next, err := w.ChangeAgent(w.ctx, w.machine(), made.ID, 1, NewAgent{Name: "Claude", OwnerID: w.owner.ID})
	w.must(err)
	if next.Name != "Claude" || next.OwnerID != w.owner.ID || next.Note != "" || next.Version != 2 || next.Agent != made.Agent {
		t.Errorf("it became %+v", next)
	}
	for name, try := range map[string]func() error{
		"agent_changed": func() error { _, err := w.ChangeAgent(w.ctx, w.admin, made.ID, 1, n); return err },
		"invalid_agent": func() error {
			_, err := w.ChangeAgent(w.ctx, w.admin, made.ID, 2, NewAgent{Agent: "other", OwnerID: tomas.ID})
			return err
		},
		"no_such_agent": func() error { _, err := w.ChangeAgent(w.ctx, w.admin, "agt_none", 1, n); return err },
	} {
		if p := problem.From(try()); p == nil || p.Code != name {
			t.Errorf("got %v, want %s", p, name)
		}
	}

	_, err = w.EndAgent(w.ctx, w.viewer, made.ID, 2, "")
	wantProblem(t, err, problem.Forbidden, "not_allowed")
	_, err = w.EndAgent(w.ctx, w.admin, made.ID, 1, "")
	wantProblem(t, err, problem.Conflict, "agent_changed")
	ended, err := w.EndAgent(w.ctx, w.admin, made.ID, 2, "sold")
	w.must(err)
	if ended.EndedAt == nil || ended.Version != 3 {
		t.Errorf("it is %+v", ended)
	}
	_, err = w.EndAgent(w.ctx, w.admin, made.ID, 3, "")
	wantProblem(t, err, problem.Conflict, "agent_changed")
	_, err = w.RegisterAgent(w.ctx, w.admin, n)
	w.must(err)
	if w.events("agent.registered") != 2 || w.events("agent.changed") != 1 || w.events("agent.ended") != 1 {
		t.Error("events are missing")
	}
	if w.generation() != generation {
		t.Error("the policy moved; owners are no part of it")
	}
}

func TestAgentThatCannotBe(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	gone := w.person("gone")
	w.must(w.exec(`update people set disabled_at = clock_timestamp() where id = $1`, gone.ID))
	for name, test := range map[string]struct {
		n     NewAgent
		field string
	}{
		"no client":             {NewAgent{OwnerID: w.owner.ID}, "agent"},
		"a client too long":     {NewAgent{Agent: strings.Repeat("a", 201), OwnerID: w.owner.ID}, "agent"},
		"a client not visible":  {NewAgent{Agent: "a\u202eb", OwnerID: w.owner.ID}, "agent"},
		"a client with a space": {NewAgent{Agent: "a ", OwnerID: w.owner.ID}, "agent"},
		"a name not visible":    {NewAgent{Agent: "a", Name: "a\u200bb", OwnerID: w.owner.ID}, "name"},
		"a note too long":       {NewAgent{Agent: "a", Note: strings.Repeat("a", 2001), OwnerID: w.owner.ID}, "note"},
		"no owner":              {NewAgent{Agent: "a"}, "owner"},
		"an owner nobody knows": {NewAgent{Agent: "a", OwnerID: "per_none"}, "owner"},
		"an owner switched off": {NewAgent{Agent: "a", OwnerID: gone.ID}, "owner"},
	} {
		_, err := w.RegisterAgent(w.ctx, w.admin, test.n)
		if p := problem.From(err); p == nil || p.Code != "invalid_agent" || len(p.Fields) != 1 || p.Fields[test.field] == "" {
			t.Errorf("%s: %v", name, p)
		}
	}
	if n := w.count(`select count(*) from agents`); n != 0 {
		t.Errorf("%d agents were made", n)
	}
}

func TestAgentsAreListedAndSeen(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i, agent := range []string{"unowned", "cursor", "zed", "", "cursor", "robot"} {
		w.must(w.exec(`insert into call_records (call_id, gateway_id, at, server, tool, kind, decision, agent)
			values ('c' || $1::int, $2, clock_timestamp() - $1::int * interval '1 minute', 'com.acme/orders', 'list', 'tool', 'allowed', $3)`, i, w.edge.ID, agent))
	}
	for _, agent := range []string{"cursor", "robot"} {
		_, err := w.RegisterAgent(w.ctx, w.admin, NewAgent{Agent: agent, Name: "The " + agent, OwnerID: w.owner.ID})
		w.must(err)
	}
	robot, err := w.Agents(w.ctx, w.viewer, AgentFilter{Query: "ROB"})
	w.must(err)
	if len(robot.Items) != 1 || robot.Items[0].Agent != "robot" {
		t.Fatalf("found %+v", robot)
	}
	_, err = w.EndAgent(w.ctx, w.admin, robot.Items[0].ID, 1, "")
	w.must(err)
	seen := func() (names []string) {
		all, err := w.SeenAgents(w.ctx, w.viewer)
		w.must(err)
		for _, s := range all {
			names = append(names, s.Agent)
		}
		return names
	}
	if diff := cmp.Diff([]string{"unowned", "zed", "robot"}, seen()); diff != "" {
		t.Errorf("seen (-want +got):\n%s", diff)
	}
	var listed []string
	f := AgentFilter{Ended: "all", Limit: 1}
	for range 3 {
		page, err := w.Agents(w.ctx, w.viewer, f)
		w.must(err)
		for _, a := range page.Items {
			listed = append(listed, a.Agent)
		}
		if f.After = page.Next; f.After == "" {
			break
		}
	}
	if diff := cmp.Diff([]string{"robot", "cursor"}, listed); diff != "" {
		t.Errorf("listed (-want +got):\n%s", diff)
	}
	if mine, err := w.Agents(w.ctx, w.viewer, AgentFilter{OwnerID: w.owner.ID}); err != nil || len(mine.Items) != 1 {
		t.Errorf("of the owner: %+v, %v", mine, err)
	}
	if _, err := w.Agents(w.ctx, w.edge, AgentFilter{}); err == nil {
		t.Error("a gateway reads the list")
	}
	if _, err := w.SeenAgents(w.ctx, identity.Principal{}); err == nil {
		t.Error("a stranger sees agents")
	}
}

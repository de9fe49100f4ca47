package registry

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"countersign/desired"
	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
)

// traces says what an apply may have left.
func (w *world) traces() string {
	w.t.Helper()
	var s string
	w.must(w.db.Runtime.QueryRow(w.ctx, `
		select format('generation %s, %s teams, %s servers, %s grants, %s guardrails, %s discoveries, %s events',
		              (select generation from registry_head), (select count(*) from teams), (select count(*) from servers),
		              (select count(*) from grants), (select count(*) from guardrails), (select count(*) from discoveries),
		              (select count(*) from audit_events where kind not like '%.refused'))`).Scan(&s))
	return s
}

func TestApplyIsAllOrNothing(t *testing.T) {
	t.Parallel()
	owner := func(w *world) identity.Principal { return w.owner }
	machine := func(w *world) identity.Principal { return w.machine() }
	viewer := func(w *world) identity.Principal { return w.viewer }
	last := func(text string) string {
		return strings.Replace(company, "guardrails:", "guardrails:"+text, 1)
	}
	rail := func(teams string) string {
		return `
	- key: zz.last
		name: Last
		for:
			everyone: true
		on:
			servers: ["*"]
		approval:
			teams: ` + teams
	}
	cases := []struct {
		name  string
		who   func(*world) identity.Principal
		files string
		kind  problem.Kind
		code  string
		field string
	}{
		{"a team that there is not", machine, last(rail("[Nobody]")), problem.Invalid, "invalid_set", "guardrails[zz.last].approval.teams"},
		{"a name that is not visible", machine, last(strings.Replace(rail("[Data]"), "Last", `"La\u200bst"`, 1)), problem.Invalid, "invalid_set", "guardrails[zz.last].name"},
		{"a server of nobody", machine, "servers:\n- {name: com.acme/x, team: Nobody, url: 'https://x.example'}", problem.Invalid, "invalid_set", "servers[com.acme/x].team"},
		{"a server that is nowhere", machine, "servers:\n- {name: com.acme/x, team: Orders}", problem.Invalid, "invalid_set", "servers[com.acme/x].url"},
		{"a new server that is suspended", machine, "servers:\n- {name: com.acme/x, team: Orders, url: 'https://x.example', state: suspended}", problem.Invalid, "invalid_set", "servers[com.acme/x].state"},
		{"a server with two slashes", machine, "servers:\n- {name: com/acme/x, team: Orders, url: 'https://x.example'}", problem.Invalid, "invalid_set", "servers[com/acme/x].name"},
		{"who may only read", viewer, company, problem.Forbidden, "not_allowed", ""},
		{"a member of a team that makes others'", owner, "servers:\n- {name: com.acme/x, team: Orders, url: 'https://x.example'}\nteams:\n- {name: Zeta, groups: [z]}", problem.Forbidden, "not_allowed", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			set, before := read(t, c.files), w.traces()
			plan, planned := w.Plan(w.ctx, w.viewer, set, PlanOptions{})
			_, err := w.Apply(w.ctx, c.who(w), set, PlanOptions{}, plan.Digest)
			p := wantProblem(t, err, c.kind, c.code)
			if c.field != "" && p.Fields[c.field] == "" {
				t.Errorf("the fields are %v, want %s", p.Fields, c.field)
			}
			if c.kind == problem.Invalid {
				wantProblem(t, planned, c.kind, c.code)
			}
			if after := w.traces(); after != before {
				t.Errorf("%s became %s", before, after)
			}
		})
	}
}

func TestMachinesDoNotLoosenGuardrails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.apply(w.machine(), read(t, company), PlanOptions{})
	w.must(err)
	refused := func(set desired.Set, opts PlanOptions, want ...string) {
		t.Helper()
		before := w.traces()
		_, err := w.apply(w.machine(), set, opts)
		p := wantProblem(t, err, problem.Forbidden, "needs_person")
		for _, field := range want {
			if p.Fields[field] == "" {
				t.Errorf("the fields are %v, want %s", p.Fields, field)
			}
		}
		if after := w.traces(); after != before || len(p.Fields) != len(want) {
			t.Errorf("%s became %s, fields %v", before, after, p.Fields)
		}
	}
	edited := func(change func(*desired.Guardrail)) desired.Set {
		set := read(t, company)
		set.Grants[0].Name = "Changed as well"
		change(&set.Guardrails[0])
		return set
	}
	refused(edited(func(g *desired.Guardrail) { g.Approval.Quorum = 1 }), PlanOptions{}, "guardrails[two.eyes]")
	refused(edited(func(g *desired.Guardrail) { g.Approval.Quorum = 3 }), PlanOptions{}, "guardrails[two.eyes]")
	refused(edited(func(g *desired.Guardrail) { g.Except.Groups = []string{"admins", "me"} }), PlanOptions{}, "guardrails[two.eyes]")
	set := read(t, company)
	set.Guardrails = set.Guardrails[:1]
	initial := w.export().Guardrails[1].Key // the one that every installation begins with
	refused(set, PlanOptions{Prune: true}, "guardrails[com.acme-db.db_query.rate]", "guardrails["+initial+"]")

	words := edited(func(g *desired.Guardrail) { g.Name, g.Reason = "Two people", "Because." })
	plan, err := w.apply(w.machine(), words, PlanOptions{})
	w.must(err)
	want := "change grant analysts.read [name: Analysts read → Changed as well]\n" +
		"change guardrail two.eyes [name: Data approves → Two people] [reason:  → Because.]"
	if diff := cmp.Diff(want, changesOf(plan)); diff != "" {
		t.Error(diff)
	}
	set.Guardrails[0].Approval.Quorum = 1
	_, err = w.apply(w.admin, set, PlanOptions{Prune: true})
	w.must(err)
	for kind, n := range map[string]int{"guardrail.changed": 2, "guardrail.ended": 2, "grant.changed": 2} {
		if got := w.events(kind); got != n {
			t.Errorf("%d events %s, want %d", got, kind, n)
		}
	}
	if got := w.count(`select version from guardrails where key = 'two.eyes'`); got != 3 {
		t.Errorf("the guardrail is at version %d, want 3", got)
	}
}

func TestServersFollowTheirFiles(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	offer := tools(tool("get", "Reads.", `"readOnlyHint":true`), tool("delete", "Deletes."))
	server := w.register("orders", offer)
	w.pinAll(server)
	_, err := w.CreateGrant(w.ctx, w.admin, NewGrant{Name: "All", Subject: policy.Subject{Groups: []string{"ops"}}, Resource: policy.Resource{Servers: []string{"*"}}})
	w.must(err)

	step := func(file, change, consequence, effect string) {
		t.Helper()
		plan, err := w.apply(w.machine(), read(t, file), PlanOptions{})
		w.must(err)
		if diff := cmp.Diff(change, changesOf(plan)); diff != "" {
			t.Error(diff)
		}
		if len(plan.Changes) > 0 && plan.Changes[0].Consequence != consequence {
			t.Errorf("the consequence is %q, want %q", plan.Changes[0].Consequence, consequence)
		}
		var effects []string
		for _, s := range plan.Effects {
			effects = append(effects, s.Text)
		}
		if got := strings.Join(effects, "\n"); !strings.Contains(got, effect) || (effect == "") != (got == "") {
			t.Errorf("the effects are\n%s\nwant %q", got, effect)
		}
	}
	const base = "servers:\n- {name: COM.acme/orders, title: Orders, team: orders, labels: [env=prod]"
	step(base+"}", "", "", "")
	step(base+", state: suspended}", "change server com.acme/orders [state: active → suspended]", "every call to it is refused",
		"group ops may no longer call com.acme/orders: delete, get")
	step(base+"}", "", "", "")
	step(base+", state: active}", "change server com.acme/orders [state: suspended → active]", "what is pinned of it can be called again",
		"group ops may call com.acme/orders: delete, get")
	if n := w.count(`select count(*) from servers where state_generation = (select generation from registry_head)`); n != 1 {
		t.Error("nobody knows at which generation the server was resumed")
	}
	step(base+", url: 'https://new.example/mcp'}", "change server com.acme/orders [url: https://orders.acme.example/mcp → https://new.example/mcp]",
		"a new endpoint unpins all 2 tools", "group ops may no longer call com.acme/orders: delete, get")
	if job := w.leaseOne(); job.ServerID != server.ID {
		t.Errorf("the discovery is %+v", job)
	}
	step(base+", state: retired}", "end server com.acme/orders", "nothing of it can be called any more, and it stays retired", "com.acme/orders is gone")
	step(base+", state: retired}", "", "", "")
	_, err = w.Plan(w.ctx, w.viewer, read(t, base+"}"), PlanOptions{})
	if p := wantProblem(t, err, problem.Invalid, "invalid_set"); p.Fields["servers[com.acme/orders].name"] == "" {
		t.Errorf("the fields are %v", p.Fields)
	}
}

// TestOneOfManyApplies has several replicas apply the same plan at once: one does, the others see that it is done.
func TestOneOfManyApplies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	set := read(t, company)
	seen := w.plan(set, PlanOptions{}).Digest
	var wait sync.WaitGroup
	var done, changed atomic.Int32
	for range 6 {
		wait.Go(func() {
			switch _, err := w.Apply(w.ctx, w.machine(), set, PlanOptions{}, seen); {
			case err == nil:
				done.Add(1)
			case problem.From(err).Code == "plan_changed":
				changed.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if done.Load() != 1 || changed.Load() != 5 {
		t.Errorf("%d applied, %d saw that the plan changed", done.Load(), changed.Load())
	}
	if n := w.events("apply.done"); n != 1 {
		t.Errorf("%d events", n)
	}
}

// TestApplyBesideOtherChanges changes the registry in the console all the while: no apply is lost or half done.
func TestApplyBesideOtherChanges(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	set := read(t, company)
	seen := w.plan(set, PlanOptions{}).Digest
	var wait sync.WaitGroup
	for range 3 {
		wait.Go(func() {
			grant, err := w.CreateGrant(w.ctx, w.admin, NewGrant{Name: "Other", Subject: everyone(), Resource: policy.Resource{Servers: []string{"*"}}})
			if err == nil {
				_, err = w.EndGrant(w.ctx, w.admin, grant.ID, grant.Version, "")
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	_, err := w.Apply(w.ctx, w.machine(), set, PlanOptions{}, seen)
	wait.Wait()
	if problem.Is(err, problem.Unavailable) { // the others won each time: nothing was changed
		_, err = w.Apply(w.ctx, w.machine(), set, PlanOptions{}, seen)
	}
	w.must(err)
	if again := w.plan(set, PlanOptions{}); !again.Empty() || w.events("apply.done") != 1 {
		t.Errorf("%d events, and still to do:\n%s", w.events("apply.done"), changesOf(again))
	}
}

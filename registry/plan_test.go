package registry

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"countersign/desired"
	"countersign/identity"
	"countersign/internal/problem"
)

// read reads a file that a test writes down; tabs stand for two spaces.
func read(t testing.TB, text string) desired.Set {
	t.Helper()
	set, _, err := desired.Read(desired.File{Name: "test.yaml", Data: []byte(strings.ReplaceAll(text, "\t", "  "))})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func (w *world) plan(set desired.Set, opts PlanOptions) Plan {
	w.t.Helper()
	plan, err := w.Plan(w.ctx, w.viewer, set, opts)
	w.must(err)
	return plan
}

// apply plans and applies.
func (w *world) apply(who identity.Principal, set desired.Set, opts PlanOptions) (Plan, error) {
	w.t.Helper()
	return w.Apply(w.ctx, who, set, opts, w.plan(set, opts).Digest)
}

func (w *world) export() desired.Set {
	w.t.Helper()
	set, err := w.Export(w.ctx, w.viewer)
	w.must(err)
	return set
}

// machine is an automation client that may do what an admin may without a session.
func (w *world) machine() identity.Principal {
	return identity.Principal{Kind: identity.Client, ID: "cli_pipeline", Name: "pipeline", Roles: []identity.Role{identity.Admin}}
}

const company = `
teams:
	- name: Data
		groups: [analysts, data]
servers:
	- name: com.acme/db
		title: Database
		team: Data
		labels: [env=prod]
		url: https://db.acme.example/mcp
	- name: com.acme/mail
		team: orders
		command: mail
		command_digest: sha256:` + "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" + `
grants:
	- key: analysts.read
		name: Analysts read
		for:
			groups: [analysts]
		on:
			servers: [com.acme/db]
			risks: [read_only]
		until: 2099-01-01
		reason: They asked.
guardrails:
	- key: two.eyes
		name: Data approves
		for:
			everyone: true
		except:
			groups: [admins]
		on:
			servers: ["*"]
			risks: [destructive]
		approval:
			quorum: 2
			teams: [Data]
			pending: 1h
access:
	- server: com.acme/db
		tools:
			- name: db_query
				allowed_models: [claude-3, gpt-4]
				rate_limit: 10/min
`

func changesOf(p Plan) string {
	var lines []string
	for _, c := range p.Changes {
		line := string(c.Kind) + " " + c.What + " " + c.Key
		for _, f := range c.Fields {
			if c.Kind == Changes {
				line += " [" + f.Name + ": " + f.Before + " → " + f.After + "]"
			}
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func TestApplyMakesWhatTheFilesSay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	set := read(t, company)
	generation := w.generation()
	plan, err := w.apply(w.machine(), set, PlanOptions{})
	w.must(err)
	want := `add team Data
add server com.acme/db
add server com.acme/mail
add grant analysts.read
add grant com.acme-db.db_query.allow
add guardrail com.acme-db.db_query.rate
add guardrail two.eyes`
	if diff := cmp.Diff(want, changesOf(plan)); diff != "" {
		t.Error(diff)
	}
	if g := w.generation(); g != generation+1 || plan.Generation != g {
		t.Errorf("generation %d became %d; the plan says %d", generation, g, plan.Generation)
	}
	for kind, n := range map[string]int{
		"team.created": 2, "server.registered": 2, "server.discovery_requested": 2, "grant.created": 2, "guardrail.created": 2, "apply.done": 1,
	} {
		if got := w.events(kind); got != n {
			t.Errorf("%d events %s, want %d", got, kind, n)
		}
	}
	if again := w.plan(set, PlanOptions{}); !again.Empty() || again.Unmanaged != (Unmanaged{Teams: 1, Guardrails: 1}) {
		t.Errorf("the same files again:\n%s\n%+v", changesOf(again), again.Unmanaged)
	}
	if again := w.plan(w.export(), PlanOptions{Prune: true}); !again.Empty() {
		t.Errorf("what was exported again:\n%s", changesOf(again))
	}
	server, err := w.ServerNamed(w.ctx, w.viewer, "com.acme/mail")
	w.must(err)
	if server.TeamID != w.team || server.State != Proposed || server.Endpoint.Transport != Stdio {
		t.Errorf("the server is %+v", server)
	}
	nothing, err := w.apply(w.machine(), set, PlanOptions{})
	w.must(err)
	if !nothing.Empty() || w.events("apply.done") != 1 || w.generation() != generation+1 {
		t.Errorf("an apply of nothing: %+v, %d events, generation %d", nothing, w.events("apply.done"), w.generation())
	}
}

func TestApplyNeedsThePlanThatWasSeen(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	set := read(t, company)
	seen := w.plan(set, PlanOptions{}).Digest
	_, err := w.CreateGrant(w.ctx, w.admin, NewGrant{Key: "analysts.read", Name: "Other", Subject: everyone(), Resource: set.Grants[0].On})
	w.must(err)
	_, err = w.Apply(w.ctx, w.machine(), set, PlanOptions{}, seen)
	wantProblem(t, err, problem.Precondition, "plan_changed")
	if n := w.count(`select count(*) from servers`); n != 0 {
		t.Errorf("%d servers were made", n)
	}
}

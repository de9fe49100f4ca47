package server

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"countersign/desired"
	"countersign/identity"
	"countersign/registry"
)

// wanted is a set for the team Commerce, in JSON.
const wanted = `{
	"teams": [{"name": "Data", "groups": ["analysts"]}],
	"servers": [{"name": "com.example/db", "team": "Data", "labels": ["env=prod"], "url": "https://db.example.com/mcp"}],
	"grants": [{"key": "analysts", "name": "Analysts", "for": {"groups": ["analysts"]}, "on": {"servers": ["com.example/db"]},
		"condition": "args.rows <= 100"}],
	"guardrails": [
		{"key": "euros", "name": "Euros", "for": {"everyone": true}, "on": {"servers": ["com.example/*"]}, "require": "args.currency == 'EUR'"},
		{"key": "large", "name": "Large", "for": {"everyone": true}, "on": {"servers": ["com.example/*"]}, "token_budget": "50000/hour"},
		{"key": "long", "name": "Long", "for": {"everyone": true}, "on": {"servers": ["com.example/*"]}, "max_response_bytes": 200000},
		{"key": "slow", "name": "Slowly", "for": {"everyone": true}, "on": {"servers": ["com.example/*"]}, "rate_limit": "10/min"},
		{"key": "two", "name": "Two", "for": {"everyone": true}, "on": {"servers": ["*"], "risks": ["destructive"]},
		 "approval": {"quorum": 2, "teams": ["data"], "pending": "2h"}}]
}`

func planBody(set, more string) string { return `{"set":` + set + more + `}` }

func (c *caller) plan(set string) registry.Plan {
	c.w.t.Helper()
	return into[registry.Plan](c.w.t, c.call(post, "/v1/plan", planBody(set, "")).want(c.w.t, http.StatusOK))
}

func TestAutomationAppliesFiles(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	admin, viewer := w.automation("", identity.Admin), w.automation("", identity.Viewer)
	plan := viewer.plan(wanted)
	if len(plan.Changes) != 8 || plan.Unmanaged.Guardrails != 1 || plan.Unmanaged.Teams != 1 {
		t.Fatalf("the plan is %+v", plan)
	}
	apply := planBody(wanted, fmt.Sprintf(`,"digest":%q`, plan.Digest))
	before := w.traces()
	viewer.call(post, "/v1/apply", apply).wantProblem(t, http.StatusForbidden, "not_allowed")
	admin.call(post, "/v1/apply", planBody(wanted, `,"digest":"sha256:0"`)).wantProblem(t, http.StatusPreconditionFailed, "plan_changed")
	admin.call(post, "/v1/apply", planBody(wanted, fmt.Sprintf(`,"prune":true,"digest":%q`, plan.Digest))).wantProblem(t, http.StatusPreconditionFailed, "plan_changed")
	if after := w.traces(); after != before {
		t.Fatalf("%s became %s", before, after)
	}
	done := into[registry.Plan](t, admin.call(post, "/v1/apply", apply).want(t, http.StatusOK))
	if done.Generation != plan.Generation+1 || len(done.Changes) != 8 {
		t.Errorf("done: %+v", done)
	}
	admin.call(post, "/v1/apply", apply).wantProblem(t, http.StatusPreconditionFailed, "plan_changed")
	if again := viewer.plan(wanted); !again.Empty() {
		t.Errorf("planned again: %+v", again)
	}

	exported := viewer.get("/v1/export").want(t, http.StatusOK, `"key":"slow"`, `"rate_limit":"10/min"`,
		`"token_budget":"50000/h"`, `"max_response_bytes":200000`, `"require":"args.currency == 'EUR'"`, `"pending":"2h"`, `"teams":["Data"]`)
	if again := viewer.plan(exported.body); !again.Empty() || again.Unmanaged != (registry.Unmanaged{}) {
		t.Errorf("the export planned: %+v", again)
	}
	yaml := viewer.get("/v1/export", "Accept", yamlType).want(t, http.StatusOK, "rate_limit: 10/min", "groups: [analysts]")
	set, _, err := desired.Read(desired.File{Name: "export.yaml", Data: []byte(yaml.body)})
	must(t, err)
	if len(set.Servers) != 1 || len(set.Guardrails) != 6 || set.Grants[0].Condition != "args.rows <= 100" || yaml.header.Get("Content-Type") != yamlType {
		t.Errorf("%v is %+v", yaml.header, set)
	}

	looser := strings.Replace(wanted, `"quorum": 2`, `"quorum": 1`, 1)
	refused := admin.call(post, "/v1/apply", planBody(looser, fmt.Sprintf(`,"digest":%q`, viewer.plan(looser).Digest))).
		wantProblem(t, http.StatusForbidden, "needs_person")
	if refused.Fields["guardrails[two]"] == "" {
		t.Errorf("the fields are %v", refused.Fields)
	}
	if n := read[int](w, `select count(*) from audit_events where kind = 'apply.refused'`); n != 2 {
		t.Errorf("%d refusals are in the log, want 2", n)
	}
}

func TestPlansOfBadSetsSayWhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	admin := w.automation("", identity.Admin)
	w.unchanged(t)
	for name, c := range map[string]struct{ old, new, code, field string }{
		"an unknown field":        {`"groups": ["analysts"]}, "on"`, `"group": ["analysts"]}, "on"`, "invalid_json", ""},
		"a rate that is none":     {"10/min", "10 a minute", "invalid_json", ""},
		"a condition that is cut": {"args.rows <= 100", "args.rows <=", "invalid_set", "grants[analysts].condition"},
		"a budget that is none":   {"50000/hour", "a lot", "invalid_json", ""},
		"a limit of nothing":      {"200000", "-1", "invalid_set", "guardrails[long].max_response_bytes"},
		"an unknown team":         {`["data"]`, `["nobody"]`, "invalid_set", "guardrails[two].approval.teams"},
		"a subject of nobody":     {`"for": {"groups": ["analysts"]}`, `"for": {}`, "invalid_set", "grants[analysts].for"},
		"two effects":             {`"rate_limit": "10/min"`, `"rate_limit": "10/min", "deny": true`, "invalid_set", "guardrails[slow]"},
		"a key that is none":      {`"key": "slow"`, `"key": "so slow"`, "invalid_set", "guardrails[so slow].key"},
		"a key twice":             {`"key": "slow"`, `"key": "two"`, "invalid_set", "guardrails[two]"},
		"an address with secrets": {"https://db.example.com", "https://me:secret@db.example.com", "invalid_set", "servers[com.example/db].url"},
		"a label of 10 kB":        {"env=prod", strings.Repeat("x", 10_000), "invalid_set", "servers[com.example/db].labels"},
	} {
		p := admin.call(post, "/v1/plan", planBody(strings.Replace(wanted, c.old, c.new, 1), "")).wantProblem(t, http.StatusBadRequest, c.code)
		if c.field != "" && p.Fields[c.field] == "" {
			t.Errorf("%s: the fields are %v", name, p.Fields)
		}
	}
}

package delivery

import (
	"encoding/json"
	"testing"

	"countersign/canonical"
	"countersign/internal/opatest"
	"countersign/policy"
)

// inputSource lets ann read, holds writes of everybody but people in ops, and denies everything to those in former.
func inputSource() policy.Source {
	server := policy.Server{
		ID: "s1", Name: "3", State: policy.Active, Team: "t1",
		Endpoint: policy.Endpoint{Transport: policy.StreamableHTTP, URL: "https://mcp.example", Digest: canonical.Sum("endpoint", nil)},
	}
	for _, name := range []string{"read", "write", "limited"} {
		server.Tools = append(server.Tools, policy.Tool{ID: name, Kind: policy.KindTool, Name: name, Definition: canonical.Sum("definition", nil), Risk: policy.Write})
	}
	everything := policy.Resource{Servers: []string{"*"}}
	only := func(name string) policy.Resource {
		return policy.Resource{Servers: []string{"*"}, Names: []string{name}}
	}
	until := drawnNoon
	return policy.Source{
		Issuer: "https://countersign.example", Audience: "aud_1", Epoch: 1, Generation: 9, MaxStaleSeconds: 60, Servers: []policy.Server{server},
		Grants: []policy.SourceGrant{
			{Grant: policy.Grant{ID: "g1", Name: "g1", Subject: policy.Subject{Users: []string{drawnIssuer + "|ann"}}}, Resource: only("read")},
			{Grant: policy.Grant{ID: "g2", Name: "g2", Subject: policy.Subject{Everyone: true}}, Resource: only("write")},
			{Grant: policy.Grant{ID: "g3", Name: "g3", Subject: policy.Subject{Everyone: true}, NotAfter: &until}, Resource: only("limited")},
		},
		Guardrails: []policy.SourceGuardrail{
			{
				Guardrail: policy.Guardrail{ID: "r1", Name: "r1", Subject: policy.Subject{Groups: []string{"former"}}, Effect: policy.Effect{Deny: true}},
				Resource:  everything,
			},
			{
				Guardrail: policy.Guardrail{
					ID: "r2", Name: "r2", Subject: policy.Subject{Everyone: true}, Except: policy.Subject{Groups: []string{"ops"}},
					Effect: policy.Effect{Approval: &policy.Approval{Quorum: 1, OwningTeam: true}},
				},
				Resource: only("write"),
			},
			{
				Guardrail: policy.Guardrail{
					ID: "r3", Name: "r3", Subject: policy.Subject{Everyone: true}, Effect: policy.Effect{RateLimit: &policy.RateLimit{Calls: 1, Seconds: 1}},
				},
				Resource: only("limited"),
			},
		},
	}
}

// TestOPAReadsItsInput says what becomes of inputs that no request of ours looks like: what is not known never helps.
func TestOPAReadsItsInput(t *testing.T) {
	t.Parallel()
	cases := []struct{ name, input, outcome, reason string }{
		{"in full", `{"server":"3","kind":"tool","name":"read","principal":{"issuer":"https://idp.example","subject":"ann","groups":[]},"now":"2026-11-02T12:00:00Z"}`, "allow", "allowed"},
		{"by the engine's clock", `{"server":"3","kind":"tool","name":"read","principal":{"issuer":"https://idp.example","subject":"ann","groups":[]}}`, "allow", "allowed"},
		{"null is not known", `{"server":"3","kind":"tool","name":"write","principal":{"groups":null}}`, "deny", "denied_by_guardrail"},
		{"absent groups are not known", `{"server":"3","kind":"tool","name":"write","principal":{}}`, "deny", "denied_by_guardrail"},
		{"groups as a text", `{"server":"3","kind":"tool","name":"write","principal":{"groups":"ops"}}`, "deny", "denied_by_guardrail"},
		{"groups as an object", `{"server":"3","kind":"tool","name":"write","principal":{"groups":{"a":"ops"}}}`, "deny", "denied_by_guardrail"},
		{"groups with a number", `{"server":"3","kind":"tool","name":"write","principal":{"groups":["ops",1]}}`, "deny", "denied_by_guardrail"},
		{"no groups", `{"server":"3","kind":"tool","name":"write","principal":{"groups":[]}}`, "hold", "approval_required"},
		{"an exempt group", `{"server":"3","kind":"tool","name":"write","principal":{"groups":["ops"]}}`, "allow", "allowed"},
		{"no issuer", `{"server":"3","kind":"tool","name":"read","principal":{"subject":"ann","groups":[]}}`, "deny", "no_grant"},
		{"an issuer that is a number", `{"server":"3","kind":"tool","name":"read","principal":{"issuer":1,"subject":"ann","groups":[]}}`, "deny", "no_grant"},
		{"a subject that is a list", `{"server":"3","kind":"tool","name":"read","principal":{"issuer":"https://idp.example","subject":["ann"],"groups":[]}}`, "deny", "no_grant"},
		{"no principal", `{"server":"3","kind":"tool","name":"write"}`, "deny", "no_grant"},
		{"a principal that is null", `{"server":"3","kind":"tool","name":"write","principal":null}`, "deny", "no_grant"},
		{"a principal that is a list", `{"server":"3","kind":"tool","name":"write","principal":[]}`, "deny", "no_grant"},
		{"a server that is a number", `{"server":3,"kind":"tool","name":"read","principal":{"groups":[]}}`, "deny", "invalid_input"},
		{"a server that is an object", `{"server":{"3":1},"kind":"tool","name":"read","principal":{"groups":[]}}`, "deny", "invalid_input"},
		{"no kind", `{"server":"3","name":"read","principal":{"groups":[]}}`, "deny", "invalid_input"},
		{"a kind that is a list", `{"server":"3","kind":["tool"],"name":"read","principal":{"groups":[]}}`, "deny", "invalid_input"},
		{"a name that is null", `{"server":"3","kind":"tool","name":null,"principal":{"groups":[]}}`, "deny", "invalid_input"},
		{"a time that is none", `{"server":"3","kind":"tool","name":"write","principal":{"groups":["ops"]},"now":"yesterday"}`, "deny", "invalid_input"},
		{"a time that is a number", `{"server":"3","kind":"tool","name":"write","principal":{"groups":["ops"]},"now":1}`, "deny", "invalid_input"},
		{"a time that is null", `{"server":"3","kind":"tool","name":"write","principal":{"groups":["ops"]},"now":null}`, "deny", "invalid_input"},
		{"a time before all", `{"server":"3","kind":"tool","name":"write","principal":{"groups":["ops"]},"now":"0001-01-01T00:00:00Z"}`, "deny", "invalid_input"},
		{"a time after all", `{"server":"3","kind":"tool","name":"write","principal":{"groups":["ops"]},"now":"9999-01-01T00:00:00Z"}`, "deny", "invalid_input"},
		{"a nanosecond before the end", `{"server":"3","kind":"tool","name":"limited","principal":{"groups":[]},"now":"2026-11-02T12:00:00.123456788Z"}`, "allow", "allowed"},
		{"at the end", `{"server":"3","kind":"tool","name":"limited","principal":{"groups":[]},"now":"2026-11-02T13:00:00.123456789+01:00"}`, "deny", "no_grant"},
		{"nothing", `{}`, "deny", "invalid_input"},
		{"a list", `[]`, "deny", "invalid_input"},
		{"null", `null`, "deny", "invalid_input"},
	}
	inputs := make([]json.RawMessage, 0, len(cases))
	for _, c := range cases {
		inputs = append(inputs, json.RawMessage(c.input))
	}
	var answers []struct {
		Allow    bool
		Decision decided
	}
	query := `[{"allow": allow, "decision": decision} | some call in input
		allow := data.countersign.allow with input as call
		decision := data.countersign.decision with input as call]`
	opatest.Eval(t, bundleOf(t, indexed(t, inputSource())), query, inputs, &answers)
	if len(answers) != len(cases) {
		t.Fatalf("%d answers to %d inputs", len(answers), len(cases))
	}
	for i, c := range cases {
		d := answers[i].Decision
		if d.Outcome != c.outcome || d.Reason != c.reason {
			t.Errorf("%s: %s %s, want %s %s", c.name, d.Outcome, d.Reason, c.outcome, c.reason)
		}
		if free := d.Outcome == "allow" && len(d.Obligations.RateLimits) == 0; answers[i].Allow != free {
			t.Errorf("%s: allow is %v of %+v", c.name, answers[i].Allow, d)
		}
	}
}

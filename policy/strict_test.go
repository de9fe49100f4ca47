package policy_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"countersign/canonical"
	"countersign/policy"
)

// fieldOrCode says why something was refused: the field of a policy.Error or the
// code of a canonical.Error.
func fieldOrCode(err error) string {
	var wrong *policy.Error
	var scan *canonical.Error
	switch {
	case errors.As(err, &wrong):
		return wrong.Field
	case errors.As(err, &scan):
		return scan.Code
	case err != nil:
		return err.Error()
	}
	return ""
}

func TestRulesAreReadStrictly(t *testing.T) {
	t.Parallel()
	subject := func(b []byte) error { _, err := policy.ParseSubject(b); return err }
	except := func(b []byte) error { _, err := policy.ParseExcept(b); return err }
	resource := func(b []byte) error { _, err := policy.ParseResource(b); return err }
	effect := func(b []byte) error { _, err := policy.ParseEffect(b); return err }
	long := strings.Repeat("x", 513)
	many := `["x"` + strings.Repeat(`,"x"`, 1000) + `]`
	cases := []struct {
		parse func([]byte) error
		input string
		want  string // field or code; "" is accepted
	}{
		{subject, `{"everyone":true}`, ""},
		{subject, `{"users":["a","b*"],"models":["m"],"allow_declared":true}`, ""},
		{subject, `{}`, "subject"},
		{subject, `{"everyone":false}`, "subject"},
		{subject, `{"users":[]}`, "subject"},
		{subject, `null`, "subject"},
		{subject, `[]`, "not_object"},
		{subject, ``, "syntax"},
		{subject, `{"everyone":true,"users":["a"]}`, "subject.everyone"},
		{subject, `{"everyone":"yes"}`, "subject"},
		{subject, `{"everyone":null}`, "subject.everyone"},
		{subject, `{"Everyone":true}`, "subject"},
		{subject, `{"everyone":true,"EVERYONE":true}`, "case_variant_key"},
		{subject, `{"everyone":true,"everyone":true}`, "duplicate_key"},
		{subject, `{"everyone":true,"roles":[]}`, "subject"},
		{subject, `{"users":"alice"}`, "subject"},
		{subject, `{"users":null}`, "subject.users"},
		{subject, `{"users":["a",null]}`, "subject.users[1]"},
		{subject, `{"users":["a",""]}`, "subject.users[1]"},
		{subject, `{"groups":["a\u0000b"]}`, "subject.groups[0]"},
		{subject, `{"agents":["a\u001b[2J"]}`, "subject.agents[0]"},
		{subject, `{"models":["` + long + `"]}`, "subject.models[0]"},
		{subject, `{"users":` + many + `}`, "subject.users"},
		{subject, `{"users":["a"],"allow_declared":true}`, "subject.allow_declared"},
		{subject, `{"everyone":true} {}`, "trailing_data"},
		{except, `{}`, ""},
		{except, `{"groups":["ops"]}`, ""},
		{except, `{"everyone":true}`, "except.everyone"},
		{except, `{"allow_declared":true}`, "except"},
		{resource, `{"servers":["*"]}`, ""},
		{resource, `{"labels":["pii"],"kinds":["tool","prompt","resource"],"names":["*"],"risks":["read_only","write","destructive"]}`, ""},
		{resource, `{}`, "resource.servers"},
		{resource, `{"names":["*"]}`, "resource.servers"},
		{resource, `{"servers":["*"],"kinds":["tools"]}`, "resource.kinds[0]"},
		{resource, `{"servers":["*"],"risks":["write","harmless"]}`, "resource.risks[1]"},
		{resource, `{"servers":["*"],"names":[""]}`, "resource.names[0]"},
		{resource, `{"servers":[["*"]]}`, "resource"},
		{resource, `{"servers":["*"],"tools":["x"]}`, "resource"},
		{effect, `{"deny":true}`, ""},
		{effect, `{"approval":{"quorum":1,"owning_team":true}}`, ""},
		{effect, `{"approval":{"quorum":20,"deny_quorum":20,"teams":["t"],"pending_seconds":604800}}`, ""},
		{effect, `{}`, "effect"},
		{effect, `{"deny":false}`, "effect"},
		{effect, `{"deny":true,"approval":{"quorum":1,"owning_team":true}}`, "effect"},
		{effect, `{"mfa":true}`, ""},
		{effect, `{"mfa":false}`, "effect"},
		{effect, `{"mfa":"yes"}`, "effect"},
		{effect, `{"MFA":true}`, "effect"},
		{effect, `{"mfa":true,"deny":true}`, "effect"},
		{effect, `{"mfa":true,"rate_limit":{"calls":1,"seconds":1}}`, "effect"},
		{effect, `{"rate_limit":{"calls":1,"seconds":1}}`, ""},
		{effect, `{"rate_limit":{"calls":1000000,"seconds":86400}}`, ""},
		{effect, `{"rate_limit":{"calls":0,"seconds":60}}`, "effect.rate_limit.calls"},
		{effect, `{"rate_limit":{"calls":1000001,"seconds":60}}`, "effect.rate_limit.calls"},
		{effect, `{"rate_limit":{"calls":10}}`, "effect.rate_limit.seconds"},
		{effect, `{"rate_limit":{"calls":10,"seconds":86401}}`, "effect.rate_limit.seconds"},
		{effect, `{"rate_limit":{"calls":10,"seconds":-1}}`, "effect.rate_limit.seconds"},
		{effect, `{"rate_limit":{"calls":10,"seconds":60,"burst":5}}`, "effect.rate_limit"},
		{effect, `{"rate_limit":{"calls":1e1,"seconds":60}}`, "effect"},
		{effect, `{"rate_limit":null}`, "effect.rate_limit"},
		{effect, `{"token_budget":{"tokens":1000000000,"seconds":86400}}`, ""},
		{effect, `{"token_budget":{"tokens":0,"seconds":60}}`, "effect.token_budget.tokens"},
		{effect, `{"token_budget":{"tokens":1000000001,"seconds":60}}`, "effect.token_budget.tokens"},
		{effect, `{"token_budget":{"tokens":10}}`, "effect.token_budget.seconds"},
		{effect, `{"token_budget":{"tokens":10,"seconds":86401}}`, "effect.token_budget.seconds"},
		{effect, `{"token_budget":{"tokens":10,"seconds":60,"currency":"EUR"}}`, "effect.token_budget"},
		{effect, `{"token_budget":null}`, "effect.token_budget"},
		{effect, `{"max_response_bytes":1}`, ""},
		{effect, `{"max_response_bytes":1073741824}`, ""},
		{effect, `{"max_response_bytes":1073741825}`, "effect.max_response_bytes"},
		{effect, `{"max_response_bytes":-1}`, "effect.max_response_bytes"},
		{effect, `{"max_response_bytes":0}`, "effect"},
		{effect, `{"max_response_bytes":"1"}`, "effect"},
		{effect, `{"require":"args.amount <= 100"}`, ""},
		{effect, `{"require":""}`, "effect"},
		{effect, `{"require":"args.amount <="}`, "effect.require"},
		{effect, `{"require":"args.amount + 1"}`, "effect.require"},
		{effect, `{"require":"1 + 1"}`, "effect.require"},
		{effect, `{"require":true}`, "effect"},
		{effect, `{"require":"true","deny":true}`, "effect"},
		{effect, `{"approval":null}`, "effect.approval"},
		{effect, `{"approval":{"owning_team":true}}`, "effect.approval.quorum"},
		{effect, `{"approval":{"quorum":0,"owning_team":true}}`, "effect.approval.quorum"},
		{effect, `{"approval":{"quorum":21,"owning_team":true}}`, "effect.approval.quorum"},
		{effect, `{"approval":{"quorum":1.5,"owning_team":true}}`, "effect"},
		{effect, `{"approval":{"quorum":1,"deny_quorum":-1,"owning_team":true}}`, "effect.approval.deny_quorum"},
		{effect, `{"approval":{"quorum":1,"owning_team":true,"pending_seconds":604801}}`, "effect.approval.pending_seconds"},
		{effect, `{"approval":{"quorum":1}}`, "effect.approval.teams"},
		{effect, `{"approval":{"quorum":1,"teams":[""]}}`, "effect.approval.teams[0]"},
		{effect, `{"approval":{"quorum":1,"owning_team":true,"by_vote":true}}`, "effect.approval"},
		{effect, `{"approval":{"quorum":1,"owning_team":true,"alternatives":[{"quorum":2,"teams":["t"]},{"quorum":1,"owning_team":true}]}}`, ""},
		{effect, `{"approval":{"quorum":1,"owning_team":true,"alternatives":[{"quorum":2,"teams":["t"]},{"quorum":1}]}}`, "effect.approval.alternatives[1].teams"},
		{effect, `{"approval":{"quorum":1,"owning_team":true,"alternatives":[{"quorum":0,"teams":["t"]}]}}`, "effect.approval.alternatives[0].quorum"},
		{effect, `{"approval":{"quorum":1,"owning_team":true,"alternatives":[{"quorum":1,"teams":["t"],"evidence":true}]}}`, "effect.approval.alternatives[0]"},
		{effect, `{"approval":{"quorum":1,"owning_team":true,"alternatives":[` + strings.Repeat(`{"quorum":1,"owning_team":true},`, 7) + `{"quorum":1,"owning_team":true}]}}`, "effect.approval.alternatives"},
		{effect, `{"approval":{"quorum":1,"owning_team":true,"fallback":{"after_seconds":899,"quorum":1,"teams":["t"]}}}`, ""},
		{effect, `{"approval":{"quorum":1,"owning_team":true,"fallback":{"after_seconds":900,"quorum":1,"teams":["t"]}}}`, "effect.approval.fallback.after_seconds"},
		{effect, `{"approval":{"quorum":1,"owning_team":true,"pending_seconds":60,"fallback":{"after_seconds":60,"quorum":1,"teams":["t"]}}}`, "effect.approval.fallback.after_seconds"},
		{effect, `{"approval":{"quorum":1,"owning_team":true,"fallback":{"after_seconds":0,"quorum":1,"teams":["t"]}}}`, "effect.approval.fallback.after_seconds"},
		{effect, `{"approval":{"quorum":1,"owning_team":true,"fallback":{"after_seconds":60,"quorum":1}}}`, "effect.approval.fallback.teams"},
		{effect, `{"approval":{"quorum":1,"owning_team":true,"evidence":true,"not_granter":true,"step_up":{"mfa":true}}}`, ""},
		{effect, `{"approval":{"quorum":1,"owning_team":true,"step_up":{}}}`, "effect.approval.step_up"},
		{effect, `{"approval":{"quorum":1,"owning_team":true,"scope":{"max_uses":1000,"max_seconds":86400,"free":["path"]}}}`, ""},
		{effect, `{"approval":{"quorum":1,"owning_team":true,"scope":{"max_seconds":60}}}`, "effect.approval.scope.max_uses"},
		{effect, `{"approval":{"quorum":1,"owning_team":true,"scope":{"max_uses":1001,"max_seconds":60}}}`, "effect.approval.scope.max_uses"},
		{effect, `{"approval":{"quorum":1,"owning_team":true,"scope":{"max_uses":1,"max_seconds":86401}}}`, "effect.approval.scope.max_seconds"},
		{effect, `{"approval":{"quorum":1,"owning_team":true,"scope":{"max_uses":1,"max_seconds":60,"free":["a","b","a"]}}}`, "effect.approval.scope.free[2]"},
		{effect, `{"approval":{"quorum":1,"owning_team":true,"break_glass":{"owning_team":true,"review_seconds":2592000}}}`, ""},
		{effect, `{"approval":{"quorum":1,"owning_team":true,"break_glass":{"owning_team":true,"review_seconds":2592001}}}`, "effect.approval.break_glass.review_seconds"},
		{effect, `{"approval":{"quorum":1,"owning_team":true,"break_glass":{}}}`, "effect.approval.break_glass.teams"},
		{effect, `{"approval":{"quorum":1,"owning_team":true,"break_glass":null}}`, "effect.approval.break_glass"},
		{effect, `{"step_up":{"max_age_seconds":2592000,"mfa":true,"acr":["urn:acme:gold","phr"]}}`, ""},
		{effect, `{"step_up":{}}`, "effect.step_up"},
		{effect, `{"step_up":{"max_age_seconds":2592001}}`, "effect.step_up.max_age_seconds"},
		{effect, `{"step_up":{"max_age_seconds":-1}}`, "effect.step_up.max_age_seconds"},
		{effect, `{"step_up":{"acr":[]}}`, "effect.step_up.acr"},
		{effect, `{"step_up":{"acr":["a b"]}}`, "effect.step_up.acr[0]"},
		{effect, `{"step_up":{"acr":["a","a"]}}`, "effect.step_up.acr[1]"},
		{effect, `{"step_up":{"mfa":true},"mfa":true}`, "effect"},
	}
	for _, c := range cases {
		if got := fieldOrCode(c.parse([]byte(c.input))); got != c.want {
			t.Errorf("%.100s: refused for %q (%v), want %q", c.input, got, c.parse([]byte(c.input)), c.want)
		}
	}
}

func TestUnknownMemberIsNamedSafely(t *testing.T) {
	t.Parallel()
	_, err := policy.ParseSubject([]byte(`{"everyone":true,"\u202e` + strings.Repeat("x", 100) + `":1}`))
	if err == nil || strings.Contains(err.Error(), "\u202e") || !strings.Contains(err.Error(), `\u202ex`) || len(err.Error()) > 120 {
		t.Errorf("got %v", err)
	}
}

// aDocument is a small document with one of each.
func aDocument(t testing.TB) policy.Document {
	t.Helper()
	before, after := noon.Add(-1), noon.Add(1)
	src := policy.Source{
		Issuer: "https://countersign.example", Audience: "aud_1", Epoch: 2, Generation: 42, MaxStaleSeconds: 300,
		Servers: []policy.Server{
			storyServer{
				Team: "t_orders", Labels: []string{"pii", "internal", "pii"},
				Tools: map[string]policy.Risk{"list_orders": policy.ReadOnly, "delete_orders": policy.Destructive}, Held: []string{"list_orders"},
			}.server("com.acme/orders"),
			{
				ID: "srv_files", Name: "com.acme/files", State: policy.Suspended, Team: "t_files",
				Endpoint: policy.Endpoint{Transport: policy.Stdio, Command: "files", CommandDigest: definition.String(), Digest: endpoint},
			},
		},
		Grants: []policy.SourceGrant{{
			Grant:    policy.Grant{ID: "g1", Name: "<orders> & more", Subject: policy.Subject{Users: []string{"alice"}}, NotBefore: &before, NotAfter: &after},
			Resource: policy.Resource{Servers: []string{"*"}},
		}},
		Guardrails: []policy.SourceGuardrail{{
			Guardrail: policy.Guardrail{
				ID: "r1", Name: "destructive", Subject: policy.Subject{Everyone: true}, Except: policy.Subject{Groups: []string{"ops"}},
				Effect: policy.Effect{Approval: &policy.Approval{Quorum: 1, OwningTeam: true}},
			},
			Resource: policy.Resource{Servers: []string{"*"}, Risks: []policy.Risk{policy.Destructive}},
		}},
	}
	doc, _, err := policy.Compile(src, noon)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestDecodeReadsWhatMarshalWrites(t *testing.T) {
	t.Parallel()
	doc := aDocument(t)
	text := must(doc.Marshal())(t)
	back := must(policy.Decode(text))(t)
	for i := range doc.Servers { // the space in a schema is not kept
		for j := range doc.Servers[i].Tools {
			doc.Servers[i].Tools[j].InputSchema = json.RawMessage(`{"type":"object"}`)
		}
	}
	if diff := cmp.Diff(doc, back, equateEmpty); diff != "" {
		t.Errorf("(-compiled +decoded)\n%s", diff)
	}
}

func TestDecodeRefusesAnyOtherEncoding(t *testing.T) {
	t.Parallel()
	text := string(must(aDocument(t).Marshal())(t))
	for name, change := range map[string][2]string{
		"a space":                   {`{"format"`, `{ "format"`},
		"a trailing newline":        {``, ``}, // appended below
		"another order":             {`"epoch":2,"revision":42`, `"revision":42,"epoch":2`},
		"another format":            {`policy/v1`, `policy/v2`},
		"an unknown member":         {`"epoch":2`, `"epoch":2,"extra":1`},
		"a misspelt member":         {`"audience"`, `"Audience"`},
		"a member twice":            {`"epoch":2`, `"epoch":2,"epoch":2`},
		"a case variant":            {`"epoch":2`, `"epoch":2,"EPOCH":2`},
		"a needless default":        {`"everyone":true`, `"everyone":true,"users":[]`},
		"an escape":                 {`"aud_1"`, `"\u0061ud_1"`},
		"another number":            {`"revision":42`, `"revision":42.0`},
		"a null list":               {`"labels":["internal","pii"]`, `"labels":null`},
		"another zone":              {`T12:00:00Z`, `T12:00:00+00:00`},
		"a duplicate in a schema":   {`{"type":"object"}`, `{"type":"object","type":"object"}`},
		"a negative epoch":          {`"epoch":2`, `"epoch":-2`},
		"a revision beyond 2^53":    {`"revision":42`, `"revision":9007199254740993`},
		"no staleness":              {`"max_stale_seconds":300`, `"max_stale_seconds":0`},
		"no issuer":                 {`https://countersign.example`, ``},
		"an index out of range":     {`"grants":[0]`, `"grants":[1]`},
		"a negative index":          {`"grants":[0]`, `"grants":[-1]`},
		"an index twice":            {`"guardrails":[0]`, `"guardrails":[0,0]`},
		"labels out of order":       {`["internal","pii"]`, `["pii","internal"]`},
		"an unknown kind":           {`"kind":"tool"`, `"kind":"toolbox"`},
		"an unknown risk":           {`"risk":"destructive"`, `"risk":"none"`},
		"an unknown state":          {`"state":"suspended"`, `"state":"retired"`},
		"an unknown transport":      {`"transport":"stdio"`, `"transport":"sse"`},
		"a bad digest":              {`"definition":"sha256:`, `"definition":"sha512:`},
		"a subject that is nobody":  {`{"users":["alice"]}`, `{}`},
		"an exception for everyone": {`"except":{"groups":["ops"]}`, `"except":{"everyone":true}`},
		"an effect that is both":    {`{"approval"`, `{"deny":true,"approval"`},
		"a second effect":           {`{"approval"`, `{"mfa":true,"approval"`},
		"an obligation of later":    {`{"approval"`, `{"token_budget":{"tokens":9},"approval"`},
		"a window that is none":     {`"not_after":"2026-11-02T12:00:00.000000001Z"`, `"not_after":"2026-11-02T11:00:00Z"`},
		"servers out of order":      {`com.acme/files`, `com.acme/zebra`},
		"a server of two names":     {`"name":"com.acme/files"`, `"name":"COM.acme/orders"`},
		"no servers":                {`"servers":[`, `"servers":null,"_":[`},
	} {
		broken := strings.Replace(text, change[0], change[1], 1)
		if name == "a trailing newline" {
			broken = text + "\n"
		}
		if broken == text {
			t.Errorf("%s: nothing to change in\n%s", name, text)
		}
		if _, err := policy.Decode([]byte(broken)); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(must(aDocument(f).Marshal())(f))
	f.Add([]byte(`{"format":"countersign/policy/v1","servers":[],"grants":[],"guardrails":[]}`))
	alice := &policy.Principal{Issuer: idp, Subject: "alice", Groups: []string{"ops"}}
	f.Fuzz(func(t *testing.T, data []byte) {
		doc, err := policy.Decode(data)
		if err != nil {
			return
		}
		ix := must(policy.NewIndex(doc))(t)
		for _, s := range doc.Servers {
			for _, tool := range s.Tools {
				r := policy.Request{Server: s.Name, Kind: tool.Kind, Name: tool.Name, Principal: alice, Now: noon}
				if v := ix.Decide(r); v.Outcome == policy.Allow && v.Grant < 0 {
					t.Fatalf("allowed without a grant: %+v", v)
				}
				ix.Trace(r)
			}
		}
	})
}

func FuzzRules(f *testing.F) {
	for _, s := range []string{
		`{"everyone":true}`, `{"users":["a"],"models":["m"],"allow_declared":true}`, `{"servers":["*"],"kinds":["tool"]}`,
		`{"approval":{"quorum":1,"teams":["t"]}}`, `{"deny":true}`, `{"step_up":{"max_age_seconds":300,"mfa":true,"acr":["phr"]}}`,
		`{"approval":{"quorum":1,"owning_team":true,"alternatives":[{"quorum":2,"teams":["t"]}],"fallback":{"after_seconds":60,"quorum":1,"teams":["u"]},"scope":{"max_uses":1,"max_seconds":60,"free":["a"]},"break_glass":{"teams":["t"]}}}`,
		`{"users":[null]}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if s, err := policy.ParseSubject(data); err == nil {
			if again, err := policy.ParseSubject(must(json.Marshal(s))(t)); err != nil || !cmp.Equal(s, again, equateEmpty) {
				t.Fatalf("%s reads as %+v, then as %+v, %v", data, s, again, err)
			}
		}
		_, _ = policy.ParseExcept(data)
		_, _ = policy.ParseResource(data)
		_, _ = policy.ParseEffect(data)
	})
}

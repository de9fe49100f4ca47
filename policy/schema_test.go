package policy_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"pgregory.net/rapid"

	"countersign/canonical"
	"countersign/internal/nodetest"
	"countersign/policy"
)

// compiledSchema is the published schema, ready to validate.
func compiledSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	schema := must(jsonschema.UnmarshalJSON(bytes.NewReader(policy.Schema())))(t)
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("policy.schema.json", schema); err != nil {
		t.Fatal(err)
	}
	return must(compiler.Compile("policy.schema.json"))(t)
}

// obeys reports what the schema finds wrong with a document.
func obeys(schema *jsonschema.Schema, document []byte) error {
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(document))
	if err != nil {
		return err
	}
	return schema.Validate(v)
}

func TestSchemaDescribesTheExample(t *testing.T) {
	t.Parallel()
	example := must(readExample())(t)
	if err := obeys(compiledSchema(t), []byte(example.Document)); err != nil {
		t.Error(err)
	}
}

func TestSchemaDescribesWhatIsCompiled(t *testing.T) {
	t.Parallel()
	schema := compiledSchema(t)
	rapid.Check(t, func(t *rapid.T) {
		doc, _, err := policy.Compile(drawSource.Draw(t, "source"), noon)
		if err != nil {
			t.Fatalf("compiling: %v", err)
		}
		text, err := doc.Marshal()
		if err != nil {
			t.Fatalf("encoding: %v", err)
		}
		if err := obeys(schema, text); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
	})
}

// TestSchemaMeansTheSameToOthers asks another implementation, one that gateway authors use.
func TestSchemaMeansTheSameToOthers(t *testing.T) {
	t.Parallel()
	schema, ask := compiledSchema(t), nodetest.Talk(t, "policy/testdata/ajv.mjs")
	var faults []any
	ask(t, map[string]string{"schema": string(policy.Schema())}, &faults)
	original := oneOfEach(t)
	for i, m := range append([]mutation{{what: "the unchanged document", text: original}}, mutations(t, "", original)...) {
		if i%5 != 0 {
			continue
		}
		ask(t, map[string]string{"document": string(m.text)}, &faults)
		if ours := obeys(schema, m.text); (ours == nil) != (len(faults) == 0) {
			t.Errorf("%s: %v, and elsewhere %v", m.what, ours, faults)
		}
	}
}

// beyondSchema are the rules of Decode that no JSON Schema can say, by the words of the refusal.
var beyondSchema = []string{
	"is out of order",           // servers by name, tools by kind and name, rules by id; with that, that these are unique
	"are out of order",          // labels
	"is not after not_before",   // compares two members
	"are not ascending indexes", // the places of rules: their order, and that there are so many rules
	"does not compile",          // an expression
	"before the request expires",
}

// TestSchemaIsAsStrictAsDecode changes one thing at a time in a document that has one of everything. What Decode then
// refuses the schema refuses, save what it cannot say; and it refuses nothing that Decode accepts.
func TestSchemaIsAsStrictAsDecode(t *testing.T) {
	t.Parallel()
	schema := compiledSchema(t)
	refused := 0
	original := oneOfEach(t)
	if _, err := policy.Decode(original); err != nil {
		t.Fatalf("the unchanged document: %v", err)
	}
	for _, m := range mutations(t, "", original) {
		_, decoded := policy.Decode(m.text)
		obeyed := obeys(schema, m.text)
		switch beyond := saysOneOf(decoded, beyondSchema); {
		case decoded != nil && obeyed == nil && !beyond:
			t.Errorf("%s: the schema lets pass what Decode refuses: %v", m.what, decoded)
		case decoded == nil && obeyed != nil:
			t.Errorf("%s: Decode lets pass what the schema refuses: %v", m.what, obeyed)
		case decoded != nil:
			refused++
		}
	}
	if refused < 1000 {
		t.Errorf("only %d changes were refused: does this test look in the right place?", refused)
	}
}

func saysOneOf(err error, messages []string) bool {
	var wrong *policy.Error
	return errors.As(err, &wrong) && slices.ContainsFunc(messages, func(m string) bool { return strings.Contains(wrong.Msg, m) })
}

// oneOfEach is a document with every member that there is, and guardrails of every effect.
func oneOfEach(t *testing.T) []byte {
	t.Helper()
	src := policy.Source{Issuer: "https://countersign.example", Audience: "aud_1", Epoch: 1, Generation: 7, MaxStaleSeconds: 60}
	active := storyServer{Team: "t", Labels: []string{"pii", "eu"}, Tools: map[string]policy.Risk{"read": policy.ReadOnly}, Held: []string{"read"}}.server("a/x")
	active.Tools[0].HasOutputSchema = true
	src.Servers = []policy.Server{active, {
		ID: "srv_files", Name: "b/files", State: policy.Suspended, Team: "t",
		Endpoint: policy.Endpoint{Transport: policy.Stdio, Command: "files", CommandDigest: definition.String(), Digest: endpoint},
	}}
	models := policy.Subject{Users: []string{"ann"}, Groups: []string{"dev"}, Agents: []string{"code"}, Models: []string{"claude"}, AllowDeclared: true}
	before, after := noon.Add(-1), noon.Add(1)
	src.Grants = []policy.SourceGrant{{
		Grant:    policy.Grant{ID: "g", Subject: models, NotBefore: &before, NotAfter: &after, Condition: "has(args.ids)"},
		Resource: policy.Resource{Servers: []string{"*"}},
	}}
	for i, effect := range []policy.Effect{
		{Deny: true},
		{Approval: &policy.Approval{Quorum: 2, DenyQuorum: 2, OwningTeam: true, Teams: []string{"t2"}, PendingSeconds: 60}},
		{Approval: wholeApproval()},
		{MFA: true},
		{StepUp: &policy.StepUp{MaxAgeSeconds: 300, MFA: true, ACR: []string{"phr", "phrh"}}},
		{RateLimit: &policy.RateLimit{Calls: 10, Seconds: 60}},
		{Require: "args.amount <= 100"},
		{TokenBudget: &policy.TokenBudget{Tokens: 50_000, Seconds: 3600}},
		{MaxResponseBytes: 65_536},
		{Deny: true, Tainted: &policy.Tainted{Labels: []string{"untrusted"}, Seconds: 600}},
	} {
		rule := policy.Guardrail{ID: fmt.Sprintf("r%d", i), Subject: policy.Subject{Everyone: true}, Effect: effect}
		if i == 0 {
			rule.Except, rule.Condition = models, "!has(args.dry_run)"
		}
		src.Guardrails = append(src.Guardrails, policy.SourceGuardrail{Guardrail: rule, Resource: policy.Resource{Servers: []string{"*"}}})
	}
	src.Keys = []policy.Key{{Hash: policy.HashKey("csa_x"), Agent: "code", Subject: "agent:code", NotAfter: noon}}
	src.Agents = []policy.Agent{{Agent: "code", Models: []string{"claude", "gpt"}}}
	doc, _, err := policy.Compile(src, noon)
	if err != nil {
		t.Fatal(err)
	}
	return must(doc.Marshal())(t)
}

// wholeApproval has every member that there is.
func wholeApproval() *policy.Approval {
	return &policy.Approval{
		Quorum: 1, OwningTeam: true, PendingSeconds: 600,
		Alternatives: []policy.Approvers{{Quorum: 2, OwningTeam: true, Teams: []string{"t2", "t3"}}, {Quorum: 1, Teams: []string{"t4"}}},
		Fallback:     &policy.Fallback{AfterSeconds: 300, Quorum: 1, OwningTeam: true, Teams: []string{"t5"}},
		Evidence:     true, NotGranter: true, StepUp: &policy.StepUp{MaxAgeSeconds: 300, MFA: true, ACR: []string{"phr"}},
		Scope:      &policy.Scope{MaxUses: 5, MaxSeconds: 3600, Free: []string{"path", "mode"}},
		BreakGlass: &policy.BreakGlass{OwningTeam: true, Teams: []string{"t6"}, ReviewSeconds: 7200},
	}
}

// mutation is a document with one thing changed.
type mutation struct {
	what string
	text []byte
	adds bool // a member that there is not
}

// replacements are values of every type, small and large, that take the place of each value.
var replacements = []string{
	`null`, `true`, `false`, `0`, `1`, `-1`, `1.5`, `1000001`, `9007199254740992`, `""`, `"x"`, `"\u0001"`, "\"\u0085\"", `[]`, `[0]`, `[""]`, `{}`,
	`"` + strings.Repeat("x", 513) + `"`, `"` + strings.Repeat("x", 5000) + `"`, `["x"` + strings.Repeat(`,"x"`, 1000) + `]`,
	`"sha256:` + strings.Repeat("0", 64) + `"`, `"0000-01-01T00:00:00Z"`, `"2026-11-22T12:00:00.50Z"`, `"2026-02-31 12:00:00Z"`,
}

// mutations are all ways to change one thing in a value. An input schema is anybody's JSON and is left alone.
func mutations(t *testing.T, path string, value []byte) []mutation {
	t.Helper()
	var all []mutation
	for _, r := range replacements {
		if r != string(value) {
			all = append(all, mutation{what: fmt.Sprintf("%s: %.40s", path, r), text: []byte(r)})
		}
	}
	switch {
	case strings.HasSuffix(path, ".input_schema"):
		return nil
	case value[0] == '{':
		all = append(all, mutatedObjects(t, path, value)...)
	case value[0] == '[':
		all = append(all, mutatedArrays(t, path, value)...)
	case value[0] == '"' && len(value) > 2:
		all = append(all, mutation{what: path + ": upper case", text: bytes.ToUpper(value)},
			mutation{what: path + ": cut", text: append(bytes.Clone(value[:len(value)-2]), '"')})
	}
	return all
}

func mutatedObjects(t *testing.T, path string, value []byte) []mutation {
	t.Helper()
	members := must(canonical.Members(value))(t)
	added := append(slices.Clone(members), canonical.Member{Key: "extra", Value: json.RawMessage(`true`)})
	all := []mutation{{what: path + " with a further member", text: canonical.AppendObject(nil, added), adds: true}}
	for i, m := range members {
		all = append(all, mutation{what: path + " without " + m.Key, text: canonical.AppendObject(nil, slices.Delete(slices.Clone(members), i, i+1))})
		for _, inner := range mutations(t, path+"."+m.Key, m.Value) {
			changed := slices.Clone(members)
			changed[i].Value = inner.text
			all = append(all, mutation{inner.what, canonical.AppendObject(nil, changed), inner.adds})
		}
	}
	return all
}

func mutatedArrays(t *testing.T, path string, value []byte) []mutation {
	t.Helper()
	elements := must(canonical.Elements(value))(t)
	var all []mutation
	for i, e := range elements {
		at := fmt.Sprintf("%s[%d]", path, i)
		all = append(all, mutation{what: at + " twice", text: canonical.AppendArray(nil, slices.Insert(slices.Clone(elements), i, e))})
		for _, inner := range mutations(t, at, e) {
			changed := slices.Clone(elements)
			changed[i] = inner.text
			all = append(all, mutation{inner.what, canonical.AppendArray(nil, changed), inner.adds})
		}
	}
	return all
}

package policy_test

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"countersign/canonical"
	"countersign/policy"
)

// Example decides on a call as a gateway does: from the bytes and the signature that came over the wire, with the
// keys that it pinned.
func Example() {
	published, err := readExample()
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := policy.Verify([]byte(published.Document), published.Signature, published.Keys); err != nil {
		fmt.Println(err)
		return
	}
	document, err := policy.Decode([]byte(published.Document))
	if err != nil {
		fmt.Println(err)
		return
	}
	index, err := policy.NewIndex(document)
	if err != nil {
		fmt.Println(err)
		return
	}
	verdict := index.Decide(policy.Request{
		Server: "com.example/orders", Kind: policy.KindTool, Name: "delete_orders",
		Principal: &policy.Principal{Issuer: "https://login.example.com", Subject: "tomas", Groups: []string{"developers"}, Agent: "cursor"},
		Now:       time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC),
	})
	fmt.Println(verdict.Outcome, verdict.Reason, verdict.Approval.Quorum, verdict.Approval.Teams)
	// Output: hold approval_required 1 [tem_commerce]
}

// published is testdata/example.json: the worked example of docs/policy.md, for implementations in other languages.
type published struct {
	About         string             `json:"about"`
	Keys          jose.JSONWebKeySet `json:"keys"`
	Signature     string             `json:"signature"`
	ETag          string             `json:"etag"`
	Document      string             `json:"document"`
	Call          json.RawMessage    `json:"call"`
	CallCanonical string             `json:"call_canonical"`
	CallDigest    string             `json:"call_digest"`
	Decisions     []decided          `json:"decisions"`
}

// decided is a request and what becomes of it.
type decided struct {
	Server    string           `json:"server"`
	Kind      policy.Kind      `json:"kind"`
	Name      string           `json:"name"`
	Principal policy.Principal `json:"principal"`
	Arguments json.RawMessage  `json:"arguments,omitempty"`
	Now       time.Time        `json:"now"`
	Outcome   string           `json:"outcome"`
	Reason    policy.Reason    `json:"reason"`
	Limits    []string         `json:"limits,omitempty"`  // ids of the guardrails whose rate limits count the call
	Budgets   []string         `json:"budgets,omitempty"` // the same of token budgets

	MaxResponseBytes int64 `json:"max_response_bytes,omitempty"`
}

const exampleFile = "testdata/example.json"

func readExample() (published, error) {
	var p published
	text, err := os.ReadFile(exampleFile)
	if err != nil {
		return p, err
	}
	return p, json.Unmarshal(text, &p)
}

const (
	exampleDefinition = `{"name":"delete_orders","description":"Delete orders for good.","inputSchema":{"type":"object","required":["ids"],"properties":{"ids":{"type":"array","items":{"type":"string"}}}}}`
	exampleEndpoint   = `{"transport":"streamable_http","url":"https://orders.example.com/mcp","command":"","command_digest":""}`
)

// digestOf is how the registry makes the digests of definitions and endpoints.
func digestOf(t *testing.T, domain, raw string) canonical.Digest {
	t.Helper()
	return canonical.Sum(domain, must(canonical.Exact([]byte(raw)))(t))
}

// exampleSource is a registry with one server, and rules of every kind.
func exampleSource(t *testing.T) policy.Source {
	t.Helper()
	definition := func(raw string) canonical.Digest { return digestOf(t, "countersign/definition/v1", raw) }
	until := time.Date(2026, 12, 24, 18, 0, 0, 0, time.UTC)
	return policy.Source{
		Issuer: "https://countersign.example.com", Audience: "aud_edge", Epoch: 1, Generation: 42, MaxStaleSeconds: 300,
		Servers: []policy.Server{{
			ID: "srv_orders", Name: "com.example/orders", State: policy.Active, Team: "tem_commerce", Labels: []string{"shop"},
			Endpoint: policy.Endpoint{
				Transport: policy.StreamableHTTP, URL: "https://orders.example.com/mcp", Digest: digestOf(t, "countersign/endpoint/v1", exampleEndpoint),
			},
			Tools: []policy.Tool{
				{ID: "tol_1", Kind: policy.KindTool, Name: "list_orders", Definition: definition(`{"name":"list_orders"}`), Risk: policy.ReadOnly, HasOutputSchema: true},
				{ID: "tol_2", Kind: policy.KindTool, Name: "update_order", Definition: definition(`{"name":"update_order"}`), Risk: policy.Write, Held: true},
				{
					ID: "tol_3", Kind: policy.KindTool, Name: "delete_orders", Definition: definition(exampleDefinition), Risk: policy.Destructive,
					InputSchema: json.RawMessage(`{"properties":{"ids":{"items":{"type":"string"},"type":"array"}},"required":["ids"],"type":"object"}`),
				},
				{
					ID: "tol_5", Kind: policy.KindTool, Name: "refund_order", Definition: definition(`{"name":"refund_order"}`), Risk: policy.Write,
					InputSchema: json.RawMessage(`{"properties":{"amount":{"type":"number"},"ticket":{"type":"string"}},"required":["amount"],"type":"object"}`),
				},
				{ID: "tol_4", Kind: policy.KindResource, Name: "orders://order/{id}", Definition: definition(`{"uriTemplate":"orders://order/{id}","name":"order"}`), Risk: policy.ReadOnly},
			},
		}},
		Grants: []policy.SourceGrant{
			{
				Grant:    policy.Grant{ID: "grt_1", Name: "Developers work with orders", Subject: policy.Subject{Groups: []string{"developers"}}, NotAfter: &until},
				Resource: policy.Resource{Servers: []string{"com.example/*"}, Names: []string{"list_*", "update_*", "delete_*"}},
			},
			{
				Grant:    policy.Grant{ID: "grt_2", Name: "Claude reads orders", Subject: policy.Subject{Users: []string{"https://login.example.com|ines"}, Models: []string{"claude-*"}}},
				Resource: policy.Resource{Labels: []string{"shop"}, Kinds: []policy.Kind{policy.KindTool, policy.KindResource}, Risks: []policy.Risk{policy.ReadOnly}},
			},
			{
				Grant:    policy.Grant{ID: "grt_3", Name: "Support refunds up to 100", Subject: policy.Subject{Groups: []string{"support"}}, Condition: "args.amount <= 100"},
				Resource: policy.Resource{Servers: []string{"com.example/orders"}, Names: []string{"refund_order"}},
			},
		},
		Guardrails: []policy.SourceGuardrail{
			{
				Guardrail: policy.Guardrail{
					ID: "grd_1", Name: "Destructive tools need a person of the owning team", Subject: policy.Subject{Everyone: true},
					Effect: policy.Effect{Approval: &policy.Approval{Quorum: 1, OwningTeam: true}},
				},
				Resource: policy.Resource{Servers: []string{"*"}, Risks: []policy.Risk{policy.Destructive}},
			},
			{
				Guardrail: policy.Guardrail{
					ID: "grd_2", Name: "The night agent deletes nothing", Subject: policy.Subject{Agents: []string{"night-*"}},
					Effect: policy.Effect{Deny: true},
				},
				Resource: policy.Resource{Servers: []string{"com.example/orders"}, Names: []string{"delete_*"}},
			},
			{
				Guardrail: policy.Guardrail{
					ID: "grd_3", Name: "A single order shows a customer", Subject: policy.Subject{Everyone: true}, Effect: policy.Effect{MFA: true},
				},
				Resource: policy.Resource{Servers: []string{"com.example/orders"}, Kinds: []policy.Kind{policy.KindResource}},
			},
			{
				Guardrail: policy.Guardrail{
					ID: "grd_4", Name: "Nobody copies the whole shop", Subject: policy.Subject{Everyone: true}, Except: policy.Subject{Users: []string{"ines"}},
					Effect: policy.Effect{RateLimit: &policy.RateLimit{Calls: 10, Seconds: 60}},
				},
				Resource: policy.Resource{Labels: []string{"shop"}, Names: []string{"list_*", "delete_*"}},
			},
			exampleGuardrail("grd_5", "A refund above 50 needs a person", "args.amount > 50", policy.Effect{Approval: &policy.Approval{Quorum: 1, OwningTeam: true}}, "refund_*"),
			exampleGuardrail("grd_6", "A refund names its ticket", "", policy.Effect{Require: `args.ticket.matches("^T-[0-9]+$")`}, "refund_*"),
			exampleGuardrail("grd_7", "Lists cost tokens", "", policy.Effect{TokenBudget: &policy.TokenBudget{Tokens: 50_000, Seconds: 3600}}, "list_*"),
			exampleGuardrail("grd_8", "No list is endless", "", policy.Effect{MaxResponseBytes: 65_536}, "list_*"),
		},
	}
}

// exampleGuardrail is one for everyone, on tools of orders.
func exampleGuardrail(id, name, condition string, effect policy.Effect, tools string) policy.SourceGuardrail {
	return policy.SourceGuardrail{
		Guardrail: policy.Guardrail{ID: id, Name: name, Subject: policy.Subject{Everyone: true}, Condition: condition, Effect: effect},
		Resource:  policy.Resource{Servers: []string{"com.example/orders"}, Names: []string{tools}},
	}
}

// exampleDecisions are the rows of the table in docs/policy.md.
func exampleDecisions() []decided {
	noon := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	who := func(subject, group, agent, model string, assurance policy.Assurance) policy.Principal {
		p := policy.Principal{Issuer: "https://login.example.com", Subject: subject, Agent: agent, Model: model, ModelAssurance: assurance}
		if group != "" {
			p.Groups = []string{group}
		}
		return p
	}
	tool := func(name string, p policy.Principal) decided {
		return decided{Server: "com.example/orders", Kind: policy.KindTool, Name: name, Principal: p, Now: noon}
	}
	tomas := who("tomas", "developers", "cursor", "", policy.Unknown)
	late := tool("list_orders", tomas)
	late.Now = time.Date(2026, 12, 24, 18, 0, 0, 0, time.UTC)
	ines := who("ines", "", "claude-code", "claude-5", policy.Attested)
	once := tool("orders://order/o-1001", ines)
	once.Kind, once.Principal.AMR = policy.KindResource, []string{"pwd"}
	twice := once
	twice.Principal.AMR = []string{"pwd", "otp"}
	refund := func(arguments string) decided {
		d := tool("refund_order", who("sara", "support", "desk", "", policy.Unknown))
		d.Arguments = json.RawMessage(arguments)
		return d
	}
	return []decided{
		tool("list_orders", tomas), late, tool("delete_orders", tomas),
		tool("delete_orders", who("tomas", "developers", "night-shift", "", policy.Unknown)),
		tool("delete_orders", who("tomas", "developers", "", "", policy.Unknown)),
		tool("update_order", tomas), tool("drop_tables", tomas),
		tool("list_orders", ines), once, twice,
		tool("list_orders", who("ines", "", "claude-code", "claude-5", policy.Declared)),
		tool("delete_orders", ines),
		refund(`{"amount": 40, "ticket": "T-7"}`), refund(`{"amount": 80, "ticket": "T-7"}`), refund(`{"amount": 400, "ticket": "T-7"}`),
		refund(`{"amount": "40", "ticket": "T-7"}`), refund(`{"amount": 40}`),
	}
}

// request is the question that d answers.
func (d *decided) request() policy.Request {
	return policy.Request{Server: d.Server, Kind: d.Kind, Name: d.Name, Principal: &d.Principal, Arguments: d.Arguments, Now: d.Now}
}

// makeExample computes all that testdata/example.json should hold.
func makeExample(t *testing.T) published {
	t.Helper()
	document, warnings, err := policy.Compile(exampleSource(t), time.Date(2026, 11, 22, 8, 30, 0, 0, time.UTC))
	if err != nil || len(warnings) > 0 {
		t.Fatal(warnings, err)
	}
	text := must(document.Marshal())(t)
	private := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize)) // anybody can make it: of no use but here
	public := jose.JSONWebKey{Key: private.Public(), Algorithm: string(jose.EdDSA), Use: "sig"}
	public.KeyID = base64.RawURLEncoding.EncodeToString(must(public.Thumbprint(crypto.SHA256))(t))
	p := published{
		About:     "The worked example of docs/policy.md. The signature is a detached JWS over the bytes of document.",
		Keys:      jose.JSONWebKeySet{Keys: []jose.JSONWebKey{public}},
		Signature: must(policy.Sign(text, private, public.KeyID))(t).Detached,
		ETag:      policy.ETag(document.Epoch, document.Revision, sha256.Sum256(text), ""),
		Document:  string(text), Decisions: exampleDecisions(),
	}
	deletes := document.Servers[0].Tools[1]
	call := policy.Call{
		Issuer: document.Issuer, Epoch: document.Epoch, Gateway: "gtw_edge", ServerID: document.Servers[0].ID,
		EndpointDigest: document.Servers[0].Endpoint.Digest, Tool: deletes.Name, Kind: deletes.Kind, Definition: deletes.Definition,
		Principal: policy.CallPrincipal{Issuer: "https://login.example.com", Subject: "tomas", Agent: "cursor"},
		Arguments: json.RawMessage(`{"ids": ["o-1001"]}`),
	}
	digest, _, err := call.Digest()
	if err != nil {
		t.Fatal(err)
	}
	p.Call, p.CallCanonical, p.CallDigest = must(json.Marshal(call))(t), string(must(call.Canonical())(t)), digest.String()
	index := must(policy.NewIndex(document))(t)
	for i := range p.Decisions {
		d := &p.Decisions[i]
		v := index.Decide(d.request())
		d.Outcome, d.Reason, d.MaxResponseBytes = v.Outcome.String(), v.Reason, v.MaxResponseBytes
		d.Limits, d.Budgets = guardrailIDs(index, v.Limits), guardrailIDs(index, v.Budgets)
	}
	return p
}

func TestExampleIsWhatTheCodeMakes(t *testing.T) {
	t.Parallel()
	text := new(bytes.Buffer)
	e := json.NewEncoder(text)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(makeExample(t)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(text.String(), string(must(os.ReadFile(exampleFile))(t))); diff != "" {
		t.Errorf("%s is not what the code makes (-code +file):\n%s", exampleFile, diff)
	}
}

// TestDocsShowTheExample holds docs/policy.md to the code: it shows the same document, digests and verdicts.
func TestDocsShowTheExample(t *testing.T) {
	t.Parallel()
	docs := string(must(os.ReadFile("../docs/policy.md"))(t))
	want := makeExample(t)
	if shown := fenced(t, docs, "### The document"); shown != want.Document {
		t.Errorf("docs show another document (-code +docs):\n%s", cmp.Diff(want.Document, shown))
	} else if _, err := policy.Decode([]byte(shown)); err != nil {
		t.Error(err)
	}
	call := must(policy.DecodeCall([]byte(fenced(t, docs, "### The call"))))(t)
	if digest, _, err := call.Digest(); err != nil || digest.String() != want.CallDigest {
		t.Errorf("docs show another call, of digest %s, %v, want %s", digest, err, want.CallDigest)
	}
	if shown := fenced(t, docs, "### A definition"); digestOf(t, "countersign/definition/v1", shown) != call.Definition {
		t.Errorf("docs show another definition:\n%s", shown)
	}
	facts := []string{want.ETag, want.CallDigest, want.Signature, want.CallCanonical, exampleEndpoint}
	for _, d := range want.Decisions {
		facts = append(facts, d.row())
	}
	for _, fact := range facts {
		if !strings.Contains(docs, fact) {
			t.Errorf("docs/policy.md does not say\n%s", fact)
		}
	}
}

// fenced returns the first fenced block after a heading, compacted.
func fenced(t *testing.T, docs, heading string) string {
	t.Helper()
	_, rest, found := strings.Cut(docs, "\n"+heading+"\n")
	_, rest, opened := strings.Cut(rest, "\n```json\n")
	block, _, closed := strings.Cut(rest, "\n```\n")
	if !found || !opened || !closed {
		t.Fatalf("docs have no fenced JSON after %q", heading)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, []byte(block)); err != nil {
		t.Fatalf("the JSON after %q: %v", heading, err)
	}
	return compact.String()
}

// row is a line of the table of decisions.
func (d decided) row() string {
	or := func(s, other string) string {
		if s == "" {
			return other
		}
		return "`" + s + "`"
	}
	p := d.Principal
	who := or(p.Subject, "") + " of " + or(strings.Join(p.Groups, ", "), "no group")
	model := or(p.Model, "unknown")
	if p.Model != "" {
		model += ", " + string(p.ModelAssurance)
	}
	what := d.Name
	if len(d.Arguments) > 0 {
		what += " " + string(d.Arguments)
	}
	return fmt.Sprintf("| %s | %s | %s | %s | `%s` | %s | %s | `%s` | %s |", who, or(strings.Join(p.AMR, ", "), "not told"),
		or(p.Agent, "unknown"), model, what, d.Now.Format("2 Jan 15:04"), d.Outcome, d.Reason,
		or(strings.Join(slices.Concat(d.Limits, d.Budgets), ", "), "none"))
}

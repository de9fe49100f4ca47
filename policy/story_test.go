package policy_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	"countersign/canonical"
	"countersign/policy"
)

// story is one entry of a decision table in testdata.
type story struct {
	Story      string                 `json:"story"`
	Servers    map[string]storyServer `json:"servers"`
	Grants     []storyRule            `json:"grants"`
	Guardrails []storyRule            `json:"guardrails"`
	Warnings   []string               `json:"warnings"`
	Calls      []storyCall            `json:"calls"`
	Lists      []storyList            `json:"lists"`
}

type storyServer struct {
	Team      string                 `json:"team"`
	State     string                 `json:"state"`
	Labels    []string               `json:"labels"`
	Tools     map[string]policy.Risk `json:"tools"`
	Prompts   map[string]policy.Risk `json:"prompts"`
	Resources map[string]policy.Risk `json:"resources"`
	Held      []string               `json:"held"`
	Labelled  map[string][]string    `json:"labelled"` // labels of tools
}

// storyRule is a grant or a guardrail; who, except, what and effect are read as
// the language is.
type storyRule struct {
	ID        string          `json:"id"`
	Who       json.RawMessage `json:"who"`
	Except    json.RawMessage `json:"except"`
	What      json.RawMessage `json:"what"`
	Effect    json.RawMessage `json:"effect"`
	NotBefore *time.Time      `json:"not_before"`
	NotAfter  *time.Time      `json:"not_after"`
	When      string          `json:"when"` // its condition
}

// storyCall is [caller, server, tool, outcome, reason, approval, limits, budgets, max_response_bytes]. The arguments of
// the call follow the tool as JSON, and when it is made unless at noon: "refund with {...} at 2026-11-02T23:00:00Z".
type storyCall struct {
	caller, server, tool, outcome, reason string
	approval                              *policy.Approval
	limits, budgets                       []string
	response                              int64
}

func (c *storyCall) UnmarshalJSON(text []byte) error {
	fields := []any{&c.caller, &c.server, &c.tool, &c.outcome, &c.reason, &c.approval, &c.limits, &c.budgets, &c.response}
	return json.Unmarshal(text, &fields)
}

func (c *storyCall) request(callers map[string]*policy.Principal) policy.Request {
	what, arguments, _ := strings.Cut(c.tool, " with ")
	now := noon
	if at := strings.LastIndex(arguments, " at "); at >= 0 {
		if moment, err := time.Parse(time.RFC3339, arguments[at+len(" at "):]); err == nil {
			arguments, now = arguments[:at], moment
		}
	}
	kind, name, found := strings.Cut(what, " ")
	if !found {
		kind, name = string(policy.KindTool), what
	}
	return policy.Request{
		Server: c.server, Kind: policy.Kind(kind), Name: name, Principal: callers[c.caller],
		Arguments: json.RawMessage(arguments), Now: now,
	}
}

// storyList is [caller, server, tools]: what a list shows.
type storyList struct {
	caller, server string
	tools          []string
}

func (l *storyList) UnmarshalJSON(text []byte) error {
	fields := []any{&l.caller, &l.server, &l.tools}
	return json.Unmarshal(text, &fields)
}

// readYAML reads a file of testdata into v, refusing what v does not have.
func readYAML(t testing.TB, name string, v any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	text, err = yaml.YAMLToJSON(text)
	if err != nil {
		t.Fatalf("reading %s: %v", name, err)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		t.Fatalf("reading %s: %v", name, err)
	}
}

func TestStories(t *testing.T) {
	t.Parallel()
	callers := map[string]*policy.Principal{}
	readYAML(t, "callers.yaml", &callers)
	var servers map[string]storyServer
	readYAML(t, "servers.yaml", &servers)
	for _, file := range []string{"meaning.yaml", "subjects.yaml", "resources.yaml", "approvals.yaml", "effects.yaml", "conditions.yaml", "windows.yaml", "taint.yaml"} {
		var stories []story
		readYAML(t, file, &stories)
		for _, s := range stories {
			t.Run(s.Story, func(t *testing.T) {
				t.Parallel()
				if s.Servers == nil {
					s.Servers = servers
				}
				s.check(t, callers)
			})
		}
	}
}

// check compiles the story, carries it over the wire and compares each decision
// with the table and with the oracle.
func (s story) check(t *testing.T, callers map[string]*policy.Principal) {
	t.Helper()
	src := s.source(t)
	doc, warnings, err := policy.Compile(src, noon)
	if err != nil {
		t.Fatal(err)
	}
	for _, code := range s.Warnings {
		if !slices.ContainsFunc(warnings, func(w policy.Warning) bool { return w.Code == code }) {
			t.Errorf("the warnings are %v, want %s among them", warnings, code)
		}
	}
	ix := overTheWire(t, doc)
	s.checkLists(t, ix, callers)
	for _, c := range s.Calls {
		r := c.request(callers)
		if r.Principal == nil {
			t.Errorf("caller %q is not in callers.yaml", c.caller)
			continue
		}
		got := ix.Decide(r)
		if got.Outcome.String() != c.outcome || string(got.Reason) != c.reason {
			t.Errorf("%s, %s, %s: %v %s, want %s %s\n%v", c.caller, c.server, c.tool, got.Outcome, got.Reason, c.outcome, c.reason, ix.Trace(r).Steps)
		}
		if limits := guardrailIDs(ix, got.Limits); !slices.Equal(limits, c.limits) {
			t.Errorf("%s, %s, %s: limited by %v, want %v", c.caller, c.server, c.tool, limits, c.limits)
		}
		if budgets := guardrailIDs(ix, got.Budgets); !slices.Equal(budgets, c.budgets) || got.MaxResponseBytes != c.response {
			t.Errorf("%s, %s, %s: budgets %v and at most %d bytes, want %v and %d",
				c.caller, c.server, c.tool, budgets, got.MaxResponseBytes, c.budgets, c.response)
		}
		if c.approval != nil {
			c.approval.OwningTeam = got.Approval.OwningTeam // shown by the team's id in teams
		}
		if diff := cmp.Diff(c.approval, got.Approval, equateEmpty); diff != "" {
			t.Errorf("%s, %s, %s: approval (-want +got)\n%s", c.caller, c.server, c.tool, diff)
		}
		if oracleKnows(src, r) {
			compareWithOracle(t, src, ix, r)
		}
	}
}

func (s story) checkLists(t *testing.T, ix *policy.Index, callers map[string]*policy.Principal) {
	t.Helper()
	for _, l := range s.Lists {
		if callers[l.caller] == nil {
			t.Errorf("caller %q is not in callers.yaml", l.caller)
			continue
		}
		var got []string
		for tool := range ix.Visible(l.server, policy.KindTool, callers[l.caller], noon) {
			got = append(got, tool.Name)
		}
		if !slices.Equal(got, l.tools) {
			t.Errorf("%s, %s: sees %v, want %v", l.caller, l.server, got, l.tools)
		}
	}
}

func guardrailIDs(ix *policy.Index, guardrails []int) []string {
	var ids []string
	for _, g := range guardrails {
		ids = append(ids, ix.Document().Guardrails[g].ID)
	}
	return ids
}

func (s story) source(t *testing.T) policy.Source {
	t.Helper()
	src := policy.Source{Issuer: "https://countersign.example", Audience: "aud_1", Epoch: 1, Generation: 42, MaxStaleSeconds: 300}
	for name, server := range s.Servers {
		src.Servers = append(src.Servers, server.server(name))
	}
	for _, g := range s.Grants {
		src.Grants = append(src.Grants, policy.SourceGrant{
			Grant:    policy.Grant{ID: g.ID, Name: g.ID, Subject: must(policy.ParseSubject(g.Who))(t), NotBefore: g.NotBefore, NotAfter: g.NotAfter, Condition: g.When},
			Resource: must(policy.ParseResource(g.What))(t),
		})
	}
	for _, g := range s.Guardrails {
		rule := policy.SourceGuardrail{
			Guardrail: policy.Guardrail{ID: g.ID, Name: g.ID, Subject: must(policy.ParseSubject(g.Who))(t), Effect: must(policy.ParseEffect(g.Effect))(t), Condition: g.When},
			Resource:  must(policy.ParseResource(g.What))(t),
		}
		if g.Except != nil {
			rule.Except = must(policy.ParseExcept(g.Except))(t)
		}
		src.Guardrails = append(src.Guardrails, rule)
	}
	return src
}

func (s storyServer) server(name string) policy.Server {
	server := policy.Server{
		ID: "srv_" + name, Name: name, State: policy.Active, Team: s.Team, Labels: s.Labels,
		Endpoint: policy.Endpoint{Transport: policy.StreamableHTTP, URL: "https://mcp.example/" + name, Digest: canonical.Sum("endpoint", []byte(name))},
	}
	if s.State != "" {
		server.State = s.State
	}
	for kind, offered := range map[policy.Kind]map[string]policy.Risk{
		policy.KindTool: s.Tools, policy.KindPrompt: s.Prompts, policy.KindResource: s.Resources,
	} {
		for offer, risk := range offered {
			server.Tools = append(server.Tools, policy.Tool{
				ID: string(kind) + name + offer, Kind: kind, Name: offer, Risk: risk, Held: slices.Contains(s.Held, offer),
				Labels: s.Labelled[offer], Definition: canonical.Sum("definition", []byte(offer)), InputSchema: json.RawMessage(`{ "type": "object" }`),
			})
		}
	}
	return server
}

// overTheWire encodes, signs, verifies, decodes and indexes a document.
func overTheWire(t testing.TB, doc policy.Document) *policy.Index {
	t.Helper()
	text := must(doc.Marshal())(t)
	back := must(policy.Decode(text))(t)
	if doc.ContentDigest() != back.ContentDigest() {
		t.Errorf("the content changes over the wire")
	}
	return must(policy.NewIndex(back))(t)
}

// must returns a function that returns v, or ends the test if err is not nil.
func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

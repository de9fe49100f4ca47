package policy_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"countersign/policy"
)

// TestNearestGrants reads like the answer to "why not, and what would help".
func TestNearestGrants(t *testing.T) {
	t.Parallel()
	evening, morning := noon.Add(6*time.Hour), noon.Add(-6*time.Hour)
	ann := policy.Principal{Issuer: idp, Subject: "ann", Groups: []string{"dev"}, Agent: "cursor", Model: "claude", ModelAssurance: policy.Declared}
	hidden := policy.Principal{}
	to := func(s policy.Subject) policy.Grant { return policy.Grant{Subject: s} }
	anybody := policy.Subject{Everyone: true}
	for name, c := range map[string]struct {
		caller policy.Principal
		grants []policy.Grant
		args   string
		names  []string // of what the grants are for, if it is not read
		want   []string
	}{
		"a group":          {ann, []policy.Grant{to(policy.Subject{Groups: []string{"support", "ops"}})}, "", nil, []string{"be in group support or ops"}},
		"groups not known": {hidden, []policy.Grant{to(policy.Subject{Groups: []string{"ops"}})}, "", nil, []string{"be in group ops; the groups of this caller are not known"}},
		"a user":           {ann, []policy.Grant{to(policy.Subject{Users: []string{"ben"}})}, "", nil, []string{"be user ben"}},
		"nobody":           {hidden, []policy.Grant{to(policy.Subject{Users: []string{"ben"}})}, "", nil, []string{"be user ben; who this is, is not known"}},
		"an attested model": {
			ann,
			[]policy.Grant{to(policy.Subject{Users: []string{"ann"}, Models: []string{"claude"}})},
			"", nil,
			[]string{"run model claude, attested; that of this caller is not"},
		},
		"another model": {ann, []policy.Grant{to(policy.Subject{Models: []string{"gpt*"}, AllowDeclared: true})}, "", nil, []string{"run model gpt*"}},
		"two parts": {
			ann,
			[]policy.Grant{to(policy.Subject{Groups: []string{"ops"}, Agents: []string{"code"}})},
			"", nil,
			[]string{"be in group ops, and call through agent code"},
		},
		"a later time": {ann, []policy.Grant{{Subject: anybody, NotBefore: &evening}}, "", nil, []string{"wait until 2026-11-02 18:00 UTC"}},
		"an earlier time": {
			ann,
			[]policy.Grant{{Subject: anybody, NotAfter: &morning}},
			"", nil,
			[]string{"have called before 2026-11-02 06:00 UTC, when it ended"},
		},
		"a condition": {
			ann,
			[]policy.Grant{{Subject: anybody, Condition: "args.amount <= 100"}},
			`{"amount":101}`, nil,
			[]string{"meet args.amount <= 100, which is false"},
		},
		"a condition about what is not given": {
			ann,
			[]policy.Grant{{Subject: anybody, Condition: "args.amount <= 100"}},
			`{}`, nil,
			[]string{"meet args.amount <= 100, which cannot be evaluated: no such key: amount"},
		},
		"the nearest first, at most three": {
			ann,
			[]policy.Grant{
				to(policy.Subject{Users: []string{"ben"}}), to(policy.Subject{Groups: []string{"ops"}}),
				{Subject: anybody, Condition: "args.amount <= 100"},
				to(policy.Subject{Agents: []string{"code"}}),
			},
			`{"amount":101}`, nil,
			[]string{"meet args.amount <= 100, which is false", "call through agent code", "be in group ops"},
		},
		"another tool":          {ann, []policy.Grant{to(anybody)}, "", []string{"write"}, []string{"it reaches only write"}},
		"another tool and more": {ann, []policy.Grant{to(policy.Subject{Groups: []string{"ops"}})}, "", []string{"w*"}, []string{"be in group ops; it reaches only write"}},
		"no grant at all":       {ann, nil, "", nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			src := aSource()
			src.Grants, src.Guardrails = nil, nil
			src.Servers[0] = storyServer{Team: "t1", Tools: map[string]policy.Risk{"read": policy.ReadOnly, "write": policy.Write}}.server("a/x")
			for i, g := range c.grants {
				g.ID, g.Name = string(rune('a'+i)), "Grant"
				names := c.names
				if names == nil {
					names = []string{"read"}
				}
				src.Grants = append(src.Grants, policy.SourceGrant{Grant: g, Resource: policy.Resource{Servers: []string{"a/x"}, Names: names}})
			}
			doc, _, err := policy.Compile(src, noon)
			if err != nil {
				t.Fatal(err)
			}
			trace := must(policy.NewIndex(doc))(t).Trace(policy.Request{
				Server: "a/x", Kind: policy.KindTool, Name: "read", Principal: &c.caller, Arguments: []byte(c.args), Now: noon,
			})
			var got []string
			for _, n := range trace.Nearest {
				got = append(got, n.Words())
			}
			if diff := cmp.Diff(c.want, got); trace.Outcome != policy.Deny || diff != "" {
				t.Errorf("%s, nearest (-want +got)\n%s", trace.Words(policy.Wording{}), diff)
			}
		})
	}
}

// TestWordsOfATrace shows a trace as a reader sees it.
func TestWordsOfATrace(t *testing.T) {
	t.Parallel()
	src := aSource()
	everyone := policy.Subject{Everyone: true}
	on := policy.Resource{Servers: []string{"a/x"}, Names: []string{"read"}}
	src.Grants = []policy.SourceGrant{
		{Grant: policy.Grant{ID: "g1", Name: "Ops", Subject: policy.Subject{Groups: []string{"ops"}}}, Resource: on},
		{Grant: policy.Grant{ID: "g2", Name: "Small", Subject: everyone, Condition: "args.amount <= 100"}, Resource: on},
	}
	rail := func(id string, g policy.Guardrail) policy.SourceGuardrail {
		g.ID, g.Name = id, id
		return policy.SourceGuardrail{Guardrail: g, Resource: on}
	}
	src.Guardrails = []policy.SourceGuardrail{
		rail("r1", policy.Guardrail{Subject: everyone, Effect: policy.Effect{RateLimit: &policy.RateLimit{Calls: 3, Seconds: 60}}}),
		rail("r2", policy.Guardrail{Subject: everyone, Effect: policy.Effect{Require: "principal.agent == 'cursor'"}}),
		rail("r3", policy.Guardrail{Subject: everyone, Effect: policy.Effect{MFA: true}}),
		rail("r4", policy.Guardrail{Subject: everyone, Except: policy.Subject{Users: []string{"ann"}}, Effect: policy.Effect{Deny: true}}),
		rail("r5", policy.Guardrail{Subject: everyone, Condition: "args.amount > 50", Effect: policy.Effect{Approval: &policy.Approval{Quorum: 2, OwningTeam: true}}}),
	}
	doc, _, err := policy.Compile(src, noon)
	if err != nil {
		t.Fatal(err)
	}
	ann := policy.Principal{Subject: "ann", Groups: []string{"dev"}, Agent: "cursor", AMR: []string{"pwd", "otp"}}
	trace := must(policy.NewIndex(doc))(t).Trace(policy.Request{
		Server: "a/x", Kind: policy.KindTool, Name: "read", Principal: &ann, Arguments: []byte(`{"amount":60}`), Now: noon,
	})
	var got []string
	for _, s := range trace.Steps {
		line := string(s.Ruling) + " " + s.Name + ": " + s.Words(policy.Wording{})
		if s.Decides {
			line += " *"
		}
		got = append(got, line)
	}
	want := []string{
		"pass : a/x is active", "pass : tool read is known, read-only", "pass : what is offered is what is pinned",
		"miss r4: excepts user ann",
		"miss Ops: is for group ops", "allow Small: everyone, and args.amount <= 100 is true",
		"met r3: only with a second factor", "met r2: only where principal.agent == 'cursor', which is true",
		"hold r5: only with the approval of 2 people of the owning team, and args.amount > 50 is true *", "limit r1: at most 3 calls a minute each",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the trace (-want +got)\n%s", diff)
	}
	if trace.Deciding == nil || !slices.Equal(trace.Guardrails, []int{trace.Deciding.Index}) {
		t.Errorf("decided by %+v", trace.Deciding)
	}
}

package policy_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"countersign/policy"
)

// words returns what Diff says of the step from one source to another.
func words(t *testing.T, before, after policy.Source) []string {
	t.Helper()
	a, _, err := policy.Compile(before, noon)
	if err != nil {
		t.Fatal(err)
	}
	b, _, err := policy.Compile(after, noon)
	if err != nil {
		t.Fatal(err)
	}
	said := []string{}
	for _, s := range policy.Diff(&a, &b).Words(policy.Wording{Teams: map[string]string{"t_legal": "Legal"}}) {
		said = append(said, string(s.Kind)+": "+s.Text)
	}
	return said
}

func grantTo(id string, to policy.Subject, servers, names []string) policy.SourceGrant {
	return policy.SourceGrant{Grant: policy.Grant{ID: id, Name: id, Subject: to}, Resource: policy.Resource{Servers: servers, Names: names}}
}

func guardrailOn(id string, on policy.Subject, e policy.Effect, names ...string) policy.SourceGuardrail {
	return policy.SourceGuardrail{
		Guardrail: policy.Guardrail{ID: id, Name: id, Subject: on, Effect: e}, Resource: policy.Resource{Servers: []string{"*"}, Names: names},
	}
}

func shop() policy.Source {
	return policy.Source{
		Issuer: "https://countersign.example", Audience: "aud_1", Epoch: 1, Generation: 1, MaxStaleSeconds: 60,
		Servers: []policy.Server{
			storyServer{Team: "t_shop", Tools: map[string]policy.Risk{"list": policy.ReadOnly, "refund": policy.Write}}.server("a/shop"),
			storyServer{Team: "t_mail", Tools: map[string]policy.Risk{"send": policy.Write}, Prompts: map[string]policy.Risk{"polite": policy.ReadOnly}}.server("a/mail"),
		},
		Grants: []policy.SourceGrant{grantTo("g1", policy.Subject{Users: []string{"ann"}}, []string{"a/shop"}, nil)},
	}
}

func TestDiffInWords(t *testing.T) {
	t.Parallel()
	later, until := noon.AddDate(0, 0, 1), noon.AddDate(0, 1, 0)
	for _, c := range []struct {
		what   string
		change func(*policy.Source)
		want   []string
	}{
		{"nothing", func(*policy.Source) {}, nil},
		{"ids, names and order", func(s *policy.Source) { s.Grants[0].ID, s.Grants[0].Name = "g9", "renamed" }, nil},
		{"a grant", func(s *policy.Source) {
			s.Grants = append(s.Grants, grantTo("g2", policy.Subject{Groups: []string{"support"}}, []string{"*"}, nil))
		}, []string{"gain: group support may call a/mail: send; a/shop: list, refund"}},
		{"one server less", func(s *policy.Source) { s.Grants[0].Resource.Names = []string{"list"} }, []string{"lose: user ann may no longer call a/shop: refund"}},
		{"a window", func(s *policy.Source) { s.Grants[0].NotBefore, s.Grants[0].NotAfter = &later, &until }, []string{
			"lose: user ann may no longer call a/shop: list, refund, until 2026-11-03 12:00 UTC",
			"lose: user ann may no longer call a/shop: list, refund, from 2026-12-02 12:00 UTC",
		}},
		{"another window", func(s *policy.Source) {
			s.Grants[0].NotBefore = &until
			more := grantTo("g2", policy.Subject{Groups: []string{"a", "b"}}, []string{"a/shop"}, nil)
			more.NotAfter = &until
			s.Grants = append(s.Grants, more)
		}, []string{
			"gain: group a or b may call a/shop: list, refund, until 2026-12-02 12:00 UTC",
			"lose: user ann may no longer call a/shop: list, refund, until 2026-12-02 12:00 UTC",
		}},
		{"a wider pattern", func(s *policy.Source) { s.Grants[0].Subject.Users = []string{"a*"} }, []string{"gain: user a* may call a/shop: list, refund"}},
		{"a narrower one", func(s *policy.Source) { s.Grants[0].Subject.Users = []string{idp + "|ann"} }, []string{"lose: user ann may no longer call a/shop: list, refund"}},
		{"a grant with a window", func(s *policy.Source) {
			g := grantTo("g2", policy.Subject{Agents: []string{"c*"}, Models: []string{"m"}, AllowDeclared: true}, []string{"a/mail"}, nil)
			g.NotBefore, g.NotAfter, g.Resource.Kinds = &later, &until, []policy.Kind{policy.KindPrompt}
			s.Grants = append(s.Grants, g)
		}, []string{"gain: agent c* with model m (declared is enough) may call a/mail: prompt polite, from 2026-11-03 12:00 UTC, until 2026-12-02 12:00 UTC"}},
		{"one user more", func(s *policy.Source) { s.Grants[0].Subject.Users = []string{"ben", "ann"} }, []string{"gain: user ben may call a/shop: list, refund"}},
		{"a held tool", func(s *policy.Source) { s.Servers[0].Tools[0].Held, s.Servers[0].Tools[1].Held = true, true }, []string{"lose: user ann may no longer call a/shop: list, refund"}},
		{"a suspended server", func(s *policy.Source) { s.Servers[0].State = policy.Suspended }, []string{"lose: user ann may no longer call a/shop: list, refund"}},
		{"a server goes", func(s *policy.Source) { s.Servers = s.Servers[1:] }, []string{
			"vanish: a/shop is gone", "vanish: gone: a/shop: list, refund", "lose: user ann may no longer call a/shop: list, refund",
		}},
		{"guardrails", func(s *policy.Source) {
			approval := guardrailOn("r1", policy.Subject{Everyone: true}, policy.Effect{Approval: &policy.Approval{Quorum: 2, OwningTeam: true, Teams: []string{"t_legal", "t_x"}}}, "refund")
			approval.Except = policy.Subject{Groups: []string{"ops"}}
			s.Guardrails = append(s.Guardrails, approval,
				guardrailOn("r2", policy.Subject{Agents: []string{"night-\u202e*"}}, policy.Effect{Deny: true}, "send"),
				guardrailOn("r3", policy.Subject{Everyone: true}, policy.Effect{MFA: true}, "send"),
				guardrailOn("r4", policy.Subject{Everyone: true}, policy.Effect{RateLimit: &policy.RateLimit{Calls: 10, Seconds: 60}}, "list"))
		}, []string{
			`begin: agent night-\u202e*: denied, calling a/mail: send`,
			"begin: everyone: only with a second factor, calling a/mail: send",
			"begin: everyone: at most 10 calls a minute each, calling a/shop: list",
			"begin: everyone, except group ops: only with the approval of 2 people of the owning team or team Legal or team t_x, calling a/shop: refund",
		}},
		{"a condition", func(s *policy.Source) { s.Grants[0].Condition = "args.amount <= 100" }, []string{
			"lose: user ann may no longer call a/shop: list, refund, save where args.amount <= 100",
		}},
		{"a condition beside what holds anyway", func(s *policy.Source) {
			more := grantTo("g2", policy.Subject{Users: []string{"ann"}}, []string{"a/shop"}, nil)
			more.Condition = "args.amount <= 100"
			s.Grants = append(s.Grants, more)
		}, nil},
		{"a condition in a window", func(s *policy.Source) {
			more := grantTo("g2", policy.Subject{Users: []string{"ann", "ben"}}, []string{"a/shop"}, nil)
			more.Condition, more.NotAfter, more.Resource.Names = "args.note != \"\u202e\"", &until, []string{"list"}
			s.Grants = append(s.Grants, more)
		}, []string{`gain: user ben may call a/shop: list, until 2026-12-02 12:00 UTC, where args.note != "\u202e"`}},
		{"what is required, spent and read", func(s *policy.Source) {
			where := guardrailOn("r1", policy.Subject{Everyone: true}, policy.Effect{Require: "has(args.ticket)"}, "refund")
			where.Condition = "args.amount > 100"
			s.Guardrails = append(s.Guardrails, where,
				guardrailOn("r2", policy.Subject{Everyone: true}, policy.Effect{TokenBudget: &policy.TokenBudget{Tokens: 50000, Seconds: 3600}}, "list"),
				guardrailOn("r3", policy.Subject{Everyone: true}, policy.Effect{TokenBudget: &policy.TokenBudget{Tokens: 1, Seconds: 90}}, "list"),
				guardrailOn("r4", policy.Subject{Everyone: true}, policy.Effect{MaxResponseBytes: 4096}, "list"))
		}, []string{
			"begin: everyone: only where has(args.ticket), calling a/shop: refund, where args.amount > 100",
			"begin: everyone: only results of at most 4096 bytes, calling a/shop: list",
			"begin: everyone: at most 1 token in 90 seconds each, calling a/shop: list",
			"begin: everyone: at most 50000 tokens an hour each, calling a/shop: list",
		}},
	} {
		after := shop()
		c.change(&after)
		want := c.want
		if want == nil {
			want = []string{}
		}
		if diff := cmp.Diff(want, words(t, shop(), after), equateEmpty); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.what, diff)
		}
	}
}

func TestRateLimitInWords(t *testing.T) {
	t.Parallel()
	for want, l := range map[string]policy.RateLimit{
		"1 call a second": {Calls: 1, Seconds: 1}, "10 calls a minute": {Calls: 10, Seconds: 60}, "2 calls an hour": {Calls: 2, Seconds: 3600},
		"5 calls a day": {Calls: 5, Seconds: 86400}, "3 calls in 90 seconds": {Calls: 3, Seconds: 90},
	} {
		if got := l.Words(); got != want {
			t.Errorf("%+v is %q, want %q", l, got, want)
		}
	}
}

func TestWordsNameNoMoreThanAsked(t *testing.T) {
	t.Parallel()
	tool := func(server, name string) policy.ToolName {
		return policy.ToolName{Server: server, Kind: policy.KindTool, Name: name}
	}
	c := policy.Changes{
		Gains: []policy.Access{{Subject: policy.Subject{Users: []string{"ann\x1b[2J\u202e"}}, Tools: []policy.ToolName{
			tool("a/x", "one"), tool("a/x", "three"), tool("a/x", "two"), tool("a/y", "one"), tool("a/y", "two"),
		}}},
		Risks: []policy.RiskChange{{ToolName: tool("a/x", "one"), From: policy.Destructive, To: policy.ReadOnly}},
	}
	got := c.Words(policy.Wording{Most: 2})
	want := []policy.Sentence{
		{Kind: policy.ChangeGain, Text: `user ann\x1b[2J\u202e may call a/x: one, three and 1 more; a/y: one, two`},
		{Kind: policy.ChangeRisk, Text: "a/x: one is read-only, was destructive"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDiffTellsWhatAConditionLeaves(t *testing.T) {
	t.Parallel()
	under := func(grant, guardrail string) policy.Source {
		s := shop()
		s.Grants[0].Condition = grant
		s.Guardrails = append(s.Guardrails, guardrailOn("r1", policy.Subject{Everyone: true}, policy.Effect{Deny: true}, "send"))
		s.Guardrails[0].Condition = guardrail
		return s
	}
	want := []string{
		"gain: user ann may call a/shop: list, refund, where args.n <= 1000, not only where args.n <= 100",
		"lose: user ann may no longer call a/shop: list, refund, where args.n <= 100, save where args.n <= 1000",
		"begin: everyone: denied, calling a/mail: send, not only where args.n > 5",
	}
	if diff := cmp.Diff(want, words(t, under("args.n <= 100", "args.n > 5"), under("args.n <= 1000", ""))); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	want = []string{
		"gain: user ann may call a/shop: list, refund, not only where args.n <= 100",
		"stop: everyone: no longer denied, calling a/mail: send, save where args.n > 5",
	}
	if diff := cmp.Diff(want, words(t, under("args.n <= 100", ""), under("", "args.n > 5"))); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// What a condition asks about a tool or its server can change without the rule.
func TestDiffTellsWhereAConditionTurns(t *testing.T) {
	t.Parallel()
	before := shop()
	before.Grants[0].Condition = `tool.risk == "read_only" || "pci" in server.labels`
	after := shop()
	after.Grants[0].Condition = before.Grants[0].Condition
	after.Servers[0].Labels = append([]string{"pci"}, after.Servers[0].Labels...)
	want := []string{
		`gain: user ann may call a/shop: list, refund, where tool.risk == "read_only" || "pci" in server.labels`,
		`lose: user ann may no longer call a/shop: list, refund, where tool.risk == "read_only" || "pci" in server.labels`,
	}
	if diff := cmp.Diff(want, words(t, before, after)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

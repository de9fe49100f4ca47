package delivery

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"countersign/canonical"
	"countersign/policy"
)

// dice draws random registries and calls from few names, so that rules and calls meet often; many of the names would
// break out of a pattern, a path or a string.
type dice struct {
	*rand.Rand
	conditions bool // draw rules that depend on arguments
}

func one[T any](d *dice, of []T) T { return of[d.IntN(len(of))] }

func some[T any](d *dice, most int, of []T) []T {
	var drawn []T
	for range d.IntN(most + 1) {
		drawn = append(drawn, one(d, of))
	}
	return drawn
}

const drawnIssuer = "https://idp.example"

var (
	drawnUsers  = []string{"ann", "ben", "a|b", "*", "a*", "A.n", "a.n", `"`, "a[n]n", "日本", "é", "e\u0301", drawnIssuer + "|ann", drawnIssuer + "|*", "https://other|ben", "https://*|a|b", "https://a|b|ann"}
	drawnGroups = []string{"dev", "ops", "d*", "*", "d.v", `\E`, "dev|ops", "日*"}
	drawnAgents = []string{"cursor", "code", "c*", "C*", "a b"}
	drawnModels = []string{"claude-3", "gpt", "*-3", "*", "declared"}
	drawnNames  = []string{"read", "write", "r*", "*", "db://{id}", "db://*", `wr"ite`, "日*", "**e*", "[a-z]+"}

	drawnServers = []string{"a/x", "a/y", "b/x", "*", `s "1"`, "3", "日本", "a.b[c]\u2028", "constructor"}
	drawnTeams   = []string{"t1", "t2", "t3"}
	drawnOffers  = []policy.Tool{
		{Kind: policy.KindTool, Name: "read"},
		{Kind: policy.KindTool, Name: "write"},
		{Kind: policy.KindTool, Name: `wr"ite`},
		{Kind: policy.KindTool, Name: "*"},
		{Kind: policy.KindTool, Name: "日本"},
		{Kind: policy.KindTool, Name: "[a-z]+"},
		{Kind: policy.KindPrompt, Name: "read"},
		{Kind: policy.KindPrompt, Name: "0"},
		{Kind: policy.KindResource, Name: "db://1"},
		{Kind: policy.KindResource, Name: "db://{id}"},
		{Kind: policy.KindResource, Name: "db://{+path}"},
		{Kind: policy.KindResource, Name: "db://x.(y)*/{id}{?q}"},
		{Kind: policy.KindResource, Name: "db://{broken"},
	}
	drawnCalls = []string{
		"read", "0", "db://1", "db://2", "db://2/3", "db://", "db://{id}", "db://{broken",
		"db://x.(y)*/7", "db://x.(y)*/7?q=1", "db://xa(y)*/7", "db://日\n本", "other", "",
	}
)

// drawnNoon is about when the windows of grants begin and end.
var drawnNoon = time.Date(2026, 11, 2, 12, 0, 0, 123_456_789, time.UTC)

func (d *dice) subject() policy.Subject {
	s := policy.Subject{Users: some(d, 2, drawnUsers), Groups: some(d, 2, drawnGroups), Agents: some(d, 1, drawnAgents), Models: some(d, 2, drawnModels)}
	for _, kind := range []*[]string{&s.Users, &s.Groups, &s.Agents, &s.Models} { // most rules name one or two kinds
		if d.IntN(3) > 0 {
			*kind = nil
		}
	}
	s.AllowDeclared = len(s.Models) > 0 && d.IntN(2) == 0
	if s.Validate() != nil {
		return policy.Subject{Everyone: true}
	}
	return s
}

func (d *dice) except() policy.Subject {
	if s := d.subject(); !s.Everyone {
		return s
	}
	return policy.Subject{}
}

func (d *dice) resource() policy.Resource {
	r := policy.Resource{
		Servers: some(d, 2, []string{"a/x", "a/*", "*", "*", "日*"}), Labels: one(d, [][]string{nil, nil, {"pii"}, {"p*"}}), Names: some(d, 1, drawnNames),
		Kinds: one(d, [][]policy.Kind{nil, {policy.KindTool, policy.KindPrompt, policy.KindResource}, {policy.KindResource, policy.KindTool}, {policy.KindPrompt}}),
		Risks: some(d, 1, []policy.Risk{policy.ReadOnly, policy.Write, policy.Destructive}),
	}
	if r.Validate() != nil {
		r.Servers = []string{"*"}
	}
	return r
}

func (d *dice) at() time.Time { return drawnNoon.Add(time.Duration(d.IntN(5)-2) * time.Nanosecond) }

func (d *dice) window() (from, until *time.Time) {
	if d.IntN(4) == 0 {
		t := one(d, []time.Time{d.at(), time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(9000, 1, 1, 0, 0, 0, 0, time.UTC)})
		from = &t
	}
	if d.IntN(4) == 0 {
		t := one(d, []time.Time{d.at(), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2, 1, 1, 0, 0, 0, 0, time.UTC)})
		until = &t
	}
	if from != nil && until != nil && !from.Before(*until) {
		return from, nil
	}
	return from, until
}

func (d *dice) effect() policy.Effect {
	switch n := d.IntN(22); {
	case n == 0:
		return policy.Effect{Deny: true}
	case n < 3:
		return policy.Effect{MFA: true}
	case n < 6:
		return policy.Effect{RateLimit: &policy.RateLimit{Calls: 1 + d.IntN(3), Seconds: 60}}
	case n < 8:
		return policy.Effect{TokenBudget: &policy.TokenBudget{Tokens: 1 + d.IntN(3), Seconds: 60}}
	case n < 10:
		return policy.Effect{MaxResponseBytes: one(d, []int64{1000, 2000, 1 << 20})}
	case n == 10 && d.conditions:
		return policy.Effect{Require: one(d, drawnConditions)}
	case n == 16, n == 17:
		return policy.Effect{StepUp: d.stepUp()}
	}
	return policy.Effect{Approval: d.approval()}
}

func (d *dice) approvers() policy.Approvers {
	a := policy.Approvers{Quorum: 1 + d.IntN(3), OwningTeam: d.IntN(2) == 0, Teams: some(d, 2, drawnTeams)}
	if len(a.Teams) == 0 {
		a.OwningTeam = true
	}
	return a
}

func (d *dice) stepUp() *policy.StepUp {
	s := &policy.StepUp{MaxAgeSeconds: one(d, []int{0, 1, 60, 61, 3600}), MFA: d.IntN(2) == 0, ACR: one(d, [][]string{nil, {"high"}, {"low"}, {"high", "low"}})}
	if s.MaxAgeSeconds == 0 && s.ACR == nil {
		s.MFA = true
	}
	return s
}

func (d *dice) approval() *policy.Approval {
	first := d.approvers()
	a := &policy.Approval{
		Quorum: first.Quorum, DenyQuorum: d.IntN(4), OwningTeam: first.OwningTeam, Teams: first.Teams, PendingSeconds: one(d, []int{0, 60, 900, 3600}),
	}
	if d.IntN(3) == 0 {
		return a
	}
	for range d.IntN(4) {
		a.Alternatives = append(a.Alternatives, d.approvers())
	}
	a.Evidence, a.NotGranter = d.IntN(3) == 0, d.IntN(3) == 0
	if d.IntN(3) == 0 {
		a.StepUp = d.stepUp()
	}
	if d.IntN(2) == 0 {
		f := d.approvers()
		a.Fallback = &policy.Fallback{AfterSeconds: one(d, []int{1, 30, 59}), Quorum: f.Quorum, OwningTeam: f.OwningTeam, Teams: f.Teams}
	}
	if d.IntN(2) == 0 {
		a.Scope = &policy.Scope{MaxUses: 1 + d.IntN(3), MaxSeconds: 1 + d.IntN(3), Free: one(d, [][]string{nil, {"a"}, {"a", "b"}, {"b"}})}
	}
	if d.IntN(2) == 0 {
		b := d.approvers()
		a.BreakGlass = &policy.BreakGlass{OwningTeam: b.OwningTeam, Teams: b.Teams, ReviewSeconds: one(d, []int{0, 60})}
	}
	return a
}

// drawnConditions are true of some calls, false of others and errors for the rest.
var drawnConditions = []string{
	`args.n <= 1`, `!has(args.n) || args.n > 0`, `principal.subject == "ann"`, `"dev" in principal.groups`, `tool.risk != "destructive"`,
	`server.team == "t1"`, `true`, `false`,
}

// condition is mostly none.
func (d *dice) condition() string {
	if d.conditions && d.IntN(2) == 0 {
		return one(d, drawnConditions)
	}
	return ""
}

func (d *dice) source() policy.Source {
	src := policy.Source{Issuer: "https://countersign.example", Audience: "aud_1", Epoch: 1, Generation: 9, MaxStaleSeconds: 60}
	for i, name := range drawnServers {
		src.Servers = append(src.Servers, d.server(fmt.Sprintf("srv_%d", i), name))
	}
	for i := range 90 {
		from, until := d.window()
		src.Grants = append(src.Grants, policy.SourceGrant{
			Grant: policy.Grant{
				ID: fmt.Sprintf("g%d", i), Name: "g", Subject: d.subject(), NotBefore: from, NotAfter: until, Condition: d.condition(),
			},
			Resource: d.resource(),
		})
	}
	for i := range 16 {
		src.Guardrails = append(src.Guardrails, policy.SourceGuardrail{
			Guardrail: policy.Guardrail{
				ID: fmt.Sprintf("r%d", i), Name: "r", Subject: d.subject(), Except: d.except(), Condition: d.condition(), Effect: d.effect(),
			},
			Resource: d.resource(),
		})
	}
	return src
}

func (d *dice) server(id, name string) policy.Server {
	s := policy.Server{
		ID: id, Name: name, State: policy.Active,
		Team: one(d, append([]string{""}, drawnTeams...)), Labels: some(d, 1, []string{"pii", "pay"}),
		Endpoint: policy.Endpoint{Transport: policy.StreamableHTTP, URL: "https://mcp.example", Digest: canonical.Sum("endpoint", nil)},
	}
	if d.IntN(9) == 0 {
		s.State = policy.Suspended
	}
	for i, t := range drawnOffers {
		if d.IntN(9) == 0 {
			continue
		}
		t.ID, t.Definition, t.Held = fmt.Sprintf("%s_%d", id, i), canonical.Sum("definition", nil), d.IntN(24) == 0
		t.Risk = one(d, []policy.Risk{policy.ReadOnly, policy.Write, policy.Destructive})
		s.Tools = append(s.Tools, t)
	}
	return s
}

func (d *dice) principal() *policy.Principal {
	if d.IntN(50) == 0 {
		return nil
	}
	p := &policy.Principal{
		Issuer:  one(d, []string{drawnIssuer, drawnIssuer, "https://other", "https://a|b", "https://a", ""}),
		Subject: one(d, []string{"ann", "ann", "ben", "a|b", "b|ann", "axn", "a.n", "ANN", "é", "e\u0301", "日本", `"`, "*", ""}),
		Agent:   one(d, []string{"cursor", "code", "Code", "a b", ""}), Model: one(d, []string{"claude-3", "gpt", "declared", ""}),
		ModelAssurance: one(d, []policy.Assurance{policy.Attested, policy.Declared, policy.Unknown, ""}),
		AMR:            some(d, 3, []string{"pwd", "pin", "kba", "otp", "hwk", "swk", "sc", "sms", "tel", "pop", "face", "fpt", "iris", "retina", "vbm", "mfa", "mca", "user", "geo", ""}),
		ACR:            one(d, []string{"", "low", "high"}),
		AuthTime:       one(d, []time.Time{{}, drawnNoon.Add(-time.Hour), drawnNoon.Add(-time.Minute), drawnNoon, drawnNoon.Add(time.Minute)}),
	}
	if d.IntN(4) > 0 {
		p.Groups = append([]string{}, some(d, 3, []string{"dev", "ops", "d.v", "dxv", `\E`, "dev|ops", "日本", "*", ""})...)
	}
	return p
}

// request draws mostly what is offered.
func (d *dice) request() policy.Request {
	r := policy.Request{Server: one(d, drawnServers), Principal: d.principal(), Now: d.at().In(time.FixedZone("", 3600*d.IntN(3)))}
	offer := one(d, drawnOffers)
	r.Kind, r.Name = offer.Kind, offer.Name
	if r.Kind == policy.KindResource || d.IntN(20) == 0 {
		r.Name = one(d, drawnCalls)
	}
	if d.conditions {
		r.Arguments = json.RawMessage(one(d, []string{"", `{}`, `{"n":0}`, `{"n":1.5}`, `{"n":9}`, `{"n":"1"}`}))
	}
	if d.IntN(40) == 0 {
		r.Kind = one(d, []policy.Kind{policy.KindPrompt, "other", ""})
	}
	if d.IntN(40) == 0 {
		r.Server = one(d, []string{"b/y", "", "A/X"})
	}
	return r
}

// asOPA is a request as OPA is asked it.
func asOPA(r policy.Request) map[string]any {
	return map[string]any{
		"server": r.Server, "kind": r.Kind, "name": r.Name, "principal": r.Principal, "now": r.Now.Format(time.RFC3339Nano),
	}
}

func describe(r policy.Request) string {
	if r.Principal == nil {
		return fmt.Sprintf("%q %s %q by nobody at %s", r.Server, r.Kind, r.Name, r.Now)
	}
	return strings.TrimSpace(fmt.Sprintf("%q %s %q by %+v at %s", r.Server, r.Kind, r.Name, *r.Principal, r.Now))
}

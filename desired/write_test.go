package desired

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"countersign/policy"
)

// texts are what people and machines could put into a set, above all what YAML could take for something else.
// Tests in parallel share these; see the note in policy/world_test.go.
func init() { _, _ = someText.String(), aName.String() }

var someText = rapid.OneOf(
	rapid.SampledFrom([]string{
		"a", "yes", "no", "null", "~", "1", "1.5", "0x1f", "-", "- a", "a: b", "a #b", "#a", "*", "*a", "&a", "!a", "%a", "@a", "`a`",
		"{a}", "[a]", "a, b", "'", `"`, `\`, "a\nb", "a\n\nb", "a\n b", " a", "a ", "\ta", "2026-11-30", "12:30", "1e3", ".inf", "|", ">",
		"https://idp.example|olga", "https://orders.example/mcp?a=b#c", "é", "日本", "🔥", "\u202ea", "\u200b", "\u00a0a", "\U000e0041", "a\rb",
		"<<", "=", "?", "? a", ":", "a:", "---", "...", "true", "On", "a\u2028b", "a\u0085b", "\ufeffa", "env=prod", "claude-*",
	}),
	rapid.StringN(1, 20, 40),
).Filter(func(s string) bool { return s != "" })

var aName = rapid.StringOfN(rapid.RuneFrom([]rune("abcdefgh-._*/=0123 ")), 1, 12, -1)

func sometimes[T any](g *rapid.Generator[T]) *rapid.Generator[T] {
	return rapid.OneOf(rapid.Map(rapid.Just(0), func(int) (zero T) { return zero }), g)
}

func list[T any](g *rapid.Generator[T]) *rapid.Generator[[]T] {
	return rapid.OneOf(rapid.SliceOfN(g, 1, 3), rapid.SliceOfN(g, 20, 21))
}

func pattern() *rapid.Generator[string] {
	return rapid.OneOf(someText, aName).Filter(func(s string) bool {
		return (policy.Resource{Servers: []string{s}}).Validate() == nil
	})
}

func subject() *rapid.Generator[policy.Subject] {
	return rapid.Custom(func(t *rapid.T) policy.Subject {
		patterns := sometimes(list(pattern()))
		return policy.Subject{
			Everyone: rapid.Bool().Draw(t, "everyone"), Users: patterns.Draw(t, "users"), Groups: patterns.Draw(t, "groups"),
			Agents: patterns.Draw(t, "agents"), Models: patterns.Draw(t, "models"), AllowDeclared: rapid.Bool().Draw(t, "declared"),
		}
	}).Filter(func(s policy.Subject) bool { return s.Validate() == nil })
}

func resource() *rapid.Generator[policy.Resource] {
	return rapid.Custom(func(t *rapid.T) policy.Resource {
		patterns := sometimes(list(pattern()))
		return policy.Resource{
			Servers: patterns.Draw(t, "servers"), Labels: patterns.Draw(t, "labels"), Names: patterns.Draw(t, "names"),
			Kinds: sometimes(list(rapid.SampledFrom([]policy.Kind{policy.KindTool, policy.KindPrompt, policy.KindResource}))).Draw(t, "kinds"),
			Risks: sometimes(list(rapid.SampledFrom([]policy.Risk{policy.ReadOnly, policy.Write, policy.Destructive}))).Draw(t, "risks"),
		}
	}).Filter(func(r policy.Resource) bool { return r.Validate() == nil })
}

func moment() *rapid.Generator[*time.Time] {
	return rapid.Map(rapid.Int64Range(0, 4e15), func(us int64) *time.Time {
		at := time.UnixMicro(us).UTC()
		return &at
	})
}

// expression makes conditions, above all those that YAML could take for something else.
var expression = rapid.SampledFrom([]string{
	"true", "false", "args.amount <= 100", "args.a == 'b'  && args.c", "args['日本']", "!has(args.x)", "[1] == [1]", "{'a': 1} == {}",
	`args.a == "\u202e\n"`, "args.a in ['#a: b', 'c'] // why", "-1 < 0", "'*' == '*'", `'%' == "\\"`,
})

func effect(t *rapid.T, g *Guardrail) {
	g.Condition = sometimes(expression).Draw(t, "condition")
	switch rapid.IntRange(0, 8).Draw(t, "effect") {
	case 0:
		g.Deny = true
	case 1:
		g.MFA = true
	case 2:
		g.RateLimit = &Rate{rapid.IntRange(1, 1e6).Draw(t, "calls"), rapid.SampledFrom([]int{1, 7, 60, 61, 3600, 5400, 86400}).Draw(t, "seconds")}
	case 3:
		g.Require = expression.Draw(t, "require")
	case 4:
		g.TokenBudget = &Budget{rapid.IntRange(1, 1e6).Draw(t, "tokens"), rapid.SampledFrom([]int{1, 7, 60, 3600, 86400}).Draw(t, "seconds")}
	case 5:
		g.MaxResponseBytes = rapid.Int64Range(1, 1<<30).Draw(t, "bytes")
	case 6:
		g.StepUp = stepUp(t)
		g.Tainted = &Tainted{Labels: []string{"untrusted", "*"}, Within: Span(rapid.SampledFrom([]int{0, 90, 86400}).Draw(t, "within"))}
	default:
		g.Approval = anApproval(t)
	}
}

func stepUp(t *rapid.T) *StepUp {
	s := &StepUp{MaxAge: Span(rapid.SampledFrom([]int{0, 1, 90, 2592000}).Draw(t, "max age")), MFA: rapid.Bool().Draw(t, "mfa")}
	if s.MaxAge == 0 && !s.MFA || rapid.Bool().Draw(t, "classes") {
		s.ACR = rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"phr", "null", "1", "urn:acme:gold", "#a", "*", "{a}"}), 1, 3, rapid.ID).Draw(t, "acr")
	}
	return s
}

func anApproval(t *rapid.T) *Approval {
	teams := sometimes(list(pattern()))
	a := &Approval{
		Quorum: rapid.IntRange(1, 20).Draw(t, "quorum"), DenyQuorum: rapid.IntRange(0, 20).Draw(t, "deny"), OwningTeam: true,
		Teams: teams.Draw(t, "teams"), Pending: Span(rapid.SampledFrom([]int{0, 61, 90, 900, 7200, 604800}).Draw(t, "pending")),
		Evidence: rapid.Bool().Draw(t, "evidence"), NotGranter: rapid.Bool().Draw(t, "not granter"),
	}
	for range rapid.IntRange(0, 3).Draw(t, "alternatives") {
		other := policy.Approvers{Quorum: rapid.IntRange(1, 20).Draw(t, "quorum"), Teams: teams.Draw(t, "teams")}
		other.OwningTeam = len(other.Teams) == 0
		a.Alternatives = append(a.Alternatives, other)
	}
	if rapid.Bool().Draw(t, "fallback") {
		a.Fallback = &Fallback{After: Span(rapid.IntRange(1, 60).Draw(t, "after")), Quorum: 2, OwningTeam: true, Teams: teams.Draw(t, "teams")}
	}
	if rapid.Bool().Draw(t, "step up") {
		a.StepUp = stepUp(t)
	}
	if rapid.Bool().Draw(t, "scope") {
		free := sometimes(rapid.SliceOfNDistinct(pattern(), 1, 3, rapid.ID)).Draw(t, "free")
		a.Scope = &Scope{MaxUses: rapid.IntRange(1, 1000).Draw(t, "uses"), Within: Span(rapid.SampledFrom([]int{1, 90, 86400}).Draw(t, "within")), Free: free}
	}
	if rapid.Bool().Draw(t, "break glass") {
		a.BreakGlass = &BreakGlass{OwningTeam: true, Teams: teams.Draw(t, "teams"), Review: Span(rapid.SampledFrom([]int{0, 3600, 2592000}).Draw(t, "review"))}
	}
	return a
}

// anySet makes sets that Check accepts.
func anySet() *rapid.Generator[Set] {
	return rapid.Custom(func(t *rapid.T) (s Set) {
		text := sometimes(someText)
		count := rapid.IntRange(0, 2)
		for i := range count.Draw(t, "teams") {
			s.Teams = append(s.Teams, Team{fmt.Sprint(someText.Draw(t, "name"), i), sometimes(list(someText)).Draw(t, "groups")})
		}
		for i := range count.Draw(t, "servers") {
			server := Server{
				Name: fmt.Sprint(someText.Draw(t, "name"), i), Title: text.Draw(t, "title"), Description: text.Draw(t, "description"),
				Team: someText.Draw(t, "team"), Labels: sometimes(list(someText)).Draw(t, "labels"),
				ClientRequests: sometimes(list(someText)).Draw(t, "client requests"),
				State:          rapid.SampledFrom([]State{"", Active, Suspended, Retired}).Draw(t, "state"),
			}
			switch rapid.IntRange(0, 2).Draw(t, "where") {
			case 0:
				server.URL = someText.Draw(t, "url")
			case 1:
				server.Command, server.CommandDigest = someText.Draw(t, "command"), someText.Draw(t, "digest")
			}
			s.Servers = append(s.Servers, server)
		}
		for i := range count.Draw(t, "grants") {
			s.Grants = append(s.Grants, Grant{
				Key: fmt.Sprint("k.", i), Name: someText.Draw(t, "name"), For: subject().Draw(t, "for"), On: resource().Draw(t, "on"),
				Condition: sometimes(expression).Draw(t, "condition"), From: sometimes(moment()).Draw(t, "from"), Reason: text.Draw(t, "reason"),
			})
		}
		for i := range count.Draw(t, "guardrails") {
			g := Guardrail{
				Key: fmt.Sprint(i, "-K"), Name: someText.Draw(t, "name"), For: subject().Draw(t, "for"), On: resource().Draw(t, "on"),
				Except: sometimes(subject().Filter(func(s policy.Subject) bool { return !s.Everyone })).Draw(t, "except"), Reason: text.Draw(t, "reason"),
			}
			effect(t, &g)
			s.Guardrails = append(s.Guardrails, g)
		}
		return s
	})
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := anySet().Draw(t, "set")
		text, err := Write(want)
		if err != nil {
			t.Fatal(err)
		}
		got, _, err := Read(File{"set.yaml", text})
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%s\n%s", diff, text)
		}
	})
}

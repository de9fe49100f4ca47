package policy_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"countersign/canonical"
	"countersign/policy"
)

// Random worlds are drawn from few names, so that rules and calls meet often.
var (
	drawUser   = rapid.SampledFrom([]string{"ann", "ben", "a|b", "*", "a*", idp + "|ann", idp + "|*", "https://other|ben", "https://*|a|b"})
	drawGroup  = rapid.SampledFrom([]string{"dev", "ops", "d*", "*"})
	drawAgent  = rapid.SampledFrom([]string{"cursor", "code", "c*"})
	drawModel  = rapid.SampledFrom([]string{"claude", "gpt", "*"})
	drawServer = rapid.SampledFrom([]string{"a/x", "A/X", "a/y", "b/x", "a/*", "*"})
	drawLabel  = rapid.SampledFrom([]string{"pii", "pay", "p*"})
	drawName   = rapid.SampledFrom([]string{"read", "write", "r*", "*", "db://{id}"})
	drawKind   = rapid.SampledFrom([]policy.Kind{policy.KindTool, policy.KindPrompt, policy.KindResource})
	drawRisk   = rapid.SampledFrom([]policy.Risk{policy.ReadOnly, policy.Write, policy.Destructive})
	drawTeam   = rapid.SampledFrom([]string{"t1", "t2", "t3"})
)

// drawExpression leaves a rule without one more often than not.
var (
	drawExpression = rapid.SampledFrom(slices.Sorted(maps.Keys(oracleExpressions)))
	drawArguments  = rapid.SampledFrom(slices.Sorted(maps.Keys(oracleArguments)))
	drawCondition  = rapid.Custom(func(t *rapid.T) string {
		if rapid.IntRange(0, 2).Draw(t, "conditional") > 0 {
			return ""
		}
		return drawExpression.Draw(t, "condition")
	})
)

// A generator describes itself when it is first asked to, and reads the description without a lock: tests in parallel
// that share one would race. So each is asked here.
func init() {
	for _, shared := range []fmt.Stringer{
		drawUser, drawGroup, drawAgent, drawModel, drawServer, drawLabel, drawName, drawKind, drawRisk, drawTeam,
		drawSubject, drawExcept, drawResource, drawEffect, drawExpression, drawArguments, drawCondition, drawTime, drawWindow, drawSource, drawRequest,
		drawFree, drawApprovers, drawStepUp, drawApproval, drawVoting, drawTaint,
	} {
		_ = shared.String()
	}
}

func few[T any](of *rapid.Generator[T]) *rapid.Generator[[]T] { return rapid.SliceOfN(of, 0, 2) }

var drawSubject = rapid.Custom(func(t *rapid.T) policy.Subject {
	s := policy.Subject{
		Users: few(drawUser).Draw(t, "users"), Groups: few(drawGroup).Draw(t, "groups"),
		Agents: few(drawAgent).Draw(t, "agents"), Models: few(drawModel).Draw(t, "models"),
	}
	s.AllowDeclared = len(s.Models) > 0 && rapid.Bool().Draw(t, "allow declared")
	if s.Validate() != nil {
		return policy.Subject{Everyone: true}
	}
	return s
})

var drawExcept = rapid.Custom(func(t *rapid.T) policy.Subject {
	if s := drawSubject.Draw(t, "except"); !s.Everyone {
		return s
	}
	return policy.Subject{}
})

var drawResource = rapid.Custom(func(t *rapid.T) policy.Resource {
	r := policy.Resource{
		Servers: few(drawServer).Draw(t, "servers"), Labels: few(drawLabel).Draw(t, "labels"),
		Kinds: few(drawKind).Draw(t, "kinds"), Names: few(drawName).Draw(t, "names"), Risks: few(drawRisk).Draw(t, "risks"),
		ToolLabels: few(rapid.SampledFrom([]string{"egress", "e*"})).Draw(t, "tool labels"),
	}
	if r.Validate() != nil {
		r.Servers = []string{"*"}
	}
	return r
})

var drawEffect = rapid.Custom(func(t *rapid.T) policy.Effect {
	switch rapid.IntRange(0, 15).Draw(t, "effect") {
	case 0:
		return policy.Effect{Deny: true}
	case 1, 2:
		return policy.Effect{MFA: true}
	case 3, 4:
		return policy.Effect{RateLimit: &policy.RateLimit{Calls: rapid.IntRange(1, 3).Draw(t, "calls"), Seconds: 60}}
	case 5, 6:
		return policy.Effect{TokenBudget: &policy.TokenBudget{Tokens: rapid.IntRange(1, 3).Draw(t, "tokens"), Seconds: 60}}
	case 7:
		return policy.Effect{MaxResponseBytes: int64(rapid.IntRange(1, 3).Draw(t, "bytes"))}
	case 8, 9:
		return policy.Effect{Require: drawExpression.Draw(t, "require")}
	case 10, 11:
		return policy.Effect{StepUp: drawStepUp.Draw(t, "step up")}
	}
	return policy.Effect{Approval: drawApproval.Draw(t, "approval")}
})

// drawTainted lets an effect hold in some sessions only.
func drawTainted(t *rapid.T, e policy.Effect) policy.Effect {
	if rapid.IntRange(0, 3).Draw(t, "tainted") == 0 {
		e.Tainted = &policy.Tainted{
			Labels:  rapid.SampledFrom([][]string{{"pii"}, {"p*"}, {"pay", "other"}}).Draw(t, "labels"),
			Seconds: rapid.SampledFrom([]int{0, 1, 60}).Draw(t, "seconds"),
		}
	}
	return e
}

var drawTaint = rapid.Custom(func(t *rapid.T) policy.Taint {
	if rapid.IntRange(0, 3).Draw(t, "known") == 0 {
		return nil
	}
	taint := policy.Taint{}
	for _, label := range few(rapid.SampledFrom([]string{"pii", "pay"})).Draw(t, "labels") {
		taint[label] = drawTime.Draw(t, "since").Add(-rapid.SampledFrom([]time.Duration{0, time.Minute, 2 * time.Hour}).Draw(t, "ago"))
	}
	return taint
})

// drawTime is about noon, where the windows of grants begin and end.
var drawTime = rapid.Custom(func(t *rapid.T) time.Time {
	return noon.Add(time.Duration(rapid.IntRange(-2, 2).Draw(t, "seconds from noon")) * time.Second)
})

var drawWindow = rapid.Custom(func(t *rapid.T) [2]*time.Time {
	var window [2]*time.Time
	if rapid.IntRange(0, 2).Draw(t, "from") == 0 {
		from := drawTime.Draw(t, "not before")
		window[0] = &from
	}
	if rapid.IntRange(0, 2).Draw(t, "until") == 0 {
		until := drawTime.Draw(t, "not after")
		if window[0] == nil || window[0].Before(until) {
			window[1] = &until
		}
	}
	return window
})

func drawGrant(t *rapid.T, id string) policy.SourceGrant {
	window := drawWindow.Draw(t, "window")
	return policy.SourceGrant{
		Grant: policy.Grant{
			ID: id, Name: id, Subject: drawSubject.Draw(t, "subject"), NotBefore: window[0], NotAfter: window[1],
			Condition: drawCondition.Draw(t, "condition"),
		},
		Resource: drawResource.Draw(t, "resource"),
	}
}

func drawGuardrail(t *rapid.T, id string) policy.SourceGuardrail {
	return policy.SourceGuardrail{
		Guardrail: policy.Guardrail{
			ID: id, Name: id, Subject: drawSubject.Draw(t, "subject"), Except: drawExcept.Draw(t, "except"), Effect: drawTainted(t, drawEffect.Draw(t, "effect")),
			Condition: drawCondition.Draw(t, "condition"),
		},
		Resource: drawResource.Draw(t, "resource"),
	}
}

var drawSource = rapid.Custom(func(t *rapid.T) policy.Source {
	src := policy.Source{Issuer: "https://countersign.example", Audience: "aud_1", Epoch: 1, Generation: 9, MaxStaleSeconds: 60}
	for _, name := range []string{"a/x", "a/y", "b/x"} {
		src.Servers = append(src.Servers, drawServerOf(t, name))
	}
	for i := range rapid.IntRange(0, 6).Draw(t, "grants") {
		src.Grants = append(src.Grants, drawGrant(t, fmt.Sprintf("g%d", i)))
	}
	for i := range rapid.IntRange(0, 6).Draw(t, "guardrails") {
		src.Guardrails = append(src.Guardrails, drawGuardrail(t, fmt.Sprintf("r%d", i)))
	}
	for i := range rapid.IntRange(0, 2).Draw(t, "keys") {
		src.Keys = append(src.Keys, keyOf(fmt.Sprintf("csa_%d", i), drawAgent.Draw(t, "agent of the key")))
	}
	for _, agent := range []string{"code", "cursor"} {
		src.Agents = append(src.Agents, policy.Agent{Agent: agent, Models: few(drawModel).Draw(t, "models")})
	}
	return src
})

func drawServerOf(t *rapid.T, name string) policy.Server {
	s := policy.Server{
		ID: "srv_" + name, Name: name, State: rapid.SampledFrom([]string{policy.Active, policy.Active, policy.Active, policy.Suspended}).Draw(t, "state"),
		Team: drawTeam.Draw(t, "team"), Labels: few(rapid.SampledFrom([]string{"pii", "pay"})).Draw(t, "labels"),
		Endpoint:       policy.Endpoint{Transport: policy.StreamableHTTP, URL: "https://" + name, Digest: canonical.Sum("endpoint", nil)},
		ClientRequests: few(rapid.SampledFrom(policy.ClientRequests())).Draw(t, "client requests"),
	}
	for _, offer := range []struct {
		kind policy.Kind
		name string
	}{
		{policy.KindTool, "read"},
		{policy.KindTool, "write"},
		{policy.KindPrompt, "read"},
		{policy.KindResource, "db://1"},
		{policy.KindResource, "db://{id}"},
		{policy.KindResource, "db://{+path}"},
	} {
		if rapid.IntRange(0, 4).Draw(t, "offered") == 0 {
			continue
		}
		s.Tools = append(s.Tools, policy.Tool{
			ID: name + offer.name, Kind: offer.kind, Name: offer.name, Risk: drawRisk.Draw(t, "risk"),
			Labels:     few(rapid.SampledFrom([]string{"egress", "own"})).Draw(t, "labels"),
			Definition: canonical.Sum("definition", nil), Held: rapid.IntRange(0, 7).Draw(t, "held") == 0,
		})
	}
	return s
}

var drawRequest = rapid.Custom(func(t *rapid.T) policy.Request {
	return policy.Request{
		Server: rapid.SampledFrom([]string{"a/x", "a/y", "b/x", "b/y"}).Draw(t, "server"),
		Kind:   drawKind.Draw(t, "kind"),
		Name:   rapid.SampledFrom([]string{"read", "write", "db://1", "db://2", "db://2/3", "other"}).Draw(t, "name"),
		Principal: &policy.Principal{
			Issuer: idp, Subject: rapid.SampledFrom([]string{"ann", "ben", "a|b", ""}).Draw(t, "user"),
			Groups:         few(rapid.SampledFrom([]string{"dev", "ops", ""})).Draw(t, "groups"),
			Agent:          rapid.SampledFrom([]string{"cursor", "code", ""}).Draw(t, "agent"),
			Model:          rapid.SampledFrom([]string{"claude", "gpt", ""}).Draw(t, "model"),
			ModelAssurance: rapid.SampledFrom([]policy.Assurance{policy.Attested, policy.Declared, policy.Unknown, ""}).Draw(t, "assurance"),
			AMR:            few(rapid.SampledFrom([]string{"pwd", "pin", "otp", "swk", "fpt", "mfa", "user", ""})).Draw(t, "amr"),
			ACR:            rapid.SampledFrom([]string{"", "low", "high"}).Draw(t, "acr"),
			AuthTime:       rapid.SampledFrom([]time.Time{{}, noon.Add(-time.Hour), noon.Add(-time.Minute), noon, noon.Add(time.Minute)}).Draw(t, "auth time"),
			Taint:          drawTaint.Draw(t, "taint"),
		},
		Arguments: json.RawMessage(drawArguments.Draw(t, "arguments")),
		Now:       drawTime.Draw(t, "now"),
	}
})

func compile(t *rapid.T, src policy.Source) *policy.Index {
	doc, _, err := policy.Compile(src, noon)
	if err != nil {
		t.Fatalf("compiling: %v", err)
	}
	text, err := doc.Marshal()
	if err != nil {
		t.Fatalf("encoding: %v", err)
	}
	back, err := policy.Decode(text)
	if err != nil {
		t.Fatalf("decoding %s: %v", text, err)
	}
	ix, err := policy.NewIndex(back)
	if err != nil {
		t.Fatalf("indexing: %v", err)
	}
	return ix
}

func TestIndexAgreesWithOracle(t *testing.T) {
	t.Parallel()
	rapid.Check(t, indexAgreesWithOracle)
}

func FuzzIndexAgreesWithOracle(f *testing.F) { f.Fuzz(rapid.MakeFuzz(indexAgreesWithOracle)) }

func indexAgreesWithOracle(t *rapid.T) {
	src := drawSource.Draw(t, "source")
	ix := compile(t, src)
	for range 30 {
		compareWithOracle(t, src, ix, drawRequest.Draw(t, "request"))
	}
}

func TestAddingAGrantDeniesNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, addingAGrantDeniesNothing)
}

func FuzzAddingAGrantDeniesNothing(f *testing.F) { f.Fuzz(rapid.MakeFuzz(addingAGrantDeniesNothing)) }

func addingAGrantDeniesNothing(t *rapid.T) {
	src := drawSource.Draw(t, "source")
	more := src
	more.Grants = append(slices.Clone(src.Grants), drawGrant(t, "g1a"))
	before, after := compile(t, src), compile(t, more)
	for range 20 {
		r := drawRequest.Draw(t, "request")
		if b, a := before.Decide(r), after.Decide(r); a.Outcome < b.Outcome {
			t.Errorf("%s: %v before, %v after", describe(r), b.Outcome, a.Outcome)
		}
	}
}

func TestAddingAGuardrailAllowsNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, addingAGuardrailAllowsNothing)
}

func FuzzAddingAGuardrailAllowsNothing(f *testing.F) {
	f.Fuzz(rapid.MakeFuzz(addingAGuardrailAllowsNothing))
}

func addingAGuardrailAllowsNothing(t *rapid.T) {
	src := drawSource.Draw(t, "source")
	more := src
	more.Guardrails = append(slices.Clone(src.Guardrails), drawGuardrail(t, "r1a"))
	before, after := compile(t, src), compile(t, more)
	for range 20 {
		r := drawRequest.Draw(t, "request")
		b, a := before.Decide(r), after.Decide(r)
		if a.Outcome > b.Outcome {
			t.Errorf("%s: %v before, %v after", describe(r), b.Outcome, a.Outcome)
		}
		if a.Outcome == policy.Hold && b.Outcome == policy.Hold && !asStrict(a.Approval, b.Approval) {
			t.Errorf("%s: approval %+v before, %+v after", describe(r), *b.Approval, *a.Approval)
		}
		if a.Outcome != policy.Deny && (len(a.Limits) < len(b.Limits) || len(a.Budgets) < len(b.Budgets)) {
			t.Errorf("%s: limits %v and %v before, %v and %v after", describe(r), b.Limits, b.Budgets, a.Limits, a.Budgets)
		}
		if a.Outcome != policy.Deny && b.MaxResponseBytes > 0 && (a.MaxResponseBytes == 0 || a.MaxResponseBytes > b.MaxResponseBytes) {
			t.Errorf("%s: %d bytes before, %d after", describe(r), b.MaxResponseBytes, a.MaxResponseBytes)
		}
	}
}

// asStrict reports whether whatever a lets through, b would have let through.
func asStrict(a, b *policy.Approval) bool {
	fewer := !slices.ContainsFunc(a.Teams, func(team string) bool { return !slices.Contains(b.Teams, team) })
	return a.Quorum >= b.Quorum && a.DenyQuorum <= b.DenyQuorum && pending(*a) <= pending(*b) && fewer
}

func TestVisibleIsWhatIsNotDeniedForGood(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		ix := compile(t, drawSource.Draw(t, "source"))
		r := drawRequest.Draw(t, "request")
		var want, got []string
		for _, s := range ix.Document().Servers {
			if s.Name != r.Server {
				continue
			}
			for _, tool := range s.Tools {
				each := r
				each.Name = tool.Name
				if tool.Kind == r.Kind && ix.Listing(each).Listed() {
					want = append(want, tool.Name)
				}
			}
		}
		for tool := range ix.Visible(r.Server, r.Kind, r.Principal, r.Now) {
			got = append(got, tool.Name)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: sees %v, want %v", describe(r), got, want)
		}
	})
}

func TestCompileIgnoresOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		src := drawSource.Draw(t, "source")
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		other := shuffled(src, random)
		a, _, err := policy.Compile(src, noon)
		if err != nil {
			t.Fatal(err)
		}
		b, _, err := policy.Compile(other, noon.Add(time.Hour).In(time.FixedZone("", 3600)))
		if err != nil {
			t.Fatal(err)
		}
		if a.ContentDigest() != b.ContentDigest() {
			t.Errorf("contents differ")
		}
		b.IssuedAt = a.IssuedAt
		x, _ := a.Marshal()
		y, _ := b.Marshal()
		if !bytes.Equal(x, y) {
			t.Errorf("the order of the source changes the policy:\n%s\n%s", x, y)
		}
	})
}

func shuffled(src policy.Source, random *rand.Rand) policy.Source {
	src.Servers, src.Grants, src.Guardrails = slices.Clone(src.Servers), slices.Clone(src.Grants), slices.Clone(src.Guardrails)
	shuffle(random, src.Servers)
	shuffle(random, src.Grants)
	shuffle(random, src.Guardrails)
	for i := range src.Servers {
		src.Servers[i].Tools = slices.Clone(src.Servers[i].Tools)
		src.Servers[i].Labels = slices.Clone(src.Servers[i].Labels)
		shuffle(random, src.Servers[i].Tools)
		shuffle(random, src.Servers[i].Labels)
	}
	return src
}

func shuffle[T any](random *rand.Rand, s []T) {
	random.Shuffle(len(s), func(i, j int) { s[i], s[j] = s[j], s[i] })
}

package policy_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"countersign/internal/nodetest"
	"countersign/policy"
)

// Random expressions speak of few arguments, in ways that often err: what is an error on one side has to be one on the
// other, as a rule makes the opposite of it.
var (
	drawLiteral = rapid.SampledFrom([]string{
		"0", "1", "-1", "7", "9223372036854775807", "2u", "0.5", "1.0", "1e3", `""`, `"a"`, `"dev"`, `"é😀"`, "true", "false", "null", `[1, 2]`, `{"a": 1}`,
		`timestamp("2026-11-02T12:00:00Z")`, `duration("90m")`,
	})
	drawFact = rapid.SampledFrom([]string{
		"args.i", "args.f", "args.s", "args.b", "args.n", "args.l", "args.m", "args.m.x", "args.l[0]", "args.l[1].y", `args["odd key"]`, "args.none", "x",
		"principal.subject", "principal.groups", "principal.model", "principal.amr", "principal.auth_time", "tool.name", "tool.risk", "server.labels", "now",
	})
	drawOperator = rapid.SampledFrom([]string{"==", "!=", "<", "<=", ">", ">="})
	drawSum      = rapid.SampledFrom([]string{"+", "-", "*", "/", "%"})
	drawOf       = rapid.SampledFrom([]string{
		"size(%s)", "int(%s)", "double(%s)", "uint(%s)", "%s.size()", "%s.getHours()", `%s.getDayOfWeek("Europe/Berlin")`, "-%s", "type(%s)",
	})
	drawTest = rapid.SampledFrom([]string{
		`%s.startsWith("d")`, `%s.endsWith("é😀")`, `%s.contains("a")`, `%s.matches("^[a-z]+$")`, `"x" in %s`, `1 in %s`, "!%s", "%s",
	})
	drawMacro = rapid.SampledFrom([]string{"%s.exists(x, %s)", "%s.all(x, %s)", "%s.exists_one(x, %s)", "size(%s.filter(x, %s)) == 1"})
	drawList  = rapid.SampledFrom([]string{"args.l", "args.m", "args.l[0]", "args.none", "args.i", "args.n", "principal.groups", "server.labels", "[1, 2]"})
	drawHas   = rapid.SampledFrom([]string{"args.i", "args.n", "args.none", "args.m.x", "args.m.none", "args.none.x", "principal.model", "principal.groups"})
	drawArgs  = rapid.SampledFrom([]string{
		``, `{}`, `{"i":7,"f":0.5,"s":"dev","b":true,"n":null,"l":[1,{"y":"a"}],"m":{"x":1.0},"odd key":"é😀"}`,
		`{"i":1000.0,"f":1e300,"s":"","b":false,"l":[],"m":{"x":[1,2]}}`, `{"i":-1,"f":9223372036854775808,"s":"é😀","b":"true","n":0,"l":["a","dev"],"m":{}}`,
		`{"i":"7","f":[0.5],"s":7,"l":{"x":1},"m":null}`, `{"i":1,"f":1e400}`, `{"i":1,"I":2}`, `{"i":9223372036854775807,"f":-0.0,"l":[[1],[2]],"m":{"x":{"y":null}}}`,
	})
)

func init() {
	for _, shared := range []fmt.Stringer{drawLiteral, drawFact, drawOperator, drawSum, drawOf, drawTest, drawMacro, drawList, drawHas, drawArgs} {
		_ = shared.String()
	}
}

// drawValue draws an expression of any type.
func drawValue(t *rapid.T, depth int) string {
	switch choice := rapid.IntRange(0, 9).Draw(t, "value"); {
	case depth == 0 || choice < 5:
		if rapid.Bool().Draw(t, "fact") {
			return drawFact.Draw(t, "fact")
		}
		return drawLiteral.Draw(t, "literal")
	case choice < 7:
		return fmt.Sprintf(drawOf.Draw(t, "of"), drawValue(t, depth-1))
	case choice < 8:
		return fmt.Sprintf("(%s ? %s : %s)", drawTruth(t, depth-1), drawValue(t, depth-1), drawValue(t, depth-1))
	}
	return fmt.Sprintf("(%s %s %s)", drawValue(t, depth-1), drawSum.Draw(t, "sum"), drawValue(t, depth-1))
}

// drawTruth draws an expression that means to be true or false.
func drawTruth(t *rapid.T, depth int) string {
	switch choice := rapid.IntRange(0, 11).Draw(t, "truth"); {
	case depth == 0 || choice < 4:
		return fmt.Sprintf("(%s %s %s)", drawValue(t, max(depth-1, 0)), drawOperator.Draw(t, "operator"), drawValue(t, max(depth-1, 0)))
	case choice < 6:
		return fmt.Sprintf(drawTest.Draw(t, "test"), drawValue(t, depth-1))
	case choice < 7:
		return "has(" + drawHas.Draw(t, "has") + ")"
	case choice < 9:
		return fmt.Sprintf(drawMacro.Draw(t, "macro"), drawList.Draw(t, "list"), drawTruth(t, depth-1))
	case choice < 10:
		return fmt.Sprintf("!(%s)", drawTruth(t, depth-1))
	}
	return fmt.Sprintf("(%s %s %s)", drawTruth(t, depth-1), rapid.SampledFrom([]string{"&&", "||"}).Draw(t, "join"), drawTruth(t, depth-1))
}

// TestJavaScriptEvaluatesAlike puts random expressions to both: as the condition of a grant, which is met only where they
// are true, and as that of a guardrail, which is met where they are not false. So all three answers are told apart.
func TestJavaScriptEvaluatesAlike(t *testing.T) {
	t.Parallel()
	ask := nodetest.Talk(t, answers)
	rapid.Check(t, func(r *rapid.T) {
		src := conditionalSource(r)
		ix := compile(r, src)
		var requests []policy.Request
		for _, tool := range ix.Document().Servers[0].Tools {
			request := drawRequest.Draw(r, "request")
			request.Server, request.Kind, request.Name = "a/x", policy.KindTool, tool.Name
			for range 3 {
				request.Arguments = json.RawMessage(drawArgs.Draw(r, "arguments"))
				requests = append(requests, request)
			}
		}
		sameAsJavaScript(r, ask, ix, requests)
	})
}

// conditionalSource has two tools for each of some expressions: one that only a grant with it reaches, and one that a
// guardrail with it reaches.
func conditionalSource(t *rapid.T) policy.Source {
	everyone := policy.Subject{Everyone: true}
	on := func(names ...string) policy.Resource { return policy.Resource{Servers: []string{"*"}, Names: names} }
	src := policy.Source{
		Issuer: "https://countersign.example", Audience: "aud_1", Epoch: 1, Generation: 9, MaxStaleSeconds: 60,
		Grants: []policy.SourceGrant{{Grant: policy.Grant{ID: "g", Subject: everyone}, Resource: on("guarded*")}},
	}
	tools := map[string]policy.Risk{}
	for i := range 15 {
		expr := drawTruth(t, 3)
		if policy.CheckCondition("condition", expr) != nil {
			continue // most are of types that nothing compares, which a document never has
		}
		granted, guarded := fmt.Sprintf("granted%d", i), fmt.Sprintf("guarded%d", i)
		tools[granted], tools[guarded] = policy.Write, policy.Write
		src.Grants = append(src.Grants, policy.SourceGrant{
			Grant: policy.Grant{ID: granted, Name: expr, Subject: everyone, Condition: expr}, Resource: on(granted),
		})
		src.Guardrails = append(src.Guardrails, policy.SourceGuardrail{
			Guardrail: policy.Guardrail{ID: guarded, Name: expr, Subject: everyone, Condition: expr, Effect: policy.Effect{MaxResponseBytes: 1}},
			Resource:  on(guarded),
		})
	}
	src.Servers = []policy.Server{storyServer{Team: "t", Labels: []string{"pii"}, Tools: tools}.server("a/x")}
	return src
}

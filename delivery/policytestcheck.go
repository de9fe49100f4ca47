package delivery

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"countersign/canonical"
	"countersign/internal/problem"
	"countersign/policy"
)

const (
	maxTestName    = 200
	maxTestText    = 2048 // bytes of a name in a test
	maxTestList    = 200
	maxTestQuorum  = 20
	testWithoutAny = "Say what is called, by the name of the server and of what it offers."
)

// reasons are those that a test may expect, by outcome.
var reasons = map[ExpectedOutcome][]policy.Reason{
	ExpectAllow: {policy.ReasonAllowed},
	ExpectHold:  {policy.ReasonApprovalRequired},
	ExpectDeny: {
		policy.ReasonUnknownServer, policy.ReasonUnknownTool, policy.ReasonDeniedByGuardrail, policy.ReasonNoGrant, policy.ReasonMFARequired,
		policy.ReasonStepUpRequired, policy.ReasonConditionNotMet, policy.ReasonRequirementNotMet,
	},
}

// clean trims n and says everything that is wrong with it.
func (n *NewPolicyTest) clean() error {
	invalid := problem.New(problem.Invalid, "invalid_policy_test", "This is no policy test yet. Nothing was changed.")
	n.Name = strings.TrimSpace(n.Name)
	if n.Name == "" || utf8.RuneCountInString(n.Name) > maxTestName || !prints(n.Name) {
		invalid.Field("name", "A name has 1 to 200 characters that print.")
	}
	n.Given.clean(invalid, "given.")
	n.Expect.clean(invalid)
	if len(invalid.Fields) > 0 {
		return invalid
	}
	return nil
}

// clean says what is wrong with a call, in fields that begin with a prefix.
func (g *Given) clean(invalid *problem.Error, in string) {
	if g.Kind == "" {
		g.Kind = policy.KindTool
	}
	if !g.Kind.Known() {
		invalid.Field(in+"kind", "It is tool, prompt or resource.")
	}
	for field, text := range map[string]string{"server": g.Server, "name": g.Name} {
		if text == "" || len(text) > maxTestText || !prints(text) {
			invalid.Field(in+field, testWithoutAny)
		}
	}
	p := &g.Principal
	for field, text := range map[string]string{"user": p.User, "issuer": p.Issuer, "agent": p.Agent, "model": p.Model} {
		if len(text) > maxTestText || !prints(text) {
			invalid.Field(in+"principal."+field, "It has up to 2048 bytes that print.")
		}
	}
	for field, list := range map[string][]string{"groups": p.Groups, "amr": p.AMR, "tainted": p.Tainted} {
		if len(list) > maxTestList || slices.ContainsFunc(list, func(s string) bool { return s == "" || len(s) > maxTestText || !prints(s) }) {
			invalid.Field(in+"principal."+field, fmt.Sprintf("It has up to %d names that print.", maxTestList))
		}
	}
	switch p.Assurance {
	case "", policy.Attested, policy.Declared, policy.Unknown:
	default:
		invalid.Field(in+"principal.assurance", "It is attested, declared or unknown.")
	}
	if len(g.Arguments) > 0 {
		arguments, err := canonical.Arguments(g.Arguments)
		if err != nil || bytes.Contains(arguments, []byte(`\u0000`)) {
			invalid.Field(in+"arguments", "They have to be one JSON object that is written strictly.").Because(err)
		}
		g.Arguments = arguments
	}
}

func (e *Expect) clean(invalid *problem.Error) {
	known, ok := reasons[e.Outcome]
	switch {
	case !ok:
		invalid.Field("expect.outcome", "It is allow, hold or deny.")
	case e.Reason != "" && !slices.Contains(known, e.Reason):
		invalid.Field("expect.reason", fmt.Sprintf("With %s it is one of %s.", e.Outcome, strings.Trim(fmt.Sprint(known), "[]")))
	}
	if e.Quorum < 0 || e.Quorum > maxTestQuorum || e.Quorum > 0 && e.Outcome != ExpectHold {
		invalid.Field("expect.quorum", "It is from 1 to 20, and only a call that is held has one.")
	}
	if e.Limits != nil && e.Outcome == ExpectDeny {
		invalid.Field("expect.limits", "A call that is denied is not counted.")
	}
	if len(e.Limits) > maxTestList || slices.ContainsFunc(e.Limits, func(s string) bool { return s == "" || len(s) > maxTestText || !prints(s) }) {
		invalid.Field("expect.limits", "It has the names of guardrails.")
	}
}

// prints reports whether a text has nothing in it that does not print.
func prints(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

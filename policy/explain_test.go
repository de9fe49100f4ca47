package policy_test

import (
	"slices"

	"github.com/google/go-cmp/cmp"

	"countersign/policy"
)

// compareWithTrace reads the verdict again out of the steps, by the four steps of a decision.
func compareWithTrace(t tb, ix *policy.Index, r policy.Request, v policy.Verdict) {
	t.Helper()
	trace := ix.Trace(r)
	if diff := cmp.Diff(v, trace.Verdict); diff != "" {
		t.Errorf("%s: the trace is of another verdict (-decided +traced)\n%s", describe(r), diff)
	}
	if told := retold(trace); told != v.Reason {
		t.Errorf("%s: the steps tell %s, decided %s", describe(r), told, v.Reason)
	}
	deciding := 0
	for i := range trace.Steps {
		step := &trace.Steps[i]
		if step.Decides {
			deciding++
		}
		if step.Decides != (trace.Deciding == step) || (step.Rule != "") == (step.Check != "") {
			t.Errorf("%s: %+v beside %+v", describe(r), step, trace.Deciding)
		}
		if step.Words(policy.Wording{}) == "" {
			t.Errorf("%s: no words for %+v", describe(r), step)
		}
	}
	if deciding > 1 || deciding == 0 && v.Reason != policy.ReasonNoGrant {
		t.Errorf("%s: %d steps decide %s", describe(r), deciding, v.Reason)
	}
	if len(trace.Nearest) > 0 && v.Reason != policy.ReasonNoGrant && v.Reason != policy.ReasonConditionNotMet {
		t.Errorf("%s: %s, near %+v", describe(r), v.Reason, trace.Nearest)
	}
}

// retold is the reason that the steps of a trace give. What several templates give is united as Decide does it.
func retold(trace policy.Trace) policy.Reason {
	var tools []*policy.Tool
	for _, s := range trace.Steps {
		if s.Tool == nil && s.Ruling == policy.RulingDeny {
			return map[string]policy.Reason{"server": trace.Reason, "tool": policy.ReasonUnknownTool}[s.Check]
		}
		if s.Tool != nil && !slices.Contains(tools, s.Tool) {
			tools = append(tools, s.Tool)
		}
	}
	var all policy.Reason
	for _, tool := range tools {
		all = stricter(all, retoldOf(trace, tool))
	}
	return all
}

func retoldOf(trace policy.Trace, tool *policy.Tool) policy.Reason {
	granted, almost := false, false
	oblige := policy.ReasonAllowed
	for _, s := range trace.Steps {
		if s.Tool != tool {
			continue
		}
		switch {
		case s.Check == "definition" && s.Ruling == policy.RulingDeny:
			return policy.ReasonDrifted
		case s.Stage == policy.StageDeny && s.Matched():
			return policy.ReasonDeniedByGuardrail
		case s.Rule == "grant":
			granted = granted || s.Matched()
			almost = almost || s.Miss == policy.MissCondition
		case slices.Contains([]policy.Reason{policy.ReasonMFARequired, policy.ReasonStepUpRequired, policy.ReasonRequirementNotMet}, oblige):
		case s.Ruling == policy.RulingDeny && s.Guardrail != nil && s.Guardrail.Effect.MFA:
			oblige = policy.ReasonMFARequired
		case s.Ruling == policy.RulingDeny && s.Guardrail != nil && s.Guardrail.Effect.StepUp != nil:
			oblige = policy.ReasonStepUpRequired
		case s.Ruling == policy.RulingDeny && s.Guardrail != nil:
			oblige = policy.ReasonRequirementNotMet
		case s.Ruling == policy.RulingHold:
			oblige = policy.ReasonApprovalRequired
		}
	}
	switch {
	case granted:
		return oblige
	case almost:
		return policy.ReasonConditionNotMet
	}
	return policy.ReasonNoGrant
}

// stricter is the rule of Verdict.and for reasons: a denial before a hold before an allowance; among denials the first,
// save that a sign-in is asked for only where nothing else is in the way.
func stricter(a, b policy.Reason) policy.Reason {
	rank := func(r policy.Reason) int {
		return slices.Index([]policy.Reason{"", policy.ReasonAllowed, policy.ReasonApprovalRequired}, r)
	}
	switch {
	case a == "":
		return b
	case rank(a) < 0 && rank(b) < 0:
		if oracleSignIns[b] < oracleSignIns[a] {
			return b
		}
		return a
	case rank(a) < 0:
		return a
	case rank(b) < 0:
		return b
	case rank(b) > rank(a):
		return b
	}
	return a
}

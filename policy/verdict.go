package policy

import (
	"encoding/json"
	"slices"
	"time"
)

// Outcome is what becomes of a call. A greater outcome lets more happen; the zero
// value denies.
type Outcome int

// The outcomes.
const (
	Deny  Outcome = iota
	Hold          // until people approve
	Allow         // at once
)

// String returns deny, hold or allow.
func (o Outcome) String() string {
	switch o {
	case Allow:
		return "allow"
	case Hold:
		return "hold"
	default:
		return "deny"
	}
}

// MarshalText writes what String returns.
func (o Outcome) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// Reason says why an outcome is what it is. Its values are stable.
type Reason string

// The reasons.
const (
	ReasonAllowed           Reason = "allowed"
	ReasonApprovalRequired  Reason = "approval_required"
	ReasonUnknownServer     Reason = "unknown_server"
	ReasonUnknownTool       Reason = "unknown_tool"
	ReasonSuspended         Reason = "suspended"
	ReasonDrifted           Reason = "drifted"
	ReasonDeniedByGuardrail Reason = "denied_by_guardrail"
	ReasonNoGrant           Reason = "no_grant"
	ReasonMFARequired       Reason = "mfa_required"        // granted, and a guardrail wants a second factor
	ReasonStepUpRequired    Reason = "step_up_required"    // granted, and a guardrail wants the caller to sign in afresh or otherwise
	ReasonConditionNotMet   Reason = "condition_not_met"   // there is a grant, but its condition is not true
	ReasonRequirementNotMet Reason = "requirement_not_met" // granted, and what a guardrail requires is not true
)

// Request is a call to decide on.
type Request struct {
	Server    string // name
	Kind      Kind
	Name      string // of the tool or prompt; for a resource its URI
	Principal *Principal
	Arguments json.RawMessage // of the call, strictly read JSON: an object; none is {}. Of a resource {"uri": …}
	Now       time.Time
}

// Verdict is the decision on a call. Its pointers are into the document, save
// Approval and StepUp.
type Verdict struct {
	Outcome    Outcome
	Reason     Reason
	Server     *Server   // nil if unknown
	Tool       *Tool     // nil if unknown
	Grant      int       // index of a grant that allows; -1 if none was looked for or found
	Guardrail  int       // index of the guardrail that decided; -1 if none did
	Guardrails []int     // indexes of all that hold the call
	Approval   *Approval // if held: the strictest of what they demand, all Teams in full and the owning team among them
	StepUp     *StepUp   // if step_up_required: what all of those who match want of a sign-in, a second factor for mfa as well
	Limits     []int     // if not denied: indexes of all whose rate limit counts the call, ascending; read only
	Budgets    []int     // the same of those whose token budget counts it

	MaxResponseBytes int64 // if not denied: the least of what they limit a result to; 0: no limit
}

// Listed reports whether a list shows what Listing decided on. It shows what the caller could have by signing in again,
// with a second factor or as is asked for, as the answer to a call tells them to.
func (v Verdict) Listed() bool { return v.Outcome != Deny || v.Reason.signIn() }

// signIn reports whether signing in again is all that is in the way.
func (r Reason) signIn() bool { return r == ReasonMFARequired || r == ReasonStepUpRequired }

func denied(why Reason) Verdict {
	return Verdict{Outcome: Deny, Reason: why, Grant: -1, Guardrail: -1}
}

// and returns the stricter of two verdicts. The limits of both count a call that is
// not denied, and the least of what both limit its result to holds. What both hold
// is held by the guardrails of both; who may approve is left to judge. A sign-in is
// asked for only where nothing else is in the way.
func (v Verdict) and(w Verdict) Verdict {
	limits, budgets, response := both(v.Limits, w.Limits), both(v.Budgets, w.Budgets), least(v.MaxResponseBytes, w.MaxResponseBytes)
	switch {
	case v.Reason == ReasonStepUpRequired && w.Reason == ReasonStepUpRequired:
		v.StepUp = v.StepUp.and(w.StepUp)
	case w.severity() > v.severity():
		v = w
	case w.Outcome == Hold && v.Outcome == Hold:
		v.Guardrails = both(v.Guardrails, w.Guardrails)
	}
	if v.Outcome != Deny {
		v.Limits, v.Budgets, v.MaxResponseBytes = limits, budgets, response
	}
	return v
}

// severity orders verdicts by how much is in the way.
func (v Verdict) severity() int {
	switch {
	case v.Outcome == Allow:
		return 0
	case v.Outcome == Hold:
		return 1
	case v.Reason == ReasonStepUpRequired:
		return 2
	case v.Reason == ReasonMFARequired:
		return 3
	}
	return 4
}

// both returns what is in a or b, ascending.
func both(a, b []int) []int {
	if len(a) == 0 || len(b) == 0 {
		return slices.Concat(a, b)
	}
	return slices.Compact(slices.Sorted(slices.Values(slices.Concat(a, b))))
}

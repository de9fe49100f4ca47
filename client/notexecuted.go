package client

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"countersign/canonical"
	"countersign/policy"
)

// Reasons that a Guard gives beside those of the policy.
const (
	ReasonNoPolicy      policy.Reason = "no_policy"
	ReasonArguments     policy.Reason = "invalid_arguments"
	ReasonNotApproved   policy.Reason = "not_approved"
	ReasonPolicyMoving  policy.Reason = "policy_changing"
	ReasonUnavailable   policy.Reason = "control_plane_unavailable"
	ReasonRateLimited   policy.Reason = "rate_limited"
	ReasonBudgetSpent   policy.Reason = "token_budget_spent"
	ReasonResultTooLong policy.Reason = "result_withheld"
)

// NotExecutedError is the error of a call that was not executed, and will not be by this attempt.
type NotExecutedError struct {
	Reason     policy.Reason // ReasonApprovalRequired: people are asked, and Approval says where
	Text       string        // what to tell agent and person: what kind of no it is, and what to do next
	Approval   *Approval     // the request that waits; nil if none does
	Digest     canonical.Digest
	StepUp     *policy.StepUp // what a guardrail wants of the caller's sign-in: answer with a challenge (RFC 9470); or nil
	RetryAfter time.Duration  // 0: not known
	Err        error          // why, for the log; nil if Reason says all

	at time.Time
}

// Error says what was told to the caller.
func (e *NotExecutedError) Error() string { return e.Text }

// Unwrap gives the cause, where there is one.
func (e *NotExecutedError) Unwrap() error { return e.Err }

// Meta is what belongs into _meta of the tool's result, so that programs understand what Text says to people: the member
// countersign/approval of a call that waits, or countersign/decision of one that was denied.
func (e *NotExecutedError) Meta() map[string]any {
	if e.Approval != nil {
		return map[string]any{"countersign/approval": map[string]any{
			"id": e.Approval.ID, "state": e.Approval.State, "url": e.Approval.URL, "callDigest": e.Digest,
			"expiresAt":    e.at.Add(time.Duration(e.Approval.ExpiresIn) * time.Second).UTC().Truncate(time.Second),
			"retryAfterMs": 5000,
		}}
	}
	said := map[string]any{"decision": DeniedCall, "reason": e.Reason}
	if e.RetryAfter > 0 {
		said["retryAfterSeconds"] = int(e.RetryAfter.Seconds() + 1)
	}
	return map[string]any{"countersign/decision": said}
}

func notExecuted(reason policy.Reason, err error, format string, args ...any) *NotExecutedError {
	return &NotExecutedError{Reason: reason, Text: fmt.Sprintf(format, args...), Err: err}
}

// denied tells what kind of no the policy says.
func denied(v policy.Verdict, tool string) *NotExecutedError {
	reason := v.Reason
	text := "DENIED by policy (not executed). Do not retry; ask an admin."
	switch reason { //nolint:exhaustive // nothing else is denied
	case policy.ReasonUnknownServer, policy.ReasonUnknownTool, policy.ReasonNoGrant:
		reason = policy.ReasonUnknownTool
		text = fmt.Sprintf("Unknown tool %q (not executed): it is not offered, or no grant lets you use it. Ask an admin for a grant if you need it.", tool)
	case policy.ReasonDeniedByGuardrail:
		text = "DENIED by policy (not executed): a guardrail forbids this tool for you. Do not retry; ask an admin if it should be allowed."
	case policy.ReasonMFARequired:
		text = "SECOND FACTOR REQUIRED (not executed): ask your user to sign in again with a second factor; then call again with the new token."
	case policy.ReasonStepUpRequired:
		text = "SIGN-IN REQUIRED (not executed): ask your user to sign in again, in the way that the policy asks for; then call again with the new token."
	case policy.ReasonConditionNotMet, policy.ReasonRequirementNotMet:
		text = "DENIED by policy (not executed): the policy does not allow this tool with these arguments, or not now. Do not repeat the same call."
	case policy.ReasonDrifted:
		text = "DENIED (not executed): this tool was changed after it was approved. Its owner has to review the change; try again later."
	case policy.ReasonSuspended:
		text = "DENIED (not executed): the server is suspended. Ask the team that owns it."
	}
	return &NotExecutedError{Reason: reason, Text: text, StepUp: v.StepUp}
}

// notApproved tells how the request for approval of a call ended without one.
func notApproved(a Approval) *NotExecutedError {
	text := map[ApprovalState]string{
		ApprovalDenied:     "DENIED (not executed): an approver denied this call. Do not repeat it unless your user asks for it again",
		ApprovalExpired:    "NOT EXECUTED: nobody decided on this call in time. Call again to ask anew",
		ApprovalCancelled:  "NOT EXECUTED: the request for approval was withdrawn",
		ApprovalSuperseded: "NOT EXECUTED: the tool or the policy changed while the call waited. Call again to ask anew",
		ApprovalRevoked:    "NOT EXECUTED: the approval was taken back",
	}[a.State]
	if text == "" {
		text = "NOT EXECUTED: the approval of this call was used already. Call again to ask anew"
	}
	if a.State == ApprovalDenied && a.Reason != "" {
		text += ". The reason given: " + printable(a.Reason, 500)
	}
	return notExecuted(ReasonNotApproved, nil, "%s (request %s).", text, a.ID)
}

// printable is text that somebody else wrote, in one line and no longer than n characters.
func printable(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
	if runes := []rune(s); len(runes) > n {
		return string(runes[:n]) + "…"
	}
	return s
}

package gateway

import (
	"fmt"

	"countersign/canonical"
	"countersign/client"
	"countersign/policy"
)

// decision is what a caller is told of a denial, in _meta["countersign/decision"] or the error's data.
type decision struct {
	Decision client.Decision `json:"decision"`
	Reason   policy.Reason   `json:"reason"`
	Path     string          `json:"path,omitempty"` // of an argument that is not valid

	Executed string `json:"executed,omitempty"` // of a call that got no answer: "no" or "unknown"

	RetryAfterSeconds int `json:"retryAfterSeconds,omitempty"` // of a rate limit or a token budget

	MaxAgeSeconds int      `json:"maxAgeSeconds,omitempty"` // of the sign-in that is asked for
	ACRValues     []string `json:"acrValues,omitempty"`
}

func (x *exchange) decide(u use) policy.Verdict { return x.snapshot.Index.Decide(x.asked(u)) }

// asked is a use as policy judges it.
func (x *exchange) asked(u use) policy.Request {
	return policy.Request{
		Server: x.name, Kind: u.kind, Name: u.name, Principal: &x.caller.principal, Arguments: x.argumentsOf(u), Now: x.g.now(),
	}
}

// govern decides on the use of a tool, prompt or resource, and forwards it, has it held, or denies it.
func (x *exchange) govern() error {
	u, err := methods[x.message.method].use(x.message)
	if err != nil {
		return err
	}
	x.log.use = u
	v := x.decide(u)
	x.log.known = v.Tool != nil
	if v.Outcome == policy.Deny && !x.snapshot.Index.Granted(x.asked(u)) {
		return x.hide(v.Reason)
	}
	if v.Reason == policy.ReasonMFARequired || v.Reason == policy.ReasonStepUpRequired {
		return x.askSignIn(v)
	}
	if v.Outcome == policy.Deny && !forArguments(v.Reason) {
		return x.deny(v.Reason, x.denialText(v, u))
	}
	if reason, text := x.g.watch.check(x.r.Context(), x.server, v.Tool); reason != "" {
		return x.deny(reason, text)
	}
	if x.message.method == "tools/call" {
		if done, err := x.checkArguments(v.Tool); done || err != nil {
			return err
		}
	}
	if v.Outcome == policy.Deny {
		return x.deny(v.Reason, denialText(v.Reason, u))
	}
	if v.Outcome == policy.Hold || x.goesOn(v) {
		return x.hold(v)
	}
	got, ok, err := x.takeRoom(v, "")
	if !ok {
		return err
	}
	if ok, err = x.enter(""); !ok {
		got.Release()
		return err
	}
	return x.run(v, got)
}

// hide answers as a server does that has no such thing. What is not granted and what does not exist look alike to
// the caller; the call record has the reason.
func (x *exchange) hide(reason policy.Reason) error {
	x.record(client.DeniedCall, reason)
	noun := string(x.log.use.kind)
	data := map[string]any{metaDecision: decision{Decision: client.DeniedCall, Reason: policy.ReasonUnknownTool}}
	if x.log.use.kind == policy.KindResource {
		data["uri"] = x.log.use.name // as the protocol has it; it is the caller's own
	}
	return &rpcError{
		code:    codeInvalidParams,
		message: fmt.Sprintf("Unknown %s: this server does not offer it, or no grant lets you use it. Ask an admin for a grant if you need it.", noun),
		data:    data,
	}
}

// forArguments reports whether a denial may be for the arguments. A caller whose arguments the tool does not even take is
// told that first, as it is what they can mend.
func forArguments(reason policy.Reason) bool {
	return reason == policy.ReasonConditionNotMet || reason == policy.ReasonRequirementNotMet
}

// denialText is what a caller is told of a verdict: a session that took something in may only have to wait.
func (x *exchange) denialText(v policy.Verdict, u use) string {
	if v.Reason == policy.ReasonDeniedByGuardrail && x.snapshot.Index.Document().Guardrails[v.Guardrail].Effect.Tainted != nil {
		return fmt.Sprintf("DENIED by policy (not executed): a guardrail forbids this %s after something came into your session from a server that is not trusted. "+
			"Do not retry; it may be allowed again later, or ask an admin.", u.kind)
	}
	return denialText(v.Reason, u)
}

func denialText(reason policy.Reason, u use) string {
	switch reason {
	case policy.ReasonDeniedByGuardrail:
		return fmt.Sprintf("DENIED by policy (not executed): a guardrail forbids this %s for you. Do not retry; ask an admin if it should be allowed.", u.kind)
	case policy.ReasonConditionNotMet:
		return fmt.Sprintf("DENIED by policy (not executed): the grant you have for this %s does not cover these arguments, or not now. Do not repeat the same call. Ask for less if that serves you; else ask an admin for a grant that covers it.", u.kind)
	case policy.ReasonRequirementNotMet:
		return fmt.Sprintf("DENIED by policy (not executed): a guardrail requires something of calls of this %s that this one does not meet. Do not repeat the same call. Ask an admin what is required.", u.kind)
	case policy.ReasonDrifted:
		return driftText(u.kind)
	case policy.ReasonSuspended:
		return "DENIED (not executed): the server is suspended. Ask the team that owns it."
	default:
		return "DENIED by policy (not executed). Do not retry; ask an admin."
	}
}

func driftText(kind policy.Kind) string {
	return fmt.Sprintf("DENIED (not executed): the server changed this %s after it was approved. Its owner has to review the change; try again later.", kind)
}

// deny tells the caller what kind of no it is and what to do next: as a result of the tool, which every client
// shows to model and person, or as an error where there is no tool.
func (x *exchange) deny(reason policy.Reason, text string) error {
	return x.denyAt(reason, text, "")
}

func (x *exchange) denyAt(reason policy.Reason, text, path string) error {
	return x.denyWith(text, decision{Reason: reason, Path: path})
}

// denyWith is deny with more than a reason; d.Decision is filled in.
func (x *exchange) denyWith(text string, d decision) error {
	d.Decision = client.DeniedCall
	x.record(d.Decision, d.Reason)
	said := map[string]any{metaDecision: d}
	if x.message.method != "tools/call" || !x.message.request() {
		return &rpcError{code: codeDenied, message: text, data: said}
	}
	writeMessage(x.w, 200, resultMessage(x.message.id, errorResult(text, said)))
	return nil
}

// checkArguments validates the arguments against the pinned schema. The answer names where they are wrong,
// never what is there.
func (x *exchange) checkArguments(tool *policy.Tool) (done bool, err error) {
	arguments, _ := canonical.Lookup(x.message.params, "arguments")
	if err := x.checkParamHeaders(tool, arguments); err != nil {
		return false, err
	}
	path, err := x.g.schemas.check(tool, arguments)
	switch {
	case err == nil:
		return false, nil
	case path == "":
		return true, x.deny(reasonSchema, "DENIED (not executed): the arguments of this tool cannot be checked: "+err.Error()+". Tell the owner of the server.")
	}
	text := "INVALID ARGUMENTS (not executed): " + path + ": " + err.Error() + ". Correct them and call again."
	return true, x.denyAt(reasonArguments, text, path)
}

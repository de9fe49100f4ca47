package client

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"countersign/canonical"
	"countersign/internal/room"
	"countersign/policy"
)

// Caller is who calls.
type Caller struct {
	Principal policy.Principal // of a token that was verified: its signature, issuer, audience and times
	Token     string           // that token, for the control plane to verify as well. "": approvers are told that nobody did
}

// Tool executes one call. It is given the arguments in the form that was approved, without a confirmation token: these
// and no others are to be executed.
//
// An error is reported as a failed call. One that is ErrIndeterminate, or a context that ended meanwhile, says that nobody
// knows whether it was executed; so does a panic.
type Tool func(ctx context.Context, arguments json.RawMessage) (result []byte, err error)

// ErrIndeterminate is for the error of a Tool that may have been executed or not.
var ErrIndeterminate = errors.New("nobody knows whether the call was executed")

// Call runs a tool if the policy lets this caller call it with these arguments: at once, or when people have approved
// this very call. It decides anew each time, and for an approved call redeems the confirmation just before it runs.
//
// The arguments may carry a confirmation token as their member confirmation_token, which the person who called has been
// shown in the console. It is taken instead of asking, is no part of what was approved, and run never sees it. Without
// one, the guard asks, waits as long as its configuration says, and claims the confirmation by itself.
//
// The error is a *NotExecutedError where run was not called, or else what run returned.
func (g *Guard) Call(ctx context.Context, caller Caller, tool string, arguments json.RawMessage, run Tool) ([]byte, error) {
	c := &guarded{g: g, caller: caller, tool: tool, began: g.now(), requestBytes: len(arguments)}
	result, err := c.call(ctx, arguments, run)
	c.record(len(result), err)
	return result, err
}

// guarded is one call on its way.
type guarded struct {
	g      *Guard
	caller Caller
	tool   string
	began  time.Time

	current      *Snapshot
	verdict      policy.Verdict
	arguments    json.RawMessage // canonical, without a token
	token        string          // that was carried
	redemption   string          // of a call that was approved
	requestBytes int
	waited       time.Duration // for people
	took         time.Duration // by the tool
	failed       bool          // the tool returned an error
}

func (c *guarded) call(ctx context.Context, arguments json.RawMessage, run Tool) ([]byte, error) {
	if err := c.decide(arguments); err != nil {
		return nil, err
	}
	if c.verdict.Outcome == policy.Allow {
		got, err := c.takeRoom()
		if err != nil {
			return nil, err
		}
		return c.run(ctx, got, run)
	}
	call, digest, err := c.exact(ctx)
	if err != nil {
		return nil, err
	}
	asked := c.g.now()
	release, err := c.g.calls.alone(ctx, digest)
	if err != nil {
		return nil, notExecuted(ReasonUnavailable, err, "NOT EXECUTED: the request was given up.")
	}
	defer release()
	token, err := c.confirmation(ctx, call, digest)
	c.waited = c.g.now().Sub(asked)
	if err != nil {
		return nil, err
	}
	got, err := c.takeRoom()
	if err != nil {
		return nil, err
	}
	if err := c.redeem(ctx, call, token); err != nil {
		got.Release()
		return nil, err
	}
	return c.run(ctx, got, run)
}

// decide reads the arguments in exactly one way and asks the policy.
func (c *guarded) decide(arguments json.RawMessage) (err error) {
	if c.current, err = c.g.Feed.Current(); err != nil {
		return notExecuted(ReasonNoPolicy, err, "DENIED (not executed): there is no valid policy now. Try again later, or tell the operator of the server.")
	}
	if c.arguments, c.token, err = carried(arguments); err != nil {
		return notExecuted(ReasonArguments, err, "INVALID ARGUMENTS (not executed): %s. Correct them and call again.", argumentsProblem(err))
	}
	request := policy.Request{
		Server: c.g.Server, Kind: policy.KindTool, Name: c.tool, Principal: &c.caller.Principal, Arguments: c.arguments, Now: c.g.now(),
	}
	c.verdict = c.current.Index.Decide(request)
	switch {
	case c.verdict.Outcome == policy.Deny && !c.current.Index.Granted(request):
		return denied(policy.Verdict{Reason: policy.ReasonUnknownTool}, c.tool)
	case c.verdict.Outcome == policy.Deny:
		return denied(c.verdict, c.tool)
	case c.verdict.Tool == nil || c.g.served[c.tool] != c.verdict.Tool.Definition:
		return denied(policy.Verdict{Reason: policy.ReasonDrifted}, c.tool)
	}
	return nil
}

// exact describes the call for people; see policy.Call.
func (c *guarded) exact(ctx context.Context) (policy.Call, canonical.Digest, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	identity, err := c.g.Feed.Identity(ctx)
	if err == nil && identity.GatewayID == "" {
		err = errors.New("the control plane did not say who we are")
	}
	if err != nil {
		return policy.Call{}, canonical.Digest{}, unavailable(err)
	}
	v := c.verdict
	call := policy.Call{
		Issuer: c.current.Issuer, Epoch: c.current.Epoch, Gateway: identity.GatewayID,
		ServerID: v.Server.ID, EndpointDigest: v.Server.Endpoint.Digest,
		Tool: v.Tool.Name, Kind: v.Tool.Kind, Definition: v.Tool.Definition,
		Principal: c.caller.Principal.Identity(), Arguments: c.arguments,
	}
	digest, _, err := call.Digest()
	if err != nil {
		return policy.Call{}, canonical.Digest{}, notExecuted(ReasonArguments, err, "NOT EXECUTED: this call cannot be written in exactly one way, so nobody can approve it.")
	}
	return call, digest, nil
}

// redeem uses the confirmation up. Only when it returns nil may the call be executed, and then once.
func (c *guarded) redeem(ctx context.Context, call policy.Call, token string) error {
	redemption := "red_" + rand.Text() // of this attempt alone, and nowhere but in memory
	_, err := c.g.Client.Redeem(ctx, token, redemption, call)
	if err == nil {
		c.redemption = redemption
		return nil
	}
	c.g.log.Warn("a confirmation was not redeemed", slog.String("tool", c.tool), slog.Any("error", err))
	switch {
	case IsCode(err, CodeMismatch):
		return notExecuted(ReasonNotApproved, err, "NOT EXECUTED: this confirmation token is for a call with other arguments. It was not used up: call again with exactly the arguments that were approved.")
	case IsCode(err, CodeDenied):
		return notExecuted(ReasonNotApproved, err, "DENIED by policy (not executed): the policy by now forbids this call. Do not retry.")
	case Refused(err), errors.Is(err, errReplayed):
		return notExecuted(ReasonNotApproved, err, "NOT EXECUTED: the approval of this call was used already, or is no longer good. Call again without a confirmation token to ask for a new one.")
	}
	return unavailable(err)
}

// run executes the call and sees to it that its end is reported, also that of a tool that panics.
func (c *guarded) run(ctx context.Context, got *room.Reservation, run Tool) (result []byte, err error) {
	if err := ctx.Err(); err != nil {
		got.Release()
		c.end(Failed, "the caller gave up before the call was executed", 0)
		return nil, notExecuted(ReasonUnavailable, err, "NOT EXECUTED: the request was given up.")
	}
	got.Charge()
	returned := false
	defer func() {
		got.Spend(room.Tokens(len(result)))
		got.Settle(true)
		switch {
		case !returned:
			c.end(Indeterminate, "the tool ended without an answer", 0)
		case errors.Is(err, ErrIndeterminate), err != nil && ctx.Err() != nil:
			c.end(Indeterminate, "nobody knows whether the call was executed", len(result))
		case err != nil:
			c.end(Failed, "the tool failed", len(result))
		default:
			c.end(Succeeded, "", len(result))
		}
		if most := c.verdict.MaxResponseBytes; returned && most > 0 && int64(len(result)) > most {
			result, err = nil, tooLong(len(result), most)
		}
	}()
	began := c.g.now()
	result, err = run(ctx, c.arguments)
	c.took, c.failed, returned = c.g.now().Sub(began), err != nil, true
	return result, err
}

// end notes how an approved call ended.
func (c *guarded) end(status OutcomeStatus, why string, size int) {
	if c.redemption == "" {
		return
	}
	c.g.ended.add(c.redemption, Outcome{
		Status: status, Error: why, ResponseBytes: int64(size), DurationMS: c.g.now().Sub(c.began).Milliseconds(),
	})
}

// ResultTooLongError is the error of a call that was executed, and whose result a guardrail withholds.
type ResultTooLongError struct {
	Bytes, Most int64
}

// Error tells the agent what to do instead.
func (e *ResultTooLongError) Error() string {
	return fmt.Sprintf("RESULT WITHHELD: the tool ran, and must not be called again for it; its result of %d bytes is over the limit of %d. Ask for less: a filter, a page, fewer fields.", e.Bytes, e.Most)
}

func tooLong(size int, most int64) error { return &ResultTooLongError{int64(size), most} }

// unavailable is for what is due to the control plane, not to the call.
func unavailable(err error) *NotExecutedError {
	n := notExecuted(ReasonUnavailable, err, "NOT EXECUTED: this call needs an approval, and the control plane cannot be reached. Try again later.")
	if e := (*Error)(nil); errors.As(err, &e) {
		n.RetryAfter = e.RetryAfter
	}
	return n
}

// record tells the Recorder what became of the call.
func (c *guarded) record(size int, err error) {
	if c.g.Records == nil {
		return
	}
	now, p := c.g.now(), c.caller.Principal
	r := CallRecord{
		CallID: "call_" + rand.Text(), At: c.began.UTC(), Server: c.g.Server, Tool: printable(c.tool, 128), Kind: policy.KindTool,
		Decision: AllowedCall, Reason: string(policy.ReasonAllowed), Subject: p.Subject, Agent: p.Agent, Model: p.Model,
		ModelAssurance: p.ModelAssurance, Instance: c.g.Client.Instance(),
		RequestTokens: int64(room.Tokens(c.requestBytes)), ResponseTokens: int64(room.Tokens(size)), UpstreamUS: c.took.Microseconds(),
		RequestBytes: int64(c.requestBytes), ResponseBytes: int64(size), DurationUS: (now.Sub(c.began) - c.waited).Microseconds(),
	}
	if c.current != nil {
		r.Revision = c.current.Revision
	}
	switch no := (*NotExecutedError)(nil); {
	case errors.As(err, &no) && no.Approval != nil:
		r.Decision, r.Reason = HeldCall, string(no.Reason)
	case errors.As(err, &no):
		r.Decision, r.Reason = DeniedCall, string(no.Reason)
	case c.redemption != "":
		r.Reason = "approved"
	}
	r.ToolError = c.failed
	c.g.Records.Record(r)
}

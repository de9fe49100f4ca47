package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"countersign/canonical"
	"countersign/client"
	"countersign/internal/room"
	"countersign/policy"
)

// heldCalls is what this instance knows of calls that wait for people. All of it can be lost: the control plane
// has the truth, and an identical call finds it again.
type heldCalls struct {
	seal  sealer
	now   func() time.Time
	turns turns

	mu      sync.Mutex
	told    map[canonical.Digest]toldHeld      // calls whose caller was told that they are held
	running map[canonical.Digest]chan struct{} // calls that are being asked for or executed now
}

// toldHeld is an approval that a caller was told of, so that the next identical call can be told how it ended.
type toldHeld struct {
	approval string
	at       time.Time
}

// Bounds of what is remembered.
const (
	maxTold  = 10_000
	toldKept = 24 * time.Hour
	// retryWait is how long a retry waits that a client made by itself, so that it does not spin.
	retryWait = 30 * time.Second
)

func newHeldCalls(seal sealer, now func() time.Time) *heldCalls {
	return &heldCalls{seal: seal, now: now, told: map[canonical.Digest]toldHeld{}, running: map[canonical.Digest]chan struct{}{}}
}

// alone waits until no other exchange of this instance is about the same call: one approval lets one go on, the
// others then ask anew.
func (h *heldCalls) alone(ctx context.Context, digest canonical.Digest) (release func(), err error) {
	for {
		h.mu.Lock()
		other := h.running[digest]
		if other == nil {
			mine := make(chan struct{})
			h.running[digest] = mine
			h.mu.Unlock()
			return func() {
				h.mu.Lock()
				delete(h.running, digest)
				h.mu.Unlock()
				close(mine)
			}, nil
		}
		h.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (h *heldCalls) remember(digest canonical.Digest, approval string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.now()
	if len(h.told) >= maxTold {
		for d, t := range h.told {
			if now.Sub(t.at) > toldKept {
				delete(h.told, d)
			}
		}
		if len(h.told) >= maxTold {
			clear(h.told)
		}
	}
	h.told[digest] = toldHeld{approval, now}
}

// recall returns and forgets what the caller of this call was told.
func (h *heldCalls) recall(digest canonical.Digest) (approval string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	approval = h.told[digest].approval
	delete(h.told, digest)
	return approval
}

// hold asks people. When they have approved this very call, it is executed now, once; otherwise the caller is
// told where they decide.
func (x *exchange) hold(v policy.Verdict) error {
	call, err := x.call(v)
	if err != nil {
		return x.deny(reasonUnavailable, "HELD FOR APPROVAL, but not possible now (not executed): the control plane cannot be reached. Try again later.")
	}
	digest, arguments, err := call.Digest()
	if err != nil {
		return x.denyAt(reasonArguments, "INVALID ARGUMENTS (not executed): this call needs an approval, and its arguments cannot be read in exactly one way: "+argumentsProblem(err)+".", "/arguments")
	}
	body, err := x.approvedBody(arguments)
	if err != nil {
		return err
	}
	waits, began := x.g.metrics.waiting, x.g.now()
	waits.Inc()
	release, err := x.g.held.alone(x.r.Context(), digest)
	x.log.waited += x.g.now().Sub(began)
	if err != nil {
		waits.Dec()
		return &rpcError{code: codeInternal, message: "The request was given up."}
	}
	defer release()
	h := &heldCall{x: x, verdict: v, call: call, digest: digest}
	goOn, err := h.pass()
	waits.Dec()
	if err != nil || !goOn {
		return err
	}
	if h.turn.Turn != "" {
		if body, err = h.turn.continued(body, h.given); err != nil {
			return err
		}
	}
	x.body, x.approved = body, digest
	return x.run(v, h.room)
}

// call describes the call exactly; see policy.Call.
func (x *exchange) call(v policy.Verdict) (policy.Call, error) {
	ctx, cancel := context.WithTimeout(x.r.Context(), 5*time.Second)
	defer cancel()
	identity, err := x.g.feed.Identity(ctx)
	if err != nil {
		return policy.Call{}, err
	}
	if identity.GatewayID == "" {
		return policy.Call{}, errors.New("the control plane did not say who we are")
	}
	return policy.Call{
		Issuer: x.snapshot.Issuer, Epoch: x.snapshot.Epoch, Gateway: identity.GatewayID,
		ServerID: x.server.ID, EndpointDigest: x.server.Endpoint.Digest,
		Tool: v.Tool.Name, Kind: v.Tool.Kind, Definition: v.Tool.Definition,
		Principal: x.caller.principal.Identity(), Arguments: x.argumentsOf(x.log.use),
	}, nil
}

// argumentsProblem says what is wrong with arguments without repeating them.
func argumentsProblem(err error) string {
	if e := (*canonical.Error)(nil); errors.As(err, &e) {
		return e.Error()
	}
	return "they are not acceptable"
}

// keptMeta are the members of _meta that accompany an approved call: those of the protocol and of tracing.
func keptMeta(key string) bool {
	switch key {
	case "progressToken", "traceparent", "tracestate", "baggage":
		return true
	}
	return strings.HasPrefix(key, "io.modelcontextprotocol/")
}

// approvedBody is what goes to the server if the call is approved: the canonical arguments, and nothing that
// nobody approved.
func (x *exchange) approvedBody(arguments []byte) ([]byte, error) {
	if x.message.method != "tools/call" && x.message.method != "prompts/get" && x.message.method != "resources/read" {
		return nil, &rpcError{code: codeHeld, message: "This needs an approval, which only a call, a prompt or a reading can get."}
	}
	var params []canonical.Member
	for _, p := range x.message.params {
		switch p.Key {
		case "name", "uri":
			params = append(params, p)
		case "arguments":
			params = append(params, canonical.Member{Key: p.Key, Value: arguments})
		case "_meta":
			var kept []canonical.Member
			for _, m := range x.message.meta {
				if keptMeta(m.Key) {
					kept = append(kept, m)
				}
			}
			params = append(params, canonical.Member{Key: p.Key, Value: canonical.AppendObject(nil, kept)})
		case "requestState", "inputResponses": // ours, or refused by pass
		default:
			return nil, &rpcError{code: codeInvalidParams, message: "This call needs an approval, and carries a parameter that cannot be approved."}
		}
	}
	return canonical.AppendObject(nil, []canonical.Member{
		{Key: "jsonrpc", Value: json.RawMessage(`"2.0"`)},
		{Key: "id", Value: x.message.id},
		{Key: "method", Value: canonical.AppendString(nil, x.message.method)},
		{Key: "params", Value: canonical.AppendObject(nil, params)},
	}), nil
}

// heldCall is one exchange about one call that needs an approval.
type heldCall struct {
	x       *exchange
	verdict policy.Verdict
	call    policy.Call
	digest  canonical.Digest
	room    *room.Reservation // once the confirmation was redeemed

	elsewhere bool         // it answers a request for approval that another instance may have made
	turn      requestState // of a call that goes on; its turn is taken
	given     answers      // to what was asked of the caller
}

// pass asks for the approval, and says whether the exchange may go on to the server. If not, the caller was
// answered.
func (h *heldCall) pass() (goOn bool, err error) {
	x := h.x
	state, err := h.requestState()
	if err != nil {
		return false, err
	}
	if state.Turn != "" {
		return h.takeTurn(state)
	}
	ctx := x.r.Context()
	if before := x.g.held.recall(h.digest); before != "" {
		if ended, err := h.tellEnd(ctx, before); ended || err != nil {
			return false, err
		}
	}
	if h.given.declined() {
		if state.Approval == "" {
			return false, x.deny(reasonNotApproved, "NOT EXECUTED: the request for approval was declined where the call was made. It stays open until it expires.")
		}
		if err := x.g.client.CancelApproval(ctx, state.Approval); err != nil {
			x.g.log.Debug("an approval request was not withdrawn", slog.Any("error", err))
		}
		return false, x.deny(reasonNotApproved, "NOT EXECUTED: the request for approval was declined where the call was made.")
	}
	approval, err := x.g.client.Ask(ctx, client.Ask{
		Call: h.call, CallDigest: h.digest, Evidence: x.caller.token, Principal: x.caller.principal,
	})
	if err != nil {
		return false, h.notAsked(err)
	}
	x.log.approval = approval.ID
	x.g.metrics.approvals.WithLabelValues(stepAsked).Inc()
	if wait := h.wait(state.Approval); approval.State == client.ApprovalPending && wait > 0 {
		began := x.g.now()
		waiting, stop := x.g.drain.whileOpen(ctx)
		if later, err := x.g.client.Approval(waiting, approval.ID, wait); err == nil {
			approval = later
		}
		stop()
		x.log.waited += x.g.now().Sub(began)
	}
	return h.act(ctx, approval)
}

// wait is how long to wait for a decision before answering.
func (h *heldCall) wait(approval string) time.Duration {
	if approval != "" || h.elsewhere {
		return max(h.x.g.config().HoldWait, retryWait)
	}
	return h.x.g.config().HoldWait
}

// tellEnd tells the caller, once, that the request it knows of ended without approval.
func (h *heldCall) tellEnd(ctx context.Context, id string) (ended bool, err error) {
	a, err := h.x.g.client.Approval(ctx, id, 0)
	if err != nil {
		return false, nil //nolint:nilerr // then the call is asked for anew
	}
	switch a.State {
	case client.ApprovalDenied, client.ApprovalExpired, client.ApprovalCancelled, client.ApprovalSuperseded, client.ApprovalRevoked:
		return true, h.notApproved(a)
	default:
		return false, nil
	}
}

// act on the state of the request.
func (h *heldCall) act(ctx context.Context, a client.Approval) (goOn bool, err error) {
	switch a.State {
	case client.ApprovalPending:
		return false, h.tellHeld(a)
	case client.ApprovalApproved:
		if h.x.g.drain.closed() { // it is good for a while, at the instance that follows us
			return false, h.tellHeld(a)
		}
		return h.redeem(ctx, a)
	case client.ApprovalNotRequired:
		return false, h.x.deny(reasonPolicyMoving, "NOT EXECUTED YET: the policy has just changed. Call again in a few seconds.")
	default:
		return false, h.notApproved(a)
	}
}

// redeem claims and uses the confirmation. After it returned true this exchange, and no other anywhere, may
// execute the call. It counts for rate limits only then; where one has no room, the confirmation is left unused.
func (h *heldCall) redeem(ctx context.Context, a client.Approval) (goOn bool, err error) {
	x := h.x
	got, ok, err := x.takeRoom(h.verdict, " The approval was not used; it is good for a few minutes.")
	if !ok {
		return false, err
	}
	defer func() {
		if !goOn {
			got.Release()
		}
	}()
	if ok, err = x.enter(" The approval was not used; it is good for a few minutes."); !ok { //nolint:contextcheck // the exchange has the context of its request
		return false, err
	}
	if err := x.stillStands(); err != nil {
		return false, err
	}
	claim, err := x.g.client.Claim(ctx, a.ID)
	if err != nil {
		return false, h.notRedeemed(err)
	}
	attempt := &attempt{g: x.g, redemption: newID("red"), began: x.g.now()}
	if _, err := x.g.client.Redeem(ctx, claim.Token, attempt.redemption, h.call); err != nil {
		return false, h.notRedeemed(err)
	}
	x.attempt, h.room = attempt, got
	x.g.metrics.approvals.WithLabelValues(stepRedeemed).Inc()
	return true, nil
}

// notAsked answers when the control plane does not take the request.
func (h *heldCall) notAsked(err error) error {
	h.x.g.metrics.approvals.WithLabelValues(stepNotAsked).Inc()
	h.x.g.log.Warn("an approval was not asked for", slog.String("server", h.x.name), slog.Any("error", err))
	switch {
	case client.IsCode(err, client.CodeNoEvidence):
		return h.x.deny(reasonUnavailable, "DENIED by policy (not executed): this call needs an approval that is only asked for callers who are proven by a token of their identity provider, and you are not: a key of an agent, or a token that the control plane cannot verify, is none. Do not retry; use such a token, or ask an admin.")
	case client.IsCode(err, client.CodeDenied):
		return h.x.deny(policy.ReasonDeniedByGuardrail, "DENIED by policy (not executed): the policy by now forbids this call. Do not retry.")
	case client.IsStatus(err, http.StatusTooManyRequests):
		return h.x.deny(reasonUnavailable, "NOT EXECUTED: too many of your calls wait for approval already. Wait until some are decided.")
	case client.Refused(err):
		return h.x.deny(reasonUnavailable, "NOT EXECUTED: this call needs an approval, and the control plane did not accept the request for it. Tell the operator of the gateway.")
	}
	return h.x.deny(reasonUnavailable, "NOT EXECUTED: this call needs an approval, and the control plane cannot be reached. Try again later.")
}

// notRedeemed answers when there is no right to execute. Nothing was sent to the server.
func (h *heldCall) notRedeemed(err error) error {
	h.x.g.metrics.approvals.WithLabelValues(stepNotRedeemed).Inc()
	h.x.g.log.Warn("a confirmation was not redeemed", slog.String("server", h.x.name), slog.Any("error", err))
	if client.Refused(err) {
		return h.x.deny(reasonNotApproved, "NOT EXECUTED: the approval of this call was used already, or is no longer good. Call again to ask for a new one.")
	}
	return h.x.deny(reasonUnavailable, "NOT EXECUTED: the approval could not be redeemed, as the control plane cannot be reached. Call again later.")
}

// notApproved says how the request ended.
func (h *heldCall) notApproved(a client.Approval) error {
	text := map[client.ApprovalState]string{
		client.ApprovalDenied:     "DENIED (not executed): an approver denied this call. Do not repeat it unless your user asks for it again",
		client.ApprovalExpired:    "NOT EXECUTED: nobody decided on this call in time. Call again to ask anew",
		client.ApprovalCancelled:  "NOT EXECUTED: the request for approval was withdrawn",
		client.ApprovalSuperseded: "NOT EXECUTED: the tool or the policy changed while the call waited. Call again to ask anew",
		client.ApprovalRevoked:    "NOT EXECUTED: the approval was taken back",
	}[a.State]
	if text == "" {
		text = "NOT EXECUTED: the approval of this call was used already. Call again to ask anew"
	}
	if a.State == client.ApprovalDenied && a.Reason != "" {
		text += ". The reason given: " + printable(a.Reason, 500)
	}
	return h.x.deny(reasonNotApproved, text+fmt.Sprintf(" (request %s).", a.ID))
}

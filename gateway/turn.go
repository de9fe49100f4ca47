package gateway

import (
	"crypto/rand"
	"sync"
	"time"

	"countersign/canonical"
	"countersign/client"
	"countersign/policy"
)

// A server may answer an approved call with input_required: it asks the caller for something, and the call goes on with the
// caller's next request. That is no second call, so it needs no second approval; and it is nobody else's to go on with:
//
//	approved ──▶ redeemed ──▶ server ──result──▶ outcome
//	                            │ ▲
//	      input_required, state │ │ the server's own state, and the answers to what it asked
//	             of ours for it ▼ │
//	                           turn ── not taken in time ──▶ indeterminate, in the control plane
//
// A turn is taken at most once, for the very call that was approved and by its caller, at the instance that gave it out,
// while policy still allows the call or holds it. It lives in memory only: lost with the instance, it cannot be taken, and
// the call has to be asked for anew.
type turn struct {
	attempt  *attempt
	approval string
	until    time.Time
}

// turns are those that were given out and not taken.
type turns struct {
	mu   sync.Mutex
	open map[string]turn
}

// Bounds of turns. An outcome is due ten minutes after the confirmation was redeemed: the last turn leaves it two.
const (
	maxTurns    = 10_000
	turnsWithin = 8 * time.Minute
)

// add gives a turn out under a name that cannot be guessed. ok is false if there are too many.
func (t *turns) add(v turn, now time.Time) (name string, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.open) >= maxTurns {
		for name, v := range t.open {
			if now.After(v.until) {
				delete(t.open, name)
			}
		}
		if len(t.open) >= maxTurns {
			return "", false
		}
	}
	if t.open == nil {
		t.open = map[string]turn{}
	}
	name = rand.Text()
	t.open[name] = v
	return name, true
}

// take ends a turn; only one caller of it gets it.
func (t *turns) take(name string, now time.Time) (v turn, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	v, ok = t.open[name]
	delete(t.open, name)
	return v, ok && !now.After(v.until)
}

// wantsInput reports whether a result asks the caller for something, and is none yet.
func wantsInput(result []canonical.Member) bool {
	kind, _ := canonical.Lookup(result, "resultType")
	text, _ := canonical.Text(kind)
	return text == "input_required"
}

// giveTurn passes on what the server of an approved call asks for, with a state of ours in the place of its own.
func (x *exchange) giveTurn(fields []canonical.Member, raw, result []byte) ([]byte, error) {
	x.noteAnswer(false, len(raw))
	out, err := x.deliver(fields, raw, result)
	if err != nil || x.log.withheld != "" {
		x.attempt.ended(x, client.Failed, "what the server asked of the caller could not be passed on")
		return out, err
	}
	fields, err = canonical.Fields(out, envelopeFields...)
	if err != nil {
		return nil, errUpstreamMessage
	}
	members, _ := inside(fields, "result")
	requests, _ := inside(members, "inputRequests")
	v := turn{attempt: x.attempt, approval: x.log.approval, until: x.attempt.began.Add(turnsWithin)}
	name, ok := x.g.held.turns.add(v, x.g.now())
	if !ok {
		x.attempt.ended(x, client.Failed, "too many calls wait for what their servers asked for")
		return x.inputDropped(fields), nil
	}
	state := requestState{
		Approval: v.approval, Digest: x.approved, Caller: x.caller.key(), Expires: v.until.Unix(), Turn: name,
	}
	for _, r := range requests {
		state.Asked = append(state.Asked, r.Key)
	}
	var has bool
	if state.Server, has = canonical.Lookup(members, "requestState"); !has {
		members = append(members, canonical.Member{Key: "requestState"})
	}
	sealed := canonical.AppendString(nil, x.g.held.seal.seal(state))
	return replaced(fields, "result", with(members, "requestState", sealed)), nil
}

// inputDropped is what the caller gets in the place of a question that cannot be remembered.
func (x *exchange) inputDropped(fields []canonical.Member) []byte {
	id, _ := canonical.Lookup(fields, "id")
	x.log.withheld = reasonUnavailable
	const text = "NO RESULT: the server asks for more before it goes on with this approved call, and the gateway has too many such calls open. What the server did until now stands. Ask its owner before you call again."
	said := map[string]any{metaDecision: decision{Decision: client.AllowedCall, Reason: reasonUnavailable}}
	if x.message.method == "tools/call" {
		return resultMessage(id, errorResult(text, said))
	}
	return errorMessage(id, &rpcError{code: codeDenied, message: text, data: said})
}

// turnOf finds the turn that the caller's requestState names, if it is one of ours. It is no proof yet: takeTurn looks
// whose it is.
func (x *exchange) turnOf() string {
	raw, _ := canonical.Lookup(x.message.params, "requestState")
	text, _ := canonical.Text(raw)
	state, err := x.g.held.seal.open(text)
	if err != nil {
		return ""
	}
	return state.Turn
}

// takeTurn goes on with an approved call whose server asked for something. It counts for rate limits as every request
// that reaches the server; where one has no room, the turn is left.
func (h *heldCall) takeTurn(state requestState) (goOn bool, err error) {
	x := h.x
	const left = " The call is not over: answer the server again later."
	got, ok, err := x.takeRoom(h.verdict, left)
	if !ok {
		return false, err
	}
	defer func() {
		if !goOn {
			got.Release()
		}
	}()
	if ok, err = x.enter(left); !ok {
		return false, err
	}
	if err := x.stillStands(); err != nil {
		return false, err
	}
	v, ok := x.g.held.turns.take(state.Turn, x.g.now())
	if !ok {
		return false, x.deny(reasonNotApproved, "NOT EXECUTED: what the server had asked for was answered already, or too late. Call again, without requestState and inputResponses, to ask for a new approval.")
	}
	v.attempt.reached = true
	x.attempt, x.log.approval, h.room, h.turn = v.attempt, v.approval, got, state
	return true, nil
}

// continued adds to the approved call what the server needs to go on: its own state, and the answers to what it asked.
func (s requestState) continued(body []byte, given answers) ([]byte, error) {
	fields, err := canonical.Members(body)
	if err != nil {
		return nil, err
	}
	params, _ := inside(fields, "params")
	if s.Server != nil {
		params = append(params, canonical.Member{Key: "requestState", Value: s.Server})
	}
	var responses []canonical.Member
	for _, key := range s.Asked {
		if value, ok := canonical.Lookup(given, key); ok {
			responses = append(responses, canonical.Member{Key: key, Value: value})
		}
	}
	if responses != nil {
		params = append(params, canonical.Member{Key: "inputResponses", Value: canonical.AppendObject(nil, responses)})
	}
	return replaced(fields, "params", params), nil
}

// goesOn reports whether a request is the next of an approved call that policy has not come to forbid.
func (x *exchange) goesOn(v policy.Verdict) bool {
	return v.Outcome != policy.Deny && x.modern && x.turnOf() != ""
}

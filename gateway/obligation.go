package gateway

import (
	"encoding/json"
	"fmt"
	"math"
	"sync"

	"countersign/client"
	"countersign/internal/room"
	"countersign/policy"
)

// duty is what a call that runs owes to the guardrails that matched it: its answer is no longer than that, and its tokens
// are charged. It belongs to the call and not to the stream that the call began on, as a session may have the answer sent
// on another one.
type duty struct {
	method string
	most   int64 // bytes of a result; 0: any
	room   *room.Reservation
	output *pinnedSchema // of its structured result; nil: none was approved
}

// duties are those of the calls of one session that were not answered yet, by the request id as it was written.
type duties struct {
	mu   sync.Mutex
	open map[string]duty
	rest duty // of calls that were forgotten
}

// maxDuties bounds the calls of one session that are remembered. They are answered, as a rule; what is forgotten binds
// every answer from then on of which nobody knows what it answers.
const maxDuties = 1000

func (d *duties) add(id json.RawMessage, v duty) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch was, twice := d.open[string(id)]; {
	case d.open == nil:
		d.open = map[string]duty{}
	case twice: // two calls of one id: the answer may be that of either
		v.most = strictest(v.most, was.most)
	case len(d.open) >= maxDuties:
		for some, o := range d.open {
			d.rest = d.rest.and(o)
			delete(d.open, some)
			break
		}
	}
	d.open[string(id)] = v
}

// end forgets the duty of the call of that id, and gives it if it was there.
func (d *duties) end(id json.RawMessage) (v duty, known bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	v, known = d.open[string(id)]
	delete(d.open, string(id))
	return v, known
}

// unknown is the duty of an answer that answers no known call: the strictest of all that are open. Who answers something
// else than was asked gains nothing by it.
func (d *duties) unknown() duty {
	d.mu.Lock()
	defer d.mu.Unlock()
	v := d.rest
	for _, o := range d.open {
		v = v.and(o)
	}
	return v
}

// and is the stricter of two duties.
func (v duty) and(w duty) duty {
	if v == (duty{}) {
		return w
	}
	stricter := v
	if strictest(v.most, w.most) != v.most {
		stricter = w
	}
	if v.output != w.output {
		stricter.output = eitherSchema
	}
	return stricter
}

// strictest is the lesser of two bounds, of which 0 is none.
func strictest(a, b int64) int64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// counted reports whether a use of this method is a call that limits count. A completion or a subscription is none.
func (x *exchange) counted() bool {
	switch x.message.method {
	case "tools/call", "prompts/get", "resources/read":
		return x.message.request()
	}
	return false
}

// takeRoom reserves room for the call with all limits and budgets that count it. If there is none, the caller was
// answered; after says what to add to the answer.
func (x *exchange) takeRoom(v policy.Verdict, after string) (r *room.Reservation, ok bool, err error) {
	if !x.counted() {
		return nil, true, nil
	}
	tokens := room.Tokens(len(x.argumentsOf(x.log.use)))
	r, short := x.g.rooms.Take(client.Counted(x.snapshot.Index.Document(), v, x.caller.key(), tokens))
	if short.Wait == 0 {
		return r, true, nil
	}
	seconds := int(math.Ceil(short.Wait.Seconds()))
	what, reason := "RATE LIMITED (not executed): you have made as many of these calls as a guardrail allows for now", reasonRateLimited
	if short.Tokens {
		what, reason = "TOKEN BUDGET SPENT (not executed): your calls have used the tokens that a guardrail allows for now", reasonBudget
	}
	text := fmt.Sprintf("%s. Wait %d seconds, then call again.%s", what, seconds, after)
	return r, false, x.denyWith(text, decision{Reason: reason, RetryAfterSeconds: seconds})
}

// run forwards a call that may run, and sees to what it owes.
func (x *exchange) run(v policy.Verdict, got *room.Reservation) error {
	got.Charge()
	defer func() { got.Settle(x.log.sent) }()
	output := x.outputSchema(v.Tool)
	if x.counted() && (got != nil || v.MaxResponseBytes > 0 || output != nil) {
		x.duty = duty{method: x.message.method, most: v.MaxResponseBytes, room: got, output: output}
		if session := x.duties(); session != nil {
			session.add(x.message.id, x.duty)
			defer func() {
				if !x.log.sent {
					session.end(x.message.id)
				}
			}()
		}
	}
	return x.forward()
}

// duties gives those of the exchange's session, nil if it has none.
func (x *exchange) duties() *duties {
	if x.modern || x.session == "" {
		return nil
	}
	return x.g.sessions.duties(x.server.ID, x.session)
}

// dutyOf finds what the call owes that an answer of that id is to.
func (x *exchange) dutyOf(id json.RawMessage) duty {
	session := x.duties()
	if session == nil {
		return x.duty
	}
	if d, known := session.end(id); known {
		return d
	}
	if x.message != nil && x.message.request() && string(id) == string(x.message.id) {
		return x.duty
	}
	return session.unknown()
}

// pass counts a message of the server that is no answer, such as a part of a result on its way.
func (x *exchange) pass(message []byte) {
	x.taint(nil)
	x.log.tokens += room.Tokens(len(message))
	x.duty.room.Spend(room.Tokens(len(message)))
}

// withheld is what a caller is told of a result that is too long, in _meta["countersign/decision"] or the error's data.
type withheld struct {
	Decision      client.Decision `json:"decision"`
	Reason        policy.Reason   `json:"reason"`
	ResponseBytes int             `json:"responseBytes"`
	LimitBytes    int64           `json:"limitBytes"`
}

// withheldMessage answers in the place of a result that is too long. Nothing of the result is in it: JSON that is cut in
// two is no JSON, and its first half may read as the whole.
func withheldMessage(id json.RawMessage, method string, size int, most int64) []byte {
	said := map[string]any{metaDecision: withheld{client.AllowedCall, reasonWithheld, size, most}}
	const rest = "its result of %d bytes is over the limit of %d: a guardrail allows no longer ones. Ask for less: a filter, a page, fewer fields."
	if method == "tools/call" {
		return resultMessage(id, errorResult(fmt.Sprintf("RESULT WITHHELD: the tool ran, and must not be called again for it; "+rest, size, most), said))
	}
	return errorMessage(id, &rpcError{code: codeWithheld, message: fmt.Sprintf("RESULT WITHHELD: the server answered; "+rest, size, most), data: said})
}

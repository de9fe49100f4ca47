package gateway

import (
	"net/http"
	"strconv"
	"time"

	"countersign/client"
	"countersign/policy"
)

// passage is what an exchange holds while it goes on: its places, the bytes of its body, and leave to try its server.
// All of it is given back when the exchange is over. A held call takes the way to its server only once it is approved:
// while people decide it keeps no place there, and what waits can never be what it waits for.
type passage struct {
	places  []placeKey
	room    [4]placeKey // of places, which are seldom more
	body    int64
	entered bool
	judge   func(error) // tells the breaker what came of it; nil: it was told, or does not want to know
}

// Reasons of a call that did not reach its server although policy allows it.
const (
	reasonBusy policy.Reason = "too_many_at_once"
	reasonDown policy.Reason = "server_down"
)

// busyRetry is when to try again where something was full: calls are short.
const busyRetry = time.Second

// take takes a place for as long as the exchange lasts.
func (x *exchange) take(k placeKey, most int) bool {
	if !x.g.places.take(k, most) {
		return false
	}
	x.passage.add(k)
	return true
}

func (p *passage) add(k placeKey) {
	if p.places == nil {
		p.places = p.room[:0]
	}
	p.places = append(p.places, k)
}

// leave gives back what the exchange holds.
func (x *exchange) leave() {
	x.judge(errUncounted)
	for _, k := range x.passage.places {
		x.g.places.leave(k)
	}
	x.passage.places = nil
	x.g.bodies.Add(-x.passage.body)
	x.passage.body = 0
}

// judge tells the breaker, once, what trying the server came to.
func (x *exchange) judge(err error) {
	if tell := x.passage.judge; tell != nil {
		x.passage.judge = nil
		tell(err)
	}
}

// admit takes the caller's place for a request, whatever becomes of it, and one for its body. A caller has four times as
// many as calls: some of them wait for people, and some are messages that end others.
func (x *exchange) admit() error {
	limits := x.g.config().Limits
	if !x.take(placeKey{kind: placeRequest, caller: x.caller.key()}, 4*limits.PerCaller) {
		return x.full(http.StatusTooManyRequests, "Too many requests of yours are under way. Wait until some are answered.")
	}
	size := x.r.ContentLength
	if size < 0 || size > maxBody {
		size = maxBody
	}
	x.passage.body = size
	if x.g.bodies.Add(size) > int64(limits.Bodies)<<20 {
		return x.full(http.StatusServiceUnavailable, "The gateway has too much to do. Try again in a moment.")
	}
	return nil
}

// enter takes the way to the server: a place there, one of the caller, and leave of the breaker. It is taken before
// anything that cannot be undone, such as the redemption of an approval; after says what else to tell the caller.
func (x *exchange) enter(after string) (ok bool, err error) {
	if x.passage.entered {
		return true, nil
	}
	if full := x.findPlace(); full != "" {
		return false, x.turnAway(reasonBusy, "TOO MANY AT ONCE (not executed). "+full+" Wait a second, then call again."+after, full, busyRetry)
	}
	if x.tries() {
		if x.passage.judge, err = x.g.breakers.allow(x.server, forCalls, x.breakerCaller()); err != nil {
			const text = "The server failed several times in a row and is left alone for some seconds."
			return false, x.turnAway(reasonDown, "SERVER DOWN (not executed). "+text+" Try again in "+strconv.Itoa(int(breakFor.Seconds()))+" seconds, or tell its owner."+after, text, breakFor)
		}
	}
	x.passage.entered = true
	return true, nil
}

// tries reports whether the exchange tells how its server does. What a process is told without being asked does not: its
// pipe takes it, however the process does.
func (x *exchange) tries() bool {
	return x.r.Method == http.MethodPost && (x.server.Endpoint.Transport != policy.Stdio || x.message.request())
}

// breakerCaller is the caller to whose calls the breaker belongs; "": to those of all.
func (x *exchange) breakerCaller() string {
	if x.server.Endpoint.Transport == policy.Stdio {
		return x.caller.key()
	}
	return ""
}

// findPlace takes the places for what is sent to the server. It says what is full.
func (x *exchange) findPlace() (full string) {
	c := x.g.config()
	limits, own := c.Limits, c.Upstreams[x.name].Limits
	caller := x.caller.key()
	switch {
	case x.listens():
		if !x.take(placeKey{kind: placeStream, caller: caller}, limits.StreamsPerCaller) {
			return "You have as many streams open as this gateway allows."
		}
		if !x.take(placeKey{kind: placeStreams}, limits.Streams) {
			return "As many streams are open as this gateway allows."
		}
		return ""
	case x.message == nil || !x.message.request():
		if !x.take(placeKey{kind: placeMessage, caller: caller}, limits.PerCaller) {
			return "Too many messages of yours are under way."
		}
		return ""
	}
	if !x.take(placeKey{kind: placeCaller, caller: caller}, limits.PerCaller) ||
		own.PerCaller > 0 && !x.take(placeKey{placeCaller, x.server.ID, caller}, own.PerCaller) {
		return "You have as many calls under way as this gateway allows."
	}
	most, queue := limits.PerUpstream, limits.Queue
	if own.PerUpstream > 0 {
		most = own.PerUpstream
	}
	if own.Queue > 0 {
		queue = own.Queue
	}
	place := placeKey{kind: placeUpstream, server: x.server.ID}
	if !x.g.places.wait(x.r.Context(), place, most, queue) {
		return "The server has as many calls under way as this gateway allows it."
	}
	x.passage.add(place)
	return ""
}

// turnAway answers what was not sent to the server. A call is answered with what people and models are shown; what has
// no answer of its own gets a status that says so to its client.
func (x *exchange) turnAway(reason policy.Reason, text, plain string, again time.Duration) error {
	seconds := int(again.Seconds())
	x.w.Header().Set("Retry-After", strconv.Itoa(seconds))
	if x.message == nil || !x.message.request() {
		status := http.StatusTooManyRequests
		if reason == reasonDown {
			status = http.StatusServiceUnavailable
		}
		return &rpcError{status: status, code: codeTooManyHere, message: plain}
	}
	d := decision{Decision: client.FailedCall, Reason: reason, RetryAfterSeconds: seconds}
	x.record(d.Decision, d.Reason)
	said := map[string]any{metaDecision: d}
	if x.message.method != "tools/call" {
		return &rpcError{code: codeTooManyHere, message: text, data: said}
	}
	writeMessage(x.w, http.StatusOK, resultMessage(x.message.id, errorResult(text, said)))
	return nil
}

// full refuses a request that was not even read.
func (x *exchange) full(status int, text string) error {
	x.w.Header().Set("Retry-After", strconv.Itoa(int(busyRetry.Seconds())))
	return &rpcError{status: status, code: codeTooManyHere, message: text}
}

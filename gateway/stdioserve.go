package gateway

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"countersign/canonical"
	"countersign/client"
	"countersign/policy"
)

// instance finds the process that this exchange speaks to, or starts it: initialize does, and the first message
// of a stateless caller.
func (x *exchange) instance() (*instance, error) {
	key := instanceKey{endpointKey: keyOf(x.server), session: x.session}
	if x.modern {
		key.session, key.caller = "", x.caller.key()
	}
	if x.message.method == "initialize" {
		key.session = rand.Text()
		i, err := x.g.stdio.start(x, key)
		if err != nil {
			return nil, err
		}
		if err := x.g.sessions.bind(x.server.ID, key.session, x.caller); err != nil {
			x.g.stdio.end(i)
			return nil, err
		}
		x.w.Header().Set(headerSession, key.session)
		return i, nil
	}
	if i := x.g.stdio.find(key); i != nil {
		return i, nil
	}
	if x.modern {
		return x.g.stdio.start(x, key)
	}
	x.g.sessions.end(x.server.ID, x.session)
	return nil, errProcess
}

var errSameID = errors.New("a request with this id is under way")

// notStarted answers when there is no process to ask. Nothing was executed.
func (x *exchange) notStarted(err error) error {
	restart, ok := errors.AsType[*restartError](err)
	if !ok {
		return x.upstreamError(explain(err))
	}
	x.log.broken = true
	x.w.Header().Set("Retry-After", strconv.Itoa(restart.seconds()))
	return &rpcError{code: codeUpstream, message: sentence(restart), data: map[string]any{
		metaDecision: decision{Decision: client.DeniedCall, Reason: reasonRestarting, RetryAfterSeconds: restart.seconds()},
	}}
}

const reasonRestarting policy.Reason = "server_restarting"

// translate gives a cancellation the id by which the process knows the request; nil when no one request has it.
func (i *instance) translate(m *message, body []byte) []byte {
	if m.method != "notifications/cancelled" {
		return body
	}
	theirs, _ := canonical.Lookup(m.params, "requestId")
	flights := i.process.known(theirs)
	if len(flights) != 1 {
		return nil
	}
	return canonical.AppendObject(nil, []canonical.Member{
		{Key: "jsonrpc", Value: json.RawMessage(`"2.0"`)},
		{Key: "method", Value: json.RawMessage(`"notifications/cancelled"`)},
		{Key: "params", Value: canonical.AppendObject(nil, with(m.params, "requestId", flights[0].id()))},
	})
}

// askStdio sends a request to the process and answers with what it says: as one JSON message, or, as soon as the server
// says something before it, as a stream of events.
func (x *exchange) askStdio(i *instance) error {
	if !x.modern && len(i.process.known(x.message.id)) > 0 { // a stateless caller's connections choose their ids apart
		return &rpcError{status: http.StatusBadRequest, code: codeInvalidRequest, message: sentence(errSameID)}
	}
	sent := true
	defer func() {
		i.touch(x.g.now())
		x.finish(sent)
	}()
	began := x.g.now()
	f, err := i.process.ask(x.body, x.streams())
	if err != nil {
		sent = !errors.Is(err, errProcess)
		x.log.sent = sent
		return x.upstreamError(explain(err))
	}
	x.log.sent = true
	a := &stdioAnswer{x: x, i: i, flight: f}
	answer, err := a.wait()
	x.log.upstream += x.g.now().Sub(began)
	switch {
	case err != nil && a.events:
		a.event(x.noAnswer(explain(err)))
		x.log.broken = true
		return nil
	case err != nil:
		return x.upstreamError(explain(err))
	case answer == nil: // its stream ended, or nobody waits
		return nil
	}
	out, err := x.filterMessage(answer)
	switch {
	case err != nil && !a.events:
		return x.upstreamError("The server cannot be used: " + err.Error() + ".")
	case err != nil:
		out = errorMessage(x.message.id, &rpcError{code: codeUpstream, message: "The server cannot be used: " + err.Error() + "."})
	}
	if a.events {
		a.event(out)
		return nil
	}
	writeMessage(x.w, http.StatusOK, out)
	return nil
}

// stdioAnswer is the answer to one request, while it is made.
type stdioAnswer struct {
	x      *exchange
	i      *instance
	flight *flight
	events bool // it is a stream
}

// wait returns the answer with the caller's id, or nil when the stream ended without one. What comes before it goes out.
func (a *stdioAnswer) wait() ([]byte, error) {
	p, x := a.i.process, a.x
	slow := time.NewTimer(a.i.command.startTime())
	defer slow.Stop()
	alive := time.NewTicker(keepAlive)
	defer alive.Stop()
	over := make(chan struct{})
	var expired <-chan time.Time
	if x.streams() { // it does not outlive what we know of the caller
		defer x.g.drain.untilQuiet(x.streamKey(), func() { close(over) })()
		timer := time.NewTimer(x.caller.expires.Sub(x.g.now()))
		defer timer.Stop()
		expired = timer.C
	}
	spoken := p.spoken
	for {
		select {
		case line, ok := <-a.flight.answer:
			if !ok {
				return nil, errDied
			}
			a.drainSaid()
			return a.flight.homeward(line)
		case line := <-a.flight.said:
			a.pass(line)
		case line := <-a.unasked():
			a.pass(line)
		case <-spoken:
			spoken = nil
			slow.Stop()
		case <-slow.C:
			p.kill()
			return nil, errSlow
		case <-alive.C:
			if a.events {
				a.write([]byte(": alive\n\n"))
			}
		case <-expired:
			p.giveUp(a.flight)
			a.write(nil)
			return nil, nil
		case <-over:
			p.giveUp(a.flight)
			a.write([]byte(farewell))
			return nil, nil
		case <-x.r.Context().Done():
			p.giveUp(a.flight)
			return nil, x.r.Context().Err()
		}
	}
}

// unasked is what the server says that is about no request: it goes out here while the session has no stream of its own.
func (a *stdioAnswer) unasked() <-chan []byte {
	if a.x.modern {
		return nil
	}
	a.i.mu.Lock()
	defer a.i.mu.Unlock()
	if a.i.attached {
		return nil
	}
	return a.i.stream
}

// drainSaid passes on what was said before the answer.
func (a *stdioAnswer) drainSaid() {
	for {
		select {
		case line := <-a.flight.said:
			a.pass(line)
		default:
			return
		}
	}
}

// pass sends a message before the answer, to a caller that takes a stream.
func (a *stdioAnswer) pass(line []byte) {
	if !strings.Contains(strings.Join(a.x.r.Header.Values("Accept"), ","), "text/event-stream") {
		return
	}
	if data := a.x.filterEvent(line); data != nil {
		a.event(data)
	}
}

func (a *stdioAnswer) event(data []byte) { a.write((&event{data: data, hasData: true}).append(nil)) }

// write sends a part of the stream, which it begins if need be. A caller that is gone is noticed by its context.
func (a *stdioAnswer) write(chunk []byte) {
	if !a.events {
		a.events = true
		a.x.openStream()
		beginEvents(a.x.w)
	}
	_, _ = a.x.w.Write(chunk)
	_ = http.NewResponseController(a.x.w).Flush()
}

func beginEvents(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
}

// keepAlive is how often a quiet stream shows that it lives.
const keepAlive = 20 * time.Second

// streamStdio is the GET stream of a session: what its process says unasked.
func (x *exchange) streamStdio() error {
	i := x.g.stdio.find(instanceKey{endpointKey: keyOf(x.server), session: x.session})
	if i == nil {
		x.g.sessions.end(x.server.ID, x.session)
		return &rpcError{status: http.StatusNotFound, code: codeInvalidRequest, message: "There is no such session. Initialize a new one."}
	}
	i.mu.Lock()
	busy := i.attached
	i.attached = true
	i.mu.Unlock()
	if busy {
		return &rpcError{status: http.StatusConflict, code: codeInvalidRequest, message: "This session has a stream already."}
	}
	defer func() {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.attached, i.used = false, x.g.now()
	}()
	x.openStream()
	beginEvents(x.w)
	x.pump(i)
	return nil
}

// pump writes events until the caller, the process, the caller's token or the gateway ends.
func (x *exchange) pump(i *instance) {
	control := http.NewResponseController(x.w)
	alive := time.NewTicker(keepAlive)
	defer alive.Stop()
	expired := time.NewTimer(x.caller.expires.Sub(x.g.now()))
	defer expired.Stop()
	stopping := make(chan struct{})
	defer x.g.drain.untilQuiet(x.streamKey(), func() { close(stopping) })()
	chunk := []byte(": open\n\n")
	for {
		if _, err := x.w.Write(chunk); err != nil {
			return
		}
		if err := control.Flush(); err != nil {
			return
		}
		select {
		case line := <-i.stream:
			chunk = nil
			if data := x.filterEvent(line); data != nil {
				chunk = (&event{data: data, hasData: true}).append(nil)
			}
		case <-alive.C:
			chunk = []byte(": alive\n\n")
		case <-i.process.done:
			return
		case <-stopping:
			_, _ = io.WriteString(x.w, farewell) // the end of it, either way
			return
		case <-expired.C:
			return
		case <-x.r.Context().Done():
			return
		case <-x.g.ctx.Done():
			return
		}
	}
}

// endStdio is DELETE: it ends the session and its process.
func (x *exchange) endStdio() error {
	if i := x.g.stdio.find(instanceKey{endpointKey: keyOf(x.server), session: x.session}); i != nil {
		x.g.stdio.end(i)
	}
	x.g.sessions.end(x.server.ID, x.session)
	x.w.WriteHeader(http.StatusNoContent)
	return nil
}

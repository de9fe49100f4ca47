package gateway

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"countersign/canonical"
	"countersign/client"
	"countersign/policy"
)

// instance finds the process that this exchange speaks to, or starts it: initialize does, and the first request
// of a stateless caller.
func (x *exchange) instance() (*instance, error) {
	if x.message.method == "initialize" {
		key := instanceKey{endpointKey: keyOf(x.server), session: rand.Text()}
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
	if i := x.running(); i != nil {
		return i, nil
	}
	if x.modern {
		return x.g.stdio.start(x, x.instanceKey())
	}
	x.g.sessions.end(x.server.ID, x.session)
	return nil, errEndedSession
}

// running finds the process that this exchange speaks to, nil if there is none.
func (x *exchange) running() *instance { return x.g.stdio.find(x.instanceKey()) }

func (x *exchange) instanceKey() instanceKey {
	if x.modern {
		return instanceKey{endpointKey: keyOf(x.server), caller: x.caller.key()}
	}
	return instanceKey{endpointKey: keyOf(x.server), session: x.session}
}

var errSameID = errors.New("a request with this id is under way")

// tellStdio tells a process what wants no answer. Where none runs there is nobody who wants to know.
func (x *exchange) tellStdio() error {
	i := x.running()
	if i == nil && !x.modern {
		return x.notStarted(errEndedSession)
	}
	if i != nil {
		if line := i.translate(x.message, x.body); line != nil {
			if err := i.process.write(line); err != nil {
				return x.upstreamError(explain(err))
			}
		}
	}
	x.w.WriteHeader(http.StatusAccepted)
	return nil
}

// requestStdio finds a process that is ready, and asks it.
func (x *exchange) requestStdio() error {
	_, patience, end := x.endurance(x.r.Context())
	defer end()
	x.patience = patience
	began := x.g.now()
	i, err := x.instance()
	if err == nil {
		err = i.await(patience.watched)
	}
	x.log.upstream += x.g.now().Sub(began)
	if err != nil {
		x.g.log.Warn("a stdio server is not available", slog.String("server", x.name), slog.Any("error", err))
		x.judgeProcess(i, err)
		x.finish(false)
		return x.notStarted(err)
	}
	return x.askStdio(i)
}

// notStarted answers when there is no process to ask. Nothing was executed.
func (x *exchange) notStarted(err error) error {
	if errors.Is(err, errEndedSession) {
		return &rpcError{status: http.StatusNotFound, code: codeInvalidRequest, message: "There is no such session. Initialize a new one."}
	}
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

// processFailures are what says of a process that it is of no use.
var processFailures = []error{errProcess, errDied, errSlow, errStuck, errNoAnswer, errSilent, errTooSlow}

// judgeProcess tells the breaker how a process did, by the first of its words about a request, or the error in their place.
// One that failed too often is ended, so that who tries next finds a new one.
func (x *exchange) judgeProcess(i *instance, err error) {
	ours := x.r.Context().Err() != nil || oneOf(err, processFailures) == nil || i != nil && i.process.asked.Load()
	if err != nil && ours { // or the caller's
		err = errUncounted
	}
	x.judge(err)
	if i == nil || err == nil || errors.Is(err, errUncounted) || !x.g.breakers.open(x.server, forCalls, x.breakerCaller()) {
		return
	}
	x.g.background.run(func() { x.g.stdio.end(i) })
	if i.key.session != "" {
		x.g.sessions.end(i.key.server, i.key.session)
	}
}

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
		x.judgeProcess(i, err)
		return x.upstreamError(explain(err))
	}
	x.log.sent = true
	a := &stdioAnswer{x: x, i: i, flight: f}
	answer, err := a.wait()
	x.log.upstream += x.g.now().Sub(began)
	if answer != nil || err != nil {
		x.judgeProcess(i, err)
	}
	if err != nil {
		x.g.log.Warn("a server did not answer as it should", slog.String("server", x.name), slog.Any("error", err))
	}
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
	return a.deliver(answer)
}

// stdioAnswer is the answer to one request, while it is made.
type stdioAnswer struct {
	x      *exchange
	i      *instance
	flight *flight
	events bool // it is a stream
}

// deliver filters the answer and sends it.
func (a *stdioAnswer) deliver(answer []byte) error {
	x := a.x
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

// wait returns the answer with the caller's id, or nil when the stream ended without one. What comes before it goes out.
func (a *stdioAnswer) wait() ([]byte, error) {
	x := a.x
	if x.message.method != "initialize" { // that is how its process starts
		x.patience.enter(waiting, x.patience.FirstByte)
		defer a.i.attend(x.patience)()
	}
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
	for {
		select {
		case line, ok := <-a.flight.answer:
			if !ok {
				return nil, errDied
			}
			a.drainSaid()
			return a.flight.homeward(line)
		case line := <-a.flight.said.queue:
			a.word()
			a.pass(a.flight.said.took(line))
		case line := <-a.unasked():
			a.pass(a.i.stream.took(line))
		case <-alive.C:
			if a.events {
				a.write([]byte(": alive\n\n"))
			}
		case <-expired:
			a.giveUp(callerGone)
			a.write(nil)
			return nil, nil
		case <-over:
			a.giveUp(callerGone)
			a.write([]byte(farewell))
			return nil, nil
		case <-x.patience.watched.Done(): // the caller is gone, or the patience at its end
			return nil, a.impatient()
		}
	}
}

// word is something that the server says about the request before its answer.
func (a *stdioAnswer) word() {
	a.x.judgeProcess(a.i, nil)
	a.x.patience.enter(reading, a.x.patience.Idle)
}

// impatient is the end of a request that is waited for no longer.
func (a *stdioAnswer) impatient() error {
	if a.x.r.Context().Err() != nil {
		a.giveUp(callerGone)
		return a.x.r.Context().Err()
	}
	a.giveUp(tookLong)
	err := context.Cause(a.x.patience.watched)
	if errors.Is(err, errSlow) {
		a.i.process.kill() // it never started
	}
	return err
}

// giveUp tells the server, without waiting until it takes that.
func (a *stdioAnswer) giveUp(why string) {
	a.x.g.background.run(func() { a.i.process.giveUp(a.flight, why) })
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
	return a.i.stream.queue
}

// drainSaid passes on what was said before the answer.
func (a *stdioAnswer) drainSaid() {
	for {
		select {
		case line := <-a.flight.said.queue:
			a.pass(a.flight.said.took(line))
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
		case line := <-i.stream.queue:
			i.stream.took(line)
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

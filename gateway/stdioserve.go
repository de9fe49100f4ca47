package gateway

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"countersign/canonical"
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

// begin remembers a request that runs, so that it can be cancelled by the id that its caller knows.
func (i *instance) begin(id json.RawMessage, ours int64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.requests[string(id)] = ours
}

func (i *instance) over(id json.RawMessage, now time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.requests, string(id))
	i.used = now
}

func (i *instance) busyWith(id json.RawMessage) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	_, busy := i.requests[string(id)]
	return busy
}

// translate gives a cancellation the id by which the process knows the request.
func (i *instance) translate(m *message, body []byte) []byte {
	if m.method != "notifications/cancelled" {
		return body
	}
	theirs, _ := canonical.Lookup(m.params, "requestId")
	i.mu.Lock()
	ours, ok := i.requests[string(theirs)]
	i.mu.Unlock()
	if !ok {
		ours = 0 // no request has it: the server ignores the notification, as the protocol has it
	}
	params := make([]canonical.Member, len(m.params))
	for n, p := range m.params {
		if p.Key == "requestId" {
			p.Value = json.RawMessage(strconv.FormatInt(ours, 10))
		}
		params[n] = p
	}
	return canonical.AppendObject(nil, []canonical.Member{
		{Key: "jsonrpc", Value: json.RawMessage(`"2.0"`)},
		{Key: "method", Value: json.RawMessage(`"notifications/cancelled"`)},
		{Key: "params", Value: canonical.AppendObject(nil, params)},
	})
}

// askStdio sends a request to the process and answers with what it says.
func (x *exchange) askStdio(i *instance) error {
	id := x.message.id
	if i.busyWith(id) {
		return &rpcError{status: http.StatusBadRequest, code: codeInvalidRequest, message: sentence(errSameID)}
	}
	sent := false
	defer func() { x.finish(sent) }()
	began := x.g.now()
	answer, err := i.process.request(x.r.Context(), x.body, func(ours int64) {
		sent = true
		i.begin(id, ours)
	})
	x.log.upstream = x.g.now().Sub(began)
	i.over(id, x.g.now())
	if err != nil {
		return x.upstreamError(explain(err))
	}
	out, err := x.filterMessage(answer)
	if err != nil {
		return x.upstreamError("The server cannot be used: " + err.Error() + ".")
	}
	writeMessage(x.w, http.StatusOK, out)
	return nil
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
	h := x.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	x.w.WriteHeader(http.StatusOK)
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

package bridge

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"mime"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"countersign/canonical"
	"countersign/gateway"
)

// The codes of a gateway that say that nothing was executed, and that it is worth trying again.
const (
	gatewayDenied   = -40302 // with 503: it cannot check credentials now
	gatewayStopping = -40505
)

const tellTime = 10 * time.Second // for a message that has no answer

// verdict is what one attempt came to.
type verdict struct {
	over   bool          // the client has its answer, or needs none
	again  bool          // nothing was carried out: try again, after wait
	wait   time.Duration // 0: as patience has it
	fresh  bool          // with another credential
	renew  bool          // in another session
	answer []byte        // if it is not tried again
	said   string        // the challenge of a credential that was refused
}

// request sends a request until it has an answer. The answer goes out once.
func (b *Bridge) request(ctx context.Context, m message, r *running) {
	until := time.Now().Add(b.Patience)
	if r.stream {
		until = until.AddDate(100, 0, 0)
	}
	fresh, renewed := false, false
	for attempt := 0; ; attempt++ {
		session := b.sessionID()
		v := b.attempt(ctx, m, r, fresh)
		switch {
		case v.over:
			b.finish(r, nil)
			return
		case v.fresh && !fresh:
			fresh = true
			continue
		case v.renew && !renewed:
			renewed = true
			if err := b.renew(ctx, session); err == nil {
				continue
			}
		case v.again && time.Now().Before(until):
			if pause(ctx, max(v.wait, backoff(attempt))) {
				continue
			}
		}
		if ctx.Err() != nil && v.answer == nil {
			b.finish(r, nil)
			return
		}
		if v.fresh {
			b.notSignedIn(v.said)
		}
		b.finish(r, v.answer)
		return
	}
}

// backoff is how long to wait before the next attempt.
func backoff(attempt int) time.Duration {
	return min(250*time.Millisecond<<min(attempt, 5), 5*time.Second)
}

// pause reports whether ctx still lives after d.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// attempt sends a request once and reads what comes back.
func (b *Bridge) attempt(ctx context.Context, m message, r *running, fresh bool) verdict {
	res, sent, err := b.send(ctx, http.MethodPost, m.raw, b.header(m), fresh)
	if err != nil {
		return b.unsent(m, sent, err)
	}
	defer func() { _ = res.Body.Close() }() // only read
	if res.StatusCode != http.StatusOK {
		return b.refused(m, res)
	}
	b.fine()
	media, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	if media == "text/event-stream" {
		return b.events(ctx, m, r, res)
	}
	data, err := readAll(res.Body)
	if err != nil {
		return verdict{answer: unknown(m)}
	}
	got, err := readReceived(data)
	if err != nil || !got.answer {
		return verdict{answer: errorAnswer(m.id, codeUnknown, "The gateway sent an answer that cannot be read in exactly one way.")}
	}
	return b.deliver(m, r, got)
}

// unsent says what an attempt without any answer came to.
func (b *Bridge) unsent(m message, sent bool, err error) verdict {
	if refusal := (*CredentialError)(nil); errors.As(err, &refusal) {
		b.noCredential(err)
		unreached := (*url.Error)(nil) // the identity provider may be there soon; what it said, it says again
		return verdict{
			again:  errors.As(err, &unreached),
			answer: errorAnswer(m.id, codeRefused, "There is no credential for the gateway: "+refusal.Error()+". Nothing was executed."),
		}
	}
	b.notReached(sent, err)
	if sent {
		return verdict{answer: unknown(m)}
	}
	return verdict{again: true, answer: errorAnswer(m.id, codeUnreachable, "The gateway cannot be reached. Nothing was executed.")}
}

func unknown(m message) []byte {
	return errorAnswer(m.id, codeUnknown, "The connection to the gateway broke before there was an answer. Whether the request was carried out is not known.")
}

// deliver hands the answer to the client, if it is the one to this request.
func (b *Bridge) deliver(m message, r *running, got received) verdict {
	if string(got.id) != string(m.id) {
		return verdict{answer: errorAnswer(m.id, codeUnknown, "The gateway answered another request than was made.")}
	}
	b.learn(m, got)
	b.finish(r, got.raw)
	return verdict{over: true}
}

// refused reads an answer that is none: an error of HTTP, which may hold one of the gateway's.
func (b *Bridge) refused(m message, res *http.Response) verdict {
	data, _ := readAll(res.Body)
	code, answer := 0, []byte(nil)
	if got, err := readReceived(data); err == nil && got.answer && got.result == nil {
		code, answer = errorCode(got.raw), got.withID(m.id)
	}
	retry, _ := strconv.Atoi(res.Header.Get("Retry-After"))
	v := verdict{answer: answer, said: res.Header.Get("WWW-Authenticate"), wait: min(time.Duration(max(retry, 0))*time.Second, maxRetry)}
	switch status := res.StatusCode; {
	case status == http.StatusUnauthorized:
		v.fresh = true
		if answer == nil {
			v.answer = errorAnswer(m.id, codeRefused, "The gateway refused the credential. Nothing was executed.")
		}
	case status == http.StatusNotFound && b.legacy(m) && b.sessionID() != "" && code != gatewayDenied:
		v.renew = true
	case status == http.StatusServiceUnavailable && (code == gatewayStopping || code == gatewayDenied):
		v.again = true
	}
	if answer != nil && !v.fresh {
		b.fine()
	}
	if v.answer == nil {
		if !v.renew {
			b.noGateway(res.StatusCode)
		}
		code, text := codeUnknown, fmt.Sprintf("The gateway answered with HTTP status %d.", res.StatusCode)
		switch {
		case res.StatusCode >= http.StatusInternalServerError:
			text += " Whether the request was carried out is not known."
		case res.StatusCode < http.StatusBadRequest, res.StatusCode == http.StatusNotFound, res.StatusCode == http.StatusMethodNotAllowed:
			code, text = codeUnreachable, fmt.Sprintf("What answers at the address of the gateway is none (HTTP status %d). Nothing was executed.", res.StatusCode)
		}
		v.answer = errorAnswer(m.id, code, text)
	}
	return v
}

func errorCode(raw []byte) int {
	var said struct {
		Error struct {
			Code int `json:"code"`
		} `json:"error"`
	}
	_ = json.Unmarshal(raw, &said) // it was read strictly; a code that is no number is none of ours
	return said.Error.Code
}

// events passes on a stream until the answer comes. A stream that ends before is taken up again, in the older era, where
// it was left: asking for the rest executes nothing.
func (b *Bridge) events(ctx context.Context, m message, r *running, res *http.Response) verdict {
	stream := newEventReader(res.Body)
	until := time.Now().Add(b.Patience)
	for attempt := 0; ; attempt++ {
		if b.passUntil(stream, m, r) {
			return verdict{over: true}
		}
		last, wait := stream.last, max(stream.retry, backoff(attempt))
		if r.stream { // it is opened anew: listening executes nothing
			return verdict{again: true, wait: wait, answer: unknown(m)}
		}
		if last == "" || !r.legacy || time.Now().After(until) || !pause(ctx, wait) {
			return verdict{answer: unknown(m)}
		}
		again, err := b.resume(ctx, last)
		if err != nil {
			return verdict{answer: unknown(m)}
		}
		defer func() { _ = again.Close() }() // only read; a few at most
		stream = newEventReader(again)
		stream.last = last
	}
}

// passUntil passes messages on, and reports whether the answer to m was among them.
func (b *Bridge) passUntil(stream *eventReader, m message, r *running) bool {
	for {
		data, err := stream.next()
		if err != nil {
			return false
		}
		got, err := readReceived(data)
		switch {
		case err != nil:
			b.Log.Warn("a message of the gateway was dropped", slog.Any("error", err))
		case !got.answer:
			_ = b.write(got.raw) // it ends all when the client is gone
		case string(got.id) == string(m.id):
			return b.deliver(m, r, got).over
		default:
			b.late(got)
		}
	}
}

// late delivers an answer that came on another stream than its request's.
func (b *Bridge) late(got received) {
	b.mu.Lock()
	r := b.running[string(got.id)]
	b.mu.Unlock()
	if r != nil {
		b.finish(r, got.raw)
	}
}

// resume asks for the rest of a stream.
func (b *Bridge) resume(ctx context.Context, last string) (io.ReadCloser, error) {
	h := b.streamHeader()
	h.Set("Last-Event-Id", last)
	res, _, err := b.send(ctx, http.MethodGet, nil, h, false)
	if err != nil {
		return nil, err
	}
	media, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	if res.StatusCode != http.StatusOK || media != "text/event-stream" {
		_ = res.Body.Close() // not what we asked for
		return nil, fmt.Errorf("resuming a stream: HTTP status %d", res.StatusCode)
	}
	return res.Body, nil
}

// tell sends what has no answer: a notification, or an answer to a request of the server.
func (b *Bridge) tell(ctx context.Context, m message) {
	ctx, cancel := context.WithTimeout(ctx, tellTime)
	defer cancel()
	for _, fresh := range []bool{false, true} {
		res, _, err := b.send(ctx, http.MethodPost, m.raw, b.header(m), fresh)
		if err != nil {
			b.Log.Warn("a message was not delivered", slog.String("method", m.method), slog.Any("error", err))
			return
		}
		_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10)) // so that the connection can be used again
		_ = res.Body.Close()
		if res.StatusCode == http.StatusUnauthorized {
			continue
		}
		if res.StatusCode >= http.StatusBadRequest {
			b.Log.Warn("a message was refused", slog.String("method", m.method), slog.Int("status", res.StatusCode))
		} else if m.method == "notifications/initialized" {
			b.listen() //nolint:contextcheck // the stream outlasts what opens it
		}
		return
	}
}

// CredentialError is a credential that cannot be had. Its text holds nothing of it.
type CredentialError struct{ Reason error }

func (e *CredentialError) Error() string { return e.Reason.Error() }

// Unwrap gives the reason.
func (e *CredentialError) Unwrap() error { return e.Reason }

// send makes one request of HTTP. sent says whether the gateway may have got any of it.
func (b *Bridge) send(ctx context.Context, method string, body []byte, h http.Header, fresh bool) (res *http.Response, sent bool, err error) {
	token, err := b.Token(ctx, fresh)
	if err != nil {
		return nil, false, &CredentialError{err}
	}
	var wrote atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { wrote.Store(true) }})
	req, err := http.NewRequestWithContext(ctx, method, b.Endpoint, bytes.NewReader(body))
	if err != nil {
		return nil, false, fmt.Errorf("making a request: %w", err)
	}
	req.Header = h
	req.Header.Set("Authorization", "Bearer "+token)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err = b.HTTP.Do(req)
	return res, wrote.Load(), err
}

func readAll(body io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(body, maxMessage+1))
	if err != nil {
		return nil, fmt.Errorf("reading the gateway's answer: %w", err)
	}
	if len(data) > maxMessage {
		return nil, errForeign
	}
	return data, nil
}

// named is the parameter that the Mcp-Name header repeats.
var named = map[string]string{"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}

// header says in headers what the body says, as the stateless era wants it; the older one names its session.
func (b *Bridge) header(m message) http.Header {
	h := http.Header{"Accept": {"application/json, text/event-stream"}}
	version := m.version()
	if b.legacy(m) {
		b.mu.Lock()
		defer b.mu.Unlock()
		if m.method != "initialize" {
			b.session.mark(h)
		}
		return h
	}
	h.Set("Mcp-Protocol-Version", version)
	h.Set("Mcp-Method", m.method)
	if key, ok := named[m.method]; ok {
		h.Set("Mcp-Name", gateway.EncodeHeader(m.text(key)))
	}
	if m.method == "tools/call" {
		b.mu.Lock()
		schema := b.headers[m.text("name")]
		b.mu.Unlock()
		arguments, _ := canonical.Lookup(m.params, "arguments")
		maps.Copy(h, gateway.ParamHeaders(schema, arguments))
	}
	return h
}

// legacy reports whether a message is of the older era. A notification of the stateless one may not say so; then what
// the client did before decides.
func (b *Bridge) legacy(m message) bool {
	if v := m.version(); v != "" {
		return v < firstModern
	}
	return true
}

// maxSchemas bounds how many tools we remember the headers of.
const maxSchemas = 5_000

// learn keeps the schemas of tools that bind arguments to headers.
func (b *Bridge) learn(m message, got received) {
	if m.method != "tools/list" || got.result == nil || !bytes.Contains(got.result, []byte("x-mcp-header")) {
		return
	}
	result, err := canonical.Members(got.result)
	if err != nil {
		return
	}
	list, _ := canonical.Lookup(result, "tools")
	tools, err := canonical.Elements(list)
	if err != nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, tool := range tools {
		members, err := canonical.Fields(tool, "name", "inputSchema")
		if err != nil {
			continue
		}
		value, _ := canonical.Lookup(members, "name")
		name, _ := canonical.Text(value)
		schema, _ := canonical.Lookup(members, "inputSchema")
		if strings.Contains(string(schema), "x-mcp-header") && len(b.headers) < maxSchemas {
			b.headers[name] = bytes.Clone(schema)
		} else {
			delete(b.headers, name)
		}
	}
}

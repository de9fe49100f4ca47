package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"sync"
	"time"

	"countersign/canonical"
)

// session is that of a client of the older era.
type session struct {
	id      string // "": the server has none
	version string // of the protocol, as it was agreed
	hello   []byte // the client's own initialize
	stop    context.CancelFunc
	renew   sync.Mutex
}

// mark puts the session on a request. The caller holds b.mu.
func (s *session) mark(h http.Header) {
	if s.id != "" {
		h.Set("Mcp-Session-Id", s.id)
	}
	if s.version != "" {
		h.Set("Mcp-Protocol-Version", s.version)
	}
}

func (b *Bridge) sessionID() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.session.id
}

// open passes the client's initialize on, and keeps the session that it opens.
func (b *Bridge) open(ctx context.Context, m message) error {
	b.endSession(ctx)
	r := &running{id: m.id, cancel: func() {}}
	if fault := b.enter(r); fault != "" {
		return b.answerError(m.id, codeInvalidRequest, fault)
	}
	b.mu.Lock()
	b.session.hello = append([]byte{}, m.raw...)
	b.mu.Unlock()
	until := time.Now().Add(b.Patience)
	fresh := false
	for attempt := 0; ; attempt++ {
		answer, v := b.hello(ctx, m, fresh)
		switch {
		case answer != nil:
			b.finish(r, answer)
			return nil
		case v.fresh && !fresh:
			fresh = true
			continue
		case v.again && time.Now().Before(until) && pause(ctx, max(v.wait, backoff(attempt))):
			continue
		}
		if v.fresh {
			b.notSignedIn(v.said)
		}
		b.finish(r, v.answer)
		return nil
	}
}

// hello initializes once. The answer is that of the server, an error too.
func (b *Bridge) hello(ctx context.Context, m message, fresh bool) (answer []byte, v verdict) {
	res, sent, err := b.send(ctx, http.MethodPost, m.raw, b.header(m), fresh)
	if err != nil {
		v = b.unsent(m, sent, err)
		v.again = v.again || sent // to initialize twice executes nothing
		return nil, v
	}
	defer func() { _ = res.Body.Close() }() // only read
	if res.StatusCode != http.StatusOK {
		return nil, b.refused(m, res)
	}
	b.fine()
	got, err := b.firstAnswer(m, res)
	if err != nil {
		return nil, verdict{answer: errorAnswer(m.id, codeUnknown, "The gateway did not answer the handshake.")}
	}
	if got.result != nil {
		b.keep(res.Header.Get("Mcp-Session-Id"), got.result)
	}
	return got.raw, verdict{}
}

// keep remembers the session that an initialize opened.
func (b *Bridge) keep(id string, result json.RawMessage) {
	members, _ := canonical.Members(result) // it was read
	value, _ := canonical.Lookup(members, "protocolVersion")
	version, _ := canonical.Text(value)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.session.id, b.session.version = id, version
}

// firstAnswer reads the answer to a handshake, from JSON or from a stream.
func (b *Bridge) firstAnswer(m message, res *http.Response) (received, error) {
	media, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	if media != "text/event-stream" {
		data, err := readAll(res.Body)
		if err != nil {
			return received{}, err
		}
		got, err := readReceived(data)
		if err == nil && (!got.answer || string(got.id) != string(m.id)) {
			err = errForeign
		}
		return got, err
	}
	stream := newEventReader(res.Body)
	for {
		data, err := stream.next()
		if err != nil {
			return received{}, err
		}
		got, err := readReceived(data)
		switch {
		case err == nil && got.answer && string(got.id) == string(m.id):
			return got, nil
		case err == nil && !got.answer:
			_ = b.write(got.raw) // it ends all when the client is gone
		}
	}
}

var errNoSession = errors.New("the gateway opened no session")

// renew opens another session in the client's own words, unless that was done meanwhile.
func (b *Bridge) renew(ctx context.Context, old string) error {
	b.session.renew.Lock()
	defer b.session.renew.Unlock()
	b.mu.Lock()
	current, hello := b.session.id, b.session.hello
	b.mu.Unlock()
	if current != old {
		return nil
	}
	m, fault := readMessage(hello)
	if fault != nil {
		return errNoSession
	}
	b.Log.Info("the gateway forgot the session: opening another one")
	b.stopListening()
	for _, fresh := range []bool{false, true} {
		answer, v := b.hello(ctx, m, fresh)
		if answer == nil && v.fresh {
			continue
		}
		if answer == nil || b.sessionID() == old {
			return errNoSession
		}
		b.tell(ctx, message{raw: []byte(`{"jsonrpc":"2.0","method":"notifications/initialized"}`), method: "notifications/initialized"})
		return nil
	}
	return errNoSession
}

// streamHeader is the header of a request for a stream.
func (b *Bridge) streamHeader() http.Header {
	h := http.Header{"Accept": {"text/event-stream"}}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.session.mark(h)
	return h
}

// listen opens the stream of the session, once.
func (b *Bridge) listen() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.session.id == "" || b.session.stop != nil {
		return
	}
	ctx, stop := context.WithCancel(b.life)
	b.session.stop = stop
	id := b.session.id
	b.work.Go(func() { b.follow(ctx, id) })
}

func (b *Bridge) stopListening() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.session.stop != nil {
		b.session.stop()
		b.session.stop = nil
	}
}

// follow reads the stream of a session, and connects again when it ends: from where it was left, and with patience.
func (b *Bridge) follow(ctx context.Context, id string) {
	last, fresh := "", false
	for attempt := 0; ctx.Err() == nil; attempt++ {
		h := b.streamHeader()
		if last != "" {
			h.Set("Last-Event-Id", last)
		}
		wait := backoff(attempt)
		res, _, err := b.send(ctx, http.MethodGet, nil, h, fresh)
		switch {
		case err != nil:
			b.Log.Debug("the stream was not opened", slog.Any("error", err))
		case res.StatusCode == http.StatusOK:
			began := time.Now()
			stream := newEventReader(res.Body)
			stream.last = last
			b.passAll(stream)
			last, fresh = stream.last, false
			wait = max(stream.retry, wait)
			if time.Since(began) > maxRetry {
				attempt = 0
			}
		case res.StatusCode == http.StatusUnauthorized && !fresh:
			fresh = true
		case res.StatusCode == http.StatusNotFound:
			_ = res.Body.Close() // said enough
			b.work.Go(func() {
				if err := b.renew(b.life, id); err != nil {
					b.Log.Warn("no session was opened", slog.Any("error", err))
				}
			})
			return
		case res.StatusCode < http.StatusInternalServerError:
			_ = res.Body.Close() // said enough
			return               // this server has no such stream
		}
		if res != nil && res.Body != nil {
			_ = res.Body.Close() // only read
		}
		pause(ctx, wait)
	}
}

// passAll passes on what a stream says to its end.
func (b *Bridge) passAll(stream *eventReader) {
	for {
		data, err := stream.next()
		if err != nil {
			return
		}
		got, err := readReceived(data)
		switch {
		case err != nil:
			b.Log.Warn("a message of the gateway was dropped", slog.Any("error", err))
		case got.answer:
			b.late(got)
		default:
			_ = b.write(got.raw) // it ends all when the client is gone
		}
	}
}

// endSession tells the gateway that the session is over.
func (b *Bridge) endSession(ctx context.Context) {
	b.stopListening()
	if b.sessionID() == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	res, _, err := b.send(ctx, http.MethodDelete, nil, b.streamHeader(), false)
	if err == nil {
		_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10)) // so that the connection can be used again
		_ = res.Body.Close()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.session.id = ""
}

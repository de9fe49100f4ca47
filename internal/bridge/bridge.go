// Package bridge lets a client that only speaks stdio use a server behind a gateway: newline-delimited JSON-RPC on one
// side, streamable HTTP on the other, in whichever era the client speaks.
//
//	legacy: initialize ──▶ session ──initialized──▶ GET stream, POSTs ──end of input──▶ DELETE
//	                          └─404: the gateway forgot it──▶ initialize again, in the client's own words
//	modern: each request is a POST by itself; to cancel it is to hang up
//
// What was certainly not carried out is tried again, with patience. What may have been is never sent twice: the client
// is told that nobody knows.
package bridge

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"countersign/canonical"
)

// methodListen opens a stream of the stateless era.
const methodListen = "subscriptions/listen"

// Bounds of a bridge.
const (
	maxLine    = 1 << 20  // of what the client sends: what a gateway takes
	maxMessage = 32 << 20 // of what the gateway sends
	maxDepth   = 100
	maxRunning = 256 // requests at once
	lastWords  = 30 * time.Second
)

// Bridge is between one client and one server.
type Bridge struct {
	Endpoint string // <gateway>/mcp/<namespace>/<name>
	HTTP     *http.Client
	// Token gives the credential. fresh asks for another one than last time: that was refused.
	Token func(ctx context.Context, fresh bool) (string, error)
	Log   *slog.Logger
	// Patience is how long a request that was not carried out is tried again; 0: 15 s.
	Patience time.Duration

	life    context.Context         //nolint:containedctx // of the session's stream, which outlasts the request that opens it
	stop    context.CancelCauseFunc // ends Run
	out     io.Writer
	writing sync.Mutex

	mu      sync.Mutex
	running map[string]*running // requests of the client, by id
	session session
	wrong   string                     // what was said last to be
	headers map[string]json.RawMessage // input schemas of tools that bind arguments to headers

	work sync.WaitGroup
}

// running is a request that waits for its answer.
type running struct {
	id     json.RawMessage
	cancel context.CancelFunc
	legacy bool
	stream bool // it has no end of its own
	quiet  bool // the client cancelled it, so it gets no answer
}

// Run carries messages until in ends, ctx ends, or out cannot be written. When in ends, requests that run may end, for a
// while; then the session is ended too.
func (b *Bridge) Run(ctx context.Context, in io.Reader, out io.Writer) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	b.life, b.stop, b.out = ctx, stop, out
	b.running, b.headers = map[string]*running{}, map[string]json.RawMessage{}
	if b.Patience == 0 {
		b.Patience = 15 * time.Second
	}
	read := make(chan error, 1)
	go func() { read <- b.readAll(ctx, in) }()
	var err error
	select {
	case err = <-read:
		b.await(ctx, lastWords)
	case <-ctx.Done(): // the reader may be stuck in its Read; it ends with the process
	}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		err = cause
	}
	stop(nil)
	b.work.Wait()
	b.endSession(ctx)
	return err
}

// readAll handles the client's lines, one after the other.
func (b *Bridge) readAll(ctx context.Context, in io.Reader) error {
	lines := bufio.NewReaderSize(in, 64<<10)
	for ctx.Err() == nil {
		line, tooLong, err := readLine(lines)
		if tooLong {
			_ = b.answerError(nil, codeInvalidRequest, fmt.Sprintf("The message is larger than %d MiB.", maxLine>>20))
		} else if len(line) > 0 {
			if err := b.handle(ctx, line); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the client: %w", err)
		}
	}
	return nil
}

// readLine reads a line, without its end and the space around it. Of one that is too long nothing is kept.
func readLine(r *bufio.Reader) (line []byte, tooLong bool, err error) {
	for {
		part, more, err := r.ReadLine()
		if !tooLong {
			line = append(line, part...)
		}
		if len(line) > maxLine {
			line, tooLong = nil, true
		}
		if err != nil || !more {
			return trim(line), tooLong, err
		}
	}
}

// handle takes one message of the client. The error is one of the output.
func (b *Bridge) handle(ctx context.Context, line []byte) error {
	m, fault := readMessage(line)
	if fault != nil {
		return b.answerError(m.id, fault.code, fault.text)
	}
	switch {
	case m.method == "initialize" && m.id != nil:
		return b.open(ctx, m) // nothing else may overtake it
	case m.request():
		return b.begin(ctx, m)
	case m.method == "notifications/cancelled":
		b.cancel(ctx, m)
	default:
		b.tell(ctx, m)
	}
	return nil
}

// begin sends a request beside the others.
func (b *Bridge) begin(ctx context.Context, m message) error {
	ctx, cancel := context.WithCancel(ctx)
	r := &running{id: m.id, cancel: cancel, legacy: b.legacy(m), stream: m.method == methodListen}
	if fault := b.enter(r); fault != "" {
		cancel()
		return b.answerError(m.id, codeInvalidRequest, fault)
	}
	b.work.Go(func() {
		defer cancel()
		b.request(ctx, m, r)
	})
	return nil
}

func (b *Bridge) enter(r *running) (fault string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.running[string(r.id)] != nil {
		return "A request with this id is under way."
	}
	if len(b.running) >= maxRunning {
		return "Too many requests are under way."
	}
	b.running[string(r.id)] = r
	return ""
}

// finish ends a request with its answer, once. A request that was cancelled gets none.
func (b *Bridge) finish(r *running, answer []byte) {
	b.mu.Lock()
	mine := b.running[string(r.id)] == r
	if mine {
		delete(b.running, string(r.id))
	}
	quiet := r.quiet
	b.mu.Unlock()
	if mine && !quiet {
		_ = b.write(answer) // it ends all when the client is gone
	}
}

// cancel hangs up on a request. A server of the older era is told first, as hanging up means nothing to it.
func (b *Bridge) cancel(ctx context.Context, m message) {
	id, _ := canonical.Lookup(m.params, "requestId")
	b.mu.Lock()
	r := b.running[string(id)]
	if r != nil {
		r.quiet = true
	}
	b.mu.Unlock()
	if r == nil {
		return // it is over: nobody has to know
	}
	b.work.Go(func() {
		if r.legacy {
			b.tell(ctx, m)
		}
		r.cancel()
	})
}

// await waits until no request runs, for so long.
func (b *Bridge) await(ctx context.Context, limit time.Duration) {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for {
		b.mu.Lock()
		n := 0
		for _, r := range b.running {
			if !r.stream {
				n++
			}
		}
		b.mu.Unlock()
		if n == 0 {
			return
		}
		select {
		case <-poll.C:
		case <-deadline.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// write sends one message to the client, in one line. When the client is gone, that is the end of Run.
func (b *Bridge) write(message []byte) error {
	line := oneLine(message)
	b.writing.Lock()
	defer b.writing.Unlock()
	if _, err := b.out.Write(append(line, '\n')); err != nil {
		err = fmt.Errorf("writing to the client: %w", err)
		b.stop(err)
		return err
	}
	return nil
}

package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"

	"countersign/policy"
)

// drain is how a gateway stops without breaking a promise:
//
//	serving ──SIGTERM──▶ leaving ──drain_delay──▶ closing ──no request runs, or drain_timeout──▶ stopped
//
// leaving: /readyz is 503, everything else is as ever, so that balancers have time to look away.
// closing: no request begins any more, and what is held is answered as held. What runs may end; what clients say about
// it (answers, cancellations) is still taken. A stream ends, cleanly, as soon as no request of its session runs.
// stopped: what still runs is cut off, and processes, reports and the policy feed end.
type drain struct {
	leaving atomic.Bool
	closing context.Context //nolint:containedctx // ends when closing begins
	close   context.CancelFunc

	mu      sync.Mutex
	quiet   *sync.Cond
	running map[sessionKey]int
	total   int
	cut     bool // nobody waits for what runs any more
}

func newDrain() *drain {
	d := &drain{running: map[sessionKey]int{}}
	d.closing, d.close = context.WithCancel(context.Background())
	d.quiet = sync.NewCond(&d.mu)
	return d
}

// enter counts a request of a session that begins; it is refused once the doors are closed.
func (d *drain) enter(key sessionKey) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closing.Err() != nil {
		return false
	}
	d.running[key]++
	d.total++
	return true
}

// owe counts work that has to be done before the gateway stops although no request waits for it.
func (d *drain) owe() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.running[sessionKey{}]++
	d.total++
}

// leave is the end of what entered, or was owed under the empty key.
func (d *drain) leave(key sessionKey) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.running[key]--; d.running[key] == 0 {
		delete(d.running, key)
	}
	d.total--
	if d.closing.Err() != nil {
		d.quiet.Broadcast()
	}
}

// closed reports whether no request begins any more.
func (d *drain) closed() bool { return d.closing.Err() != nil }

// whileOpen is ctx until closing begins.
func (d *drain) whileOpen(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(d.closing, cancel)
	return ctx, func() { stop(); cancel() }
}

// untilQuiet calls end when closing has begun and no request of the session runs. forget takes that back.
func (d *drain) untilQuiet(key sessionKey, end func()) (forget func()) {
	stop := context.AfterFunc(d.closing, func() {
		d.await(func() bool { return d.running[key] == 0 })
		end()
	})
	return func() { stop() }
}

// await returns when what it waits for holds, or nobody waits any more.
func (d *drain) await(holds func() bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for !holds() && !d.cut {
		d.quiet.Wait()
	}
}

// cutOff lets nobody wait any more, and says how many requests run still.
func (d *drain) cutOff() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cut = true
	d.quiet.Broadcast()
	return d.total
}

const reasonStopping policy.Reason = "gateway_stopping"

// stoppingRetry is when a client that was refused may try again: by then a balancer has led it elsewhere.
const stoppingRetry = 5

// stopping refuses a request of a gateway that is about to stop.
func (x *exchange) stopping() error {
	x.w.Header().Set("Retry-After", fmt.Sprint(stoppingRetry))
	return &rpcError{
		status: http.StatusServiceUnavailable, code: codeStopping,
		message: "The gateway is about to stop. Nothing was executed. Try again in a few seconds.",
		data:    map[string]any{metaDecision: decision{Decision: "denied", Reason: reasonStopping, RetryAfterSeconds: stoppingRetry}},
	}
}

// farewell ends a stream of events: the client is told to connect again soon.
const farewell = "retry: 1000\n: the gateway is about to stop, connect again\n\n"

// endingStream is a stream that ends cleanly when the gateway drains: with the farewell, between two events.
type endingStream struct {
	io.ReadCloser

	ended *atomic.Bool
	rest  []byte
	over  bool
}

// Read passes events on until the stream ends, or is ended.
func (s *endingStream) Read(p []byte) (int, error) {
	if !s.over {
		n, err := s.ReadCloser.Read(p)
		if err == nil || !s.ended.Load() {
			return n, err
		}
		s.over, s.rest = true, []byte(farewell)
		if n > 0 {
			return n, nil
		}
	}
	if len(s.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// leave takes the gateway out of service; see drain. It returns how many requests were cut off.
func (g *Gateway) leave(server *http.Server) (cut int) {
	cfg := g.config()
	g.drain.leaving.Store(true)
	g.log.Info("stopping: no longer ready", slog.Duration("drain_delay", cfg.DrainDelay), slog.Duration("drain_timeout", cfg.DrainTimeout))
	pause(g.ctx, cfg.DrainDelay)
	server.SetKeepAlivesEnabled(false)
	g.drain.mu.Lock()
	g.drain.close()
	g.drain.mu.Unlock()

	bounded, cancel := context.WithTimeout(g.ctx, cfg.DrainTimeout)
	defer cancel()
	quiet := make(chan struct{})
	go func() {
		defer close(quiet)
		g.drain.await(func() bool { return g.drain.total == 0 })
	}()
	select {
	case <-quiet:
	case <-bounded.Done():
	}
	if cut = g.drain.cutOff(); cut > 0 {
		g.log.Warn("requests were cut off", slog.Int("requests", cut))
		g.stop()
	}
	<-quiet
	return cut
}

// errCutOff says that the gateway did not stop in order.
var errCutOff = errors.New("stopped before every request had ended")

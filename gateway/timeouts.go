package gateway

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"countersign/policy"
)

// patience is how long one exchange waits for its server. One timer serves all phases, each of which has its own bound:
//
//	connecting ──connection──▶ waiting ──headers──▶ reading ──every part of the answer: anew──▶ over
//
// For a process, the connection is there when it has answered its first request, the headers are the first word that it
// says about the request, and the parts are the words that follow; see stdioAnswer.
//
// A stream that only listens has no bound but that of connecting.
type patience struct {
	Timeouts

	listens bool
	process bool
	phase   atomic.Int32 // index of phases
	timer   *time.Timer
	watched context.Context //nolint:containedctx // of the request to the server; its cause says what took too long
	cancel  context.CancelCauseFunc
	sent    atomic.Bool // the headers of the request are on their way: from then on nobody knows
}

var (
	errNoConnection = errors.New("no connection could be made in time")
	errNoAnswer     = errors.New("the server did not begin to answer in time")
	errSilent       = errors.New("the server stopped in the middle of its answer")
	errTooSlow      = errors.New("the server did not finish its answer in time")
)

// phases are the errors with which they fail.
var phases = [...]error{errNoConnection, errNoAnswer, errSilent}

const (
	connecting = iota
	waiting
	reading
)

// endurance returns the context of a request to the server and what watches it. end is called when the request is over.
func (x *exchange) endurance(ctx context.Context) (_ context.Context, p *patience, end func()) {
	p = &patience{Timeouts: x.g.timeouts(x.name, x.server.Endpoint), listens: x.listens(), process: x.server.Endpoint.Transport == policy.Stdio}
	stopTotal := context.CancelFunc(func() {})
	if p.Total > 0 && !p.listens {
		ctx, stopTotal = context.WithTimeoutCause(ctx, p.Total, errTooSlow)
	}
	ctx, p.cancel = context.WithCancelCause(ctx)
	p.watched = ctx
	p.timer = time.AfterFunc(p.Connect, func() { p.cancel(p.late()) })
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn:      func(httptrace.GotConnInfo) { p.enter(waiting, p.FirstByte) },
		WroteHeaders: func() { p.sent.Store(true) },
	})
	return ctx, p, func() {
		p.timer.Stop()
		p.cancel(context.Canceled)
		stopTotal()
	}
}

// late is what is wrong when the time of a phase is over.
func (p *patience) late() error {
	phase := p.phase.Load()
	if p.process && phase == connecting {
		return errSlow
	}
	return phases[phase]
}

// enter begins a phase.
func (p *patience) enter(phase int32, most time.Duration) {
	if p.listens {
		p.timer.Stop()
		return
	}
	p.phase.Store(phase)
	p.timer.Reset(most)
}

// listens reports whether the exchange is a stream on which nothing has to come.
func (x *exchange) listens() bool {
	return x.r.Method == http.MethodGet || x.message != nil && x.message.method == "subscriptions/listen"
}

// patientBody is the body of an answer that has to make progress.
type patientBody struct {
	io.ReadCloser

	patience *patience
}

// Read takes what there is, and gives the server time for the next part.
func (b patientBody) Read(data []byte) (int, error) {
	n, err := b.ReadCloser.Read(data)
	if n > 0 {
		b.patience.enter(reading, b.patience.Idle)
	}
	return n, err
}

package gateway

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// CallerTimeouts bound how long callers may keep a connection with nothing. What is 0 has its default.
type CallerTimeouts struct {
	Header time.Duration `yaml:"header"` // until the headers of a request are there; 10s
	Body   time.Duration `yaml:"body"`   // until its body is; 20s
	Take   time.Duration `yaml:"take"`   // so long may a caller take nothing of an answer; 30s
	Idle   time.Duration `yaml:"idle"`   // a connection without a request; 2m
}

func (t CallerTimeouts) orDefault() CallerTimeouts {
	return CallerTimeouts{
		Header: cmp.Or(t.Header, 10*time.Second), Body: cmp.Or(t.Body, 20*time.Second), Take: cmp.Or(t.Take, 30*time.Second), Idle: cmp.Or(t.Idle, 2*time.Minute),
	}
}

func (t CallerTimeouts) validate() error {
	var errs []error
	for _, one := range []struct {
		key string
		d   time.Duration
	}{{"header", t.Header}, {"body", t.Body}, {"take", t.Take}, {"idle", t.Idle}} {
		if one.d < 0 || one.d > maxTimeout {
			errs = append(errs, fmt.Errorf("caller_timeouts: %s must be from 0s to %s", one.key, maxTimeout))
		}
	}
	return errors.Join(errs...)
}

// paced serves callers who have to send what they began, and to take what they asked for.
func (g *Gateway) paced(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		bounds := g.config().Callers
		p := &pacedWriter{ResponseWriter: w, control: http.NewResponseController(w), now: g.now, take: bounds.Take}
		p.hurry()                 // also whatever the server itself says, such as that it waits for the body
		if r.ContentLength != 0 { // also of a request that is refused: who has not read the body waits no longer for it
			_ = p.control.SetReadDeadline(g.now().Add(bounds.Body)) // a test's writer may know no deadlines
			p.Header().Set(headerConnection, "close")               // until the body is read: else the server waits for it before it answers
		}
		next.ServeHTTP(p, r)
		p.hurry() // the last bytes
	})
}

// headerConnection says whether a connection goes on after an answer.
const headerConnection = "Connection"

// readWhole is said when the body of a request was read: the connection is good for another.
func readWhole(w http.ResponseWriter) {
	w.Header().Del(headerConnection)
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // a test's writer may know no deadlines
}

// Bounds of what a caller takes slowly.
const (
	slowestTake = 1 << 20 // bytes of an answer that give a second more
	leastTake   = time.Second
)

// pacedWriter is the way to a caller. All writes of an answer together may be held up for as long as a caller may take
// nothing, and a second for each MiB that went through; after a pause, which is the server's, that begins anew.
type pacedWriter struct {
	http.ResponseWriter

	control *http.ResponseController
	now     func() time.Time
	take    time.Duration
	sent    int           // bytes
	held    time.Duration // by the caller
	last    time.Time     // end of the last write
}

// Unwrap leads to deadlines.
func (p *pacedWriter) Unwrap() http.ResponseWriter { return p.ResponseWriter }

// Write writes a part of the answer.
func (p *pacedWriter) Write(part []byte) (n int, err error) {
	defer p.measure(p.hurry(), &n)
	return p.ResponseWriter.Write(part)
}

// FlushError sends what was written.
func (p *pacedWriter) FlushError() error {
	defer p.measure(p.hurry(), new(int))
	return p.control.Flush()
}

// hurry bounds how long the caller may hold up what is written next.
func (p *pacedWriter) hurry() (now time.Time) {
	now = p.now()
	if now.Sub(p.last) > p.take {
		p.sent, p.held = 0, 0
	}
	left := p.take + time.Duration(p.sent/slowestTake)*time.Second - p.held
	_ = p.control.SetWriteDeadline(now.Add(max(left, min(leastTake, p.take)))) // a test's writer may know no deadlines
	return now
}

func (p *pacedWriter) measure(began time.Time, n *int) {
	p.last = p.now()
	p.held += p.last.Sub(began)
	p.sent += *n
}

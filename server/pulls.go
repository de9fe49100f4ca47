package server

import (
	"sync"
	"time"

	"golang.org/x/time/rate"

	"countersign/internal/problem"
)

// What one gateway may ask of GET /v1/policy, all of its instances together. An answer without a body costs next to
// nothing and is not counted.
const (
	documentPace  = rate.Limit(50) // whole documents a second
	documentBurst = 1000           // a gateway of so many instances may start at once
	maxParked     = 20_000         // requests that wait
	tellAgain     = time.Minute    // how often the log says that a gateway is ahead of us
)

// pulls counts what each gateway asks. There are no more entries than gateways that were enrolled.
type pulls struct {
	now       func() time.Time
	burst     int
	maxParked int

	mu       sync.Mutex
	gateways map[string]*pulling
}

// pulling is one gateway.
type pulling struct {
	documents *rate.Limiter
	parked    int
	toldAhead time.Time
}

func newPulls(now func() time.Time) *pulls {
	return &pulls{now: now, burst: documentBurst, maxParked: maxParked, gateways: map[string]*pulling{}}
}

func (p *pulls) of(gateway string) *pulling {
	g := p.gateways[gateway]
	if g == nil {
		g = &pulling{documents: rate.NewLimiter(documentPace, p.burst)}
		p.gateways[gateway] = g
	}
	return g
}

// park counts a request that waits; done ends it. Problem: RateLimited too_many_requests.
func (p *pulls) park(gateway string) (done func(), err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	g := p.of(gateway)
	if g.parked >= p.maxParked {
		return nil, tooMuch("Too many requests of this gateway wait already.", time.Second)
	}
	g.parked++
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		g.parked--
	}, nil
}

// document counts a whole document. Problem: RateLimited too_many_requests.
func (p *pulls) document(gateway string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	g, now := p.of(gateway), p.now()
	if g.documents.AllowN(now, 1) {
		return nil
	}
	missing := 1 - g.documents.TokensAt(now)
	return tooMuch("This gateway asks for the policy again and again. Send the ETag of the one you hold as If-None-Match.",
		time.Duration(missing/float64(documentPace)*float64(time.Second)))
}

// tellAhead reports whether it is time to say again that a gateway is ahead of us.
func (p *pulls) tellAhead(gateway string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	g, now := p.of(gateway), p.now()
	if now.Sub(g.toldAhead) < tellAgain {
		return false
	}
	g.toldAhead = now
	return true
}

func tooMuch(message string, wait time.Duration) *problem.Error {
	p := problem.New(problem.RateLimited, "too_many_requests", "%s", message)
	p.RetryAfter = max(wait, time.Second)
	return p
}

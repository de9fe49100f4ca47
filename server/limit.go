package server

import (
	"net/netip"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
	"golang.org/x/time/rate"

	"countersign/identity"
	"countersign/internal/problem"
)

// Requests that anybody may make and that cost a row or a look into the database: a burst, and then a pace that
// is plenty for an office behind one address.
const (
	anonymousPace  = rate.Limit(5) // a second, for each address
	anonymousBurst = 60
	maxAddresses   = 10_000
)

// limiter is a token bucket for each address. It remembers only addresses whose bucket is not full again, and
// no more than a bound: when they are all in use, a new address shares one bucket with the other new ones.
type limiter struct {
	pace  rate.Limit
	burst int
	bound int
	now   func() time.Time

	mu      sync.Mutex
	buckets map[netip.Prefix]*rate.Limiter
	swept   time.Time
	rest    *rate.Limiter // of those for whom there is no room
}

func newLimiter(now func() time.Time) *limiter {
	return &limiter{
		pace: anonymousPace, burst: anonymousBurst, bound: maxAddresses, now: now,
		buckets: map[netip.Prefix]*rate.Limiter{}, rest: rate.NewLimiter(anonymousPace, anonymousBurst),
	}
}

// take takes one token of the address's bucket; when there is none it says how long until there is.
func (l *limiter) take(address string) (wait time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	bucket := l.bucket(network(address), now)
	if bucket.AllowN(now, 1) {
		return 0, true
	}
	missing := 1 - bucket.TokensAt(now)
	return time.Duration(missing / float64(l.pace) * float64(time.Second)), false
}

func (l *limiter) bucket(from netip.Prefix, now time.Time) *rate.Limiter {
	if b, known := l.buckets[from]; known {
		return b
	}
	if len(l.buckets) >= l.bound && now.Sub(l.swept) >= time.Second {
		l.sweep(now)
	}
	if len(l.buckets) >= l.bound {
		return l.rest
	}
	b := rate.NewLimiter(l.pace, l.burst)
	l.buckets[from] = b
	return b
}

// sweep forgets the addresses whose bucket is full: a new one would be the same.
func (l *limiter) sweep(now time.Time) {
	l.swept = now
	for from, b := range l.buckets {
		if b.TokensAt(now) >= float64(l.burst) {
			delete(l.buckets, from)
		}
	}
}

// network is what one customer of a provider has: an IPv4 address, or a /64 of IPv6. What is no address is one
// network with all else that is none.
func network(address string) netip.Prefix {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return netip.Prefix{}
	}
	a = a.Unmap().WithZone("")
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// limited lets no address make more anonymous requests than it needs.
func (s *Server) limited(h handler) handler {
	return limitedBy(s.anonymous, h)
}

func limitedBy(l *limiter, h handler) handler {
	return func(c echo.Context, who identity.Principal) error {
		if wait, ok := l.take(c.RealIP()); !ok {
			p := problem.New(problem.RateLimited, "too_many_requests", "Too many requests from this address. Wait a moment and try again.")
			p.RetryAfter = max(wait, time.Second)
			return p
		}
		return h(c, who)
	}
}

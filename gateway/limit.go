package gateway

import (
	"log/slog"
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"countersign/policy"
)

// limits counts calls for the rate limits of the policy, and their tokens for its token budgets, in a bucket for each
// guardrail and caller. It is this instance's own count, and it begins anew with the instance. A bucket outlives the
// revisions of the policy.
//
//	full ──take──▶ reserved ──charge, settle──▶ used ──time──▶ full, and forgotten
//	                  └─────────release─────────▶ as before
//
// A call takes room in every bucket that counts it, or in none.
type limits struct {
	log   *slog.Logger
	now   func() time.Time
	bound int // buckets at most

	mu      sync.Mutex
	buckets map[bucketKey]*bucket
	swept   time.Time // when all buckets were last looked at
}

type bucketKey struct {
	guardrail, caller string
	tokens            bool // it holds tokens, not calls
}

// bucket holds units: calls, or tokens.
type bucket struct {
	*rate.Limiter
	reserved int // of its units, for calls that are about to run
}

// Bounds of counting: some 30 MB of buckets, looked at no more than once a second when there is no room for more.
const (
	maxBuckets = 100_000
	sweepAfter = time.Second
	sweepSome  = 4 // buckets that are looked at whenever one is made
)

func newLimits(log *slog.Logger, now func() time.Time) *limits {
	return &limits{log: log, now: now, bound: maxBuckets, buckets: map[bucketKey]*bucket{}}
}

// count is what a call takes: one of each of the rate limits, and tokens of each of the budgets. Both are indexes of
// guardrails of the document.
type count struct {
	limits  []int
	budgets []int
	tokens  int // estimated, of the request
}

// shortage says why there is no room: how long until there is, and whether it is tokens that lack.
type shortage struct {
	wait   time.Duration
	tokens bool
}

// take reserves room for a call of caller. Where a bucket has none, nothing is reserved, and the shortage is that of the
// one that takes longest.
func (l *limits) take(doc *policy.Document, caller string, c count) (*reservation, shortage) {
	if len(c.limits)+len(c.budgets) == 0 {
		return nil, shortage{}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	r, short := &reservation{limits: l, request: c.tokens}, shortage{}
	try := func(key bucketKey, pace rate.Limit, size, units int) {
		b := l.bucket(key, pace, size, now)
		wait := sweepAfter
		if b != nil {
			units = min(units, size) // what is larger than the bucket goes through when it is full
			wait = b.wait(units, now)
			b.reserved += units // so that it is not forgotten for the next one
			r.taken = append(r.taken, taken{b, key, units})
		}
		if wait > short.wait {
			short = shortage{wait, key.tokens}
		}
	}
	for _, i := range c.limits {
		g := &doc.Guardrails[i]
		e := g.Effect.RateLimit
		try(bucketKey{g.ID, caller, false}, pace(e.Calls, e.Seconds), e.Calls, 1)
	}
	for _, i := range c.budgets {
		g := &doc.Guardrails[i]
		e := g.Effect.TokenBudget
		try(bucketKey{g.ID, caller, true}, pace(e.Tokens, e.Seconds), e.Tokens, max(c.tokens, 1))
	}
	if short.wait > 0 {
		r.giveBack()
		return nil, short
	}
	return r, shortage{}
}

func pace(units, seconds int) rate.Limit { return rate.Limit(float64(units) / float64(seconds)) }

// enough forgives what is lost when fractions of a unit are added up.
const enough = 1e-6

// wait is how long until the bucket has room for so many units more, 0 if it has.
func (b *bucket) wait(units int, now time.Time) time.Duration {
	lacks := float64(units) - (b.TokensAt(now) - float64(b.reserved))
	if lacks <= enough {
		return 0
	}
	return time.Duration(math.Ceil(lacks / float64(b.Limit()) * float64(time.Second)))
}

// use takes units out, also more than there are: what is owed has to come back before there is room again.
func (b *bucket) use(units int, now time.Time) {
	for size := b.Burst(); units > 0; units -= size {
		b.ReserveN(now, min(units, size))
	}
}

// idle reports whether the bucket knows no more than a new one would.
func (b *bucket) idle(now time.Time) bool {
	return b.reserved == 0 && b.TokensAt(now) >= float64(b.Burst())
}

// bucket returns the bucket of key with the pace and size it has by now, or nil if there is no room for a new one:
// whoever cannot be counted is refused, or a caller with enough names would have no limit at all.
func (l *limits) bucket(key bucketKey, pace rate.Limit, size int, now time.Time) *bucket {
	b := l.buckets[key]
	if b == nil {
		l.forget(now)
		if len(l.buckets) >= l.bound {
			return nil
		}
		b = &bucket{Limiter: rate.NewLimiter(pace, size)}
		l.buckets[key] = b
	}
	if b.Limit() != pace || b.Burst() != size {
		b.SetLimitAt(now, pace)
		b.SetBurstAt(now, size)
	}
	return b
}

// forget drops idle buckets: a few, or where there is no room all that there are.
func (l *limits) forget(now time.Time) {
	some := sweepSome
	if len(l.buckets) >= l.bound {
		if since := now.Sub(l.swept); since >= 0 && since < sweepAfter {
			return
		}
		l.swept, some = now, len(l.buckets)
	}
	for key, b := range l.buckets {
		if some--; some < 0 {
			return
		}
		if b.idle(now) {
			delete(l.buckets, key)
		}
	}
	if len(l.buckets) >= l.bound {
		l.log.Warn("no room to count more callers, new ones are refused", slog.Int("buckets", len(l.buckets)))
	}
}

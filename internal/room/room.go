// Package room counts calls for the rate limits of a policy, and their tokens for its token budgets, in a bucket for each
// guardrail and caller. It is the count of one process, and begins anew with it. A bucket outlives the revisions of the
// policy.
//
//	full ──Take──▶ reserved ──Charge, Settle──▶ used ──time──▶ full, and forgotten
//	                  └─────────Release─────────▶ as before
//
// A call takes room in every bucket that counts it, or in none.
package room

import (
	"log/slog"
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Rooms are all buckets of one process. It is safe for concurrent use.
type Rooms struct {
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

// New makes Rooms that go by the clock now.
func New(log *slog.Logger, now func() time.Time) *Rooms {
	return &Rooms{log: log, now: now, bound: maxBuckets, buckets: map[bucketKey]*bucket{}}
}

// Limit is what a guardrail allows one caller: so many units in so many seconds.
type Limit struct {
	Guardrail      string
	Units, Seconds int
}

// Call is what takes room: one of each of the rate limits, and tokens of each of the budgets.
type Call struct {
	Caller  string
	Limits  []Limit
	Budgets []Limit
	Tokens  int // estimated, of the request
}

// Shortage says why there is no room: how long until there is, and whether it is tokens that lack.
type Shortage struct {
	Wait   time.Duration
	Tokens bool
}

// Take reserves room for a call. Where a bucket has none, nothing is reserved, and the shortage is that of the one that
// takes longest. The reservation of a call which nothing counts is nil.
func (r *Rooms) Take(c Call) (*Reservation, Shortage) {
	if len(c.Limits)+len(c.Budgets) == 0 {
		return nil, Shortage{}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	got, short := &Reservation{rooms: r, request: c.Tokens}, Shortage{}
	try := func(key bucketKey, l Limit, units int) {
		b := r.bucket(key, l, now)
		wait := sweepAfter
		if b != nil {
			units = min(units, l.Units) // what is larger than the bucket goes through when it is full
			wait = b.wait(units, now)
			b.reserved += units // so that it is not forgotten for the next one
			got.taken = append(got.taken, taken{b, key, units})
		}
		if wait > short.Wait {
			short = Shortage{wait, key.tokens}
		}
	}
	for _, l := range c.Limits {
		try(bucketKey{l.Guardrail, c.Caller, false}, l, 1)
	}
	for _, l := range c.Budgets {
		try(bucketKey{l.Guardrail, c.Caller, true}, l, max(c.Tokens, 1))
	}
	if short.Wait > 0 {
		got.giveBack()
		return nil, short
	}
	return got, Shortage{}
}

// Tokens estimates how many tokens a text has that is so many bytes long: four bytes are one. That is near enough for
// English and JSON with the tokenizers of today, high for long words and low for scripts of several bytes a letter.
func Tokens(bytes int) int { return (bytes + 3) / 4 }

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
func (r *Rooms) bucket(key bucketKey, l Limit, now time.Time) *bucket {
	pace := rate.Limit(float64(l.Units) / float64(l.Seconds))
	b := r.buckets[key]
	if b == nil {
		r.forget(now)
		if len(r.buckets) >= r.bound {
			return nil
		}
		b = &bucket{Limiter: rate.NewLimiter(pace, l.Units)}
		r.buckets[key] = b
	}
	if b.Limit() != pace || b.Burst() != l.Units {
		b.SetLimitAt(now, pace)
		b.SetBurstAt(now, l.Units)
	}
	return b
}

// forget drops idle buckets: a few, or where there is no room all that there are.
func (r *Rooms) forget(now time.Time) {
	some := sweepSome
	if len(r.buckets) >= r.bound {
		if since := now.Sub(r.swept); since >= 0 && since < sweepAfter {
			return
		}
		r.swept, some = now, len(r.buckets)
	}
	for key, b := range r.buckets {
		if some--; some < 0 {
			return
		}
		if b.idle(now) {
			delete(r.buckets, key)
		}
	}
	if len(r.buckets) >= r.bound {
		r.log.Warn("no room to count more callers, new ones are refused", slog.Int("buckets", len(r.buckets)))
	}
}

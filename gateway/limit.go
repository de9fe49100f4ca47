package gateway

import (
	"fmt"
	"log/slog"
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"countersign/policy"
)

// limits counts calls for the rate limits of the policy, in a bucket for each guardrail and caller. It is this
// instance's own count, and it begins anew with the instance. A bucket outlives the revisions of the policy.
//
//	full ──take──▶ reserved ──charge──▶ used ──time──▶ full, and forgotten
//	                  └──────release──▶ as before
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

type bucketKey struct{ guardrail, caller string }

type bucket struct {
	*rate.Limiter
	reserved int // of its tokens, for calls that are about to run
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

// reservation is room for one call. It ends with charge, when the call runs, or with release.
type reservation struct {
	limits  *limits
	buckets []*bucket
}

// take reserves room for a call of caller with each of the guardrails, which are indexes into the document. Where one has
// none, nothing is reserved, and wait says how long until all have.
func (l *limits) take(doc *policy.Document, guardrails []int, caller string) (r reservation, wait time.Duration) {
	if len(guardrails) == 0 {
		return reservation{}, 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	r = reservation{l, make([]*bucket, 0, len(guardrails))}
	for _, i := range guardrails {
		g := &doc.Guardrails[i]
		b := l.bucket(bucketKey{g.ID, caller}, *g.Effect.RateLimit, now)
		if b == nil {
			wait = max(wait, sweepAfter)
			continue
		}
		wait = max(wait, b.wait(now))
		b.reserved++ // so that it is not forgotten for the next one
		r.buckets = append(r.buckets, b)
	}
	if wait == 0 {
		return r, 0
	}
	for _, b := range r.buckets {
		b.reserved--
	}
	return reservation{}, wait
}

// charge uses what was reserved: the call runs.
func (r reservation) charge() { r.end(1) }

// release gives back what was reserved: the call does not run.
func (r reservation) release() { r.end(0) }

func (r reservation) end(calls int) {
	if r.limits == nil {
		return
	}
	r.limits.mu.Lock()
	defer r.limits.mu.Unlock()
	for _, b := range r.buckets {
		b.reserved--
		b.ReserveN(r.limits.now(), calls)
	}
}

// enough forgives what is lost when fractions of a token are added up.
const enough = 1 - 1e-6

// wait is how long until the bucket has room for one more call, 0 if it has.
func (b *bucket) wait(now time.Time) time.Duration {
	free := b.TokensAt(now) - float64(b.reserved)
	if free >= enough {
		return 0
	}
	return time.Duration(math.Ceil((1 - free) / float64(b.Limit()) * float64(time.Second)))
}

// idle reports whether the bucket knows no more than a new one would.
func (b *bucket) idle(now time.Time) bool {
	return b.reserved == 0 && b.TokensAt(now) >= float64(b.Burst())
}

// bucket returns the bucket of key with the limit it has by now, or nil if there is no room for a new one: whoever
// cannot be counted is refused, or a caller with enough names would have no limit at all.
func (l *limits) bucket(key bucketKey, limit policy.RateLimit, now time.Time) *bucket {
	pace := rate.Limit(float64(limit.Calls) / float64(limit.Seconds))
	b := l.buckets[key]
	if b == nil {
		l.forget(now)
		if len(l.buckets) >= l.bound {
			return nil
		}
		b = &bucket{Limiter: rate.NewLimiter(pace, limit.Calls)}
		l.buckets[key] = b
	}
	if b.Limit() != pace || b.Burst() != limit.Calls {
		b.SetLimitAt(now, pace)
		b.SetBurstAt(now, limit.Calls)
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

// counted reports whether a use of this method is a call that limits count. A completion or a subscription is none.
func (x *exchange) counted() bool {
	switch x.message.method {
	case "tools/call", "prompts/get", "resources/read":
		return x.message.request()
	}
	return false
}

// takeRoom reserves room for the call with all limits that count it. If there is none, the caller was answered; after
// says what to add to the answer.
func (x *exchange) takeRoom(v policy.Verdict, after string) (r reservation, ok bool, err error) {
	if !x.counted() {
		return reservation{}, true, nil
	}
	r, wait := x.g.limits.take(x.snapshot.Index.Document(), v.Limits, x.caller.key())
	if wait == 0 {
		return r, true, nil
	}
	seconds := int(math.Ceil(wait.Seconds()))
	text := fmt.Sprintf("RATE LIMITED (not executed): you have made as many of these calls as a guardrail allows for now. Wait %d seconds, then call again.%s", seconds, after)
	return r, false, x.denyWith(text, decision{Reason: reasonRateLimited, RetryAfterSeconds: seconds})
}

package client

import (
	"math"
	"sync"
	"time"

	"countersign/policy"
)

// rooms counts calls for the rate limits of the policy, and their tokens for its token budgets, in a bucket for each
// guardrail and caller. It is this process's own count, and begins anew with it.
type rooms struct {
	mu      *sync.Mutex
	buckets map[roomKey]*bucket
}

type roomKey struct {
	guardrail string
	caller    policy.CallPrincipal
	tokens    bool // it holds tokens, not calls
}

// bucket is refilled by pace a second, up to size. It may owe something: what a result was longer than expected.
type bucket struct {
	level, pace, size float64
	at                time.Time
}

const maxBuckets = 100_000

func newRooms() rooms { return rooms{mu: &sync.Mutex{}, buckets: map[roomKey]*bucket{}} }

func (b *bucket) fill(now time.Time, units, seconds int) {
	b.pace, b.size = float64(units)/float64(seconds), float64(units)
	if passed := now.Sub(b.at).Seconds(); passed > 0 {
		b.level += passed * b.pace
		b.at = now
	}
	b.level = min(b.level, b.size)
}

// reserved is what one call has taken. The zero value is that of a call which nothing counts.
type reserved struct {
	rooms rooms
	taken []taken
}

type taken struct {
	*bucket
	units  float64
	tokens bool
}

// want is one of the limits that count a call.
type want struct {
	key            roomKey
	units, seconds int
	takes          float64
}

// take takes room in every bucket, or in none: then it says how long until there is room, and whether tokens lack.
func (r rooms) take(wants []want, now time.Time) (got *reserved, wait time.Duration, tokens bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	got = &reserved{rooms: r}
	for _, w := range wants {
		b := r.bucket(w, now)
		if b == nil {
			return nil, time.Second, w.key.tokens
		}
		takes := min(w.takes, b.size) // what is larger than the bucket goes through when it is full
		if lacks := takes - b.level; lacks > 1e-6 {
			wait, tokens = max(wait, time.Duration(math.Ceil(lacks/b.pace*float64(time.Second)))), w.key.tokens
		}
		got.taken = append(got.taken, taken{b, takes, w.key.tokens})
	}
	if wait > 0 {
		return nil, wait, tokens
	}
	for _, t := range got.taken {
		t.level -= t.units
	}
	return got, 0, false
}

// bucket finds or makes one, full. There is none for a caller too many: whoever cannot be counted is refused.
func (r rooms) bucket(w want, now time.Time) *bucket {
	b := r.buckets[w.key]
	if b == nil {
		if len(r.buckets) >= maxBuckets {
			r.forget(now)
		}
		if len(r.buckets) >= maxBuckets {
			return nil
		}
		b = &bucket{level: float64(w.units), at: now}
		r.buckets[w.key] = b
	}
	b.fill(now, w.units, w.seconds)
	return b
}

// forget drops the buckets that know no more than new ones would.
func (r rooms) forget(now time.Time) {
	for key, b := range r.buckets {
		if b.level+now.Sub(b.at).Seconds()*b.pace >= b.size {
			delete(r.buckets, key)
		}
	}
}

// release gives everything back: the call did not run.
func (r *reserved) release() {
	r.each(func(t taken) { t.level = min(t.size, t.level+t.units) })
}

// spend takes the tokens of a result of that many bytes.
func (r *reserved) spend(bytes int) {
	r.each(func(t taken) {
		if t.tokens {
			t.level -= float64(tokensOf(bytes))
		}
	})
}

func (r *reserved) each(do func(taken)) {
	if len(r.taken) == 0 {
		return
	}
	r.rooms.mu.Lock()
	defer r.rooms.mu.Unlock()
	for _, t := range r.taken {
		do(t)
	}
}

// tokensOf estimates how many tokens a text of that many bytes has: four bytes are one.
func tokensOf(bytes int) int { return (bytes + 3) / 4 }

// takeRoom takes room with all limits and budgets that count the call.
func (c *guarded) takeRoom() (*reserved, error) {
	guardrails := c.current.Index.Document().Guardrails
	caller := c.caller.Principal.Identity()
	caller.Model = "" // a caller is who signed in, through which agent
	var wants []want
	for _, i := range c.verdict.Limits {
		e := guardrails[i].Effect.RateLimit
		wants = append(wants, want{roomKey{guardrails[i].ID, caller, false}, e.Calls, e.Seconds, 1})
	}
	for _, i := range c.verdict.Budgets {
		e := guardrails[i].Effect.TokenBudget
		wants = append(wants, want{roomKey{guardrails[i].ID, caller, true}, e.Tokens, e.Seconds, float64(max(tokensOf(len(c.arguments)), 1))})
	}
	room, wait, tokens := c.g.room.take(wants, c.g.now())
	if wait == 0 {
		return room, nil
	}
	reason, what := ReasonRateLimited, "RATE LIMITED (not executed): you have made as many of these calls as a guardrail allows for now"
	if tokens {
		reason, what = ReasonBudgetSpent, "TOKEN BUDGET SPENT (not executed): your calls have used the tokens that a guardrail allows for now"
	}
	n := notExecuted(reason, nil, "%s. Wait %d seconds, then call again.", what, int(math.Ceil(wait.Seconds())))
	n.RetryAfter = wait
	return nil, n
}

package room

import (
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"
)

// hand is a clock that only a test moves.
type hand struct {
	mu  sync.Mutex
	now time.Time
}

func (h *hand) time() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now
}

func (h *hand) move(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = h.now.Add(d)
}

// call takes room for one call that these limits count.
func (r *Rooms) call(caller string, limits ...Limit) (*Reservation, time.Duration) {
	got, short := r.Take(Call{Caller: caller, Limits: limits})
	return got, short.Wait
}

func TestLimitThatChangesKeepsItsCount(t *testing.T) {
	t.Parallel()
	clock := &hand{now: time.Unix(1_800_000_000, 0)}
	rooms := New(slog.New(slog.DiscardHandler), clock.time)
	spend := func(l Limit) time.Duration {
		r, wait := rooms.call("ada", l)
		r.Charge()
		return wait
	}
	for range 10 {
		if wait := spend(Limit{"r", 10, 60}); wait > 0 {
			t.Fatalf("waits %s within the limit", wait)
		}
	}
	if wait := spend(Limit{"r", 100, 60}); wait > time.Second || wait == 0 {
		t.Errorf("a wider limit gives what was used back: %s", wait)
	}
	clock.move(time.Hour)
	for i := range 3 {
		if wait := spend(Limit{"r", 2, 3600}); (wait > 0) != (i == 2) {
			t.Errorf("a narrower limit, call %d: waits %s", i, wait)
		}
	}
	clock.move(-time.Hour)
	if wait := spend(Limit{"r", 2, 3600}); wait == 0 {
		t.Error("a clock that is set back gives calls")
	}
}

func TestLimitsAreBounded(t *testing.T) {
	t.Parallel()
	clock := &hand{now: time.Unix(1_800_000_000, 0)}
	rooms := New(slog.New(slog.DiscardHandler), clock.time)
	rooms.bound = 100
	one := Limit{"r", 1, 60}
	for i := range 100 {
		r, wait := rooms.call(fmt.Sprint(i), one)
		if wait > 0 {
			t.Fatalf("caller %d waits %s", i, wait)
		}
		r.Charge()
	}
	if _, wait := rooms.call("one more", one); wait == 0 {
		t.Error("a caller who cannot be counted is let through")
	}
	clock.move(30 * time.Second)
	if _, wait := rooms.call("7", one); wait != 30*time.Second {
		t.Errorf("a caller who is counted waits %s, want 30 s", wait)
	}
	clock.move(30 * time.Second)
	r, wait := rooms.call("one more", one)
	if wait > 0 || len(rooms.buckets) != 1 {
		t.Errorf("waits %s while %d buckets are kept, all but one of them full", wait, len(rooms.buckets))
	}
	for i := range 1000 { // what is reserved is not forgotten, what is full is
		clock.move(time.Minute)
		other, _ := rooms.call(fmt.Sprint(i), one)
		other.Charge()
	}
	if _, wait := rooms.call("one more", one); wait == 0 || len(rooms.buckets) > 10 {
		t.Errorf("waits %s, %d buckets", wait, len(rooms.buckets))
	}
	r.Release()
	if _, wait := rooms.call("one more", one); wait > 0 {
		t.Errorf("what was given back waits %s", wait)
	}
}

// TestLimitHoldsAgainstConcurrentCalls counts the winners.
func TestLimitHoldsAgainstConcurrentCalls(t *testing.T) {
	t.Parallel()
	clock := &hand{now: time.Unix(1_800_000_000, 0)}
	rooms := New(slog.New(slog.DiscardHandler), clock.time)
	a, b := Limit{"a", 20, 60}, Limit{"b", 7, 60}
	won := make(chan bool, 64)
	for range cap(won) {
		go func() {
			r, wait := rooms.call("ada", a, b)
			r.Charge()
			won <- wait == 0
		}()
	}
	winners := 0
	for range cap(won) {
		if <-won {
			winners++
		}
	}
	if winners != 7 {
		t.Errorf("%d calls got through, want 7", winners)
	}
	for i := range 14 { // 13 are left of the wider limit
		r, wait := rooms.call("ada", a)
		r.Charge()
		if (wait > 0) != (i == 13) {
			t.Errorf("call %d of the wider limit waits %s", i, wait)
		}
	}
}

// aPurse counts against one budget of 100 tokens a minute, by a clock of its own.
func aPurse(t *testing.T) (take func(tokens int) (*Reservation, time.Duration), clock *hand) {
	t.Helper()
	clock = &hand{now: time.Unix(1_800_000_000, 0)}
	rooms := New(slog.New(slog.DiscardHandler), clock.time)
	return func(tokens int) (*Reservation, time.Duration) {
		r, short := rooms.Take(Call{Caller: "ada", Budgets: []Limit{{"b", 100, 60}}, Tokens: tokens})
		if short.Wait > 0 && !short.Tokens {
			t.Error("it is calls that lack, not tokens")
		}
		return r, short.Wait
	}, clock
}

func TestBudgetIsChargedForWhatPasses(t *testing.T) {
	t.Parallel()
	take, clock := aPurse(t)
	r, wait := take(40)
	if wait > 0 {
		t.Fatalf("waits %s with a full purse", wait)
	}
	if _, wait = take(61); wait != 600*time.Millisecond {
		t.Errorf("waits %s beside what is reserved, want 0.6 s for one token", wait)
	}
	r.Charge()
	r.Spend(160) // the result is longer than what is left
	r.Settle(true)
	r.Settle(true)
	if _, wait = take(1); wait != 60600*time.Millisecond {
		t.Errorf("waits %s, want until 100 tokens that are owed came back, and one more", wait)
	}
	clock.move(2 * time.Minute)
	if r, wait = take(500); wait > 0 {
		t.Errorf("a request that is larger than a full purse waits %s", wait)
	}
	r.Settle(true)
	if _, wait = take(1); wait != 240600*time.Millisecond {
		t.Errorf("waits %s, want until 400 came back, and one more", wait)
	}
}

func TestBudgetGivesBackWhatWasNotSent(t *testing.T) {
	t.Parallel()
	take, _ := aPurse(t)
	for range 3 {
		r, wait := take(100)
		if wait > 0 {
			t.Fatalf("waits %s", wait)
		}
		r.Charge()
		r.Settle(false)
		if r, wait = take(100); wait > 0 {
			t.Fatalf("waits %s", wait)
		}
		r.Release()
	}
}

func TestAnswerThatComesLaterIsCharged(t *testing.T) {
	t.Parallel()
	take, clock := aPurse(t)
	r, _ := take(10)
	r.Charge()
	r.Settle(true)
	clock.move(time.Hour)
	for range 3 * sweepSome { // the bucket is full again, and forgotten
		r.rooms.forget(clock.time())
	}
	r.Spend(100)
	if _, wait := take(1); wait == 0 {
		t.Error("a result that was sent on another stream costs nothing")
	}
}

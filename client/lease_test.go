package client

import (
	"strings"
	"testing"
	"time"

	"countersign/policy"
)

// Clocks that are an hour off, over a restart: only the wall clock counts then, and in doubt the lease is over.
func TestLeaseOverARestart(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	index, err := policy.NewIndex(document(1, 7, "aud_1")) // 200 s at most
	if err != nil {
		t.Fatal(err)
	}
	snapshot := &Snapshot{Index: index, Epoch: 1, Revision: 7}
	at := func(ago time.Duration, seconds int) savedLease {
		return savedLease{Epoch: 1, Revision: 7, Renewed: now.Add(-ago), Seconds: seconds}
	}
	for name, tt := range map[string]struct {
		saved savedLease
		left  time.Duration
	}{
		"a minute ago":                          {at(time.Minute, 200), 140 * time.Second},
		"just now":                              {at(0, 200), 200 * time.Second},
		"longer than the document allows":       {at(0, 86400), 200 * time.Second},
		"over":                                  {at(200*time.Second, 200), 0},
		"the clock went forward by an hour":     {at(time.Hour+time.Minute, 200), 0},
		"the clock went back by an hour":        {at(time.Minute-time.Hour, 200), 0},
		"the clock went back by some seconds":   {at(-30*time.Second, 200), 200 * time.Second},
		"the clock went back by two minutes":    {at(-2*time.Minute, 200), 0},
		"the clock began anew":                  {at(-56*365*24*time.Hour, 200), 0},
		"of another revision":                   {savedLease{Epoch: 1, Revision: 8, Renewed: now, Seconds: 200}, 0},
		"of another epoch":                      {savedLease{Epoch: 2, Revision: 7, Renewed: now, Seconds: 200}, 0},
		"nothing, which cannot be read":         {savedLease{}, 0},
		"no time at all":                        {at(0, 0), 0},
		"less than no time":                     {at(0, -5), 0},
		"so long that it would turn around":     {at(0, 1<<62), 0},
		"renewed so long ago that it overflows": {savedLease{Epoch: 1, Revision: 7, Seconds: 200}, 0},
	} {
		if left := max(0, tt.saved.resume(now, snapshot).left(now)); left != tt.left {
			t.Errorf("%s: %v are left, want %v", name, left, tt.left)
		}
	}
}

// While the gateway runs a lease goes by the monotonic clock, which nobody sets.
func TestLeaseGoesByTheMonotonicClock(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	p.publish(1, 1)
	f, _ := p.follow(t.TempDir(), nil)
	eventually(t, "revision 1", runs(f, 1))
	f.mu.Lock()
	defer f.mu.Unlock()
	if !strings.Contains(f.lease.renewed.String(), "m=") {
		t.Errorf("the lease began at %v, which has no monotonic reading", f.lease.renewed)
	}
}

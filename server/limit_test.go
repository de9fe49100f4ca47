package server

import (
	"fmt"
	"testing"
	"time"
)

func TestLimiter(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_000, 0)
	l := newLimiter(func() time.Time { return now })
	taken := func(address string, n int) (ok int) {
		for range n {
			if _, allowed := l.take(address); allowed {
				ok++
			}
		}
		return ok
	}
	if n := taken("192.0.2.1", anonymousBurst+50); n != anonymousBurst {
		t.Errorf("%d of a burst", n)
	}
	if n := taken("192.0.2.2", 1); n != 1 {
		t.Error("a neighbour pays for it")
	}
	wait, _ := l.take("192.0.2.1")
	if wait <= 0 || wait > time.Second {
		t.Errorf("wait %v", wait)
	}
	now = now.Add(time.Second)
	if n := taken("192.0.2.1", 50); n != int(anonymousPace) {
		t.Errorf("%d after a second", n)
	}
	if n := taken("2001:db8::1", anonymousBurst) + taken("2001:db8::ffff:2", 10); n != anonymousBurst {
		t.Errorf("%d from one network", n)
	}
	if n := taken("::ffff:192.0.2.1", 1) + taken("rubbish", anonymousBurst+1) + taken("", 1); n != anonymousBurst {
		t.Errorf("%d in other forms", n)
	}
}

func TestLimiterIsBounded(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_000, 0)
	l := newLimiter(func() time.Time { return now })
	for i := range 3 * maxAddresses {
		l.take(fmt.Sprintf("10.%d.%d.%d", i>>16&255, i>>8&255, i&255))
	}
	if len(l.buckets) != maxAddresses {
		t.Errorf("%d buckets", len(l.buckets))
	}
	if _, ok := l.take("192.0.2.1"); ok {
		t.Error("those without room share a bucket, which is empty")
	}
	now = now.Add(time.Minute)
	if _, ok := l.take("192.0.2.1"); !ok || len(l.buckets) != 1 {
		t.Errorf("%d buckets after a while", len(l.buckets))
	}
}

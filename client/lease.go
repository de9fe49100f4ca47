package client

import (
	"time"
)

// lease is the time for which a policy may be used without word from the control plane.
type lease struct {
	renewed time.Time // carries the monotonic clock, except just after a restart
	length  time.Duration
}

func (l lease) left(now time.Time) time.Duration {
	if l.renewed.IsZero() {
		return 0
	}
	return l.length - now.Sub(l.renewed)
}

// bounded is the lease that a response grants: what it says, but never more than the signed document does.
func bounded(said time.Duration, maxStaleSeconds int) time.Duration {
	return min(said, time.Duration(maxStaleSeconds)*time.Second)
}

// savedLease is a lease on disk, where only the wall clock counts.
type savedLease struct {
	Epoch    int64     `json:"epoch"`
	Revision int64     `json:"revision"`
	ETag     string    `json:"etag"`
	Renewed  time.Time `json:"renewed"`
	Seconds  int       `json:"seconds"`
}

// clockStep is how far back the wall clock may have been set over a restart.
const clockStep = time.Minute

// of reports whether s is the lease of that policy. It is not when the gateway stopped between writing the two, or
// when somebody put back an older file.
func (s savedLease) of(snapshot *Snapshot) bool {
	return s.Epoch == snapshot.Epoch && s.Revision == snapshot.Revision
}

// resume continues a lease over a restart. When the clock went back by more than a step, nobody knows how
// old the lease is: it is over.
func (s savedLease) resume(now time.Time, snapshot *Snapshot) lease {
	age := now.Round(0).Sub(s.Renewed)
	if !s.of(snapshot) || age < -clockStep {
		return lease{}
	}
	length := bounded(time.Duration(s.Seconds)*time.Second, snapshot.Index.Document().MaxStaleSeconds)
	return lease{renewed: now, length: length - max(age, 0)}
}

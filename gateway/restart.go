package gateway

import (
	"fmt"
	"math"
	"sync"
	"time"
)

// How often a process that dies is started: a second after it ended, then two, up to a minute. One that
// lived for a minute is started at once when it is wanted.
const (
	restartFirst = time.Second
	restartMost  = time.Minute
	restartLived = time.Minute
)

// restarts remembers what died, for each caller apart: who makes a server die delays nobody else.
type restarts struct {
	mu   sync.Mutex
	died map[restartKey]restart
}

type restartKey struct {
	endpointKey
	caller string
}

type restart struct {
	times int
	next  time.Time // not before
}

const maxRestarts = 10_000

// restartError is a process that may not be started yet.
type restartError struct{ in time.Duration }

func (e *restartError) Error() string {
	return fmt.Sprintf("the server's process ended too soon, and is started again in %d seconds at the earliest; nothing was executed", e.seconds())
}

func (e *restartError) seconds() int { return int(math.Ceil(e.in.Seconds())) }

// may says whether a process may be started now.
func (r *restarts) may(key restartKey, now time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if in := r.died[key].next.Sub(now); in > 0 {
		return &restartError{min(in, restartMost)} // also after the clock was set back
	}
	return nil
}

// over notes that a process ended by itself, or could not be started.
func (r *restarts) over(key restartKey, began, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Sub(began) >= restartLived {
		delete(r.died, key)
		return
	}
	if r.died == nil || len(r.died) >= maxRestarts {
		r.died = map[restartKey]restart{}
	}
	times := r.died[key].times
	wait := min(restartFirst<<min(times, 10), restartMost)
	r.died[key] = restart{times + 1, now.Add(wait)}
}

package gateway

import (
	"context"
	"slices"
	"sync"
	"time"
)

// places bound what goes on at once in this instance: requests of one caller, calls at one server, open streams, bytes of
// bodies. Who finds none free is refused at once, or waits in a short queue.
//
//	free ──take──▶ taken ──leave──▶ free, or handed to who waits longest
type places struct {
	mu      sync.Mutex
	taken   map[placeKey]int
	waiting map[placeKey][]chan struct{} // closed when a place was handed over
}

type placeKey struct {
	kind   placeKind
	server string
	caller string
}

type placeKind uint8

const (
	placeRequest  placeKind = iota // of a caller, whatever becomes of it
	placeCaller                    // of a caller, at any server
	placeMessage                   // of a caller, for what is no request: a cancellation must pass while calls fill the rest
	placeUpstream                  // at a server
	placeStream                    // a stream of a caller
	placeStreams                   // all streams
)

// queueWait is how long who waits in a queue waits at most.
const queueWait = 5 * time.Second

func newPlaces() *places {
	return &places{taken: map[placeKey]int{}, waiting: map[placeKey][]chan struct{}{}}
}

// take takes one of most places, if one is free and nobody waits for it.
func (p *places) take(k placeKey, most int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.takeLocked(k, most)
}

func (p *places) takeLocked(k placeKey, most int) bool {
	if p.taken[k] >= most || len(p.waiting[k]) > 0 {
		return false
	}
	p.taken[k]++
	return true
}

// wait is take that waits with at most queue others until one is free, for a moment.
func (p *places) wait(ctx context.Context, k placeKey, most, queue int) bool {
	p.mu.Lock()
	if p.takeLocked(k, most) {
		p.mu.Unlock()
		return true
	}
	if len(p.waiting[k]) >= queue {
		p.mu.Unlock()
		return false
	}
	mine := make(chan struct{})
	p.waiting[k] = append(p.waiting[k], mine)
	p.mu.Unlock()
	timer := time.NewTimer(queueWait)
	defer timer.Stop()
	select {
	case <-mine:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return p.giveUp(k, mine)
}

// giveUp leaves the queue. It reports whether a place was handed over in the same moment.
func (p *places) giveUp(k placeKey, mine chan struct{}) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.Index(p.waiting[k], mine)
	if i < 0 {
		return true
	}
	p.setWaiting(k, slices.Delete(p.waiting[k], i, i+1))
	return false
}

// leave gives a place back.
func (p *places) leave(k placeKey) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if queue := p.waiting[k]; len(queue) > 0 {
		close(queue[0])
		p.setWaiting(k, queue[1:])
		return
	}
	if p.taken[k]--; p.taken[k] <= 0 {
		delete(p.taken, k)
	}
}

func (p *places) setWaiting(k placeKey, queue []chan struct{}) {
	if len(queue) == 0 {
		delete(p.waiting, k)
		return
	}
	p.waiting[k] = queue
}

// count says how many places are taken of a kind, by whomever.
func (p *places) count(kind placeKind) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for k, taken := range p.taken {
		if k.kind == kind {
			n += taken
		}
	}
	return n
}

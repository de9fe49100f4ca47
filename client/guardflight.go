package client

import (
	"context"
	"sync"

	"countersign/canonical"
)

// inFlight is what a guard knows of calls that wait for people. All of it can be lost: the control plane has the truth,
// and an identical call finds it again.
type inFlight struct {
	mu   *sync.Mutex
	busy map[canonical.Digest]chan struct{} // calls that are being asked for or executed now
	told map[canonical.Digest]string        // requests that a caller was told of, so that the next identical call hears how it ended
}

const maxTold = 10_000

func newInFlight() inFlight {
	return inFlight{mu: &sync.Mutex{}, busy: map[canonical.Digest]chan struct{}{}, told: map[canonical.Digest]string{}}
}

// alone waits until no other call of this process is the same: one approval lets one go on, the others ask anew.
func (f inFlight) alone(ctx context.Context, digest canonical.Digest) (release func(), err error) {
	for {
		f.mu.Lock()
		other := f.busy[digest]
		if other == nil {
			mine := make(chan struct{})
			f.busy[digest] = mine
			f.mu.Unlock()
			return func() {
				f.mu.Lock()
				delete(f.busy, digest)
				f.mu.Unlock()
				close(mine)
			}, nil
		}
		f.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (f inFlight) remember(digest canonical.Digest, approval string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.told) >= maxTold {
		clear(f.told)
	}
	f.told[digest] = approval
}

// recall returns and forgets what the caller of this call was told.
func (f inFlight) recall(digest canonical.Digest) (approval string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	approval = f.told[digest]
	delete(f.told, digest)
	return approval
}

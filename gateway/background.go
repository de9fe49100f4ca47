package gateway

import "sync"

// background is work that outlives the request that caused it, and not the gateway.
type background struct {
	mu     sync.Mutex
	closed bool
	work   sync.WaitGroup
}

// run starts work, unless the gateway has stopped. It reports whether it did.
func (b *background) run(work func()) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	b.work.Go(work)
	return true
}

// close takes no more work and returns when none goes on.
func (b *background) close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.work.Wait()
}

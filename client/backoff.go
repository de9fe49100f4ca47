package client

import (
	"context"
	"math/rand/v2"
	"time"
)

// backoff is how long to wait before the next attempt: exponential from least to most, with full jitter
// above a half, so that a fleet that lost its control plane does not come back at once.
func backoff(attempt int, least, most time.Duration) time.Duration {
	d := most
	if attempt < 16 {
		d = min(most, least<<attempt)
	}
	return d/2 + rand.N(d/2+1) //nolint:gosec // jitter needs no secrecy
}

// sleep waits, or returns the error of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

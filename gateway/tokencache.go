package gateway

import (
	"crypto/sha256"
	"sync"
	"time"
)

// How long a token that was verified is not verified again. A key that its issuer withdraws is noticed no later
// than that after the keys were fetched anew.
const (
	verifiedFor = 30 * time.Second
	maxVerified = 20_000
)

// tokenCache remembers which tokens were good, by their hash: agents present the same one with each call, and a
// signature costs more than everything else that is decided.
type tokenCache struct {
	mu    sync.Mutex
	known map[[sha256.Size]byte]verifiedToken
}

type verifiedToken struct {
	caller caller
	until  time.Time
}

// get returns a copy, which the request may change.
func (c *tokenCache) get(token string, now time.Time) *caller {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, ok := c.known[sha256.Sum256([]byte(token))]
	if !ok || !now.Before(v.until) || !now.Before(v.caller.expires) {
		return nil
	}
	return &v.caller
}

func (c *tokenCache) put(token string, verified caller, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil || len(c.known) >= maxVerified {
		c.known = map[[sha256.Size]byte]verifiedToken{}
	}
	c.known[sha256.Sum256([]byte(token))] = verifiedToken{verified, now.Add(verifiedFor)}
}

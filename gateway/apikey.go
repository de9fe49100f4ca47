package gateway

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"countersign/canonical"
	"countersign/policy"
)

// The ways in which a key is no good. The text is for whoever presents it and holds nothing of it.
var (
	errKeyText    = errors.New("the key is not written as keys are: it was cut off or mistyped")
	errKeyUnknown = errors.New("the key is not good: it has ended, or never was one")
	errKeyExpired = errors.New("the key has expired")
	errNoKeys     = errors.New("the gateway has no policy now, and so knows no keys")
)

// fromKey says who presents a key, by the policy that is in force at this moment: nothing is remembered, so a key is over
// with the policy that ended it. What is not written as a key is not looked up.
func (g *Gateway) fromKey(text string) (*caller, error) {
	if !policy.IsKeyText(text) {
		return nil, errKeyText
	}
	snapshot, err := g.feed.Current()
	if err != nil {
		return nil, errNoKeys
	}
	hash := policy.HashKey(text)
	key := snapshot.Index.AgentKey(hash)
	if err := keyStands(key, g.now()); err != nil {
		return nil, err
	}
	return &caller{principal: key.Principal(snapshot.Index.Document()), apiKey: &hash, expires: key.NotAfter}, nil
}

// keyStands says why a key that the policy has, or has not, is no good. Its time is that of our clock, with no leeway: no
// other clock is asked.
func keyStands(key *policy.Key, now time.Time) error {
	switch {
	case key == nil:
		return errKeyUnknown
	case !now.Before(key.NotAfter):
		return errKeyExpired
	}
	return nil
}

// stands says why the caller is no good any more by a policy, nil if it is. A token's time was looked at when it came.
func (c *caller) stands(ix *policy.Index, now time.Time) error {
	if c.apiKey == nil {
		return nil
	}
	return keyStands(ix.AgentKey(*c.apiKey), now)
}

// stillStands is asked before something is done for a caller who waited, by the policy that is in force by then.
func (x *exchange) stillStands() error {
	if x.caller.apiKey == nil {
		return nil
	}
	snapshot, err := x.g.feed.Current()
	if err != nil {
		return x.signedOut(errNoKeys)
	}
	if err := x.caller.stands(snapshot.Index, x.g.now()); err != nil {
		return x.signedOut(err)
	}
	return nil
}

// signedOut is the error of a caller whose key ended after the request had begun.
func (x *exchange) signedOut(why error) *rpcError {
	x.w.Header().Set("WWW-Authenticate", x.g.challengeHeader(why))
	return &rpcError{status: http.StatusUnauthorized, code: codeDenied, message: "Not signed in: " + publicReason(why) + "."}
}

// keyRequests are the requests under way by keys, streams among them: what a key began does not outlast it.
type keyRequests struct {
	mu    sync.Mutex
	last  uint64
	under map[canonical.Digest]map[uint64]context.CancelFunc
}

// begin notes a request by a key. Its context ends with the key; done is called when the request is over.
func (k *keyRequests) begin(ctx context.Context, c *caller) (_ context.Context, done func()) {
	ctx, cancel := context.WithDeadline(ctx, c.expires)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.under == nil {
		k.under = map[canonical.Digest]map[uint64]context.CancelFunc{}
	}
	if k.under[*c.apiKey] == nil {
		k.under[*c.apiKey] = map[uint64]context.CancelFunc{}
	}
	k.last++
	id := k.last
	k.under[*c.apiKey][id] = cancel
	return ctx, func() {
		cancel()
		k.mu.Lock()
		defer k.mu.Unlock()
		delete(k.under[*c.apiKey], id)
		if len(k.under[*c.apiKey]) == 0 {
			delete(k.under, *c.apiKey)
		}
	}
}

// cut ends the requests of keys that are not good.
func (k *keyRequests) cut(good func(canonical.Digest) bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for hash, requests := range k.under {
		if good(hash) {
			continue
		}
		for _, cancel := range requests {
			cancel()
		}
	}
}

// cutEndedKeys ends what was begun by a key as soon as a policy is in force that does not have it, until ctx ends.
func (g *Gateway) cutEndedKeys(ctx context.Context) {
	for {
		changed := g.feed.Changed()
		snapshot, err := g.feed.Current()
		g.keys.cut(func(hash canonical.Digest) bool { return err == nil && snapshot.Index.AgentKey(hash) != nil })
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// bearer takes the credential from the Authorization header, the only place where one may be.
func bearer(r *http.Request) (string, error) {
	values := r.Header.Values("Authorization")
	if len(values) == 0 {
		return "", errNoToken
	}
	scheme, token, ok := strings.Cut(values[0], " ")
	if len(values) > 1 || !ok || !strings.EqualFold(scheme, "Bearer") {
		return "", errMalformed
	}
	return strings.TrimSpace(token), nil
}

// identify says who makes a request. What begins as a key is a key and nothing else.
func (g *Gateway) identify(r *http.Request) (*caller, error) {
	credential, err := bearer(r)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(credential, policy.KeyPrefix) {
		return g.fromKey(credential)
	}
	return g.verifier.Load().known(r.Context(), credential)
}

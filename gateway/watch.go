package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"countersign/canonical"
	"countersign/client"
	"countersign/policy"
)

// Bounds of observing.
const (
	observeTime  = 15 * time.Second // how long a call waits for the first look at its server
	observersMax = 4                // at once
	distrustRate = time.Second      // a server that says again and again that it changed is looked at so often
	looksMax     = 5                // for one call, at a server that says meanwhile that it changed: some do for every session
)

var errChanging = errors.New("the server does not stop changing")

// watcher knows what each server was last seen to serve, and compares it with what is pinned.
//
//	unseen ──look──▶ seen ──list_changed──▶ distrusted ──look──▶ seen
//	                  │ older than five periods: unseen
//
// A tool that was once seen to differ from its pin stays held here until the policy says that it is held, or
// pins something else: a server that changes back for a moment gains nothing.
type watcher struct {
	g     *Gateway
	slots chan struct{}

	mu      sync.Mutex
	servers map[endpointKey]*watched
	held    map[heldKey]canonical.Digest // what was pinned when drift was seen
}

type endpointKey struct {
	server   string
	endpoint canonical.Digest
}

type heldKey struct {
	endpointKey
	use
}

// watched is one endpoint of one server.
type watched struct {
	seen     map[use]canonical.Digest // nil: unseen
	outputs  map[canonical.Digest]json.RawMessage
	at       time.Time
	wanted   bool          // distrusted: the next call waits for a look
	looking  chan struct{} // closed when the look that goes on is over; nil: none goes on
	err      error         // of the last look
	version  string        // of the protocol, when it was seen
	reported canonical.Digest
}

func newWatcher(g *Gateway) *watcher {
	return &watcher{
		g: g, slots: make(chan struct{}, observersMax),
		servers: map[endpointKey]*watched{}, held: map[heldKey]canonical.Digest{},
	}
}

func keyOf(s *policy.Server) endpointKey { return endpointKey{s.ID, s.Endpoint.Digest} }

// check says why a tool may not be used now, or "" when what its server serves is the pinned definition.
func (w *watcher) check(ctx context.Context, s *policy.Server, t *policy.Tool) (reason policy.Reason, text string) {
	if w.isHeld(s, t) {
		return policy.ReasonDrifted, driftText(t.Kind)
	}
	seen, err := w.fresh(ctx, s)
	if err != nil {
		w.g.log.Warn("a call was not made, as its server could not be observed", slog.String("server", s.Name), slog.String("error", explain(err)))
		return reasonUnobserved, "DENIED (not executed): the gateway cannot see what the server offers now, so it cannot tell whether that is what was approved. Try again later, or tell the owner of the server."
	}
	if digest, ok := seen[use{t.Kind, t.Name}]; !ok || digest != t.Definition {
		if ok {
			w.hold(s, t)
		}
		return policy.ReasonDrifted, driftText(t.Kind)
	}
	return "", ""
}

// fresh returns what the server was last seen to serve; it looks first if it has to.
func (w *watcher) fresh(ctx context.Context, s *policy.Server) (map[use]canonical.Digest, error) {
	ctx, cancel := context.WithTimeout(ctx, observeTime)
	defer cancel()
	for looks := 0; ; looks++ {
		w.mu.Lock()
		e := w.entry(s)
		if e.seen != nil && !e.wanted && w.g.now().Sub(e.at) < 5*w.g.config().ObserveEvery {
			seen := e.seen
			w.mu.Unlock()
			return seen, nil
		}
		if looks == looksMax {
			w.mu.Unlock()
			return nil, errChanging
		}
		looking := w.look(s, e) //nolint:contextcheck // others may wait for this look too
		w.mu.Unlock()
		select {
		case <-looking:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		w.mu.Lock()
		err := e.err
		w.mu.Unlock()
		if err != nil {
			return nil, err
		}
	}
}

// entry finds or makes the entry of a server. The caller holds w.mu.
func (w *watcher) entry(s *policy.Server) *watched {
	e := w.servers[keyOf(s)]
	if e == nil {
		e = &watched{}
		w.servers[keyOf(s)] = e
	}
	return e
}

// look starts a look at a server, or joins the one that goes on. The caller holds w.mu.
func (w *watcher) look(s *policy.Server, e *watched) <-chan struct{} {
	if e.looking != nil {
		return e.looking
	}
	done := make(chan struct{})
	e.looking, e.wanted = done, false
	if !w.g.background.run(func() { w.observe(s, e, done) }) {
		e.looking, e.err = nil, context.Canceled
		close(done)
	}
	return done
}

// observe looks at a server and keeps what it saw.
func (w *watcher) observe(s *policy.Server, e *watched, done chan struct{}) {
	ctx, cancel := context.WithTimeout(w.g.ctx, observeTime)
	defer cancel()
	var offer client.Offer
	var version string
	var err error
	select {
	case w.slots <- struct{}{}:
		offer, version, err = w.readOffer(ctx, s)
		<-w.slots
	case <-ctx.Done():
		err = ctx.Err()
	}
	var seen map[use]canonical.Digest
	var outputs map[canonical.Digest]json.RawMessage
	if err == nil {
		seen, outputs = digests(offer), outputSchemas(offer)
	}
	w.mu.Lock()
	e.err, e.looking = err, nil
	if err == nil {
		e.seen, e.outputs, e.version, e.at = seen, outputs, version, w.g.now()
	}
	report := err == nil && (fingerprint(seen) != e.reported || offersHeld(s, seen))
	w.mu.Unlock()
	close(done)
	if err != nil {
		w.g.log.Warn("a server could not be observed", slog.String("server", s.Name), slog.String("error", explain(err)))
		return
	}
	w.compare(s, seen)
	if report {
		w.report(s, e, offer, seen)
	}
}

// readOffer is the gateway's, unless the server failed too often by now.
func (w *watcher) readOffer(ctx context.Context, s *policy.Server) (offer client.Offer, version string, err error) {
	judge, err := w.g.breakers.allow(s, forLooks, "")
	if err != nil {
		return client.Offer{}, "", err
	}
	offer, version, err = w.g.readOffer(ctx, s.Name, s.Endpoint, nil)
	switch {
	case w.g.ctx.Err() != nil:
		judge(errUncounted)
	case err != nil && (passing(err) || errors.Is(err, context.DeadlineExceeded) || oneOf(err, processFailures) != nil):
		judge(err)
	default:
		judge(nil)
	}
	return offer, version, err
}

// offersHeld reports whether something that the policy holds is served here just as it is pinned. The control plane may
// have heard from elsewhere that it was gone, and takes it back only from a gateway that sees it.
func offersHeld(s *policy.Server, seen map[use]canonical.Digest) bool {
	for i := range s.Tools {
		t := &s.Tools[i]
		if digest, ok := seen[use{t.Kind, t.Name}]; ok && t.Held && digest == t.Definition {
			return true
		}
	}
	return false
}

// compare holds here what differs from its pin.
func (w *watcher) compare(s *policy.Server, seen map[use]canonical.Digest) {
	for i := range s.Tools {
		t := &s.Tools[i]
		if digest, ok := seen[use{t.Kind, t.Name}]; ok && digest != t.Definition {
			w.hold(s, t)
		}
	}
}

// report tells the control plane. What it does not take is sent again after the next look.
func (w *watcher) report(s *policy.Server, e *watched, offer client.Offer, seen map[use]canonical.Digest) {
	if !w.send(client.Observation{
		ServerID: s.ID, EndpointDigest: s.Endpoint.Digest,
		Tools: offer.Tools, Prompts: offer.Prompts, Resources: offer.Resources, ResourceTemplates: offer.ResourceTemplates,
	}) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	e.reported = fingerprint(seen)
}

func (w *watcher) send(o client.Observation) (taken bool) {
	ctx, cancel := context.WithTimeout(w.g.ctx, time.Minute)
	defer cancel()
	if _, err := w.g.client.Observe(ctx, o); err != nil {
		w.g.log.Warn("an observation was not reported", slog.String("server_id", o.ServerID), slog.Any("error", err))
		return false
	}
	return true
}

// distrust makes the next call wait for a new look at the server, and starts it.
func (w *watcher) distrust(s *policy.Server) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := w.entry(s)
	e.wanted = true // a look that goes on may have begun before the change
	if e.looking == nil && w.g.now().Sub(e.at) >= distrustRate {
		w.look(s, e)
	}
}

// speaks returns the version of the protocol that a server was seen to speak, "" if it was not seen.
func (w *watcher) speaks(s *policy.Server) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.entry(s).version
}

// run looks at every server of the policy when a new one arrives, and periodically.
func (w *watcher) run(ctx context.Context) error {
	timer := time.NewTimer(w.g.config().ObserveEvery)
	defer timer.Stop()
	for {
		changed := w.g.feed.Changed()
		w.lookAround(ctx, false)
		select {
		case <-changed:
			continue
		case <-timer.C:
		case <-ctx.Done():
			return nil
		}
		w.lookAround(ctx, true)
		timer.Reset(w.g.config().ObserveEvery)
	}
}

// lookAround looks at the servers of the policy: all, or only those not seen yet. It also lets go of what the
// policy says itself by now.
func (w *watcher) lookAround(ctx context.Context, all bool) {
	snapshot, err := w.g.feed.Current()
	if err != nil {
		return
	}
	servers := snapshot.Index.Document().Servers
	w.release(servers)
	w.g.breakers.keep(servers)
	var looks errgroup.Group
	looks.SetLimit(observersMax)
	for i := range servers {
		s := &servers[i]
		if s.State != policy.Active || len(s.Tools) == 0 {
			continue
		}
		w.mu.Lock()
		e := w.entry(s)
		var looking <-chan struct{}
		if all || e.seen == nil && e.err == nil {
			looking = w.look(s, e) //nolint:contextcheck // others may wait for this look too
		}
		w.mu.Unlock()
		if looking == nil {
			continue
		}
		looks.Go(func() error {
			select {
			case <-looking:
			case <-ctx.Done():
			}
			return nil
		})
	}
	_ = looks.Wait() // the looks keep their own errors
}

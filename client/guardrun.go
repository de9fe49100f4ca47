package client

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"countersign/canonical"
	"countersign/policy"
)

// Times of what a guard does beside calls.
const (
	discoverWait = 30 * time.Second
	observeEvery = time.Minute
	lastReports  = 5 * time.Second // at the end
	maxOutcomes  = 10_000
)

// discover answers what its own server offers, whenever the control plane asks. It knows nothing of other servers, so a
// question about one goes back to be answered by somebody else: enrol an embedded gateway for its own server only.
func (g *Guard) discover(ctx context.Context) {
	for attempt := 0; ctx.Err() == nil; {
		job, err := g.Client.Lease(ctx, nil, discoverWait)
		switch {
		case err != nil:
			g.log.Debug("no discovery was leased", slog.Any("error", err))
			_ = sleep(ctx, backoff(attempt, time.Second, longestRetry)) // the loop looks at ctx
			attempt++
			continue
		case job == nil:
		case job.Server == g.Server:
			err = g.Client.Finish(ctx, job.ID, g.Offer)
		default:
			err = g.Client.Fail(ctx, job.ID, Failure{Error: "This gateway is embedded in another server.", Steps: []Step{}, Retry: true})
		}
		attempt = 0
		if err != nil && ctx.Err() == nil {
			g.log.Warn("a discovery was not answered", slog.Any("error", err))
		}
	}
}

// observe tells what this server serves: once for each endpoint that the policy has for it, and again while the policy
// holds something that is served just as it is pinned.
func (g *Guard) observe(ctx context.Context) {
	var reported canonical.Digest
	ticker := time.NewTicker(observeEvery)
	defer ticker.Stop()
	for {
		changed := g.Feed.Changed()
		if s := g.server(); s != nil && (s.Endpoint.Digest != reported || g.servesHeld(s)) {
			_, err := g.Client.Observe(ctx, Observation{
				ServerID: s.ID, EndpointDigest: s.Endpoint.Digest,
				Tools: g.Offer.Tools, Prompts: g.Offer.Prompts, Resources: g.Offer.Resources, ResourceTemplates: g.Offer.ResourceTemplates,
			})
			switch {
			case err == nil:
				reported = s.Endpoint.Digest
			case ctx.Err() == nil:
				g.log.Warn("what is served was not reported", slog.Any("error", err))
			}
		}
		select {
		case <-changed:
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// server finds this server in the policy, nil if there is no policy or it is not in it.
func (g *Guard) server() *policy.Server {
	current, err := g.Feed.Current()
	if err != nil {
		return nil
	}
	servers := current.Index.Document().Servers
	for i := range servers {
		if servers[i].Name == g.Server {
			return &servers[i]
		}
	}
	return nil
}

func (g *Guard) servesHeld(s *policy.Server) bool {
	for i := range s.Tools {
		t := &s.Tools[i]
		if t.Kind == policy.KindTool && t.Held && g.served[t.Name] == t.Definition {
			return true
		}
	}
	return false
}

// outcomes are those that the control plane was not told of yet. One that never arrives becomes indeterminate there.
type outcomes struct {
	mu   *sync.Mutex
	list *[]redemptionOutcome
	wake chan struct{}
}

type redemptionOutcome struct {
	redemption string
	outcome    Outcome
}

func newOutcomes() outcomes {
	return outcomes{mu: &sync.Mutex{}, list: &[]redemptionOutcome{}, wake: make(chan struct{}, 1)}
}

// add takes an outcome; it never blocks. Beyond ten thousand the oldest is dropped.
func (o outcomes) add(redemption string, outcome Outcome) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(*o.list) >= maxOutcomes {
		*o.list = (*o.list)[1:]
	}
	*o.list = append(*o.list, redemptionOutcome{redemption, outcome})
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

func (o outcomes) first() (first redemptionOutcome, there bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(*o.list) == 0 {
		return redemptionOutcome{}, false
	}
	return (*o.list)[0], true
}

func (o outcomes) drop(redemption string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(*o.list) > 0 && (*o.list)[0].redemption == redemption {
		*o.list = (*o.list)[1:]
	}
}

// reportOutcomes reports until ctx ends, and for a moment more. A report is repeated until it arrives or is refused; an
// execution never is.
func (g *Guard) reportOutcomes(ctx context.Context) {
	for attempt := 0; ctx.Err() == nil; {
		if g.reportAll(ctx) {
			attempt = 0
			select {
			case <-g.ended.wake:
			case <-ctx.Done():
			}
			continue
		}
		_ = sleep(ctx, backoff(attempt, time.Second, longestRetry)) // the loop looks at ctx
		attempt++
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastReports)
	defer cancel()
	if !g.reportAll(last) {
		g.log.Error("outcomes of approved calls could not be reported")
	}
}

// reportAll reports what there is, and says whether nothing is left.
func (g *Guard) reportAll(ctx context.Context) bool {
	for {
		o, there := g.ended.first()
		if !there {
			return true
		}
		err := g.Client.ReportOutcome(ctx, o.redemption, o.outcome)
		if err != nil && !Refused(err) {
			return false
		}
		if err != nil {
			g.log.Error("an outcome was refused", slog.String("redemption", o.redemption), slog.Any("error", err))
		}
		g.ended.drop(o.redemption)
	}
}

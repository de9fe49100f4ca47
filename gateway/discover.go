package gateway

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"countersign/client"
)

// Bounds of a discovery.
const (
	discoveryTime  = time.Minute
	discoveryWait  = 30 * time.Second // for a job
	discoveryPulse = 2 * time.Second  // how often progress is reported although nothing changes
	discoveryRetry = 5 * time.Second
)

// discoverLoop takes discoveries and does them, one after the other.
func (g *Gateway) discoverLoop(ctx context.Context) {
	for ctx.Err() == nil {
		began := g.now()
		job, err := g.client.Lease(ctx, g.feed.Offered(), discoveryWait)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			g.log.Debug("no discovery was leased", slog.Any("error", err))
			pause(ctx, retryIn(err))
		case job == nil:
			if g.now().Sub(began) < time.Second {
				pause(ctx, time.Second) // a control plane that does not wait
			}
		default:
			g.discover(ctx, job)
		}
	}
}

func retryIn(err error) time.Duration {
	if e := (*client.Error)(nil); errors.As(err, &e) {
		return max(e.RetryAfter, discoveryRetry)
	}
	return discoveryRetry
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

var errCancelled = errors.New("the discovery was cancelled")

// discover does one discovery and hands over what it found.
func (g *Gateway) discover(ctx context.Context, job *client.Job) {
	log := g.log.With(slog.String("discovery", job.ID), slog.String("server", job.Server))
	work, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	bounded, stop := context.WithTimeout(work, discoveryTime)
	defer stop()
	p := &progress{g: g, job: job.ID, cancel: cancel, changed: make(chan struct{}, 1), now: g.now}
	var reporting sync.WaitGroup
	reporting.Go(func() { p.report(work) })

	offer, _, err := g.readOffer(bounded, job.Server, job.Endpoint, p.step)
	cancelled := errors.Is(context.Cause(work), errCancelled)
	cancel(nil)
	reporting.Wait()
	switch {
	case cancelled:
		log.Info("a discovery was cancelled")
		return
	case ctx.Err() != nil:
		return
	case err != nil:
		log.Info("a discovery failed", slog.String("error", explain(err)), slog.Any("cause", err))
		if err := g.client.Fail(ctx, job.ID, client.Failure{Error: explain(err), Steps: p.fail(explain(err)), Retry: passing(err)}); err != nil {
			log.Warn("a failed discovery was not reported", slog.Any("error", err))
		}
		return
	}
	if err := g.client.Finish(ctx, job.ID, offer); err != nil {
		log.Warn("a discovery was not reported", slog.Any("error", err))
	}
}

// progress is what people see of a discovery while it runs.
type progress struct {
	g       *Gateway
	job     string
	cancel  context.CancelCauseFunc
	changed chan struct{}
	now     func() time.Time

	mu      sync.Mutex
	steps   []client.Step
	started time.Time
}

// step notes that a step began or ended.
func (p *progress) step(name string, state client.StepState, detail string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := len(p.steps) - 1
	if last < 0 || p.steps[last].Name != name {
		p.steps = append(p.steps, client.Step{Name: name})
		p.started = p.now()
		last++
	}
	s := &p.steps[last]
	s.State, s.Detail, s.MS = state, detail, p.now().Sub(p.started).Milliseconds()
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// snapshot copies the steps.
func (p *progress) snapshot() []client.Step {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]client.Step{}, p.steps...)
}

// fail ends the step that runs, for errors that came between.
func (p *progress) fail(why string) []client.Step {
	steps := p.snapshot()
	if last := len(steps) - 1; last >= 0 && steps[last].State == client.StepRunning {
		steps[last].State, steps[last].Detail = client.StepFailed, why
	}
	return steps
}

// report sends the steps when they change and, to keep the lease, every now and then.
func (p *progress) report(ctx context.Context) {
	pulse := time.NewTicker(discoveryPulse)
	defer pulse.Stop()
	for {
		select {
		case <-p.changed:
		case <-pulse.C:
		case <-ctx.Done():
			return
		}
		cancelled, err := p.g.client.Progress(ctx, p.job, p.snapshot())
		if cancelled {
			p.cancel(errCancelled)
			return
		}
		if err != nil && ctx.Err() == nil {
			p.g.log.Debug("progress was not reported", slog.Any("error", err))
			if client.Refused(err) { // the job is not ours any more
				p.cancel(errCancelled)
				return
			}
		}
	}
}

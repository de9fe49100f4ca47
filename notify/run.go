package notify

import (
	"context"
	"log/slog"
	"os"
	"sync"
	"time"
)

const (
	lookEvery  = 2 * time.Second
	lookNoMore = 100 * time.Millisecond // between two looks, however often somebody wakes it
	beatEvery  = 5 * time.Second
	tidyEvery  = time.Hour
)

// Run delivers until ctx ends; what is being sent then is finished and recorded first. It looks when the hub is woken,
// when a delivery ends, and every two seconds by itself.
func (n *Notifier) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	wake := make(chan struct{}, 1)
	for _, topic := range append([]string{Wake}, n.cfg.Wake...) {
		woken, end := n.hub.Subscribe(topic)
		defer end()
		running.Go(func() { forward(ctx, woken, wake) })
	}
	tidied := time.Time{}
	for ctx.Err() == nil {
		started := time.Now()
		if err := n.pass(ctx, &running, wake); err != nil && ctx.Err() == nil {
			n.cfg.Log.WarnContext(ctx, "notifying was interrupted", slog.Any("error", err))
		}
		if time.Since(tidied) > tidyEvery {
			tidied = time.Now()
			if err := n.tidy(ctx); err != nil && ctx.Err() == nil {
				n.cfg.Log.WarnContext(ctx, "tidying the log of deliveries was interrupted", slog.Any("error", err))
			}
		}
		rest(ctx, wake, lookNoMore-time.Since(started))
	}
	return nil
}

// rest waits for at least a moment, and then until something wakes it.
func rest(ctx context.Context, wake <-chan struct{}, least time.Duration) {
	pause := time.NewTimer(least)
	defer pause.Stop()
	select {
	case <-ctx.Done():
		return
	case <-pause.C:
	}
	look := time.NewTimer(lookEvery)
	defer look.Stop()
	select {
	case <-ctx.Done():
	case <-wake:
	case <-look.C:
	}
}

func forward(ctx context.Context, from <-chan struct{}, to chan<- struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-from:
			nudge(to)
		}
	}
}

func nudge(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// pass looks once: it touches the heartbeat, makes deliveries and begins those that are due.
func (n *Notifier) pass(ctx context.Context, running *sync.WaitGroup, wake chan<- struct{}) error {
	if err := n.beat(ctx); err != nil {
		return err
	}
	for taken := takeBatch; taken == takeBatch; {
		var err error
		if taken, err = n.takeNotices(ctx); err != nil {
			return err
		}
	}
	if err := n.sayAlive(ctx); err != nil {
		return err
	}
	due, err := n.lease(ctx)
	if err != nil {
		return err
	}
	for _, d := range due {
		n.busy.add(d.ChannelID, 1)
	}
	for _, d := range due {
		running.Go(func() {
			defer nudge(wake)
			defer n.busy.add(d.ChannelID, -1)
			if err := n.deliver(context.WithoutCancel(ctx), d); err != nil {
				n.cfg.Log.WarnContext(ctx, "a delivery could not be recorded", slog.String("delivery", d.ID), slog.Any("error", err))
			}
		})
	}
	return nil
}

// beat says that a notifier lives.
func (n *Notifier) beat(ctx context.Context) error {
	host, _ := os.Hostname() // only to tell replicas apart
	_, err := n.pool.Exec(ctx, `
		update notifier set beat_at = clock_timestamp(), beat_by = $1 where beat_at < clock_timestamp() - $2::interval`,
		Plain(host, 100), beatEvery)
	return err
}

package main

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/client"
	"countersign/internal/pgtest"
	"countersign/registry"
)

// From a committed change to a gateway that decides by it: verified, indexed, in place. All gateways run in this process,
// on the processors that the replica and PostgreSQL have as well.

func BenchmarkRollout100(b *testing.B)  { rollout(b, 100, true) }
func BenchmarkRollout1000(b *testing.B) { rollout(b, 1000, true) }

// BenchmarkRolloutUnnotified is a change of which nobody tells the replica: it looks by itself.
func BenchmarkRolloutUnnotified(b *testing.B) { rollout(b, 100, false) }

func rollout(b *testing.B, gateways int, notify bool) {
	b.Helper()
	p := startPlane(b)
	p.fill(b)
	feeds := p.follow(b, gateways)
	var took []time.Duration
	for b.Loop() {
		waits := make([]<-chan struct{}, gateways)
		for i, f := range feeds {
			waits[i] = f.Changed()
		}
		generation := p.change(b.Context(), b)
		committed := time.Now()
		if notify {
			p.hub.Wake(b.Context(), registry.TopicPolicy)
		}
		took = append(took, arrivals(b, feeds, waits, generation, committed)...)
		if notify { // a change that follows at once waits for the one before
			time.Sleep(300 * time.Millisecond)
		}
	}
	b.ReportMetric(quantile(took, 0.5), "p50-ms")
	b.ReportMetric(quantile(took, 0.99), "p99-ms")
}

// follow runs that many gateways until each has a policy. They share ten credentials, as they share an address, from which
// nobody may ask for a thousand tokens at once.
func (p *plane) follow(b *testing.B, gateways int) []*client.Feed {
	b.Helper()
	var clients []*client.Client
	for i := range 10 {
		who := p.enrol(b, "edge-"+strconv.Itoa(i))
		p.token(b, who)
		c, err := client.New(client.Config{
			ControlPlane: p.url, ClientID: who.id, ClientSecret: client.Secret(who.secret), Instance: "bench", Version: "bench",
		})
		must(b, err)
		b.Cleanup(c.Close)
		clients = append(clients, c)
	}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	b.Cleanup(func() { stop(); running.Wait() })
	var feeds []*client.Feed
	for i := range gateways {
		feed, err := client.NewFeed(client.FeedConfig{Client: clients[i%10], StateDir: scratch(b, i), Report: time.Hour})
		must(b, err)
		running.Go(func() { _ = feed.Run(ctx) }) // it ends with the context
		feeds = append(feeds, feed)
		if i%20 == 0 {
			time.Sleep(100 * time.Millisecond) // a fleet does not start in one moment
		}
	}
	for _, feed := range feeds {
		for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
			if _, err := feed.Current(); err == nil {
				break
			} else if time.Now().After(deadline) {
				b.Fatal(err)
			}
		}
	}
	time.Sleep(time.Second) // until all are parked
	return feeds
}

// arrivals says for each feed when it decided by the generation.
func arrivals(b *testing.B, feeds []*client.Feed, waits []<-chan struct{}, generation int64, since time.Time) []time.Duration {
	b.Helper()
	took := make([]time.Duration, len(feeds))
	var all sync.WaitGroup
	for i, feed := range feeds {
		all.Go(func() {
			late := time.After(time.Minute)
			for {
				if s, err := feed.Current(); err == nil && s.Revision >= generation {
					took[i] = time.Since(since)
					return
				}
				select {
				case <-waits[i]:
					waits[i] = feed.Changed()
				case <-late:
					b.Error("a gateway never got the change")
					return
				}
			}
		})
	}
	all.Wait()
	return took
}

// quantile is in milliseconds.
func quantile(took []time.Duration, q float64) float64 {
	slices.Sort(took)
	return float64(took[min(len(took)-1, int(q*float64(len(took))))].Microseconds()) / 1000
}

// BenchmarkRollout100Floor is the same way without a policy: a row is committed with a notification in its transaction,
// and a bare server tells those who wait, who read what they get and do nothing with it.
func BenchmarkRollout100Floor(b *testing.B)  { rolloutFloor(b, 100) }
func BenchmarkRollout1000Floor(b *testing.B) { rolloutFloor(b, 1000) }

func rolloutFloor(b *testing.B, gateways int) {
	b.Helper()
	db, c := pgtest.New(b), startChild(b, "bare")
	listener, err := db.Owner.Acquire(b.Context())
	must(b, err)
	b.Cleanup(listener.Release)
	_, err = listener.Exec(b.Context(), `listen bench`)
	must(b, err)
	_, err = db.Owner.Exec(b.Context(), `create table bench (id serial primary key, at timestamptz default now())`)
	must(b, err)
	pollers := make([]*poller, gateways)
	for i := range pollers {
		pollers[i] = newPoller(b, c.url, "", 1)
	}
	var took []time.Duration
	for b.Loop() {
		each := make([]time.Duration, gateways)
		var all sync.WaitGroup
		var committed time.Time
		done := make(chan struct{})
		for i, p := range pollers {
			p.header.Set("Prefer", "wait=55")
			all.Go(func() {
				res, err := p.ask(b.Context())
				if err != nil {
					b.Error(err)
					return
				}
				arrived := time.Now()
				<-done
				each[i] = arrived.Sub(committed)
				p.header.Set("If-None-Match", res.Header.Get("ETag"))
			})
		}
		time.Sleep(300 * time.Millisecond) // until all are parked
		must(b, pgx.BeginFunc(b.Context(), db.Owner, func(tx pgx.Tx) error {
			_, err := tx.Exec(b.Context(), `with i as (insert into bench default values) select pg_notify('bench', '')`)
			return err
		}))
		committed = time.Now()
		close(done)
		_, err := listener.Conn().WaitForNotification(b.Context())
		must(b, err)
		req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, c.url, nil)
		must(b, err)
		res, err := http.DefaultClient.Do(req)
		must(b, err)
		_ = res.Body.Close() // it has none
		all.Wait()
		took = append(took, each...)
	}
	b.ReportMetric(quantile(took, 0.5), "p50-ms")
	b.ReportMetric(quantile(took, 0.99), "p99-ms")
}

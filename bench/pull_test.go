package main

import (
	"context"
	"io"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// poller asks for the policy over connections of its own.
type poller struct {
	client *http.Client
	url    string
	header http.Header
}

func newPoller(b *testing.B, url, bearer string, connections int) *poller {
	b.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: connections, MaxConnsPerHost: connections, DisableCompression: true}
	b.Cleanup(transport.CloseIdleConnections)
	p := &poller{client: &http.Client{Transport: transport}, url: url, header: http.Header{}}
	if bearer != "" {
		p.header.Set("Authorization", "Bearer "+bearer)
	}
	for { // until there is a policy
		res, err := p.ask(b.Context())
		must(b, err)
		if res.StatusCode == http.StatusOK {
			p.header.Set("If-None-Match", res.Header.Get("ETag"))
			return p
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (p *poller) ask(ctx context.Context) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url, nil)
	if err != nil {
		return nil, err
	}
	req.Header = p.header
	res, err := p.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	return res, err
}

// BenchmarkUnchanged is GET /v1/policy of a gateway that has the policy already, 64 connections at a time: requests for
// each second of the server's processor. To be compared with BenchmarkUnchangedFloor.
func BenchmarkUnchanged(b *testing.B) {
	p := startPlane(b)
	p.fill(b)
	token := p.token(b, p.enrol(b, "edge"))
	unchanged(b, p.child, newPoller(b, p.url+"/v1/policy", token, 64))
}

// BenchmarkUnchangedFloor is net/http with nothing behind it.
func BenchmarkUnchangedFloor(b *testing.B) {
	c := startChild(b, "bare")
	unchanged(b, c, newPoller(b, c.url, "", 64))
}

func unchanged(b *testing.B, server *child, p *poller) {
	b.Helper()
	const requests = 20_000
	var used time.Duration
	for b.Loop() {
		before := server.cpu(b)
		var left atomic.Int64
		left.Store(requests)
		var all sync.WaitGroup
		for range 64 {
			all.Go(func() {
				for left.Add(-1) >= 0 {
					if res, err := p.ask(b.Context()); err != nil || res.StatusCode != http.StatusNotModified {
						b.Errorf("answer: %v, %v", res, err)
						return
					}
				}
			})
		}
		all.Wait()
		used += server.cpu(b) - before
	}
	b.ReportMetric(float64(b.N)*requests/used.Seconds(), "requests/cpu-s")
}

// BenchmarkParked is what a gateway that waits for the next policy costs in memory. To be compared with
// BenchmarkParkedFloor.
func BenchmarkParked(b *testing.B) {
	p := startPlane(b)
	p.fill(b)
	token := p.token(b, p.enrol(b, "edge"))
	parked(b, p.child, newPoller(b, p.url+"/v1/policy", token, waiters))
}

// BenchmarkParkedFloor is net/http with a handler that waits.
func BenchmarkParkedFloor(b *testing.B) {
	c := startChild(b, "bare")
	parked(b, c, newPoller(b, c.url, "", waiters))
}

const waiters = 10_000

func parked(b *testing.B, server *child, p *poller) {
	b.Helper()
	for range 200 { // what the first requests leave behind is not of the parked ones
		_, err := p.ask(b.Context())
		must(b, err)
	}
	p.header.Set("Prefer", "wait=55")
	var held float64
	for b.Loop() {
		before := server.memory(b)
		ctx, cancel := context.WithCancel(b.Context())
		var all sync.WaitGroup
		for i := range waiters {
			all.Go(func() { _, _ = p.ask(ctx) }) // it ends with cancel
			if i%64 == 0 {
				runtime.Gosched()
				time.Sleep(time.Millisecond)
			}
		}
		held = (server.memory(b) - before) / 1024 / waiters
		cancel()
		all.Wait()
	}
	b.ReportMetric(held, "kB/gateway")
}

// settles waits until the server has nothing more to do.
func (c *child) settles(b *testing.B) {
	b.Helper()
	for quiet := 0; quiet < 4; {
		before := c.cpu(b)
		time.Sleep(250 * time.Millisecond)
		if c.cpu(b)-before > 30*time.Millisecond {
			quiet = 0
			continue
		}
		quiet++
	}
}

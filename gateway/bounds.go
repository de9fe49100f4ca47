package gateway

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"countersign/policy"
)

// Limits bound what goes on at once in one instance. What is 0 has its default.
type Limits struct {
	PerUpstream      int `yaml:"per_upstream"`       // calls and other requests at one server; 256
	PerCaller        int `yaml:"per_caller"`         // those of one caller, at all servers together; 32
	StreamsPerCaller int `yaml:"streams_per_caller"` // open streams of one caller; 16
	Streams          int `yaml:"streams"`            // open streams of all callers; 10000
	Queue            int `yaml:"queue"`              // requests that may wait, for five seconds at most, for a place at their server; none
	Bodies           int `yaml:"bodies"`             // MiB of requests in memory; 256
}

// UpstreamLimits are limits that differ for one server. What is 0 is as it is for all.
type UpstreamLimits struct {
	PerUpstream int `yaml:"per_upstream"`
	PerCaller   int `yaml:"per_caller"` // of one caller, at this server
	Queue       int `yaml:"queue"`
}

// Timeouts bound how long the gateway waits for one server. What is 0 has its default. Streams that only listen may be
// quiet for as long as they like.
type Timeouts struct {
	Connect   time.Duration `yaml:"connect"`    // until there is a connection, with TLS; 10s. Of a process: until its first answer; its start_timeout
	FirstByte time.Duration `yaml:"first_byte"` // from then until the answer begins; 2m
	Idle      time.Duration `yaml:"idle"`       // between parts of an answer; 5m
	Total     time.Duration `yaml:"total"`      // of a request, however much progress it makes; none
}

// maxTimeout bounds each of them: what is longer is an error of whoever wrote it.
const maxTimeout = 24 * time.Hour

func (l Limits) orDefault() Limits {
	return Limits{
		PerUpstream: cmp.Or(l.PerUpstream, 256), PerCaller: cmp.Or(l.PerCaller, 32), StreamsPerCaller: cmp.Or(l.StreamsPerCaller, 16),
		Streams: cmp.Or(l.Streams, 10_000), Queue: l.Queue, Bodies: cmp.Or(l.Bodies, 256),
	}
}

func (t Timeouts) orDefault() Timeouts {
	return Timeouts{
		Connect: cmp.Or(t.Connect, 10*time.Second), FirstByte: cmp.Or(t.FirstByte, 2*time.Minute), Idle: cmp.Or(t.Idle, 5*time.Minute), Total: t.Total,
	}
}

// timeouts are those of a server. A process has the time to start that its command has, unless its server says otherwise.
func (g *Gateway) timeouts(server string, e policy.Endpoint) Timeouts {
	c := g.config()
	t := c.Upstreams[server].Timeouts
	if e.Transport == policy.Stdio {
		t.Connect = cmp.Or(t.Connect, c.Commands[e.Command].startTime())
	}
	return t.orDefault()
}

// validateBounds says what is wrong with the limits and time-outs of c.
func (c Config) validateBounds() error {
	var errs []error
	count := func(where, key string, n int) {
		if n < 0 || n > 1_000_000 {
			errs = append(errs, fmt.Errorf("%s: %s must be from 0 to 1000000", where, key))
		}
	}
	count("limits", "per_upstream", c.Limits.PerUpstream)
	count("limits", "per_caller", c.Limits.PerCaller)
	count("limits", "streams_per_caller", c.Limits.StreamsPerCaller)
	count("limits", "streams", c.Limits.Streams)
	count("limits", "queue", c.Limits.Queue)
	count("limits", "bodies", c.Limits.Bodies)
	for server, u := range c.Upstreams {
		where := fmt.Sprintf("upstream %q", server)
		count(where, "limits.per_upstream", u.Limits.PerUpstream)
		count(where, "limits.per_caller", u.Limits.PerCaller)
		count(where, "limits.queue", u.Limits.Queue)
		for key, d := range map[string]time.Duration{
			"connect": u.Timeouts.Connect, "first_byte": u.Timeouts.FirstByte, "idle": u.Timeouts.Idle, "total": u.Timeouts.Total,
		} {
			if d < 0 || d > maxTimeout {
				errs = append(errs, fmt.Errorf("%s: timeouts.%s must be from 0s to %s", where, key, maxTimeout))
			}
		}
	}
	return errors.Join(errs...)
}

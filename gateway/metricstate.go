package gateway

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"countersign/policy"
)

// state tells Prometheus what is so now, when it asks.
type state struct {
	g    *Gateway
	desc map[string]*prometheus.Desc
}

func newState(g *Gateway) *state {
	s := &state{g: g, desc: map[string]*prometheus.Desc{}}
	for name, d := range map[string]struct {
		help   string
		labels []string
	}{
		"ready":                         {"1 while there is a policy to decide with, else 0.", nil},
		"policy_epoch":                  {"Epoch of the policy that is enforced.", nil},
		"policy_revision":               {"Revision of the policy that is enforced.", nil},
		"policy_age_seconds":            {"Since the control plane last said that this policy is in force.", nil},
		"policy_lease_seconds":          {"How long the policy may still be enforced without word from the control plane; 0: everything is denied.", nil},
		"instance_shared":               {"1 if another process reports under the name of this instance, else 0.", nil},
		"sessions":                      {"Sessions of callers that are open.", nil},
		"stdio_processes":               {"Processes of stdio servers that run.", nil},
		"records_dropped_total":         {"Call records that were lost, as neither memory nor the spool had room, or the control plane refused them.", nil},
		"records_buffered":              {"Call records in memory that wait to be sent.", nil},
		"records_spooled_bytes":         {"Call records on disk that wait to be sent.", nil},
		"upstream_up":                   {"1 if the last look at what the server offers succeeded, else 0.", []string{"server"}},
		"upstream_observed_age_seconds": {"Since what the server offers was last seen.", []string{"server"}},
		"breaker_state":                 {"Circuit breaker of calls, and of looks at what the server offers: 0 closed, 1 half-open, 2 open.", []string{"server", "purpose"}},
		"held_definitions":              {"Tools, prompts and resources that changed after they were pinned, and are denied.", []string{"server"}},
	} {
		s.desc[name] = prometheus.NewDesc(ours+name, d.help, d.labels, nil)
	}
	return s
}

// Describe names all of it.
func (s *state) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range s.desc {
		ch <- d
	}
}

// Collect tells it.
func (s *state) Collect(ch chan<- prometheus.Metric) {
	gauge := func(name string, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(s.desc[name], prometheus.GaugeValue, value, labels...)
	}
	s.policy(gauge)
	shared := 0.0
	if s.g.feed.SharedInstance() {
		shared = 1
	}
	gauge("instance_shared", shared)
	gauge("sessions", float64(s.g.sessions.count()))
	gauge("stdio_processes", float64(s.g.stdio.count()))
	buffered, spooled := s.g.records.Waiting()
	ch <- prometheus.MustNewConstMetric(s.desc["records_dropped_total"], prometheus.CounterValue, float64(s.g.records.Dropped()))
	gauge("records_buffered", float64(buffered))
	gauge("records_spooled_bytes", float64(spooled))
}

type gaugeFunc func(name string, value float64, labels ...string)

func (s *state) policy(gauge gaugeFunc) {
	snapshot, err := s.g.feed.Current()
	left, age := s.g.feed.Lease()
	gauge("policy_lease_seconds", max(left, 0).Seconds())
	if err != nil {
		gauge("ready", 0)
		return
	}
	gauge("ready", 1)
	gauge("policy_epoch", float64(snapshot.Epoch))
	gauge("policy_revision", float64(snapshot.Revision))
	gauge("policy_age_seconds", age.Seconds())
	servers := snapshot.Index.Document().Servers
	for i := range servers {
		s.server(&servers[i], gauge)
	}
}

func (s *state) server(server *policy.Server, gauge gaugeFunc) {
	held := 0
	for i := range server.Tools {
		if t := &server.Tools[i]; t.Held || s.g.watch.isHeld(server, t) {
			held++
		}
	}
	gauge("held_definitions", float64(held), server.Name)
	for _, purpose := range []breakerPurpose{forCalls, forLooks} {
		gauge("breaker_state", float64(s.g.breakers.state(server, purpose)), server.Name, string(purpose))
	}
	at, up := s.g.watch.seen(server)
	if at.IsZero() && up {
		return // nobody looked yet
	}
	value := 0.0
	if up {
		value = 1
	}
	gauge("upstream_up", value, server.Name)
	if !at.IsZero() {
		gauge("upstream_observed_age_seconds", s.g.now().Sub(at).Seconds(), server.Name)
	}
}

// seen says when a server was last seen, and whether the last look succeeded.
func (w *watcher) seen(s *policy.Server) (at time.Time, up bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := w.servers[keyOf(s)]
	if e == nil {
		return time.Time{}, true
	}
	return e.at, e.err == nil
}

func (s *sessions) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.bound)
}

func (s *stdioPool) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.instances)
}

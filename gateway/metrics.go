package gateway

import (
	"net"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"countersign/client"
	"countersign/policy"
)

// metrics are what this instance counts, for Prometheus. What is a label is bounded by what people registered: the name of
// a server or a tool that the policy does not have is "other", as whoever calls could make up any number of them. Counting
// takes no lock that calls share for longer than an addition.
type metrics struct {
	registry  *prometheus.Registry
	listening atomic.Pointer[net.Addr]

	calls     *prometheus.CounterVec   // server, tool_name, decision, reason
	tokens    *prometheus.HistogramVec // server, direction
	decisions *prometheus.CounterVec   // kind, decision, reason
	added     *prometheus.HistogramVec // server
	upstream  *prometheus.HistogramVec // server
	errors    *prometheus.CounterVec   // server
	filtered  *prometheus.CounterVec   // server
	approvals *prometheus.CounterVec   // step
	requests  *prometheus.CounterVec   // server, request
	waiting   prometheus.Gauge
	streams   prometheus.Gauge
}

// other is the label of what the policy does not know.
const other = "other"

// Steps of held calls, by which they are counted.
const (
	stepAsked       = "asked"
	stepRedeemed    = "redeemed"
	stepNotAsked    = "not_asked"
	stepNotRedeemed = "not_redeemed"
)

// ours is the prefix of metrics that only this gateway has.
const ours = "countersign_gateway_"

func newMetrics(g *Gateway) *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	added := []float64{.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1, 10}
	took := []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300}
	m := &metrics{
		registry:  prometheus.NewRegistry(),
		calls:     counter("mcp_tool_calls_total", "Calls of tools, by what became of them.", "server", "tool_name", "decision", "reason"),
		tokens:    histogram("mcp_tokens_per_call", "Estimated tokens of the arguments (request) and of what came back (response) of calls that ran.", prometheus.ExponentialBuckets(16, 4, 8), "server", "direction"),
		decisions: counter(ours+"decisions_total", "Uses of tools, prompts and resources, by what became of them.", "kind", "decision", "reason"),
		added:     histogram(ours+"added_seconds", "What the gateway added to calls that ran: neither the server's time nor that of people who decide.", added, "server"),
		upstream:  histogram(ours+"upstream_seconds", "How long servers took for calls that ran.", took, "server"),
		errors:    counter(ours+"tool_errors_total", "Calls that ran and that the server answered with an error.", "server"),
		filtered:  counter(ours+"filtered_texts_total", "Texts of results that the output filter changed.", "server"),
		approvals: counter(ours+"approvals_total", "Steps of calls that need an approval.", "step"),
		requests:  counter(ours+"client_requests_denied_total", "What servers asked of clients and may not.", "server", "request"),
		waiting:   gauge(ours+"held_waiting", "Requests that wait for an approval now."),
		streams:   gauge(ours+"streams", "Streams to callers that are open."),
	}
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: ours + "build_info", Help: "1, with the version in its labels.",
		ConstLabels: prometheus.Labels{"version": g.client.Version(), "goversion": runtime.Version()},
	})
	info.Set(1)
	m.registry.MustRegister(
		m.calls, m.tokens, m.decisions, m.added, m.upstream, m.errors, m.filtered, m.approvals, m.requests, m.waiting, m.streams, info,
		newState(g), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

// count counts a use that is over, by its record.
func (m *metrics) count(x *exchange, r *client.CallRecord) {
	m.decisions.WithLabelValues(string(r.Kind), string(r.Decision), r.Reason).Inc()
	server := x.serverLabel()
	if r.Kind == policy.KindTool {
		m.calls.WithLabelValues(server, x.toolLabel(), string(r.Decision), r.Reason).Inc()
	}
	if r.Filtered > 0 {
		m.filtered.WithLabelValues(server).Add(float64(r.Filtered))
	}
	if r.Decision != client.AllowedCall && r.Decision != client.FailedCall {
		return
	}
	m.tokens.WithLabelValues(server, "request").Observe(float64(r.RequestTokens))
	m.tokens.WithLabelValues(server, "response").Observe(float64(r.ResponseTokens))
	m.upstream.WithLabelValues(server).Observe(x.log.upstream.Seconds())
	took := time.Duration(r.DurationUS) * time.Microsecond
	m.added.WithLabelValues(server).Observe(max(took-x.log.upstream, 0).Seconds())
	if r.ToolError {
		m.errors.WithLabelValues(server).Inc()
	}
}

// serverLabel is the name of the server, if it is one that the policy has.
func (x *exchange) serverLabel() string {
	if x.server == nil {
		return other
	}
	return x.server.Name
}

// toolLabel is the name of the tool, prompt or resource, if it is one that the policy has.
func (x *exchange) toolLabel() string {
	if !x.log.known {
		return other
	}
	return x.log.use.name
}

// openStream counts a stream to the caller until the exchange is over.
func (x *exchange) openStream() {
	if !x.log.streams {
		x.log.streams = true
		x.g.metrics.streams.Inc()
	}
}

package gateway

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"countersign/client"
	"countersign/internal/orders"
)

// scrape is what Prometheus would read.
type scrape map[string]*dto.MetricFamily

func (s *stand) scrape() scrape {
	s.t.Helper()
	s.eventually("metrics to be served", func() bool { return s.gateway.metrics.listening.Load() != nil })
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, "http://"+(*s.gateway.metrics.listening.Load()).String()+"/metrics", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	res, err := s.front.Client().Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		s.t.Fatalf("%d: %v", res.StatusCode, err)
	}
	return families
}

// value is that of the metric with exactly these labels: of a histogram how often it was observed; -1 if there is none.
func (s scrape) value(name string, labels ...string) float64 {
	for _, m := range s[name].GetMetric() {
		var have []string
		for _, l := range m.GetLabel() {
			have = append(have, l.GetValue())
		}
		slices.Sort(have)
		if slices.Equal(have, slices.Sorted(slices.Values(labels))) {
			return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return -1
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	s := newStand(t, func(c *Config) { c.Metrics.Listen = "127.0.0.1:0" }).open()
	ada := s.connect("ada", "2025-11-25", nil)
	call(t, ada, "list_orders", `{}`)
	call(t, ada, "list_orders", `{"status":"open"}`)
	call(t, ada, "update_order", `{"id":"o-9999","status":"shipped"}`) // which the server answers with an error
	call(t, ada, "list_orders", `{"status":7}`)                        // is not valid
	s.modernCall("drop_all", `{}`)                                     // is not there
	held := s.modernCall("delete_orders", `{"ids":["o-1001"]}`)
	s.plane.decide(s.plane.only().ID, client.ApprovalApproved, "")
	if s.modernCall("delete_orders", `{"ids":["o-1001"]}`); held.status != http.StatusOK {
		t.Fatalf("held: %s", held.body)
	}
	s.postTo("com.nobody/one", `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`)
	var got scrape
	s.eventually("the counts", func() bool {
		got = s.scrape()
		return got.value(ours+"decisions_total", "tool", "denied", "unknown_server") == 1 && got.value(ours+"upstream_up", orders.Name) == 1
	})
	for _, want := range []struct {
		name   string
		labels []string
		value  float64
	}{
		{"mcp_tool_calls_total", []string{orders.Name, "list_orders", "allowed", "allowed"}, 2},
		{"mcp_tool_calls_total", []string{orders.Name, "list_orders", "denied", "invalid_arguments"}, 1},
		{"mcp_tool_calls_total", []string{orders.Name, "update_order", "allowed", "allowed"}, 1},
		{"mcp_tool_calls_total", []string{orders.Name, "delete_orders", "held", "approval_required"}, 1},
		{"mcp_tool_calls_total", []string{orders.Name, "delete_orders", "allowed", "approved"}, 1},
		{"mcp_tool_calls_total", []string{orders.Name, other, "denied", "unknown_tool"}, 1},
		{"mcp_tool_calls_total", []string{other, other, "denied", "unknown_server"}, 1},
		{"mcp_tokens_per_call", []string{orders.Name, "request"}, 4},
		{"mcp_tokens_per_call", []string{orders.Name, "response"}, 4},
		{ours + "decisions_total", []string{"tool", "allowed", "allowed"}, 3},
		{ours + "added_seconds", []string{orders.Name}, 4},
		{ours + "upstream_seconds", []string{orders.Name}, 4},
		{ours + "tool_errors_total", []string{orders.Name}, 1},
		{ours + "approvals_total", []string{stepAsked}, 2},
		{ours + "approvals_total", []string{stepRedeemed}, 1},
		{ours + "held_waiting", nil, 0},
		{ours + "ready", nil, 1},
		{ours + "policy_epoch", nil, 1},
		{ours + "policy_revision", nil, float64(s.source.Generation)},
		{ours + "held_definitions", []string{orders.Name}, 0},
		{ours + "breaker_state", []string{orders.Name, string(forCalls)}, 0},
		{ours + "breaker_state", []string{orders.Name, string(forLooks)}, 0},
		{ours + "sessions", nil, 1},
		{ours + "instance_shared", nil, 0},
		{ours + "stdio_processes", nil, 0},
		{ours + "records_dropped_total", nil, 0},
	} {
		if v := got.value(want.name, want.labels...); v != want.value {
			t.Errorf("%s%v is %v, want %v", want.name, want.labels, v, want.value)
		}
	}
	for _, name := range []string{
		"policy_age_seconds", "policy_lease_seconds", "upstream_observed_age_seconds", "streams", "records_buffered",
		"records_spooled_bytes", "build_info",
	} {
		if len(got[ours+name].GetMetric()) != 1 {
			t.Errorf("%s is not there", name)
		}
	}
	s.plane.mu.Lock()
	s.plane.namesake = true
	s.plane.mu.Unlock()
	s.publish()
	s.eventually("the namesake to be known", func() bool { return s.scrape().value(ours+"instance_shared") == 1 })
}

func (p *plane) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.approvals)
}

func (p *plane) records() []client.CallRecord {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.calls)
}

// TestAddedTimeIsNotThatOfPeople has two identical calls wait: one for people, the other for the first.
func TestAddedTimeIsNotThatOfPeople(t *testing.T) {
	t.Parallel()
	s := newStand(t, func(c *Config) { c.Metrics.Listen, c.HoldWait = "127.0.0.1:0", 30*time.Second }).open()
	const args = `{"ids":["o-1001"]}`
	began := time.Now()
	first := inBackground(func() reply { return s.modernCall("delete_orders", args) })
	s.eventually("the first to be asked for", func() bool { return s.plane.count() == 1 })
	second := inBackground(func() reply { return s.modernCall("delete_orders", args) })
	s.eventually("both to wait", func() bool { return s.scrape().value(ours+"held_waiting") == 2 })
	const waited = 300 * time.Millisecond
	time.Sleep(waited)
	s.plane.decide("apr_1", client.ApprovalApproved, "")
	<-first
	s.eventually("the second to be asked for", func() bool { return s.plane.count() == 2 })
	s.plane.decide("apr_2", client.ApprovalApproved, "")
	<-second
	s.eventually("the records", func() bool { return len(s.plane.records()) == 2 })
	var added float64
	for _, r := range s.plane.records() {
		added += float64(r.DurationUS-r.UpstreamUS) / 1e6
	}
	both, people := 2*time.Since(began).Seconds(), 2*waited.Seconds()
	counted := s.scrape()[ours+"added_seconds"].GetMetric()[0].GetHistogram().GetSampleSum()
	if most := both - people; counted > most || added > most {
		t.Errorf("both calls took %f s at most, people %f s of it; %f s were counted as added, and %f s recorded", both, people, counted, added)
	}
}

// postTo is a request for a server of another name.
func (s *stand) postTo(name, body string) reply {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.front.URL+"/mcp/"+name, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.idp.token("ada"))
	req.Header.Set("Content-Type", "application/json")
	return s.do(req)
}

func TestMetricsAreNotForBrowsersNorWhereCallersCall(t *testing.T) {
	t.Parallel()
	s := newStand(t, func(c *Config) { c.Metrics.Listen = "127.0.0.1:0" }).open()
	s.scrape()
	if r := s.get("/metrics"); r.status != http.StatusNotFound {
		t.Errorf("callers get %d", r.status)
	}
	address := "http://" + (*s.gateway.metrics.listening.Load()).String()
	for path, change := range map[string]func(*http.Request){
		"/metrics":  func(r *http.Request) { r.Host = "evil.test" },
		"/metrics?": func(r *http.Request) { r.Header.Set("Origin", "http://evil.test") },
		"/":         func(*http.Request) {},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		change(req)
		if r := s.do(req); r.status == http.StatusOK {
			t.Errorf("%s: %d", path, r.status)
		}
	}
}

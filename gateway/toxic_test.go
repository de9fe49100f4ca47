package gateway

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"

	"countersign/client"
	"countersign/internal/orders"
	"countersign/policy"
)

// bad is a line that goes bad when a test says so.
type bad struct {
	t     *testing.T
	proxy *toxiproxy.Proxy
}

func newBad(t *testing.T, url string) *bad {
	t.Helper()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	b := &bad{t, toxiproxy.NewProxy(server, t.Name(), "127.0.0.1:0", strings.TrimPrefix(url, "http://"))}
	if err := b.proxy.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.proxy.Stop)
	return b
}

func (b *bad) url() string { return "http://" + b.proxy.Listen }

func (b *bad) goes(toxic string) {
	b.t.Helper()
	if _, err := b.proxy.Toxics.AddToxicJson(strings.NewReader(toxic)); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bad) isGood() { b.proxy.Toxics.ResetToxics(b.t.Context()) }

// toxics are the ways in which a line goes bad. What goes upstream are requests.
var toxics = map[string]string{
	"latency":                 `{"name":"x","type":"latency","stream":"downstream","attributes":{"latency":40}}`,
	"cut while asking":        `{"name":"x","type":"reset_peer","stream":"upstream","attributes":{"timeout":0}}`,
	"cut while answering":     `{"name":"x","type":"reset_peer","stream":"downstream","attributes":{"timeout":0}}`,
	"in slices":               `{"name":"x","type":"slicer","stream":"downstream","attributes":{"average_size":60,"size_variation":20,"delay":1}}`,
	"asked into a black hole": `{"name":"x","type":"timeout","stream":"upstream","attributes":{"timeout":0}}`,
	"no answer comes back":    `{"name":"x","type":"timeout","stream":"downstream","attributes":{"timeout":0}}`,
	"half an answer":          `{"name":"x","type":"limit_data","stream":"downstream","attributes":{"bytes":250}}`,
	"half a request":          `{"name":"x","type":"limit_data","stream":"upstream","attributes":{"bytes":250}}`,
	"a narrow line":           `{"name":"x","type":"bandwidth","stream":"downstream","attributes":{"rate":20}}`,
}

// impatient is HTTP to the control plane that waits less long for each answer than a gateway does, but for what may wait.
type impatient struct{ *http.Transport }

// RoundTrip bounds the time until the answer is there.
func (i *impatient) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Path == "/v1/policy" || r.URL.Path == "/v1/discoveries/lease" || r.URL.Query().Has("wait") {
		return i.Transport.RoundTrip(r)
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	timer := time.AfterFunc(800*time.Millisecond, func() { cancel(context.DeadlineExceeded) })
	res, err := i.Transport.RoundTrip(r.WithContext(ctx))
	timer.Stop()
	if err != nil {
		cancel(err)
	}
	return res, err
}

// newToxicStand has a bad line to its server, and one to its control plane.
func newToxicStand(t *testing.T) (s *stand, server, plane *bad) {
	t.Helper()
	transport := &impatient{http.DefaultTransport.(*http.Transport).Clone()}
	t.Cleanup(transport.CloseIdleConnections)
	s = newStandOver(t, transport, func(c *Config) {
		plane = newBad(t, c.ControlPlane)
		c.ControlPlane = plane.url()
		c.Upstreams = map[string]Upstream{orders.Name: {Timeouts: Timeouts{Connect: 800 * time.Millisecond, FirstByte: 800 * time.Millisecond, Idle: 800 * time.Millisecond}}}
	})
	s.restsFor(50 * time.Millisecond)
	s.open()
	server = newBad(t, s.up.URL)
	s.source.Servers[0].Endpoint.URL = server.url()
	s.source.Guardrails = append(s.source.Guardrails, policy.SourceGuardrail{
		Guardrail: policy.Guardrail{ID: "grd_2", Name: "frozen", Subject: policy.Subject{Users: []string{"ada"}}, Effect: policy.Effect{Deny: true}},
		Resource:  policy.Resource{Servers: []string{"*"}, Names: []string{"list_orders"}},
	})
	return s.publish(), server, plane
}

// said is what an answer says of the call: "done", "not executed", "held" or "unknown".
func (s *stand) said(r reply) string {
	s.t.Helper()
	if r.status != 200 || strings.Contains(r.body, "EOF") || strings.Contains(r.body, "reset by peer") {
		s.t.Errorf("not a clear answer: HTTP %d %s", r.status, r.body)
	}
	for text, outcome := range map[string]string{
		"NOT EXECUTED": "not executed", "(not executed)": "not executed", "OUTCOME NOT KNOWN": "unknown", metaApproval: "held",
	} {
		if strings.Contains(r.body, text) && (outcome != "not executed" || !strings.Contains(r.body, metaApproval)) {
			return outcome
		}
	}
	if r.result == nil {
		s.t.Errorf("no result: %s", r.body)
	}
	return "done"
}

// agrees holds an answer to what happened: what was executed is never told as not executed, and nothing ran twice.
func (s *stand) agrees(toxic, what, said string, executions int) {
	s.t.Helper()
	if executions > 1 || said == "done" && executions != 1 || said != "done" && said != "unknown" && executions != 0 {
		s.t.Errorf("%s, %s: told %q, and executed %d times", toxic, what, said, executions)
	}
}

// TestBadLineToTheServer: whatever the line does, what policy forbids does not pass, nothing is executed twice, the caller
// is told whether it was, and all goes on when the line is good again.
func TestBadLineToTheServer(t *testing.T) {
	t.Parallel()
	s, line, _ := newToxicStand(t)
	n := 0
	for name, toxic := range toxics {
		n++
		held := fmt.Sprintf(`{"ids":["o-%d"]}`, 2000+n)
		if said := s.said(s.modernCall("delete_orders", held)); said != "held" {
			t.Fatalf("%s: %s", name, said)
		}
		s.plane.decide(fmt.Sprintf("apr_%d", n), client.ApprovalApproved, "")
		update, remove, list := s.shop.Executions("update_order"), s.shop.Executions("delete_orders"), s.shop.Executions("list_orders")
		line.goes(toxic)
		plain := s.said(s.modernCall("update_order", `{"id":"o-1001"}`))
		approved := s.said(s.modernCall("delete_orders", held))
		forbidden := s.said(s.modernCall("list_orders", `{}`))
		s.post(`{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{`+modernMeta+`}}`, modernHeader("tools/list", ""))
		line.isGood()
		s.eventually(name+" to be over", func() bool {
			r := s.post(`{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{`+modernMeta+`}}`, modernHeader("tools/list", ""))
			return r.result != nil
		})
		s.agrees(name, "a plain call", plain, s.shop.Executions("update_order")-update)
		s.agrees(name, "an approved call", approved, s.shop.Executions("delete_orders")-remove)
		if forbidden != "not executed" || s.shop.Executions("list_orders") != list {
			t.Errorf("%s: what is forbidden: %s", name, forbidden)
		}
	}
}

// TestBadLineToTheControlPlane: the policy that is there stays in force, and an approval is used once or not at all.
func TestBadLineToTheControlPlane(t *testing.T) {
	t.Parallel()
	s, _, line := newToxicStand(t)
	n := 0
	for name, toxic := range toxics {
		n++
		held := fmt.Sprintf(`{"ids":["o-%d"]}`, 3000+n)
		if said := s.said(s.modernCall("delete_orders", held)); said != "held" {
			t.Fatalf("%s: %s", name, said)
		}
		s.plane.decide(fmt.Sprintf("apr_%d", n), client.ApprovalApproved, "")
		update, remove := s.shop.Executions("update_order"), s.shop.Executions("delete_orders")
		line.goes(toxic)
		if said := s.said(s.modernCall("update_order", `{"id":"o-1001"}`)); said != "done" {
			t.Errorf("%s: a plain call: %s", name, said)
		}
		approved := s.said(s.modernCall("delete_orders", held))
		line.isGood()
		executions := s.shop.Executions("delete_orders") - remove
		s.agrees(name, "an approved call", approved, executions)
		again := s.said(s.modernCall("delete_orders", held))
		if now := s.shop.Executions("delete_orders") - remove; now > 1 || executions == 1 && again == "done" {
			t.Errorf("%s: executed %d times by one approval; first %s, then %s", name, now, approved, again)
		}
		if again == "held" { // the approval was used: this one is another
			n++
			s.plane.decide(fmt.Sprintf("apr_%d", n), client.ApprovalCancelled, "")
		}
		if got := s.shop.Executions("update_order") - update; got != 1 {
			t.Errorf("%s: the plain call was executed %d times", name, got)
		}
	}
}

// TestControlPlaneThatIsGone denies everything once the lease is over, and goes on by itself when the line is good again.
func TestControlPlaneThatIsGone(t *testing.T) {
	t.Parallel()
	for _, toxic := range []string{"cut while answering", "no answer comes back", "asked into a black hole"} {
		t.Run(toxic, func(t *testing.T) {
			t.Parallel()
			s, _, line := newToxicStand(t)
			s.plane.mu.Lock()
			s.plane.leaseFor = "1"
			s.plane.mu.Unlock()
			s.publish()
			line.goes(toxics[toxic])
			s.deniesUntilGood(line)
		})
	}
}

func (s *stand) deniesUntilGood(line *bad) {
	s.t.Helper()
	s.eventually("the lease to be over", func() bool {
		before := s.shop.Executions("update_order")
		r := s.modernCall("update_order", `{"id":"o-1001"}`)
		return strings.Contains(r.body, `"reason":"policy_expired"`) && s.shop.Executions("update_order") == before
	})
	line.isGood()
	s.eventually("the policy to be in force again", func() bool {
		return s.said(s.modernCall("update_order", `{"id":"o-1001"}`)) == "done"
	})
}

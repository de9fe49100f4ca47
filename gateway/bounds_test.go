package gateway

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sony/gobreaker/v2"

	"countersign/client"
	"countersign/internal/orders"
)

func TestPlaceIsHandedToWhoWaitsLongest(t *testing.T) {
	t.Parallel()
	p, k := newPlaces(), placeKey{kind: placeUpstream, server: "srv_1"}
	if !p.take(k, 1) || p.take(k, 1) {
		t.Fatal("one place is not one place")
	}
	got := make(chan bool)
	go func() { got <- p.wait(t.Context(), k, 1, 1) }()
	for p.mu.Lock(); len(p.waiting[k]) == 0; p.mu.Lock() {
		p.mu.Unlock()
		time.Sleep(time.Millisecond)
	}
	p.mu.Unlock()
	if p.wait(t.Context(), k, 1, 1) {
		t.Error("a queue of one took two")
	}
	p.leave(k)
	if !<-got || p.take(k, 1) {
		t.Error("the place did not go to who waited")
	}
	p.leave(k)
	if p.count(placeUpstream) != 0 || len(p.taken)+len(p.waiting) != 0 {
		t.Errorf("left behind: %v %v", p.taken, p.waiting)
	}
}

// hangs lets calls of the server hang until the test says so, and tells how many do.
func (s *stand) hangs() (hanging chan struct{}, release func()) {
	hanging, over := make(chan struct{}, 10), make(chan struct{})
	s.misbehave("tools/call", func(w http.ResponseWriter, _ *http.Request) {
		hanging <- struct{}{}
		<-over
		answerWith(200, "application/json", `{"jsonrpc":"2.0","id":1,"result":{"content":[]}}`)(w, nil)
	})
	return hanging, sync.OnceFunc(func() { close(over) })
}

func TestTooManyAtOnce(t *testing.T) {
	t.Parallel()
	s := newStand(t, func(c *Config) { c.Limits = Limits{PerCaller: 1} }).open()
	hanging, release := s.hangs()
	defer release()
	first := make(chan reply)
	go func() { first <- s.modernCall("list_orders", `{}`) }()
	<-hanging
	r := s.modernCall("list_orders", `{}`)
	if r.status != 200 || !strings.Contains(r.body, "TOO MANY AT ONCE (not executed)") || !strings.Contains(r.body, string(reasonBusy)) || r.header.Get("Retry-After") != "1" {
		t.Errorf("a second one: HTTP %d %v %s", r.status, r.header, r.body)
	}
	if r = s.modernCall("delete_orders", `{"ids":["o-1001"]}`); !strings.Contains(r.body, metaApproval) {
		t.Errorf("a held call needs no place: %s", r.body)
	}
	if r = s.post(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`, nil); r.status >= 400 {
		t.Errorf("a cancellation does not pass: HTTP %d %s", r.status, r.body)
	}
	release()
	if r = <-first; r.result == nil {
		t.Errorf("the first one: %s", r.body)
	}
	s.eventually("every place to be free", func() bool {
		return s.gateway.places.count(placeCaller)+s.gateway.places.count(placeRequest)+s.gateway.places.count(placeUpstream) == 0 && s.gateway.bodies.Load() == 0
	})
}

func TestServerThatIsDown(t *testing.T) {
	t.Parallel()
	s := newStand(t, func(c *Config) { c.Metrics.Listen = "127.0.0.1:0" }).open()
	s.modernCall("delete_orders", `{"ids":["o-1001"]}`)
	s.plane.decide(s.plane.only().ID, client.ApprovalApproved, "")
	s.misbehave("tools/call", answerWith(500, "application/json", `{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"of a tool"}}`))
	for range 2 * breakAfter {
		if r := s.modernCall("list_orders", `{}`); strings.Contains(r.body, "SERVER DOWN") {
			t.Fatalf("an error of a tool was counted: %s", r.body)
		}
	}
	s.restsFor(300 * time.Millisecond)
	s.gateway.breakers.keep(nil) // begin anew
	s.misbehave("tools/call", answerWith(503, "text/plain", "down"))
	for range breakAfter {
		if r := s.modernCall("list_orders", `{}`); !strings.Contains(r.body, outcomeOpen) {
			t.Fatalf("before: %s", r.body)
		}
	}
	sent := len(s.calls("tools/call"))
	if r := s.modernCall("delete_orders", `{"ids":["o-1001"]}`); !strings.Contains(r.body, "SERVER DOWN (not executed)") || !strings.Contains(r.body, "was not used") {
		t.Errorf("an approved call: %s", r.body)
	}
	if n := len(s.calls("tools/call")); n != sent {
		t.Errorf("%d calls reached a server that is left alone", n-sent)
	}
	if v := s.scrape().value(ours+"breaker_state", orders.Name, string(forCalls)); v < 1 {
		t.Errorf("the state of the breaker is told as %v", v)
	}
	s.misbehave("nothing", nil)
	s.eventually("the server to be tried again", func() bool {
		return s.modernCall("list_orders", `{}`).result != nil && s.gateway.breakers.state(&s.source.Servers[0], forCalls) == gobreaker.StateClosed
	})
	if r := s.modernCall("delete_orders", `{"ids":["o-1001"]}`); r.result == nil || s.shop.Executions("delete_orders") != 1 {
		t.Errorf("the approval was lost: %s", r.body)
	}
}

func TestServerThatTakesTooLong(t *testing.T) {
	t.Parallel()
	s := newStand(t, func(c *Config) {
		c.Upstreams = map[string]Upstream{orders.Name: {Timeouts: Timeouts{FirstByte: 200 * time.Millisecond}}}
	}).open()
	_, release := s.hangs()
	defer release()
	if r := s.modernCall("list_orders", `{}`); !strings.Contains(r.body, "OUTCOME NOT KNOWN. The server did not begin to answer in time.") || !strings.Contains(r.body, `"executed":"unknown"`) {
		t.Errorf("hangs: %s", r.body)
	}
	s.modernCall("delete_orders", `{"ids":["o-1001"]}`)
	s.plane.decide(s.plane.only().ID, client.ApprovalApproved, "")
	s.modernCall("delete_orders", `{"ids":["o-1001"]}`)
	if got := s.plane.outcomeList(); len(got) != 1 || got[0] != client.Indeterminate {
		t.Errorf("a held call that hangs is %v", got)
	}
	s.source.Servers[0].Endpoint.URL = "http://127.0.0.1:1"
	s.publish()
	if r := s.modernCall("list_orders", `{}`); !strings.Contains(r.body, "NOT EXECUTED. The server cannot be reached.") || !strings.Contains(r.body, `"executed":"no"`) {
		t.Errorf("unreachable: %s", r.body)
	}
}

func TestBoundsThatAreRefused(t *testing.T) {
	t.Parallel()
	err := Config{Limits: Limits{Queue: -1}, Upstreams: map[string]Upstream{"a/b": {Timeouts: Timeouts{Idle: -time.Second}}}}.validateBounds()
	for _, want := range []string{"limits: queue must be", `upstream "a/b": timeouts.idle must be`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// restsFor changes how long breakers that are made from now on stay open.
func (s *stand) restsFor(d time.Duration) {
	b := s.gateway.breakers
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rest = d
}

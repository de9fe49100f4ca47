package gateway

import (
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"sync"
	"testing"
	"time"

	"countersign/client"
)

// The soak is short in make test and long in make soak.
var soakMinutes = flag.Int("soak.minutes", 0, "how long the gateway is under mixed load; 0: a moment")

const soakMoment = 4 * time.Second

// TestSoak has callers of every kind at work while the policy changes and the server is cut off now and then. Neither
// goroutines nor memory may grow with time. What the control plane and the server of the test remember is forgotten.
func TestSoak(t *testing.T) {
	s, _, _ := newToxicStand(t)
	s.gateway.log, s.cutOff = slog.New(slog.DiscardHandler), true
	long := max(time.Duration(*soakMinutes)*time.Minute, soakMoment)
	over := time.Now().Add(long)
	goOn := func() bool { return time.Now().Before(over) && t.Context().Err() == nil }
	var load sync.WaitGroup
	for range 3 {
		load.Go(func() {
			for goOn() {
				s.modernCall("update_order", `{"id":"o-1001"}`)
				s.modernCall("list_orders", `{}`) // is forbidden
				s.post(`{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{`+modernMeta+`}}`, modernHeader("tools/list", ""))
				s.comesAndGoes()
			}
		})
	}
	load.Go(func() {
		for n := 0; goOn(); n++ {
			s.heldOnce(fmt.Sprintf(`{"ids":["o-%d"]}`, 2000+n%5000))
			s.plane.forget()
			s.mu.Lock()
			s.sent = nil
			s.mu.Unlock()
		}
	})
	load.Go(func() {
		for n := 0; goOn(); n++ {
			if n%2 == 0 {
				s.publish()
			} else {
				s.up.CloseClientConnections() // not by a toxic: those leave goroutines behind
			}
			time.Sleep(400 * time.Millisecond)
		}
	})
	goroutines, heap := watchGrowth(long, goOn)
	load.Wait()
	goroutines.steady(t, "goroutines", 40)
	heap.steady(t, "heap", 16<<20)
}

// comesAndGoes opens a session, lists, opens its stream, drops that and ends the session.
func (s *stand) comesAndGoes() {
	r := s.post(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`, nil)
	session := http.Header{headerSession: {r.header.Get(headerSession)}, headerVersion: {"2025-11-25"}}
	if r.header.Get(headerSession) == "" {
		return // the server is cut off
	}
	s.post(`{"jsonrpc":"2.0","method":"notifications/initialized"}`, session)
	s.post(`{"jsonrpc":"2.0","id":2,"method":"tools/list"}`, session)
	for _, method := range []string{http.MethodGet, http.MethodDelete} {
		req, err := http.NewRequestWithContext(s.t.Context(), method, s.url(), nil)
		if err != nil {
			return
		}
		req.Header = session.Clone()
		req.Header.Set("Authorization", "Bearer "+s.idp.token("ada"))
		req.Header.Set("Accept", "text/event-stream")
		if res, err := s.front.Client().Do(req); err == nil {
			_ = res.Body.Close() // while it is open
		}
	}
}

// heldOnce has a call held, approved and run.
func (s *stand) heldOnce(arguments string) {
	s.modernCall("delete_orders", arguments)
	s.plane.mu.Lock()
	for _, a := range s.plane.approvals {
		a.State = client.ApprovalApproved
	}
	s.plane.mu.Unlock()
	s.modernCall("delete_orders", arguments)
}

// forget drops what the control plane of the test remembers.
func (p *plane) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.approvals)
	p.observations, p.outcomes, p.calls = nil, nil, nil
}

// samples are values over time, at even distances.
type samples []float64

// watchGrowth samples while the load goes on.
func watchGrowth(long time.Duration, goOn func() bool) (goroutines, heap samples) {
	for goOn() {
		time.Sleep(long / 60)
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		goroutines, heap = append(goroutines, float64(runtime.NumGoroutine())), append(heap, float64(m.HeapAlloc))
	}
	return goroutines, heap
}

// steady fits a line through what came after the first third, and holds its rise to a quarter of the mean and slack.
func (s samples) steady(t *testing.T, what string, slack float64) {
	t.Helper()
	s = s[len(s)/3:]
	n := float64(len(s))
	if n < 5 {
		t.Fatalf("%s: %d samples", what, len(s))
	}
	var sx, sy, sxx, sxy float64
	for i, y := range s {
		x := float64(i)
		sx, sy, sxx, sxy = sx+x, sy+y, sxx+x*x, sxy+x*y
	}
	rise := (n*sxy - sx*sy) / (n*sxx - sx*sx) * n
	t.Logf("%s: %.0f on average, %+.0f over the run", what, sy/n, rise)
	if rise > sy/n/4+slack {
		t.Errorf("%s grow: %+.0f over the run, at %.0f on average", what, rise, sy/n)
	}
}

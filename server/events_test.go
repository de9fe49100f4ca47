package server

import (
	"bufio"
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"countersign/approvals"
	"countersign/client"
)

// stream is an open stream of events.
type stream struct {
	t      *testing.T
	events chan string // names of events; closed when the stream ends
}

func (c *caller) stream(t *testing.T, topic string) *stream {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	resp, err := c.do(ctx, http.MethodGet, "/events?topic="+topic, "")
	must(t, err)
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" || resp.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %v", resp.StatusCode, resp.Header)
	}
	s := &stream{t: t, events: make(chan string, 100)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(s.events)
		defer resp.Body.Close()
		for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
			if name, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
				s.events <- name
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return s
}

// next waits for an event; "" when the stream has ended.
func (s *stream) next() string {
	s.t.Helper()
	select {
	case name := <-s.events:
		return name
	case <-time.After(10 * time.Second):
		s.t.Fatal("no event, and no end of the stream")
		return ""
	}
}

func TestEvents(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g, tessa := w.enrol("edge", "*"), w.signIn("tessa")
	queue := tessa.stream(t, "approvals")
	if name := queue.next(); name != "approvals" { // for what happened between the page and the stream
		t.Fatalf("began with %q", name)
	}
	h := w.hold(g)
	if name := queue.next(); name != "approvals" {
		t.Errorf("after a call was held: %q", name)
	}
	h.vote(t, w, approvals.Deny)
	if name := queue.next(); name != "approvals" {
		t.Errorf("after the vote: %q", name)
	}

	tessa.post("/servers/"+h.server.ID+"/discover", nil).want(t, http.StatusSeeOther)
	job := into[client.Job](t, g.call(http.MethodPost, client.PathLease, client.LeaseRequest{Instance: "i1"}).want(t, http.StatusOK))
	topic := "discovery-" + job.ID
	watch := tessa.stream(t, topic)
	if name := watch.next(); name != topic {
		t.Fatalf("began with %q", name)
	}
	g.call(http.MethodPost, client.PathDiscoveries+job.ID+"/progress", client.Progress{Steps: []client.Step{{Name: client.StepConnect, State: client.StepRunning}}}).want(t, http.StatusOK)
	if name := watch.next(); name != topic {
		t.Errorf("after a step: %q", name)
	}
}

func TestAStreamEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, end := range map[string]func(*caller){
		"by signing out":         func(c *caller) { c.post("/signout", nil).want(t, http.StatusSeeOther) },
		"with the session":       func(*caller) { w.exec(`update sessions set expires_at = clock_timestamp()`) },
		"when the person is out": func(*caller) { w.exec(`update people set disabled_at = clock_timestamp()`) },
	} {
		w.exec(`update people set disabled_at = null`)
		ada := w.signIn("ada")
		s := ada.stream(t, "approvals")
		s.next()
		end(ada)
		if event := s.next(); event != "" {
			t.Errorf("%s: %q", name, event)
		}
	}
	w.exec(`update people set disabled_at = null`)
	s := w.signIn("ada").stream(t, "approvals")
	s.next()
	w.stop()
	if event := s.next(); event != "" {
		t.Errorf("after the replica stopped: %q", event)
	}
}

func TestAStreamOfNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.signIn("ada")
	for _, topic := range []string{"", "nothing", "discovery-", "discovery-none", "approvals%0a", "APPROVALS"} {
		ada.get("/events?topic="+topic).want(t, http.StatusNotFound)
	}
	w.anonymous().get("/events?topic=approvals").want(t, http.StatusNoContent)
	w.signIn("nora").get("/events?topic=approvals").want(t, http.StatusForbidden)
}

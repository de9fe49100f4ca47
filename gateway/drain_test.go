package gateway

import (
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"countersign/client"
)

// slowly makes the server answer calls only when it is let go; began is told of each.
func (s *stand) slowly() (began, letGo chan struct{}) {
	began, letGo = make(chan struct{}, 8), make(chan struct{})
	s.misbehave("tools/call", func(w http.ResponseWriter, _ *http.Request) {
		began <- struct{}{}
		<-letGo
		answerWith(200, "application/json", `{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"late"}]}}`)(w, nil)
	})
	return began, letGo
}

// leaving drains the gateway; cut is told how many requests were cut off.
func (s *stand) leaving() (cut chan int) {
	cut = make(chan int, 1)
	go func() { cut <- s.gateway.leave(&http.Server{}) }() // its listener stays, so that we see what is answered
	s.eventually("the doors to close", s.gateway.drain.closed)
	return cut
}

// inBackground makes a request while the test goes on.
func inBackground(ask func() reply) chan reply {
	answered := make(chan reply, 1)
	go func() { answered <- ask() }()
	return answered
}

// TestDrainLetsACallEnd: what runs ends, what comes is refused and says that nothing was executed.
func TestDrainLetsACallEnd(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open()
	if r := s.get("/readyz"); r.status != 200 || !strings.Contains(r.body, `"instance":"i1","configuration":{"loaded_at":"`) {
		t.Errorf("before: %d %s", r.status, r.body)
	}
	began, letGo := s.slowly()
	slow := inBackground(func() reply { return s.modernCall("list_orders", `{}`) })
	<-began
	cut := s.leaving()
	if r := s.get("/readyz"); r.status != 503 || !strings.Contains(r.body, `"status":"draining"`) {
		t.Errorf("readyz: %d %s", r.status, r.body)
	}
	r := s.modernCall("list_orders", `{}`)
	if r.status != 503 || r.header.Get("Retry-After") == "" || r.code != codeStopping || !strings.Contains(r.text, "Nothing was executed") {
		t.Errorf("a new call: %d %v %s", r.status, r.header, r.body)
	}
	if r := s.post(`{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{`+modernMeta+`}}`, modernHeader("subscriptions/listen", "")); r.status != 503 {
		t.Errorf("a new stream: %d %s", r.status, r.body)
	}
	if r := s.post(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`, nil); r.status >= 400 {
		t.Errorf("a cancellation: %d %s", r.status, r.body)
	}
	close(letGo)
	if r := <-slow; !strings.Contains(r.body, "late") {
		t.Errorf("the call that ran: %s", r.body)
	}
	if n := <-cut; n != 0 {
		t.Errorf("%d requests were cut off", n)
	}
}

func TestDrainCutsOffWhatDoesNotEnd(t *testing.T) {
	t.Parallel()
	s := newStand(t, func(c *Config) { c.DrainTimeout = time.Millisecond }).open()
	s.approve("delete_orders", `{"ids":["o-1001"]}`)
	began, letGo := s.slowly()
	defer close(letGo)
	slow := make(chan struct{})
	go func() { defer close(slow); s.modernCallUnsure("delete_orders", `{"ids":["o-1001"]}`) }()
	<-began
	if n := <-s.leaving(); n != 1 {
		t.Errorf("%d requests were cut off", n)
	}
	s.front.CloseClientConnections() // as Serve does; the test's own server knows nothing of the gateway's life
	<-slow
	s.eventually("the outcome", func() bool { return len(s.plane.outcomeList()) == 1 })
	if diff := cmp.Diff([]client.OutcomeStatus{client.Indeterminate}, s.plane.outcomeList()); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
}

// approve has a call held and approved.
func (s *stand) approve(tool, arguments string) {
	s.t.Helper()
	if r := s.modernCall(tool, arguments); !strings.Contains(r.body, "APPROVAL REQUIRED") {
		s.t.Fatalf("not held: %s", r.body)
	}
	s.plane.decide(s.plane.only().ID, client.ApprovalApproved, "")
}

// TestDrainAndHeldCalls: a held call is answered as held; one that was redeemed is executed, and told; one that is
// approved when the doors are closed already is not.
func TestDrainAndHeldCalls(t *testing.T) {
	t.Parallel()
	const args = `{"ids":["o-1001"]}`
	t.Run("waiting", func(t *testing.T) {
		t.Parallel()
		s := newStand(t, func(c *Config) { c.HoldWait = maxHoldWait }).open()
		held := inBackground(func() reply { return s.modernCall("delete_orders", args) })
		s.eventually("the call to be held", func() bool {
			s.plane.mu.Lock()
			defer s.plane.mu.Unlock()
			return s.plane.asks == 1
		})
		cut := s.leaving()
		if r := <-held; r.status != 200 || !strings.Contains(r.body, "APPROVAL REQUIRED (not executed)") || !strings.Contains(r.body, "/approvals/apr_1") {
			t.Errorf("%d %s", r.status, r.body)
		}
		if n := <-cut; n != 0 || len(s.calls("tools/call")) != 0 {
			t.Errorf("%d cut off, %d executed", n, len(s.calls("tools/call")))
		}
	})
	t.Run("approved too late", func(t *testing.T) {
		t.Parallel()
		s := newStand(t, nil).open()
		s.approve("delete_orders", args)
		s.plane.asked = s.gateway.drain.close
		if r := s.modernCall("delete_orders", args); !strings.Contains(r.body, "APPROVAL REQUIRED (not executed)") {
			t.Errorf("%d %s", r.status, r.body)
		}
		if n := len(s.calls("tools/call")); n != 0 {
			t.Errorf("executed %d times", n)
		}
	})
	t.Run("redeemed", func(t *testing.T) {
		t.Parallel()
		s := newStand(t, nil).open()
		s.approve("delete_orders", args)
		began, letGo := s.slowly()
		slow := inBackground(func() reply { return s.modernCall("delete_orders", args) })
		<-began
		cut := s.leaving()
		close(letGo)
		if r := <-slow; !strings.Contains(r.body, "late") {
			t.Errorf("%s", r.body)
		}
		if n := <-cut; n != 0 {
			t.Errorf("%d cut off", n)
		}
		if diff := cmp.Diff([]client.OutcomeStatus{client.Succeeded}, s.plane.outcomeList()); diff != "" {
			t.Errorf("outcomes (-want +got):\n%s", diff)
		}
	})
}

const initializeBody = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"x","version":"1"}}}`

// stream opens the stream of a new session and gives what it says to its end.
func (s *stand) stream() (session string, whole chan string) {
	s.t.Helper()
	session = s.post(initializeBody, nil).header.Get(headerSession)
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.url(), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header = http.Header{"Authorization": {"Bearer " + s.idp.token("ada")}, headerSession: {session}, "Accept": {"text/event-stream"}}
	res, err := s.front.Client().Do(req)
	if err != nil || res.StatusCode != 200 {
		s.t.Fatalf("opening a stream: %v %v", res, err)
	}
	whole = make(chan string, 1)
	go func() {
		defer func() { _ = res.Body.Close() }()
		said, err := io.ReadAll(res.Body)
		if err != nil {
			said = append(said, "\nbroken: "+err.Error()...)
		}
		whole <- string(said)
	}()
	return session, whole
}

// TestDrainEndsStreams: a stream ends cleanly, but not before the calls of its session.
func TestDrainEndsStreams(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(*testing.T) *stand{
		"over HTTP":         func(t *testing.T) *stand { t.Helper(); return newStand(t, nil).open() },
		"of a stdio server": func(t *testing.T) *stand { t.Helper(); return newStdioStand(t, "plain", nil) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			_, whole := s.stream()
			cut := s.leaving()
			if said := <-whole; !strings.HasSuffix(said, farewell) {
				t.Errorf("the stream ended with %q", said)
			}
			if n := <-cut; n != 0 {
				t.Errorf("%d cut off", n)
			}
		})
	}
	t.Run("after the calls of its session", func(t *testing.T) {
		t.Parallel()
		s := newStand(t, nil).open()
		session, whole := s.stream()
		_, other := s.stream()
		began, letGo := s.slowly()
		slow := inBackground(func() reply {
			return s.post(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_orders","arguments":{}}}`, http.Header{headerSession: {session}})
		})
		<-began
		cut := s.leaving()
		<-other
		select {
		case said := <-whole:
			t.Errorf("it ended before the call did: %q", said)
		default:
		}
		close(letGo)
		<-slow
		if said := <-whole; !strings.HasSuffix(said, farewell) {
			t.Errorf("the stream ended with %q", said)
		}
		<-cut
	})
}

func TestOneGatewayToAStateDirectory(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	if _, err := New(t.Context(), *s.gateway.config(), s.gateway.client, s.gateway.log); err == nil || !strings.Contains(err.Error(), "another gateway runs") {
		t.Errorf("a second gateway on one state directory: %v", err)
	}
}

func TestReadyNeedsItsDisk(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open()
	dir := s.gateway.config().StateDir
	if err := os.Rename(dir, dir+".gone"); err != nil {
		t.Fatal(err)
	}
	if r := s.get("/readyz"); r.status != 503 || !strings.Contains(r.body, "state directory cannot be written") {
		t.Errorf("%d %s", r.status, r.body)
	}
	if err := os.Rename(dir+".gone", dir); err != nil {
		t.Fatal(err)
	}
	s.gateway.disk.tried = time.Time{}
	if r := s.get("/readyz"); r.status != 200 {
		t.Errorf("%d %s", r.status, r.body)
	}
}

package gateway

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// talks has the server of a stand send events on streams, one each few milliseconds, until nobody takes them.
func (s *stand) talks(over <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.intercept = func(w http.ResponseWriter, body string) bool {
		if body != "" && !strings.Contains(body, methodListen) {
			return false
		}
		w.Header().Set("Content-Type", "text/event-stream")
		for n := 1; ; n++ {
			_, err := fmt.Fprintf(w, "id: e-%d\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"level\":\"info\",\"data\":\"event %d\"}}\n\n", n, n)
			if err := errors.Join(err, http.NewResponseController(w).Flush()); err != nil {
				return true
			}
			select {
			case <-over:
				return true
			case <-time.After(5 * time.Millisecond):
			}
		}
	}
}

// openedStream is what a client has of a stream.
type openedStream struct {
	*bufio.Reader

	res  *http.Response
	stop context.CancelFunc
}

// listen opens a stream of one of the eras.
func (s *stand) listen(modern bool, header http.Header) openedStream {
	s.t.Helper()
	ctx, stop := context.WithCancel(s.t.Context())
	method, body := http.MethodGet, ""
	if modern {
		method, body = http.MethodPost, `{"jsonrpc":"2.0","id":"l","method":"`+methodListen+`","params":{`+modernMeta+`}}`
	}
	req, err := http.NewRequestWithContext(ctx, method, s.url(), strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header = header.Clone()
	if modern {
		req.Header = modernHeader(methodListen, "")
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Accept", "application/json, text/event-stream")
	req.Header.Set("Authorization", "Bearer "+s.idp.token("ada"))
	res, err := s.front.Client().Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	return openedStream{bufio.NewReader(res.Body), res, func() { stop(); _ = res.Body.Close() }}
}

// first waits for an event.
func (o openedStream) first(t *testing.T) {
	t.Helper()
	for {
		line, err := o.ReadString('\n')
		if err != nil {
			t.Fatalf("no event came: %v", err)
		}
		if strings.HasPrefix(line, "data: ") {
			return
		}
	}
}

// rest reads the stream to its end, which has to be one in order, between two events.
func (o openedStream) rest(t *testing.T, name string) string {
	t.Helper()
	text, err := io.ReadAll(o)
	if err != nil || !strings.HasSuffix(string(text), "\n\n") || strings.Contains(string(text), "}data") {
		t.Errorf("%s: the stream ended with %v after %.200q", name, err, text[max(0, len(text)-200):])
	}
	return string(text)
}

// breaks are the ways in which the line of an open stream ends.
var breaks = map[string]string{
	"cut":           toxics["cut while answering"],
	"half an event": `{"name":"x","type":"limit_data","stream":"downstream","attributes":{"bytes":200}}`,
	"a black hole":  toxics["no answer comes back"], // which cuts the line when it is taken away
}

// TestOpenStreamsOnABadLine: a stream to a caller ends in order when the line to the server does not hold, the caller may
// come back for the rest, and nothing is left behind; slices and silence end nothing.
func TestOpenStreamsOnABadLine(t *testing.T) {
	t.Parallel()
	s, line, _ := newToxicStand(t)
	over := make(chan struct{})
	defer close(over)
	session := http.Header{headerSession: {s.post(initializeBody, nil).header.Get(headerSession)}}
	s.talks(over)
	for _, modern := range []bool{false, true} {
		for name, toxic := range breaks {
			name = fmt.Sprintf("%s, stateless %t", name, modern)
			stream := s.listen(modern, session)
			stream.first(t)
			line.goes(toxic)
			if toxic == toxics["no answer comes back"] {
				line.isGood()
			}
			if text := stream.rest(t, name); !strings.HasSuffix(text, lineLost) {
				t.Errorf("%s: the caller is not told: %q", name, text[max(0, len(text)-200):])
			}
			stream.stop()
			line.isGood()
			again := s.listen(modern, http.Header{headerSession: session[headerSession], headerLast: {"e-7"}})
			again.first(t)
			again.stop()
			s.mu.Lock()
			last := s.sent[len(s.sent)-1].header
			s.mu.Unlock()
			if got := last.Get(headerLast); !modern && got != "e-7" || modern && got != "" {
				t.Errorf("%s: resumed from %q", name, got)
			}
		}
		s.quietLine(t, line, modern, session)
	}
	s.eventually("every stream to be over", func() bool { return s.gateway.places.count(placeStreams) == 0 })
	s.misbehave("nothing", nil)
	s.shop.Close() // and its sessions
	if r := s.sessionRequest(http.MethodGet, "no-such-session", nil); r.status != http.StatusNotFound {
		t.Errorf("a session that is gone is resumed: HTTP %d %s", r.status, r.body)
	}
}

// quietLine has an open stream go through slices, and then into silence, which its caller may end.
func (s *stand) quietLine(t *testing.T, line *bad, modern bool, session http.Header) {
	t.Helper()
	stream := s.listen(modern, session)
	stream.first(t)
	line.goes(toxics["in slices"])
	for range 5 {
		stream.first(t)
	}
	line.isGood()
	line.goes(toxics["no answer comes back"])
	stream.stop()
	s.eventually("the stream to be over", func() bool { return s.gateway.places.count(placeStreams) == 0 })
	line.isGood()
}

package gateway

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// newSlowStand serves callers on a socket of its own, as a gateway does, and gives them little time.
func newSlowStand(t *testing.T, s func(change func(*Config)) *stand) (_ *stand, address string) {
	t.Helper()
	const little = 300 * time.Millisecond
	stand := s(func(c *Config) { c.Callers = CallerTimeouts{Header: little, Body: little, Take: little} })
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := stand.gateway.server()
	go func() { _ = server.Serve(narrow{listener}) }()
	t.Cleanup(func() { _ = server.Close() })
	return stand, listener.Addr().String()
}

// narrow is a listener whose connections hold little that was not taken.
type narrow struct{ net.Listener }

func (n narrow) Accept() (net.Conn, error) {
	conn, err := n.Listener.Accept()
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetWriteBuffer(16 << 10)
	}
	return conn, err
}

// slowCaller is a connection on which a caller takes its time.
func slowCaller(t testing.TB, address string) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	tcp := conn.(*net.TCPConn)
	_ = tcp.SetReadBuffer(4 << 10)
	_ = tcp.SetDeadline(time.Now().Add(30 * time.Second)) // for the test to end
	return tcp
}

// request is one as it goes over the line, with more headers.
func (s *stand) request(method string, size int, more ...string) string {
	lines := append([]string{
		method + " /mcp/com.example/orders HTTP/1.1", "Host: gateway.test", "Authorization: Bearer " + s.idp.token("ada"),
		"Content-Type: application/json", "Accept: application/json, text/event-stream",
	}, more...)
	if size > 0 {
		lines = append(lines, fmt.Sprintf("Content-Length: %d", size))
	}
	return strings.Join(lines, "\r\n") + "\r\n\r\n"
}

const modernCallLines = "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: "

// TestCallersWhoSendSlowly have their connection ended, whoever they are; others are served meanwhile.
func TestCallersWhoSendSlowly(t *testing.T) {
	t.Parallel()
	s, address := newSlowStand(t, func(change func(*Config)) *stand { return newStand(t, change).open() })
	tests := []struct {
		name, says, drip string
		status           string // that is answered; "": none has to be
	}{
		{"nothing at all", "", "", ""},
		{"half a header", "POST /mcp/com.example/orders HTTP/1.1\r\nHost: g", "", ""},
		{"a header, byte by byte", "POST /mcp/com.example/orders HTTP/1.1\r\nX-A: ", "a", ""},
		{"no body", s.request("POST", 1000), "", " 408 "},
		{"a body, byte by byte", s.request("POST", 1000), " ", " 408 "},
		{"a chunked body, byte by byte", s.request("POST", 0, "Transfer-Encoding: chunked"), "1\r\n \r\n", " 408 "},
		{"no body, and no token", "POST /mcp/com.example/orders HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 1000\r\n\r\n", " ", " 401 "},
		{"no body, where none is wanted", "GET /healthz HTTP/1.1\r\nHost: g\r\nContent-Length: 1000\r\n\r\n", " ", " 200 "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			conn := slowCaller(t, address)
			if _, err := io.WriteString(conn, tt.says); err != nil {
				t.Fatal(err)
			}
			over := make(chan struct{})
			defer close(over)
			go func() {
				for tt.drip != "" {
					if _, err := io.WriteString(conn, tt.drip); err != nil {
						return
					}
					select {
					case <-over:
						return
					case <-time.After(20 * time.Millisecond):
					}
				}
			}()
			got, err := io.ReadAll(conn)
			if timeout := net.Error(nil); err != nil && asTimeout(err, &timeout) {
				t.Errorf("the connection was kept; %q", got)
			}
			if !strings.Contains(string(got), tt.status) {
				t.Errorf("answered %.200q", got)
			}
		})
	}
	if r := s.modernCall("list_orders", `{}`); r.result == nil {
		t.Errorf("another caller: %s", r.body)
	}
}

func asTimeout(err error, as *net.Error) bool {
	e, ok := err.(net.Error) //nolint:errorlint // as it comes from the connection
	*as = e
	return ok && e.Timeout()
}

// TestCallersWhoTakeSlowly lose what they asked for; nothing is kept for them, and others are served meanwhile.
func TestCallersWhoTakeSlowly(t *testing.T) {
	t.Parallel()
	s, address := newSlowStand(t, func(change func(*Config)) *stand { return newStand(t, change).open() })
	over := make(chan struct{})
	defer close(over)
	long := strings.Repeat("long ", 200<<10)
	s.misbehave("tools/call", answerWith(200, "application/json", `{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"`+long+`"}]}}`))
	callBody := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_orders","arguments":{},` + modernMeta + `}}`
	s.takesNothing(address, s.request("POST", len(callBody), modernCallLines+"list_orders")+callBody)
	s.misbehave("nothing", nil)

	session := s.post(initializeBody, nil).header.Get(headerSession)
	s.talksFast(over)
	s.takesNothing(address, s.request("GET", 0, headerSession+": "+session))
	s.misbehave("nothing", nil)
	if r := s.modernCall("list_orders", `{}`); r.result == nil {
		t.Errorf("another caller: %s", r.body)
	}
}

// talksFast has the server send events as fast as they are taken.
func (s *stand) talksFast(over <-chan struct{}) {
	event := `data: {"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"` + strings.Repeat("x", 64<<10) + `"}}` + "\n\n"
	s.mu.Lock()
	defer s.mu.Unlock()
	s.intercept = func(w http.ResponseWriter, body string) bool {
		if body != "" {
			return false
		}
		w.Header().Set("Content-Type", "text/event-stream")
		for {
			if _, err := io.WriteString(w, event); err != nil {
				return true
			}
			select {
			case <-over:
				return true
			default:
			}
		}
	}
}

// takesNothing makes a request, reads the head of its answer and no more, until the gateway has given up.
func (s *stand) takesNothing(address, request string) {
	s.t.Helper()
	conn := slowCaller(s.t, address)
	if _, err := io.WriteString(conn, request); err != nil {
		s.t.Fatal(err)
	}
	if line, err := bufio.NewReaderSize(conn, 16).ReadString('\n'); err != nil || !strings.Contains(line, " 200 ") {
		s.t.Fatalf("answered %q %v", line, err)
	}
	s.eventually("the gateway to give up", func() bool {
		p := s.gateway.places
		return p.count(placeRequest)+p.count(placeUpstream)+p.count(placeStreams) == 0 && s.gateway.bodies.Load() == 0
	})
}

// TestCallersWhoTakeSlowlyFromAProcess: what a process says is not kept for them either.
func TestCallersWhoTakeSlowlyFromAProcess(t *testing.T) {
	t.Parallel()
	s, address := newSlowStand(t, func(change func(*Config)) *stand { return newStdioStand(t, "hostile", change) })
	body := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"gushes","arguments":{},` + strings.Replace(modernMeta, `"_meta":{`, `"_meta":{"progressToken":"p",`, 1) + `}}`
	s.takesNothing(address, s.request("POST", len(body), modernCallLines+"gushes")+body)
	if r := s.modernCallAs("eve", `"a"`, "fine"); !strings.Contains(r.body, `"fine"`) {
		t.Errorf("another caller: %s", r.body)
	}
}

// TestNotesAreBounded in bytes too, but for one alone.
func TestNotesAreBounded(t *testing.T) {
	t.Parallel()
	n := newNotes(4)
	long := make([]byte, noteBytes+1)
	for _, put := range []struct {
		line []byte
		want int
	}{{long, 1}, {[]byte("a"), 1}} {
		if n.put(put.line); len(n.queue) != put.want {
			t.Errorf("%d wait, want %d", len(n.queue), put.want)
		}
	}
	n.took(<-n.queue)
	for range 10 {
		n.put([]byte("a"))
	}
	if len(n.queue) != 4 || n.bytes.Load() != 4 {
		t.Errorf("%d wait, of %d bytes", len(n.queue), n.bytes.Load())
	}
}

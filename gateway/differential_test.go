package gateway

import (
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"countersign/canonical"
	"countersign/internal/nodetest"
	"countersign/internal/orders"
	"countersign/policy"
)

// The server behind the gateway is a Node program here, which keeps what reaches it and reads it as a dozen parsers would:
// the last key wins or the first, keys fold or end at a NUL, comments are space, what trails is no matter. Whatever a
// caller sends, the server sees the call that the policy decided on, the same to every parser, or nothing at all.

// hostileRequest is one row: what is sent, as it is on the wire, and what the server may see of it.
type hostileRequest struct {
	name string
	wire string // "" makes a request of body and headers
	body string

	headers []string // beside those of a good request
	without string   // a header of a good request that is not sent
	ends    bool     // the caller closes its side behind it

	want []seenCall // none: nothing reaches the server
}

// seenCall is a call as each parser has to read it.
type seenCall struct{ method, about, arguments string }

func (s seenCall) String() string {
	return fmt.Sprintf("[%q,%q,%s]", s.method, s.about, s.arguments)
}

// The calls that rows expect: of the tool that is granted, and of the one whose amount must not be over 100.
func safe(arguments string) []seenCall { return []seenCall{{"tools/call", "safe", arguments}} }

func bounded(arguments string) []seenCall { return []seenCall{{"tools/call", "limited", arguments}} }

// recordedRequest is what the server saw of one request.
type recordedRequest struct {
	Method   string            `json:"method"`
	Target   string            `json:"target"`
	Headers  []string          `json:"headers"`
	Trailers []string          `json:"trailers"`
	Body     string            `json:"body"`
	Readings map[string]string `json:"readings"`
}

// differential is a gateway in front of the recorder.
type differential struct {
	*stand
	take func() []recordedRequest
}

func newDifferential(t *testing.T) *differential {
	t.Helper()
	s := newStand(t, nil)
	ask := nodetest.Talk(t, "gateway/testdata/recorder.mjs")
	var at struct{ Port int }
	ask(t, map[string]string{"do": "listen"}, &at)
	url := fmt.Sprintf("http://127.0.0.1:%d/", at.Port)
	s.source.Servers = []policy.Server{s.pinned(policy.Endpoint{
		Transport: policy.StreamableHTTP, URL: url, Digest: canonical.Sum("test", []byte(url)),
	})}
	grant := func(id, condition string, names ...string) policy.SourceGrant {
		return policy.SourceGrant{
			Grant:    policy.Grant{ID: id, Name: id, Subject: policy.Subject{Everyone: true}, Condition: condition},
			Resource: policy.Resource{Servers: []string{orders.Name}, Kinds: []policy.Kind{policy.KindTool, policy.KindResource}, Names: names},
		}
	}
	s.source.Grants = []policy.SourceGrant{
		grant("grt_1", "", "safe", "routed", "test://safe"), grant("grt_2", "args.amount <= 100", "limited"),
	}
	s.publish()
	return &differential{stand: s, take: func() []recordedRequest {
		var taken struct{ Requests []recordedRequest }
		ask(t, map[string]string{"do": "take"}, &taken)
		return taken.Requests
	}}
}

// request writes a request of the older era, whose headers need not repeat the body.
func (d *differential) request(r hostileRequest) string {
	if r.wire != "" {
		r.wire = strings.ReplaceAll(r.wire, "{token}", d.idp.token("ada"))
		return strings.ReplaceAll(r.wire, "{path}", "/mcp/"+orders.Name)
	}
	headers := []string{
		"Host: 127.0.0.1", "Authorization: Bearer " + d.idp.token("ada"), "Content-Type: application/json",
		"Accept: application/json, text/event-stream", fmt.Sprint("Content-Length: ", len(r.body)), "Connection: close",
	}
	if r.without != "" {
		headers = slices.DeleteFunc(headers, func(h string) bool { return strings.HasPrefix(h, r.without+":") })
	}
	return "POST /mcp/" + orders.Name + " HTTP/1.1\r\n" + strings.Join(append(headers, r.headers...), "\r\n") + "\r\n\r\n" + r.body
}

// send writes the request to a connection of its own and reads until the gateway has closed it, or has nothing to say.
func (d *differential) send(t *testing.T, r hostileRequest) (answer string) {
	t.Helper()
	c, err := net.Dial("tcp", d.front.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	go func() { // a gateway that answers early need not read all
		_, _ = io.WriteString(c, d.request(r))
		if r.ends {
			_ = c.(*net.TCPConn).CloseWrite()
		}
	}()
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	raw, err := io.ReadAll(c)
	if timeout := net.Error(nil); err != nil && asNetError(err, &timeout) && timeout.Timeout() {
		t.Errorf("%s: the gateway keeps the connection", r.name)
	}
	return string(raw)
}

func asNetError(err error, into *net.Error) bool {
	e, ok := err.(net.Error) //nolint:errorlint // net returns it bare
	*into = e
	return ok
}

// check sends a row and looks at what the server saw.
func (d *differential) check(t *testing.T, r hostileRequest) {
	t.Helper()
	answer := d.send(t, r)
	seen := d.take()
	if len(seen) != len(r.want) {
		t.Errorf("%s: the server saw %d requests, want %d: %+v\nthe caller was answered %.300s", r.name, len(seen), len(r.want), seen, answer)
		return
	}
	for i, got := range seen {
		if got.Method != "POST" || got.Target != "/" || len(got.Trailers) > 0 {
			t.Errorf("%s: the server saw %s %s, trailers %v", r.name, got.Method, got.Target, got.Trailers)
		}
		for parser, reading := range got.Readings {
			if reading != r.want[i].String() {
				t.Errorf("%s: %s reads %s, want %s, in %q", r.name, parser, reading, r.want[i], got.Body)
			}
		}
	}
	if len(r.want) == 0 && (strings.Contains(answer, `"done"`) || strings.HasPrefix(answer, "HTTP/1.1 2") && !strings.Contains(answer, `"error"`) && !strings.Contains(answer, "not executed")) {
		t.Errorf("%s: the caller was answered as if it was done: %.300s", r.name, answer)
	}
}

func TestEveryParserSeesTheCallThatWasDecidedOn(t *testing.T) {
	t.Parallel()
	d := newDifferential(t)
	rows := slices.Concat(bodyRows(), numberRows(), headerRows(), framingRows(), targetRows())
	if len(rows) < 60 {
		t.Errorf("only %d rows", len(rows))
	}
	names := map[string]bool{}
	for _, r := range rows {
		if names[r.name] {
			t.Errorf("two rows are called %q", r.name)
		}
		names[r.name] = true
		d.check(t, r)
	}
}

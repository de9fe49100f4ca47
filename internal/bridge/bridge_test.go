package bridge_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"countersign/internal/bridge"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a gateway that does what a test says.
type fake struct {
	mu   sync.Mutex
	seen []string // "METHOD body", and headers that matter
	on   func(w http.ResponseWriter, r *http.Request, body string, n int)
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	f.mu.Lock()
	f.seen = append(f.seen, strings.TrimSpace(fmt.Sprintf("%s %s [%s|%s|%s|%s|%s] %s", r.Method, r.Header.Get("Authorization"),
		r.Header.Get("Mcp-Session-Id"), r.Header.Get("Mcp-Protocol-Version"), r.Header.Get("Mcp-Method"), r.Header.Get("Mcp-Name"), r.Header.Get("Mcp-Param-Region"), body)))
	n := len(f.seen)
	f.mu.Unlock()
	f.on(w, r, string(body), n)
}

func (f *fake) requests(part string) (found []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.seen {
		if strings.Contains(s, part) {
			found = append(found, s)
		}
	}
	return found
}

func answer(w http.ResponseWriter, body string) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, body)
}

func refuse(w http.ResponseWriter, status, code int, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":null,"error":{"code":%d,"message":%q}}`, code, text)
}

// desk is the client's side of a bridge.
type desk struct {
	t     *testing.T
	fake  *fake
	in    *io.PipeWriter
	lines chan string
	done  chan error
	fresh int
}

func open(t *testing.T, on func(w http.ResponseWriter, r *http.Request, body string, n int)) *desk {
	t.Helper()
	f := &fake{on: on}
	server := httptest.NewServer(f)
	in, write := io.Pipe()
	read, out := io.Pipe()
	d := &desk{t: t, fake: f, in: write, lines: make(chan string, 100), done: make(chan error, 1)}
	transport := &http.Transport{}
	b := &bridge.Bridge{
		Endpoint: server.URL, HTTP: &http.Client{Transport: transport}, Log: slog.New(slog.DiscardHandler), Patience: 3 * time.Second,
		Token: func(_ context.Context, fresh bool) (string, error) {
			if fresh {
				d.fresh++
			}
			return fmt.Sprint("t", d.fresh), nil
		},
	}
	go func() {
		d.done <- b.Run(context.Background(), in, out)
		_ = out.Close()
	}()
	go func() {
		defer close(d.lines)
		lines := bufio.NewScanner(read)
		lines.Buffer(nil, 2<<20)
		for lines.Scan() {
			d.lines <- lines.Text()
		}
	}()
	t.Cleanup(func() {
		_ = write.Close()
		<-d.done
		transport.CloseIdleConnections()
		server.CloseClientConnections()
		server.Close()
	})
	return d
}

func (d *desk) say(line string) {
	d.t.Helper()
	if _, err := io.WriteString(d.in, line+"\n"); err != nil {
		d.t.Fatal(err)
	}
}

// hear waits for the next line.
func (d *desk) hear() string {
	d.t.Helper()
	select {
	case line := <-d.lines:
		if !json.Valid([]byte(line)) {
			d.t.Errorf("not a message: %q", line)
		}
		return line
	case <-time.After(20 * time.Second):
		d.t.Fatal("nothing was said")
		return ""
	}
}

const hello = `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"x","version":"1"}}}`

func modern(id, method, params string) string {
	return `{"jsonrpc":"2.0","id":` + id + `,"method":"` + method + `","params":{` + params + `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}`
}

// TestWhatAnAttemptComesTo: what was not executed is tried again, what may have been is not.
func TestWhatAnAttemptComesTo(t *testing.T) {
	t.Parallel()
	const fine = `{"jsonrpc":"2.0","id":"a","result":{}}`
	tests := map[string]struct {
		on    func(w http.ResponseWriter, n int)
		says  string
		calls int
	}{
		"an answer": {func(w http.ResponseWriter, _ int) { answer(w, fine) }, fine, 1},
		"an answer in several lines": {func(w http.ResponseWriter, _ int) {
			answer(w, "{\n\"jsonrpc\":\"2.0\",\r\n\"id\":\"a\",\"result\":{}}")
		}, `{ "jsonrpc"`, 1},
		"stopping, then fine": {func(w http.ResponseWriter, n int) {
			if n == 1 {
				refuse(w, 503, -40505, "The gateway is about to stop.")
				return
			}
			answer(w, fine)
		}, fine, 2},
		"a credential that is old": {func(w http.ResponseWriter, n int) {
			if n == 1 {
				refuse(w, 401, -40302, "Not signed in.")
				return
			}
			answer(w, fine)
		}, fine, 2},
		"a credential that is bad": {func(w http.ResponseWriter, _ int) { refuse(w, 401, -40302, "Not signed in.") }, `"id":"a","error":{"code":-40302,"message":"Not signed in."}`, 2},
		"a denial":                 {func(w http.ResponseWriter, _ int) { refuse(w, 404, -40302, "No such server.") }, "No such server.", 1},
		"an error of a balancer":   {func(w http.ResponseWriter, _ int) { w.WriteHeader(502) }, "502. Whether the request was carried out is not known", 1},
		"a connection that breaks": {func(http.ResponseWriter, int) { panic(http.ErrAbortHandler) }, "Whether the request was carried out is not known", 1},
		"an answer to another":     {func(w http.ResponseWriter, _ int) { answer(w, `{"jsonrpc":"2.0","id":"b","result":{"POISON":1}}`) }, "answered another request", 1},
		"an answer read in two ways": {func(w http.ResponseWriter, _ int) {
			answer(w, `{"jsonrpc":"2.0","id":"a","result":{},"result":{"POISON":1}}`)
		}, "exactly one way", 1},
		"a web page":               {func(w http.ResponseWriter, _ int) { _, _ = io.WriteString(w, "<html>POISON") }, "exactly one way", 1},
		"a redirect":               {func(w http.ResponseWriter, _ int) { w.Header().Set("Location", "/POISON"); w.WriteHeader(307) }, "", 0},
		"a stream, cut":            {func(w http.ResponseWriter, _ int) { events(w, `{"jsonrpc":"2.0","method":"notifications/progress"}`) }, "notifications/progress", 1},
		"a stream with its answer": {func(w http.ResponseWriter, _ int) { events(w, fine, fine) }, fine, 1},
		"a stream with a line ending": {func(w http.ResponseWriter, _ int) {
			events(w, "{\"jsonrpc\":\"2.0\",\ndata: \"id\":\"a\",\"result\":{}}")
		}, `"id":"a"`, 1},
	}
	delete(tests, "a redirect") // the client of connect follows none; see its own test
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := open(t, func(w http.ResponseWriter, _ *http.Request, _ string, n int) { test.on(w, n) })
			d.say(modern(`"a"`, "tools/call", `"name":"x",`))
			said := d.hear()
			if !strings.Contains(said, test.says) || strings.Contains(said, "POISON") {
				t.Errorf("want %s in %s", test.says, said)
			}
			if n := len(d.fake.requests("tools/call")); n != test.calls {
				t.Errorf("sent %d times, want %d", n, test.calls)
			}
		})
	}
}

func events(w http.ResponseWriter, data ...string) {
	w.Header().Set("Content-Type", "text/event-stream")
	for _, d := range data {
		_, _ = fmt.Fprintf(w, ": comment\nevent: message\ndata: %s\n\n", d)
	}
}

// TestLinesOfTheClient: what cannot be read in one way goes nowhere, and is answered where there is an id.
func TestLinesOfTheClient(t *testing.T) {
	t.Parallel()
	d := open(t, func(w http.ResponseWriter, _ *http.Request, _ string, _ int) {
		answer(w, `{"jsonrpc":"2.0","id":1,"result":{}}`)
	})
	for line, says := range map[string]string{
		`nonsense`:                          `"code":-32700`,
		`[` + modern("1", "ping", "") + `]`: "batches",
		`{"jsonrpc":"2.0","id":1,"method":"x","method":"y"}`: "exactly one way",
		`{"jsonrpc":"2.0","id":1,"Method":"x"}`:              "exactly one way",
		`{"jsonrpc":"2.0","id":1,"method":""}`:               `"id":1,"error"`,
		`{"jsonrpc":"2.0"}`:                                  "neither",
		`{"jsonrpc":"2.0","id":1,"method":"x","params":[]}`:  "no object",
		`{"x":"` + strings.Repeat("x", 2<<20) + `"}`:         "larger than",
		"\xff": `"code":-32700`,
	} {
		d.say(line)
		if said := d.hear(); !strings.Contains(said, says) {
			t.Errorf("%.60s: want %s in %s", line, says, said)
		}
	}
	if n := len(d.fake.requests("")); n != 0 {
		t.Errorf("%d requests", n)
	}
}

// TestHeadersOfTheStatelessEra: they say what the body says, also the arguments that a listed schema binds.
func TestHeadersOfTheStatelessEra(t *testing.T) {
	t.Parallel()
	d := open(t, func(w http.ResponseWriter, _ *http.Request, body string, _ int) {
		if strings.Contains(body, "tools/list") {
			answer(w, `{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"größe","inputSchema":{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"}}}}]}}`)
			return
		}
		answer(w, `{"jsonrpc":"2.0","id":2,"result":{}}`)
	})
	d.say(modern("1", "tools/list", ""))
	d.hear()
	d.say(modern("2", "tools/call", `"name":"größe","arguments":{"region":"eu west"},`))
	d.hear()
	if n := len(d.fake.requests("[|2026-07-28|tools/list||]")); n != 1 {
		t.Errorf("tools/list: %v", d.fake.requests(""))
	}
	if n := len(d.fake.requests("[|2026-07-28|tools/call|=?base64?Z3LDtsOfZQ==?=|eu west]")); n != 1 {
		t.Errorf("tools/call: %v", d.fake.requests(""))
	}
}

// TestASessionFromItsBeginningToItsEnd, with a gateway that forgets it in between: the client does not notice.
func TestASessionFromItsBeginningToItsEnd(t *testing.T) {
	t.Parallel()
	sessions, forgot := 0, false
	var mu sync.Mutex
	d := open(t, func(w http.ResponseWriter, r *http.Request, body string, _ int) {
		mu.Lock()
		defer mu.Unlock()
		current := fmt.Sprint("s", sessions)
		switch {
		case r.Method == http.MethodGet && r.Header.Get("Mcp-Session-Id") == current:
			events(w, `{"jsonrpc":"2.0","method":"notifications/from","params":{"session":"`+current+`"}}`)
		case strings.Contains(body, `"initialize"`):
			sessions++
			w.Header().Set("Mcp-Session-Id", fmt.Sprint("s", sessions))
			answer(w, `{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-11-25"}}`)
		case strings.Contains(body, "tools/call") && !forgot:
			forgot = true
			refuse(w, 404, -32600, "There is no such session.")
		case strings.Contains(body, "tools/call"):
			answer(w, `{"jsonrpc":"2.0","id":5,"result":{"session":"`+current+`"}}`)
		default:
			w.WriteHeader(202)
		}
	})
	d.say(hello)
	if said := d.hear(); !strings.Contains(said, "2025-11-25") {
		t.Fatal(said)
	}
	d.say(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	if said := d.hear(); !strings.Contains(said, `"session":"s1"`) {
		t.Errorf("the stream said %s", said)
	}
	d.say(`{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"x"}}`)
	for said := d.hear(); ; said = d.hear() { // the streams connect again and again
		if strings.Contains(said, `"id":0`) {
			t.Error("the client hears of a handshake that it did not begin")
		}
		if strings.Contains(said, `"id":5`) {
			if !strings.Contains(said, `"session":"s2"`) {
				t.Error(said)
			}
			break
		}
	}
	_ = d.in.Close()
	for range d.lines { // until the bridge has ended
	}
	if n := len(d.fake.requests("DELETE Bearer t0 [s2|2025-11-25|")); n != 1 {
		t.Errorf("the session was not ended: %v", d.fake.requests("DELETE"))
	}
	if n := len(d.fake.requests("notifications/initialized")); n != 2 {
		t.Errorf("%d times initialized", n)
	}
}

// TestCancel: the gateway hears of it in the way of the era, and the client gets no answer.
func TestCancel(t *testing.T) {
	t.Parallel()
	for name, request := range map[string]string{
		"by hanging up": modern("1", "tools/call", `"name":"x",`),
		"by a message":  `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			began, gone := make(chan struct{}), make(chan struct{})
			d := open(t, func(w http.ResponseWriter, r *http.Request, body string, _ int) {
				switch {
				case strings.Contains(body, "tools/call"):
					close(began)
					<-r.Context().Done()
					close(gone)
				case strings.Contains(body, "cancelled"):
					w.WriteHeader(202)
				default:
					answer(w, `{"jsonrpc":"2.0","id":2,"result":{}}`)
				}
			})
			d.say(request)
			<-began
			d.say(strings.Replace(request, "tools/call", "ping", 1)) // the same id again
			if said := d.hear(); !strings.Contains(said, "under way") {
				t.Errorf("the same id twice: %s", said)
			}
			d.say(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`)
			<-gone
			d.say(strings.Replace(modern("2", "ping", ""), `"name":"x",`, "", 1))
			if said := d.hear(); !strings.Contains(said, `"id":2`) {
				t.Errorf("a cancelled request was answered: %s", said)
			}
			if n := len(d.fake.requests("notifications/cancelled")); (n == 1) != (name == "by a message") {
				t.Errorf("%d cancellations", n)
			}
		})
	}
}

// TestStreamThatIsTakenUp: in the older era the rest of an answer's stream is asked for, not the answer.
func TestStreamThatIsTakenUp(t *testing.T) {
	t.Parallel()
	d := open(t, func(w http.ResponseWriter, r *http.Request, body string, _ int) {
		switch {
		case r.Method == http.MethodGet && r.Header.Get("Last-Event-Id") == "7":
			events(w, `{"jsonrpc":"2.0","id":3,"result":{"rest":true}}`)
		case strings.Contains(body, "tools/call"):
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "id: 7\nretry: 10\ndata:\n\n")
		default:
			w.WriteHeader(202)
		}
	})
	d.say(`{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"x"}}`)
	if said := d.hear(); !strings.Contains(said, `"rest":true`) {
		t.Error(said)
	}
	if n := len(d.fake.requests("tools/call")); n != 1 {
		t.Errorf("called %d times", n)
	}
}

func TestGatewayThatIsDown(t *testing.T) {
	t.Parallel()
	read, out := io.Pipe()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	b := &bridge.Bridge{
		Endpoint: "http://127.0.0.1:1/mcp/a/b", HTTP: &http.Client{Transport: transport}, Log: slog.New(slog.DiscardHandler), Patience: time.Millisecond,
		Token: func(context.Context, bool) (string, error) { return "t", nil },
	}
	done := make(chan error, 1)
	go func() {
		done <- b.Run(context.Background(), strings.NewReader(hello+"\n"+modern("1", "tools/list", "")), out)
		_ = out.Close()
	}()
	said, _ := io.ReadAll(read)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := strings.Count(string(said), "The gateway cannot be reached. Nothing was executed."); n != 2 {
		t.Errorf("%s", said)
	}
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	var asked []string
	idp := httptest.NewServer(nil)
	idp.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/.well-known/") {
			answer(w, `{"issuer":"`+idp.URL+`","token_endpoint":"`+idp.URL+`/token"}`)
			return
		}
		_ = r.ParseForm()
		id, secret, _ := r.BasicAuth()
		asked = append(asked, strings.Join([]string{id, secret, r.Form.Get("grant_type"), r.Form.Get("resource"), r.Form.Get("scope")}, " "))
		answer(w, fmt.Sprintf(`{"access_token":"token-%d","token_type":"bearer","expires_in":3600}`, len(asked)))
	})
	defer idp.Close()
	e := bridge.Exchange{
		Issuer: idp.URL, ClientID: "agent", Secret: func() (string, error) { return "s3cret", nil }, Resource: "https://gateway.example", Scope: "mcp", HTTP: idp.Client(),
	}
	c := bridge.Exchanged(e)
	for range 2 {
		if token, err := c.Token(t.Context(), false); token != "token-1" || err != nil {
			t.Errorf("%q %v", token, err)
		}
	}
	if want := []string{"agent s3cret client_credentials https://gateway.example mcp"}; !slices.Equal(asked, want) {
		t.Errorf("asked %v", asked)
	}
	e.Issuer = idp.URL + "/"
	if _, err := bridge.Exchanged(e).Token(t.Context(), false); err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("metadata of another issuer: %v", err)
	}
	lines := errors.New("gone")
	if _, err := bridge.Stored(func() (string, error) { return "a\r\nX-Evil: b", nil }).Token(t.Context(), false); err == nil {
		t.Error("a credential with a line end was taken")
	}
	if _, err := bridge.Stored(func() (string, error) { return "", lines }).Token(t.Context(), false); !errors.Is(err, lines) {
		t.Errorf("%v", err)
	}
}

package gateway

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"countersign/canonical"
)

// hostileTools are what the hostile stdio server offers: each does, when it is called, what its name says.
var hostileTools = []string{"fine", "garbage", "huge_line", "unknown_id", "twice", "text_id", "dies_within", "floods", "progress_of_others", "slow", "hangs", "stalls", "talks", "never_ends", "gushes"}

// serveHostileStdio is that server. It says everything right until a tool is called.
func serveHostileStdio() {
	out := bufio.NewWriter(os.Stdout)
	var saying sync.Mutex // some answers come later, from beside
	say := func(format string, args ...any) {
		saying.Lock()
		defer saying.Unlock()
		fmt.Fprintf(out, format+"\n", args...)
		_ = out.Flush()
	}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 2<<20)
	for lines.Scan() {
		var m struct {
			ID     json.RawMessage `json:"id"`
			Method string          `json:"method"`
			Params struct {
				Name string `json:"name"`
				Meta struct {
					Token json.RawMessage `json:"progressToken"`
				} `json:"_meta"`
				Request json.RawMessage `json:"requestId"`
				Reason  string          `json:"reason"`
			} `json:"params"`
		}
		_ = json.Unmarshal(lines.Bytes(), &m)
		if exists("mute") {
			continue
		}
		switch m.Method {
		case "server/discover":
			say(`{"jsonrpc":"2.0","id":%s,"result":{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"ttlMs":1,"cacheScope":"private"}}`, m.ID)
		case "initialize":
			say(`{"jsonrpc":"2.0","id":%s,"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"hostile","version":"1"}}}`, m.ID)
		case "tools/list":
			var tools []string
			for _, name := range hostileTools {
				tools = append(tools, `{"name":"`+name+`","inputSchema":{"type":"object"},"annotations":{"readOnlyHint":true}}`)
			}
			say(`{"jsonrpc":"2.0","id":%s,"result":{"resultType":"complete","ttlMs":1,"cacheScope":"private","tools":[%s]}}`, m.ID, strings.Join(tools, ","))
		case "tools/call":
			misbehave(m.Params.Name, m.ID, m.Params.Meta.Token, say)
		case "notifications/cancelled":
			jot("cancelled", "%s %s", m.Params.Request, m.Params.Reason)
			say(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"cancelled %s"}}`, m.Params.Request)
		}
	}
}

func misbehave(tool string, id, token json.RawMessage, say func(string, ...any)) {
	answer := func(id, text string) {
		say(`{"jsonrpc":"2.0","id":%s,"result":{"resultType":"complete","content":[{"type":"text","text":%q}]}}`, id, text)
	}
	switch tool {
	case "garbage":
		say("Traceback (most recent call last):")
		say(`{"jsonrpc":"2.0","id":%s,"result":{},"result":{}}`, id)
		say(`[{"jsonrpc":"2.0","id":%s,"result":{}}]`, id)
		say("\xff\xfe\x00")
	case "huge_line":
		say(`{"jsonrpc":"2.0","id":%s,"result":{"x":"%s"}}`, id, strings.Repeat("x", maxEvent))
		return
	case "unknown_id":
		for n := range 50 {
			answer(fmt.Sprint(1000+n), "POISON")
		}
		answer("null", "POISON")
	case "twice":
		answer(string(id), "first")
		answer(string(id), "POISON")
		return
	case "text_id":
		answer(`"`+string(id)+`"`, "POISON")
		answer(string(id)+".0", "POISON")
	case "dies_within":
		fmt.Printf(`{"jsonrpc":"2.0","id":%s,"result":{"con`, id)
		os.Exit(1)
	case "floods":
		for range 5000 {
			fmt.Fprintln(os.Stderr, strings.Repeat("noise ", 1000))
		}
	case "progress_of_others":
		for n := range 20 {
			say(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%d,"progress":%d,"message":"POISON"}}`, 500+n, n)
		}
		say(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":1,"message":"mine"}}`, token)
	case "hangs", "stalls", "talks", "never_ends", "gushes":
		takeLong(tool, token, func() { answer(string(id), "done talking") }, say)
		return
	case "slow":
		go func() {
			time.Sleep(200 * time.Millisecond)
			say(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":1,"message":"for %s"}}`, token, id)
			answer(string(id), "answer to "+string(id))
		}()
		return
	}
	answer(string(id), "fine")
}

// TestHostileStdioServer: whatever a server does, a caller gets the answer to its own request or an error that says what
// is known, once, and the next request finds a server again.
func TestHostileStdioServer(t *testing.T) {
	t.Parallel()
	s := newStdioStand(t, "hostile", nil)
	const unknown = "whether the request was carried out is not known"
	tests := []struct{ tool, want string }{
		{"garbage", `"fine"`},
		{"unknown_id", `"fine"`},
		{"text_id", `"fine"`},
		{"twice", `"first"`},
		{"fine", `"fine"`},
		{"floods", `"fine"`},
		{"progress_of_others", `"message":"mine"`},
		{"dies_within", unknown},
		{"huge_line", unknown},
	}
	for _, test := range tests {
		var r reply
		s.eventually(test.tool+" to be answered", func() bool {
			r = s.modernCallAs("ada", `"a"`, test.tool)
			return !strings.Contains(r.body, string(reasonRestarting))
		})
		if !strings.Contains(r.body, test.want) || strings.Contains(r.body, "POISON") || strings.Count(r.body, `"id":"a"`) != 1 {
			t.Errorf("%s: want %s in %d %.600s", test.tool, test.want, r.status, r.body)
		}
	}
	room := s.gateway.stdio.stderrOf("orders", s.gateway.log).room
	if room.mu.Lock(); room.dropped == 0 && room.noticed.IsZero() {
		t.Error("a flood of stderr was logged whole")
	}
	room.mu.Unlock()
}

// modernCallAs calls a tool by the stateless protocol, with a progress token that everybody uses.
func (s *stand) modernCallAs(who, id, tool string) reply {
	s.t.Helper()
	meta := strings.Replace(modernMeta, `"_meta":{`, `"_meta":{"progressToken":"p",`, 1)
	h := modernHeader("tools/call", tool)
	h.Set("Authorization", "Bearer "+s.idp.token(who))
	return s.post(`{"jsonrpc":"2.0","id":`+id+`,"method":"tools/call","params":{"name":"`+tool+`","arguments":{},`+meta+`}}`, h)
}

// TestCallersWhoChoseTheSameID: connections of one caller share a process, use the same ids and tokens at once, and each
// gets its own answer and progress; so do two callers.
func TestCallersWhoChoseTheSameID(t *testing.T) {
	t.Parallel()
	s := newStdioStand(t, "hostile", nil)
	s.modernCallAs("ada", `1`, "fine")
	s.modernCallAs("eve", `1`, "fine")
	var all sync.WaitGroup
	var mu sync.Mutex
	answers := map[string]bool{}
	for n := range 6 {
		all.Go(func() {
			r := s.modernCallAs([]string{"ada", "eve"}[n%2], `7`, "slow")
			_, ours, _ := strings.Cut(r.body, `"for `)
			ours, _, _ = strings.Cut(ours, `"`)
			if strings.Count(r.body, `"progressToken":"p"`) != 1 || !strings.Contains(r.body, `"answer to `+ours+`"`) || strings.Count(r.body, `"id":7`) != 1 {
				t.Errorf("not its own: %s", r.body)
			}
			mu.Lock()
			defer mu.Unlock()
			answers[fmt.Sprint(n%2, ours)] = true
		})
	}
	all.Wait()
	if len(answers) != 6 {
		t.Errorf("%d different answers: %v", len(answers), answers)
	}
}

// TestStdioInTheOlderEra: what a server asks of the client reaches the client, on the stream of the call while there is
// no other; a request under way holds its id, and a cancellation finds the process's id.
func TestStdioInTheOlderEra(t *testing.T) {
	t.Parallel()
	s := newStdioStand(t, "hostile", nil)
	h := http.Header{headerSession: {s.post(initializeBody, nil).header.Get(headerSession)}}
	call := func(id, tool string) reply {
		return s.post(`{"jsonrpc":"2.0","id":`+id+`,"method":"tools/call","params":{"name":"`+tool+`","arguments":{},"_meta":{"progressToken":"p"}}}`, h)
	}
	slow := inBackground(func() reply { return call(`"x"`, "slow") })
	i := s.onlyInstance()
	s.eventually("the call to be under way", func() bool { return len(i.process.known(json.RawMessage(`"x"`))) == 1 })
	ours := i.process.known(json.RawMessage(`"x"`))[0].ours
	if r := call(`"x"`, "fine"); r.status != 400 || !strings.Contains(r.text, "under way") {
		t.Errorf("the same id twice: %s", r.body)
	}
	if r := s.post(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"x"}}`, h); r.status != 202 {
		t.Errorf("a cancellation: %d %s", r.status, r.body)
	}
	if r := s.post(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"nobody's"}}`, h); r.status != 202 {
		t.Errorf("a cancellation of nothing: %d %s", r.status, r.body)
	}
	r := <-slow
	if want := fmt.Sprintf(`"cancelled %d"`, ours); !strings.Contains(r.body, want) || strings.Count(r.body, "cancelled") != 1 || !strings.Contains(r.body, `"progressToken":"p"`) {
		t.Errorf("the server heard of another cancellation than %s: %s", want, r.body)
	}
}

func (s *stand) onlyInstance() *instance {
	s.t.Helper()
	s.gateway.stdio.mu.Lock()
	defer s.gateway.stdio.mu.Unlock()
	if len(s.gateway.stdio.instances) != 1 {
		s.t.Fatalf("%d processes", len(s.gateway.stdio.instances))
	}
	for _, i := range s.gateway.stdio.instances {
		return i
	}
	return nil
}

// TestServerThatNeverSpeaks is ended when its time to start is over.
func TestServerThatNeverSpeaks(t *testing.T) {
	t.Parallel()
	c := Command{Argv: []string{"sleep", "300"}, Env: []string{"PATH"}}
	p, err := startProcess(c, io.Discard, slog.New(slog.DiscardHandler), func([]byte) {}, func(*process) {})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.request(t.Context(), []byte(`{"jsonrpc":"2.0","id":1,"method":"ping"}`), time.Millisecond); err == nil || !strings.Contains(err.Error(), "gave no answer") {
		t.Errorf("got %v", err)
	}
	<-p.done
}

func TestRestartsArePatient(t *testing.T) {
	t.Parallel()
	var r restarts
	key := restartKey{caller: "ada"}
	now := time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)
	for n, want := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
		r.over(key, now, now)
		err := r.may(key, now)
		if e, ok := err.(*restartError); !ok || e.in != want*time.Second { //nolint:errorlint // as it is
			t.Errorf("death %d: %v, want %d s", n+1, err, want)
		}
		if r.may(key, now.Add(want*time.Second)) != nil || r.may(restartKey{caller: "eve"}, now) != nil {
			t.Errorf("death %d: not let go, or another caller waits too", n+1)
		}
		now = now.Add(want * time.Second)
	}
	r.over(key, now, now.Add(time.Minute))
	if err := r.may(key, now.Add(time.Minute)); err != nil {
		t.Errorf("it lived for a minute: %v", err)
	}
}

func TestStderrIsBounded(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	now := time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)
	s := &stderrLog{log: slog.New(slog.NewTextHandler(&out, nil)), now: func() time.Time { return now }, room: &stderrRoom{}}
	for range 1000 {
		fmt.Fprintln(s, "noise\x1b[31m"+strings.Repeat("x", 5000))
	}
	if n := strings.Count(out.String(), "noise"); n != stderrBurst {
		t.Errorf("%d lines", n)
	}
	now = now.Add(10 * time.Second)
	s = &stderrLog{log: s.log, now: s.now, room: s.room} // started again
	out.Reset()
	for range 100 {
		fmt.Fprintln(s, "noise")
	}
	if n := strings.Count(out.String(), "noise"); n != 10*stderrRate {
		t.Errorf("%d lines after ten seconds", n)
	}
	now = now.Add(time.Minute)
	fmt.Fprintln(s, "noise")
	if !strings.Contains(out.String(), "lines_dropped=") || strings.Contains(out.String(), "\x1b") {
		t.Errorf("%s", out.String())
	}
}

// FuzzStdioFraming feeds a process's output to the reader, in lines as they come: it never panics, every answer goes to
// the request that it is to, and no message that cannot be read in one way goes anywhere.
func FuzzStdioFraming(f *testing.F) {
	f.Add([]byte(`{"jsonrpc":"2.0","id":1,"result":{}}` + "\n"))
	f.Add([]byte(`{"jsonrpc":"2.0","id":2,"error":{"code":1,"message":"x"}}` + "\r\n" + `{"id":1.0,"result":1}` + "\n{}\n"))
	f.Add([]byte(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":2,"progress":1}}` + "\n"))
	f.Add([]byte(`{"jsonrpc":"2.0","method":"x","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":3}}}` + "\n"))
	f.Add([]byte("\xff\n\n\x00{\"id\":1}\n" + `{"id":"1","result":0}` + "\n" + `{"id":01,"result":0}`))
	f.Fuzz(func(t *testing.T, output []byte) {
		heard := 0
		p := &process{
			garbage: rate.NewLimiter(0, 0),
			log:     slog.New(slog.DiscardHandler), spoken: make(chan struct{}), flights: map[int64]*flight{},
			heard: func(line []byte) {
				heard++
				if _, err := canonical.Fields(line, envelopeFields...); err != nil {
					t.Errorf("heard what cannot be read: %q", line)
				}
			},
		}
		flights := make([]*flight, 4)
		for n := range flights {
			theirs := json.RawMessage(fmt.Sprintf(`"caller-%d"`, n+1))
			flights[n] = &flight{ours: int64(n + 1), theirs: theirs, token: theirs, stream: n == 2, answer: make(chan []byte, 1), said: newNotes(flightNotes)}
			p.flights[int64(n+1)] = flights[n]
		}
		lines := bufio.NewReaderSize(bytes.NewReader(output), 16)
		for {
			line, err := readLine(lines)
			if err != nil {
				break
			}
			if line = bytes.TrimSpace(line); len(line) > 0 {
				p.receive(line)
			}
		}
		for _, f := range flights {
			select {
			case line := <-f.answer:
				ownID(t, line, "id", f.id())
				if home, err := f.homeward(line); err == nil {
					ownID(t, home, "id", f.theirs)
				}
			default:
			}
			for len(f.said.queue) > 0 {
				if said := <-f.said.queue; !bytes.Contains(said, f.theirs) {
					t.Errorf("told of another's: %s", said)
				}
			}
		}
	})
}

func ownID(t *testing.T, line []byte, key string, want json.RawMessage) {
	t.Helper()
	fields, err := canonical.Members(line)
	if err != nil {
		t.Fatalf("an answer that cannot be read: %q", line)
	}
	if got, _ := canonical.Lookup(fields, key); string(got) != string(want) {
		t.Errorf("an answer with id %s went to %s", got, want)
	}
}

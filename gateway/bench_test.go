package gateway

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"countersign/policy"
)

// upstreamVariable makes the test binary the server of benchmarks, so that its work is not measured with ours.
const upstreamVariable = "COUNTERSIGN_BENCH_UPSTREAM"

// serveBenchUpstream answers every call with the same: as JSON, or as an event. A GET is a stream on which nothing comes.
func serveBenchUpstream() {
	answer := `{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","content":[{"type":"text","text":"` + strings.Repeat("x", 500) + `"}]}}`
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println("http://" + listener.Addr().String())
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/json")
		if strings.Contains(string(body), `"initialize"`) {
			w.Header().Set(headerSession, "s1")
		}
		switch {
		case r.Method == http.MethodGet:
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, ": open\n\n")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		case strings.HasSuffix(r.URL.Path, "/sse"):
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "event: message\ndata: "+answer+"\n\n")
		default:
			_, _ = io.WriteString(w, answer)
		}
	})}
	go func() { // ends with whoever started it
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	panic(server.Serve(listener))
}

// track is what a call is measured on: straight to the server, through a bare proxy, or through the gateway.
type track struct {
	*stand

	direct, bare string
	headers      http.Header
	body         string
}

func newTrack(b *testing.B, path string, modern bool) *track {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), upstreamVariable+"=1")
	in, err := cmd.StdinPipe()
	must(b, err)
	out, err := cmd.StdoutPipe()
	must(b, err)
	must(b, cmd.Start())
	b.Cleanup(func() {
		_ = in.Close() // it ends by that
		_ = cmd.Wait()
	})
	address, err := bufio.NewReader(out).ReadString('\n')
	must(b, err)
	t := &track{stand: newStand(b, func(c *Config) { c.Limits = Limits{PerCaller: 100, StreamsPerCaller: 1000} }), direct: strings.TrimSpace(address) + path}
	t.gateway.log = slog.New(slog.DiscardHandler)
	t.open()
	t.source.Servers[0].Endpoint.URL = t.direct
	t.publish()
	target, err := url.Parse(t.direct)
	must(b, err)
	proxy := httptest.NewServer(&httputil.ReverseProxy{
		Transport: t.gateway.dialer.transport(), FlushInterval: -1, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
		Rewrite: func(p *httputil.ProxyRequest) { p.Out.URL, p.Out.Host = target, target.Host },
	})
	b.Cleanup(func() { proxy.CloseClientConnections(); proxy.Close() })
	t.bare = proxy.URL
	call := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"update_order","arguments":{"id":"o-1001","note":"hello"}`
	t.headers, t.body = http.Header{}, call+`}}`
	if modern {
		t.headers, t.body = modernHeader("tools/call", "update_order"), call+`,`+modernMeta+`}}`
	}
	t.headers.Set("Authorization", "Bearer "+t.idp.token("ada"))
	t.headers.Set("Content-Type", "application/json")
	t.headers.Set("Accept", "application/json, text/event-stream")
	if !modern {
		t.call(b, http.DefaultClient, t.url(), `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}`)
		t.headers.Set(headerSession, "s1")
	}
	return t
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func (t *track) call(tb testing.TB, c *http.Client, url, body string) time.Duration {
	tb.Helper()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, url, strings.NewReader(body))
	must(tb, err)
	req.Header = t.headers
	began := time.Now()
	res, err := c.Do(req)
	must(tb, err)
	got, err := io.ReadAll(res.Body)
	took := time.Since(began)
	must(tb, err)
	_ = res.Body.Close()
	if !strings.Contains(string(got), "xxxx") {
		tb.Fatalf("got HTTP %d %s", res.StatusCode, got)
	}
	return took
}

// added reports by how much calls take longer through via than without, at so many connections.
func (t *track) added(b *testing.B, via string, connections int) {
	b.Helper()
	c := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections}}
	b.Cleanup(c.CloseIdleConnections)
	var mu sync.Mutex
	var direct, through []time.Duration
	var workers sync.WaitGroup
	b.ResetTimer()
	for range connections {
		workers.Go(func() {
			for range max(b.N/connections, 1) {
				d, p := t.call(b, c, t.direct, t.body), t.call(b, c, via, t.body)
				mu.Lock()
				direct, through = append(direct, d), append(through, p)
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	at := func(all []time.Duration, part float64) float64 {
		slices.Sort(all)
		return float64(all[int(part*float64(len(all)-1))].Microseconds())
	}
	b.ReportMetric(at(through, 0.5)-at(direct, 0.5), "p50-µs")
	b.ReportMetric(at(through, 0.99)-at(direct, 0.99), "p99-µs")
}

func benchBare(b *testing.B, path string, connections int) {
	b.Helper()
	t := newTrack(b, path, true)
	t.added(b, t.bare, connections)
}

func benchOurs(b *testing.B, path string, modern bool, connections int) {
	b.Helper()
	t := newTrack(b, path, modern)
	t.added(b, t.url(), connections)
}

func BenchmarkAddedBare1(b *testing.B)      { benchBare(b, "/json", 1) }
func BenchmarkAddedBare8(b *testing.B)      { benchBare(b, "/json", 8) }
func BenchmarkAddedBare64(b *testing.B)     { benchBare(b, "/json", 64) }
func BenchmarkAddedBareEvents(b *testing.B) { benchBare(b, "/sse", 8) }

func BenchmarkAdded1(b *testing.B)            { benchOurs(b, "/json", true, 1) }
func BenchmarkAdded8(b *testing.B)            { benchOurs(b, "/json", true, 8) }
func BenchmarkAdded64(b *testing.B)           { benchOurs(b, "/json", true, 64) }
func BenchmarkAddedEvents(b *testing.B)       { benchOurs(b, "/sse", true, 8) }
func BenchmarkAddedLegacy(b *testing.B)       { benchOurs(b, "/json", false, 8) }
func BenchmarkAddedLegacyEvents(b *testing.B) { benchOurs(b, "/sse", false, 8) }

func BenchmarkOpenStreamBare(b *testing.B) {
	t := newTrack(b, "/json", false)
	t.streams(b, t.bare)
}

func BenchmarkOpenStream(b *testing.B) {
	t := newTrack(b, "/json", false)
	t.streams(b, t.url())
}

// streams reports what an open stream holds in memory, with the test's own end of it.
func (t *track) streams(b *testing.B, via string) {
	b.Helper()
	const many = 500
	c := &http.Client{Transport: &http.Transport{}}
	ctx, cancel := context.WithCancel(context.Background())
	b.Cleanup(func() { cancel(); c.CloseIdleConnections() })
	before := held()
	for range many {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, via, nil)
		must(b, err)
		req.Header = t.headers
		res, err := c.Do(req)
		must(b, err)
		if res.StatusCode != http.StatusOK {
			b.Fatalf("HTTP %d", res.StatusCode)
		}
		b.Cleanup(func() { _ = res.Body.Close() })
	}
	b.ReportMetric(float64(held()-before)/many/1024, "kB/stream")
}

// BenchmarkIdleSession reports what a session holds in memory while nothing goes on in it.
func BenchmarkIdleSession(b *testing.B) {
	const many = 5_000
	s := newSessions(time.Now)
	before := held()
	for i := range many {
		c := &caller{principal: policy.Principal{Issuer: "https://idp.test", Subject: fmt.Sprint("person-", i), Agent: "agent"}}
		must(b, s.bind("srv_1", fmt.Sprintf("%032d", i), c))
	}
	b.ReportMetric(float64(held()-before)/many, "B/session")
	runtime.KeepAlive(s)
}

// held is what the process holds now, in bytes: heap and stacks.
func held() int64 {
	var m runtime.MemStats
	for range 2 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

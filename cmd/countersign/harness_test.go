package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"countersign/internal/browsertest"
	"countersign/internal/pgtest"
)

// output collects what a program prints, while it prints.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// program is a running Run.
type program struct {
	out, err output
	stop     context.CancelFunc
	done     chan struct{}
	code     int
}

// start runs the program as main does, until the test ends or stop is called.
func start(t *testing.T, args ...string) *program {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	p := &program{stop: stop, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.code = Run(ctx, args, &p.out, &p.err)
	}()
	t.Cleanup(func() {
		p.end(t)
		if t.Failed() {
			t.Logf("countersign %s\n%s\n%s", strings.Join(args, " "), p.out.String(), p.err.String())
		}
	})
	return p
}

// end stops the program and gives its exit code.
func (p *program) end(t *testing.T) int {
	t.Helper()
	p.stop()
	select {
	case <-p.done:
	case <-time.After(time.Minute):
		t.Fatal("the program does not stop")
	}
	return p.code
}

// says waits until the program printed what the expression matches, and gives its first group.
func (p *program) says(t *testing.T, expression string) string {
	t.Helper()
	re := regexp.MustCompile(expression)
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if m := re.FindStringSubmatch(p.out.String()); m != nil {
			return m[len(m)-1]
		}
		select {
		case <-p.done:
			t.Fatalf("ended with %d before it said %q:\n%s\n%s", p.code, expression, p.out.String(), p.err.String())
		default:
		}
	}
	t.Fatalf("never said %q:\n%s\n%s", expression, p.out.String(), p.err.String())
	return ""
}

// run runs a short command to its end.
func run(t *testing.T, args ...string) (code int, out string) {
	t.Helper()
	var stdout, stderr output
	code = Run(t.Context(), args, &stdout, &stderr)
	return code, stdout.String() + stderr.String()
}

// installed is a running countersign up.
type installed struct {
	*program
	data, console, gateway string
}

func startUp(t *testing.T, args ...string) *installed {
	t.Helper()
	return startUpOn(t, filepath.Join(pgtest.TempDir(t), "data"), args...)
}

func startUpOn(t *testing.T, data string, args ...string) *installed {
	t.Helper()
	p := start(t, append([]string{
		"up", "--data", data, "--listen", "127.0.0.1:0", "--gateway-listen", "127.0.0.1:0",
		"--idp-listen", "127.0.0.1:0", "--sample-listen", "127.0.0.1:0",
	}, args...)...)
	in := &installed{program: p, data: data}
	in.console = p.says(t, `Countersign is ready: (http://\S+)`)
	in.gateway = p.says(t, `Gateway: (http://\S+)`)
	return in
}

// desk is one person at one browser.
type desk struct {
	*browsertest.Browser
	console string
}

// signIn opens a browser and signs a demo person in.
func signIn(t *testing.T, console, person string) *desk {
	t.Helper()
	d := &desk{Browser: browsertest.Open(t), console: console}
	d.Go(console + "/")
	d.Press(`a[href^="/auth/login"]`)
	d.Press(fmt.Sprintf(`button[value=%q]`, person))
	d.See("Overview")
	return d
}

func (d *desk) open(path string) { d.Go(d.console + path) }

// call runs countersign call and gives its exit code and output.
func (in *installed) call(t *testing.T, as, server, tool, args string) (int, string) {
	t.Helper()
	return run(t, "call", server, tool, "--args", args, "--as", as, "--data", in.data)
}

// toolNames is what countersign tools lists.
func (in *installed) toolNames(t *testing.T, as, server string) []string {
	t.Helper()
	code, out := run(t, "tools", server, "--as", as, "--data", in.data, "--json")
	if code != exitDone {
		t.Fatalf("tools: exit %d\n%s", code, out)
	}
	return namesIn(t, out)
}

// namesIn reads the names in what countersign tools --json printed.
func namesIn(t *testing.T, out string) []string {
	t.Helper()
	var answer struct {
		Tools []struct{ Name string } `json:"tools"`
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		t.Fatalf("tools --json: %v\n%s", err, out)
	}
	names := []string{}
	for _, tool := range answer.Tools {
		names = append(names, tool.Name)
	}
	return names
}

// eventually tries until it holds: for what follows a change by itself, such as a policy reaching a gateway.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}

// text is what an element says.
func (d *desk) text(selector string) string {
	return browsertest.Eval[string](d.Browser, fmt.Sprintf("document.querySelector(%q).textContent", selector))
}

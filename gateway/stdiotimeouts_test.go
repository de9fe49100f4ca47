package gateway

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"countersign/internal/orders"
)

// takeLong is how the hostile server takes its time. What it was asked to do it notes in the directory it runs in.
func takeLong(tool string, token json.RawMessage, answer func(), say func(string, ...any)) {
	jot("ran", "%s", tool)
	progress := func(n int) {
		say(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":%d}}`, token, n)
	}
	switch tool {
	case "stalls":
		progress(1)
	case "gushes":
		go func() {
			for long := strings.Repeat("x", 64<<10); !exists("cancelled"); time.Sleep(2 * time.Millisecond) {
				say(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":1,"message":%q}}`, token, long)
			}
		}()
	case "talks", "never_ends":
		go func() {
			for n := 1; n < 8 || tool == "never_ends"; n++ {
				progress(n)
				time.Sleep(200 * time.Millisecond)
			}
			answer()
		}()
	}
}

// jot writes a line to a file beside the server.
func jot(file, format string, args ...any) {
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return
	}
	defer func() { _ = f.Close() }()
	fmt.Fprintf(f, format+"\n", args...)
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// noted reads what the server of a stand noted.
func (s *stand) noted(file string) string {
	text, _ := os.ReadFile(filepath.Join(s.gateway.config().Commands["orders"].Dir, file))
	return string(text)
}

// patient changes how long the gateway of a stand waits for its server.
func (s *stand) patient(t Timeouts) {
	s.t.Helper()
	c := *s.gateway.config()
	c.Upstreams = map[string]Upstream{orders.Name: {Timeouts: t}}
	if err := s.gateway.Reload(c); err != nil {
		s.t.Fatal(err)
	}
}

// TestStdioServerThatTakesTooLong: a process has as long as a server behind HTTP has, and is told when nobody waits any
// more; its caller learns that the call may have run, and it runs once.
func TestStdioServerThatTakesTooLong(t *testing.T) {
	t.Parallel()
	s := newStdioStand(t, "hostile", nil)
	s.patient(Timeouts{FirstByte: time.Second, Idle: time.Second, Total: 3 * time.Second})
	tests := map[string]string{
		"hangs":      outcomeOpen + sentence(errNoAnswer),
		"stalls":     outcomeOpen + sentence(errSilent),
		"never_ends": outcomeOpen + sentence(errTooSlow),
		"talks":      "done talking",
	}
	var all sync.WaitGroup
	for tool, want := range tests {
		all.Go(func() {
			r := s.modernCallAs("ada", `"a"`, tool)
			if r.status != 200 || !strings.Contains(r.body, want) || strings.Count(r.body, `"id":"a"`) != 1 {
				t.Errorf("%s: want %q in HTTP %d %s", tool, want, r.status, r.body)
			}
			if open := strings.HasPrefix(want, outcomeOpen); open != strings.Contains(r.body, `"executed":"unknown"`) {
				t.Errorf("%s: %s", tool, r.body)
			}
		})
	}
	all.Wait()
	s.eventually("the server to hear of it", func() bool { return strings.Count(s.noted("cancelled"), tookLong) == 3 })
	if ran := strings.Fields(s.noted("ran")); len(ran) != len(tests) {
		t.Errorf("ran %v", ran)
	}
	if r := s.modernCallAs("ada", `"a"`, "fine"); !strings.Contains(r.body, `"fine"`) || len(s.gateway.stdio.instances) != 1 {
		t.Errorf("afterwards: %s", r.body)
	}
}

// TestStdioServerThatHangs is left alone after some calls, for the caller whose process hangs, and that process is ended.
func TestStdioServerThatHangs(t *testing.T) {
	t.Parallel()
	s := newStdioStand(t, "hostile", nil)
	s.restsFor(300 * time.Millisecond)
	s.patient(Timeouts{FirstByte: 500 * time.Millisecond})
	s.modernCallAs("ada", `"a"`, "fine")
	hung := s.onlyInstance().process
	s.patient(Timeouts{FirstByte: 50 * time.Millisecond})
	var all sync.WaitGroup
	for range breakAfter {
		all.Go(func() {
			if r := s.modernCallAs("ada", `"a"`, "hangs"); !strings.Contains(r.body, outcomeOpen) {
				t.Errorf("hangs: %s", r.body)
			}
		})
	}
	all.Wait()
	s.patient(Timeouts{})
	if r := s.modernCallAs("ada", `"a"`, "hangs"); !strings.Contains(r.body, "SERVER DOWN (not executed)") {
		t.Errorf("the next: %s", r.body)
	}
	if r := s.modernCallAs("eve", `"a"`, "fine"); !strings.Contains(r.body, `"fine"`) {
		t.Errorf("another caller: %s", r.body)
	}
	<-hung.done
	s.eventually("the server to be tried again", func() bool { return strings.Contains(s.modernCallAs("ada", `"a"`, "fine").body, `"fine"`) })
	if n := strings.Count(s.noted("ran"), "hangs"); n != breakAfter {
		t.Errorf("ran %d times", n)
	}
}

// TestStdioServerThatDoesNotStart was sent nothing, whatever the era.
func TestStdioServerThatDoesNotStart(t *testing.T) {
	t.Parallel()
	s := newStdioStand(t, "hostile", nil)
	s.eventually("the first look at the server", func() bool { return s.gateway.watch.speaks(&s.source.Servers[0]) != "" })
	writeFile(t, filepath.Join(s.gateway.config().Commands["orders"].Dir, "mute"), "")
	s.patient(Timeouts{Connect: 50 * time.Millisecond})
	late := sentence(errSlow)
	if r := s.modernCallAs("ada", `"a"`, "fine"); r.status != 200 || !strings.Contains(r.body, notRun+late) || !strings.Contains(r.body, `"executed":"no"`) {
		t.Errorf("stateless: HTTP %d %s", r.status, r.body)
	}
	var r reply
	s.eventually("another process to be started", func() bool {
		s.gateway.stdio.restarts.mu.Lock()
		s.gateway.stdio.restarts.died = nil
		s.gateway.stdio.restarts.mu.Unlock()
		r = s.post(initializeBody, nil)
		return !strings.Contains(r.body, string(reasonRestarting)) // it may hear only now that the first has ended
	})
	if !strings.Contains(r.text, late) {
		t.Errorf("initialize: HTTP %d %s", r.status, r.body)
	}
	s.eventually("every process to end", func() bool { return s.gateway.stdio.count() == 0 })
}

package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// TestSignalsOfAGateway runs the program itself: SIGHUP rereads the configuration, the first SIGTERM makes it unready
// while it still serves, the second ends it at once.
func TestSignalsOfAGateway(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	config := fmt.Sprintf(`control_plane: http://127.0.0.1:1
client_id: cli_x
client_secret_file: %s
listen: 127.0.0.1:0
resource: http://127.0.0.1:1
state_dir: %s
issuers: [{issuer: "http://127.0.0.1:1"}]
drain_delay: 5m
`, write("secret", "x"), filepath.Join(dir, "state"))
	path := write("gateway.yaml", config)
	p := &process{t: t, says: regexp.MustCompile(`on (127\.0\.0\.1:\d+)`), args: []string{"gateway", "--config", path}}
	address := p.start()
	t.Cleanup(p.kill)
	ready := func() string {
		res, err := http.Get("http://" + address + "/readyz")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		said, _ := io.ReadAll(res.Body)
		return fmt.Sprint(res.StatusCode, " ", string(said))
	}
	if said := ready(); !strings.HasPrefix(said, "503") || !strings.Contains(said, "no policy has arrived yet") {
		t.Errorf("before: %s", said)
	}
	write("gateway.yaml", config+"listen_on: 1\n")
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the broken file to be told", func() bool { return strings.Contains(ready(), `"error":"line 9 cannot be read"`) })
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it drains", func() bool { return strings.Contains(ready(), `"status":"draining"`) })
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	p.cmd = nil
}

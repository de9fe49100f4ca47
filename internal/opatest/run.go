package opatest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// OPA is a running stock OPA, which listens on a socket of its own.
type OPA struct {
	t      testing.TB
	client *http.Client
	log    *log
}

// log collects what OPA prints.
type log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// Start runs OPA as a server with a configuration (YAML) until the test ends. What it prints is shown if the test fails.
func Start(t testing.TB, config string) *OPA {
	t.Helper()
	dir, err := os.MkdirTemp("", "opa") //nolint:usetesting // the path of a socket has to be short
	if err != nil {
		t.Fatal(err)
	}
	path, socket := filepath.Join(dir, "config.yaml"), filepath.Join(dir, "socket")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	command := exec.CommandContext(ctx, Binary(t), "run", "--server", "--config-file", path, //nolint:gosec // our own build
		"--addr", "unix://"+socket, "--log-level", "debug", "--skip-version-check")
	o := &OPA{t: t, log: &log{}, client: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}}
	command.Stdout, command.Stderr = o.log, o.log
	if err := command.Start(); err != nil {
		t.Fatalf("starting OPA: %v", err)
	}
	t.Cleanup(func() {
		o.client.CloseIdleConnections()
		stop()
		_ = command.Wait() // killed, as we asked
		_ = os.RemoveAll(dir)
		if t.Failed() {
			t.Logf("OPA said:\n%.20000s", o.log.String())
		}
	})
	o.Eventually("OPA listens", func() bool { return o.get("/health") })
	return o
}

// Eventually tries until it holds, at most half a minute.
func (o *OPA) Eventually(what string, holds func() bool) {
	o.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if holds() {
			return
		}
	}
	o.t.Fatalf("never: %s", what)
}

// Ready reports whether OPA has activated its bundles.
func (o *OPA) Ready() bool { return o.get("/health?bundles") }

func (o *OPA) get(path string) bool {
	res, err := o.do(http.MethodGet, path, nil)
	if err != nil {
		return false
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
	return res.StatusCode == http.StatusOK
}

func (o *OPA) do(method, path string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(o.t.Context(), method, "http://opa"+path, body)
	if err != nil {
		return nil, err
	}
	return o.client.Do(req)
}

// Ask decodes the document at a path under data, for an input, into out. It reports whether the document is defined.
func (o *OPA) Ask(path string, input, out any) bool {
	o.t.Helper()
	text, err := json.Marshal(map[string]any{"input": input})
	if err != nil {
		o.t.Fatal(err)
	}
	res, err := o.do(http.MethodPost, "/v1/data/"+path, bytes.NewReader(text))
	if err != nil {
		o.t.Fatal(err)
	}
	defer res.Body.Close()
	answer := struct{ Result json.RawMessage }{}
	if err := decode(res, &answer); err != nil {
		o.t.Fatalf("asking for %s: %v", path, err)
	}
	if answer.Result == nil {
		return false
	}
	if err := json.Unmarshal(answer.Result, out); err != nil {
		o.t.Fatalf("asking for %s: %v: %.2000s", path, err, answer.Result)
	}
	return true
}

// BundleStatus is how the last download of a bundle went.
type BundleStatus struct {
	ActiveRevision string `json:"active_revision"`
	Code           string `json:"code"`
	Message        string `json:"message"`
}

// Bundle gives the status of a bundle by its name in the configuration, which has to turn status on.
func (o *OPA) Bundle(name string) BundleStatus {
	o.t.Helper()
	res, err := o.do(http.MethodGet, "/v1/status", nil)
	if err != nil {
		o.t.Fatal(err)
	}
	defer res.Body.Close()
	var answer struct {
		Result struct{ Bundles map[string]BundleStatus }
	}
	if err := decode(res, &answer); err != nil {
		o.t.Fatalf("asking for the status: %v", err)
	}
	return answer.Result.Bundles[name]
}

func decode(res *http.Response, out any) error {
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d: %.2000s", res.StatusCode, text)
	}
	return json.Unmarshal(text, out)
}

// Log is what OPA printed so far.
func (o *OPA) Log() string { return o.log.String() }

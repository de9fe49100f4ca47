package gateway

import (
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"countersign/client"
)

// TestReload: what may change does, at once and whole; what may not is refused, with everything beside it.
func TestReload(t *testing.T) {
	t.Parallel()
	s := newStdioStand(t, "plain", nil)
	before := *s.gateway.config()
	change := func(edit func(*Config)) Config {
		next := before
		edit(&next)
		return next
	}
	for name, edit := range map[string]func(*Config){
		"control_plane":                  func(c *Config) { c.ControlPlane = "https://other.example" },
		"root_key":                       func(c *Config) { c.RootKey = strings.Repeat("A", 43) },
		"client_id":                      func(c *Config) { c.ClientID = "cli_2" },
		"client_secret_file":             func(c *Config) { c.ClientSecretFile = "/elsewhere" },
		"listen":                         func(c *Config) { c.Listen = "127.0.0.1:1" },
		"resource":                       func(c *Config) { c.Resource = "https://other.example" },
		"state_dir":                      func(c *Config) { c.StateDir = "/elsewhere" },
		"caller_timeouts":                func(c *Config) { c.Callers.Body = 1 },
		"instance":                       func(c *Config) { c.Instance = "i2" },
		"allow_private_upstreams":        func(c *Config) { c.AllowPrivateUpstreams = false },
		"client_id, listen":              func(c *Config) { c.ClientID, c.Listen = "cli_2", "127.0.0.1:1" },
		"the file is not valid; the log": func(c *Config) { c.Issuers = []Issuer{{}} },
	} {
		next := change(edit)
		next.HoldWait = 1
		err := s.gateway.Reload(next)
		if err == nil || !strings.HasPrefix(s.gateway.loaded.health().Error, name) {
			t.Errorf("%s: %v, and to everybody %q", name, err, s.gateway.loaded.health().Error)
		}
		if diff := cmp.Diff(before, *s.gateway.config()); diff != "" {
			t.Fatalf("%s was refused and changed (-want +got):\n%s", name, diff)
		}
	}
	held := s.gateway.verifier.Load()
	next := change(func(c *Config) { c.HoldWait = 2 })
	if err := s.gateway.Reload(next); err != nil || s.gateway.config().HoldWait != 2 || s.gateway.loaded.health().Error != "" {
		t.Errorf("hold_wait: %v, %+v", err, s.gateway.loaded.health())
	}
	if s.gateway.verifier.Load() != held {
		t.Error("verified tokens were forgotten although no issuer changed")
	}
	next.Issuers = append([]Issuer{{Issuer: "https://new.example"}}, before.Issuers...)
	if err := s.gateway.Reload(next); err != nil {
		t.Fatal(err)
	}
	now := s.gateway.verifier.Load()
	if kept := before.Issuers[0].Issuer; now == held || now.issuers[kept] != held.issuers[kept] || len(now.issuers) != 2 || len(now.cache.known) != 0 {
		t.Error("the verifier was not renewed, or lost the keys of an issuer that is as it was")
	}
}

// TestReloadEndsProcesses: removing a command ends what runs of it, and the control plane hears what is offered now.
func TestReloadEndsProcesses(t *testing.T) {
	t.Parallel()
	s := newStdioStand(t, "plain", nil)
	session := s.connect("ada", "2025-11-25", nil)
	pid := textOf(call(t, session, "pid", `{}`))
	next := *s.gateway.config()
	next.Commands = map[string]Command{"other": {Argv: []string{"true"}}}
	if err := s.gateway.Reload(next); err != nil {
		t.Fatal(err)
	}
	s.eventually("the process to end", func() bool { return !running(number(t, pid)) })
	if offered := s.gateway.feed.Offered(); len(offered) != 1 || offered[0].Name != "other" {
		t.Errorf("offered %+v", offered)
	}
	s.eventually("the control plane to hear of it", func() bool {
		return reflect.DeepEqual(s.plane.offered(), []client.Command{s.gateway.feed.Offered()[0]})
	})
	r := s.post(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"x","version":"1"}}}`, nil)
	if !strings.Contains(r.text, "not configured to start that server") {
		t.Errorf("got %s", r.body)
	}
}

// TestFollowConfig: a file that is put back, broken, and mended.
func TestFollowConfig(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	path := filepath.Join(t.TempDir(), "gateway.yaml")
	c := s.gateway.config()
	file := "control_plane: " + c.ControlPlane + "\nclient_id: cli_1\nlisten: 127.0.0.1:0\nresource: " + c.Resource + "\nstate_dir: " + c.StateDir +
		"\ninstance: i1\nallow_private_upstreams: true\nissuers:\n- issuer: " + s.idp.server.URL + "\n  algorithms: [ES256]\n"
	writeFile(t, path, file)
	hup, done := make(chan os.Signal, 1), make(chan error, 1)
	go func() { done <- s.gateway.FollowConfig(s.gateway.ctx, path, hup) }()
	for _, test := range []struct{ name, add, says string }{
		{"as it was", "", ""},
		{"another value", "hold_wait: 7s\n", ""},
		{"an unknown key", "hold_weight: 8s\n", "line 11 cannot be read"},
		{"not YAML", "\nhold_wait: 8s: 8s\n", "line 12 cannot be read"},
		{"not valid", "hold_wait: 8h\n", "the file is not valid; the log says why"},
		{"what is fixed", "root_key: " + strings.Repeat("A", 43) + "\n", "root_key cannot change while the gateway runs: restart it"},
		{"mended", "hold_wait: 9s\n", ""},
	} {
		wait := s.gateway.config().HoldWait
		writeFile(t, path, file+test.add)
		hup <- syscall.SIGHUP
		s.eventually(test.name, func() bool {
			return s.gateway.loaded.health().Error == test.says && (test.says != "" || strings.Contains("hold_wait: "+s.gateway.config().HoldWait.String()+"\n", test.add))
		})
		if got := s.gateway.config().HoldWait; test.says != "" && got != wait {
			t.Errorf("%s: refused, and hold_wait is %s", test.name, got)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	hup <- syscall.SIGHUP
	s.eventually("the missing file to be told", func() bool { return s.gateway.loaded.health().Error == "the file cannot be opened" })
	s.gateway.stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestEveryKeyIsFixedOrNot holds the list in docs/operations.md to the tags.
func TestEveryKeyIsFixedOrNot(t *testing.T) {
	t.Parallel()
	docs, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	for field := range reflect.TypeFor[Config]().Fields() {
		key := field.Tag.Get("yaml")
		if !strings.Contains(string(docs), "| `"+key+"` |") {
			t.Errorf("docs/operations.md does not name %s", key)
		}
		_, line, _ := strings.Cut(strings.ReplaceAll(string(docs), "\n", " "), "A restart is needed for ")
		line, _, _ = strings.Cut(line, ":")
		if fixed := field.Tag.Get("running") == "fixed"; fixed != strings.Contains(line, "`"+key+"`") {
			t.Errorf("docs/operations.md does not say rightly whether %s needs a restart: %t", key, fixed)
		}
	}
}

func number(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

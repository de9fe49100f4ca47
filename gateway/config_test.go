package gateway

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"countersign/client"
)

const goodConfig = `
control_plane: http://127.0.0.1:8080
client_id: cli_1
client_secret_file: %DIR%/secret
listen: 127.0.0.1:8081
resource: http://127.0.0.1:8081
state_dir: %DIR%/state
issuers:
  - issuer: http://127.0.0.1:8082
    algorithms: [RS256, EdDSA]
allow_private_upstreams: true
hold_wait: 5s
commands:
  filesystem: {argv: [npx, server, /srv], env: [PATH], dir: /}
upstreams:
  com.example/orders: {headers: {Authorization: env:ORDERS_TOKEN}}
`

func load(t *testing.T, text string) (Config, error) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "gateway.yaml")
	writeFile(t, path, strings.ReplaceAll(text, "%DIR%", dir))
	writeFile(t, filepath.Join(dir, "secret"), " s3cret\n")
	return LoadConfig(path)
}

func TestLoadConfig(t *testing.T) {
	t.Parallel()
	c, err := load(t, goodConfig)
	if err != nil {
		t.Fatal(err)
	}
	if c.HoldWait != 5*time.Second || c.Commands["filesystem"].Argv[2] != "/srv" || c.Issuers[0].Algorithms[1] != "EdDSA" {
		t.Errorf("read %+v", c)
	}
	cc, err := c.ClientConfig()
	if err != nil || cc.ClientSecret != client.Secret("s3cret") || cc.Instance == "" {
		t.Errorf("client: %+v %v", cc, err)
	}
	offered, err := c.Offered()
	if err != nil || len(offered) != 1 || offered[0].Name != "filesystem" || offered[0].Digest.IsZero() {
		t.Errorf("offered %+v %v", offered, err)
	}
}

func TestConfigThatIsRefused(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, from, to, want string }{
		{"an unknown key", "listen:", "listn: x\nlisten:", "listn"},
		{"an unknown key inside", "algorithms:", "algoritms: [x]\n    algorithms:", "algoritms"},
		{"a key twice", "listen:", "listen: x\nlisten:", "listen"},
		{"no control plane", "control_plane: http://127.0.0.1:8080", "", "control_plane"},
		{"a control plane that is no URL", "http://127.0.0.1:8080", "localhost", "control_plane"},
		{"credentials in a URL", "http://127.0.0.1:8080", "http://a:b@127.0.0.1:8080", "control_plane"},
		{"a root key that is no thumbprint", "client_id: cli_1", "client_id: cli_1\nroot_key: AAAA", "root_key"},
		{"a slash after the resource", "resource: http://127.0.0.1:8081", "resource: http://127.0.0.1:8081/", "slash"},
		{"a symmetric algorithm", "RS256", "HS256", "HS256"},
		{"the algorithm none", "RS256", "none", "none"},
		{"a credential in the file", "env:ORDERS_TOKEN", "Bearer-abc", "never from this file"},
		{"a header of the protocol", "Authorization:", "mcp-session-id:", "belongs to the protocol"},
		{"a header that makes calls repeatable", "Authorization:", "Idempotency-Key:", "belongs to the protocol"},
		{"a value in env", "env: [PATH]", "env: [A=b]", "without values"},
		{"no argv", "argv: [npx, server, /srv]", "argv: []", "needs argv"},
		{"a long wait", "hold_wait: 5s", "hold_wait: 50s", "hold_wait"},
	}
	for _, tt := range tests {
		changed := strings.Replace(goodConfig, tt.from, tt.to, 1)
		if changed == goodConfig {
			t.Fatalf("%s changes nothing", tt.name)
		}
		if _, err := load(t, changed); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
}

func TestLoadCommands(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "commands.yaml")
	writeFile(t, path, "memory: {argv: [node, memory.js]}\n")
	got, err := LoadCommands(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]Command{"memory": {Argv: []string{"node", "memory.js"}}}, got); diff != "" {
		t.Errorf("commands (-want +got):\n%s", diff)
	}
	writeFile(t, path, "memory: {argv: [node], shell: true}\n")
	if _, err := LoadCommands(path); err == nil {
		t.Error("an unknown key was read")
	}
}

func TestDigestOfACommandTellsCommandLinesApart(t *testing.T) {
	t.Parallel()
	digest := func(c Command) string {
		d, err := c.Digest()
		if err != nil {
			t.Fatal(err)
		}
		return d.String()
	}
	base := Command{Argv: []string{"a", "b"}, Env: []string{"PATH"}, Dir: "/"}
	seen := map[string]bool{digest(base): true}
	for _, other := range []Command{
		{Argv: []string{"a b"}, Env: []string{"PATH"}, Dir: "/"},
		{Argv: []string{"a", "b"}, Dir: "/"},
		{Argv: []string{"a", "b"}, Env: []string{"PATH"}},
		{Argv: []string{"a", "b", ""}, Env: []string{"PATH"}, Dir: "/"},
		{Argv: []string{"a", "b"}, Env: []string{"PATH", "HOME"}, Dir: "/"},
	} {
		if d := digest(other); seen[d] {
			t.Errorf("%+v has the digest of another", other)
		} else {
			seen[d] = true
		}
	}
}

func TestSealOfRequestStates(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	seal, err := loadSeal(dir)
	if err != nil {
		t.Fatal(err)
	}
	again, err := loadSeal(dir)
	if err != nil {
		t.Fatal(err)
	}
	text := seal.seal(requestState{Approval: "apr_1", Caller: "a"})
	if got, err := again.open(text); err != nil || got.Approval != "apr_1" {
		t.Errorf("after a restart: %+v %v", got, err)
	}
	for _, bad := range []string{"", "cst1.", text[1:], text[:len(text)-2], strings.Replace(text, ".", "..", 1), text + "x"} {
		if _, err := seal.open(bad); err == nil {
			t.Errorf("%q was opened", bad)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, fileSeal)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key: %v %v", info, err)
	}
}

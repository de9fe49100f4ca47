package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"golang.org/x/net/html"

	"countersign/internal/pgtest"
)

// registerProcess registers a stdio server that the gateway says it can start, pins all that it offers, and gives its page.
func (c *clerk) registerProcess(t *testing.T, name, command string) (page string) {
	t.Helper()
	var option *html.Node
	eventually(t, "the gateway says that it can start "+command, func() bool {
		if err := c.open(t.Context(), "/servers/new"); err != nil {
			t.Fatal(err)
		}
		option = c.find(func(n *html.Node) bool {
			return n.Data == "option" && strings.HasPrefix(attribute(n, "value"), command+" ")
		})
		return option != nil
	})
	option.Attr = append(option.Attr, html.Attribute{Key: "selected"})
	for n := range c.page.Descendants() {
		if n.Data != "input" || attribute(n, "name") != "transport" {
			continue
		}
		n.Attr = slices.DeleteFunc(n.Attr, func(a html.Attribute) bool { return a.Key == "checked" })
		if attribute(n, "value") == "stdio" {
			n.Attr = append(n.Attr, html.Attribute{Key: "checked"})
		}
	}
	c.fill("name", name)
	if err := c.press(t.Context(), byID("register")); err != nil {
		t.Fatal(err)
	}
	return c.pinAll(t, name)
}

// connectTo is an MCP client that we did not write, over the stdio of countersign connect.
func (in *installed) connectTo(t *testing.T, person, server string, options *mcp.ClientOptions) *mcp.ClientSession {
	t.Helper()
	command := exec.CommandContext(context.WithoutCancel(t.Context()), os.Args[0], "connect", server, "--data", in.data, "--as", person)
	command.Env = append(os.Environ(), runMain+"=1")
	command.Stderr = &in.err
	client := mcp.NewClient(&mcp.Implementation{Name: "desk", Version: "1"}, options)
	session, err := client.Connect(t.Context(), &mcp.CommandTransport{Command: command}, nil)
	if err != nil {
		t.Fatalf("connecting to %s: %v", server, err)
	}
	t.Cleanup(func() {
		if err := session.Close(); err != nil {
			t.Errorf("closing %s: %v", server, err)
		}
	})
	return session
}

// inspectOver runs the Inspector on countersign connect, as on any stdio server.
func (in *installed) inspectOver(t *testing.T, person, server string, args ...string) string {
	t.Helper()
	out, err := in.inspect(t, person, server, args...)
	if err != nil {
		t.Errorf("Inspector %s %v: %v\n%s", server, args, err, out)
	}
	return out
}

func (in *installed) inspect(t *testing.T, person, server string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, node(t), append([]string{
		module(t, "@modelcontextprotocol", "inspector", "clients", "launcher", "build", "index.js"),
		"--cli", "-e", runMain + "=1", os.Args[0], "connect", server, "--data=" + in.data, "--as=" + person,
	}, args...)...)
	command.Env = []string{"HOME=" + t.TempDir(), "PATH=" + filepath.Dir(node(t)) + ":/usr/bin:/bin"}
	out, err := command.CombinedOutput()
	return string(out), err
}

// toolCall is one call of a tool, and what its result has to say.
type toolCall struct{ tool, args, says string }

// everyTool is each tool of the servers that others wrote, called once, in an order in which it makes sense.
func everyTool(files string) map[string][]toolCall {
	at := func(name string) string { return filepath.Join(files, name) }
	quoted := func(format string, args ...any) string { return fmt.Sprintf(format, args...) }
	return map[string][]toolCall{
		"filesystem": {
			{"list_allowed_directories", `{}`, files},
			{"create_directory", quoted(`{"path":%q}`, at("sub")), "sub"},
			{"write_file", quoted(`{"path":%q,"content":"one\ntwo\n"}`, at("a.txt")), "a.txt"},
			{"read_file", quoted(`{"path":%q}`, at("a.txt")), "two"},
			{"read_text_file", quoted(`{"path":%q,"head":1}`, at("a.txt")), "one"},
			{"read_media_file", quoted(`{"path":%q}`, at("dot.png")), "image/png"},
			{"read_multiple_files", quoted(`{"paths":[%q,%q]}`, at("a.txt"), at("hello.txt")), "hello from a file"},
			{"edit_file", quoted(`{"path":%q,"edits":[{"oldText":"two","newText":"three"}]}`, at("a.txt")), "three"},
			{"list_directory", quoted(`{"path":%q}`, files), "[DIR] sub"},
			{"list_directory_with_sizes", quoted(`{"path":%q}`, files), "a.txt"},
			{"directory_tree", quoted(`{"path":%q}`, files), "hello.txt"},
			{"move_file", quoted(`{"source":%q,"destination":%q}`, at("a.txt"), at("sub/b.txt")), "b.txt"},
			{"search_files", quoted(`{"path":%q,"pattern":"**/*.txt"}`, files), "b.txt"},
			{"get_file_info", quoted(`{"path":%q}`, at("sub/b.txt")), "size"},
		},
		"memory": {
			{"create_entities", `{"entities":[{"name":"Ada","entityType":"person","observations":["approves"]},{"name":"Tea","entityType":"drink","observations":[]}]}`, "Ada"},
			{"create_relations", `{"relations":[{"from":"Ada","to":"Tea","relationType":"drinks"}]}`, "drinks"},
			{"add_observations", `{"observations":[{"entityName":"Ada","contents":["signs second"]}]}`, "signs second"},
			{"read_graph", `{}`, "signs second"},
			{"search_nodes", `{"query":"Ada"}`, "approves"},
			{"open_nodes", `{"names":["Tea"]}`, "drink"},
			{"delete_observations", `{"deletions":[{"entityName":"Ada","observations":["approves"]}]}`, "deleted"},
			{"delete_relations", `{"relations":[{"from":"Ada","to":"Tea","relationType":"drinks"}]}`, "deleted"},
			{"delete_entities", `{"entityNames":["Tea"]}`, "deleted"},
		},
		"everything": {
			{"echo", `{"message":"hello"}`, "hello"},
			{"get-annotated-message", `{"messageType":"error"}`, "rror"},
			{"get-env", `{}`, "EVERYTHING_TEST"},
			{"get-resource-links", `{"count":2}`, "demo://resource"},
			{"get-resource-reference", `{"resourceType":"Text","resourceId":1}`, "demo://resource"},
			{"get-structured-content", `{"location":"Chicago"}`, "humidity"},
			{"get-sum", `{"a":20,"b":22}`, "42"},
			{"get-tiny-image", `{}`, "image/png"},
			{"gzip-file-as-resource", `{"name":"x.gz","data":"data:text/plain,hello","outputType":"resourceLink"}`, "x.gz"},
			{"toggle-simulated-logging", `{}`, "logging"},
			{"toggle-subscriber-updates", `{}`, "updates"},
			{"trigger-long-running-operation", `{"duration":0.2,"steps":2}`, "completed"},
			{"simulate-research-query", `{"topic":"tea"}`, "task"}, // it only runs as a task, and says so
		},
		"sequential-thinking": {
			{"sequentialthinking", `{"thought":"One.","nextThoughtNeeded":false,"thoughtNumber":1,"totalThoughts":1}`, "totalThoughts"},
		},
	}
}

// dot is the smallest picture.
const dot = "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00\x1f\x15\xc4\x89"

// The Inspector starts anew for each call, so it makes all of them only where there is time.
var inspectEvery = flag.Bool("inspector.all", false, "have the Inspector make every call, and not only some")

// TestEveryToolThroughConnect calls each tool of four servers that we did not write: a client that only speaks stdio, our
// bridge, the gateway, and their processes. The Inspector makes some of the calls and the Go SDK all of them, or, with
// -inspector.all, the Inspector does.
func TestEveryToolThroughConnect(t *testing.T) {
	files := pgtest.TempDir(t)
	for name, text := range map[string]string{"hello.txt": "hello from a file", "dot.png": dot} {
		if err := os.WriteFile(filepath.Join(files, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("MEMORY_FILE_PATH", filepath.Join(t.TempDir(), "memory.json"))
	t.Setenv("EVERYTHING_TEST", "named in the configuration")
	commands := ""
	for _, s := range foreign(t, files) {
		argv, err := json.Marshal(append([]string{node(t), module(t, "@modelcontextprotocol", "server-"+s.name, "dist", "index.js")}, s.args...))
		if err != nil {
			t.Fatal(err)
		}
		commands += fmt.Sprintf("%s:\n  argv: %s\n  env: [MEMORY_FILE_PATH, EVERYTHING_TEST]\n", s.name, argv)
	}
	path := filepath.Join(t.TempDir(), "commands.yaml")
	if err := os.WriteFile(path, []byte(commands), 0o600); err != nil {
		t.Fatal(err)
	}
	in := startUp(t, "--commands", path)
	ada := newClerk(t, in.console, "ada")
	ada.endGuardrails(t)
	servers := everyTool(files)
	var names []string
	for name := range servers {
		ada.registerProcess(t, "org.example/"+name, name)
		names = append(names, "org.example/"+name)
	}
	ada.grantEverything(t, "tomas", strings.Join(names, "\n"))
	for name := range servers {
		eventually(t, name+" is granted", func() bool { return len(in.offered(t, "org.example/"+name)) > 0 })
	}
	for name, calls := range servers {
		if *inspectEvery {
			in.inspectEvery(t, "org.example/"+name, calls)
		} else {
			in.callEvery(t, "org.example/"+name, calls)
		}
	}
	if out := in.inspectOver(t, "tomas", "org.example/filesystem", "--method", "tools/call", "--tool-name", "read_text_file", "--tool-arg", "path="+filepath.Join(files, "hello.txt")); !strings.Contains(out, "hello from a file") {
		t.Errorf("Inspector: %s", out)
	}
	if out := in.inspectOver(t, "tomas", "org.example/memory", "--method", "tools/call", "--tool-name", "read_graph"); !strings.Contains(out, "signs second") {
		t.Errorf("Inspector: %s", out)
	}
	if out := in.inspectOver(t, "tomas", "org.example/everything", "--method", "tools/list"); !strings.Contains(out, `"get-sum"`) {
		t.Errorf("Inspector: %s", out)
	}
	if out := in.inspectOver(t, "tomas", "org.example/sequential-thinking", "--method", "tools/list"); !strings.Contains(out, `"sequentialthinking"`) {
		t.Errorf("Inspector: %s", out)
	}
}

// callEvery calls all that a server lists, and nothing is listed that is not called.
func (in *installed) callEvery(t *testing.T, server string, calls []toolCall) {
	t.Helper()
	var mu sync.Mutex
	progress := 0
	session := in.connectTo(t, "tomas", server, &mcp.ClientOptions{
		ProgressNotificationHandler: func(context.Context, *mcp.ProgressNotificationClientRequest) {
			mu.Lock()
			defer mu.Unlock()
			progress++
		},
	})
	listed := map[string]bool{}
	for tool, err := range session.Tools(t.Context(), nil) {
		if err != nil {
			t.Fatal(err)
		}
		listed[tool.Name] = true
	}
	for _, c := range calls {
		params := &mcp.CallToolParams{Name: c.tool, Arguments: json.RawMessage(c.args)}
		params.SetProgressToken("desk-1")
		result, err := session.CallTool(t.Context(), params)
		said := fmt.Sprint(err)
		if err == nil {
			raw, _ := json.Marshal(result)
			said = string(raw)
		}
		if !strings.Contains(said, c.says) || c.says != "task" && (err != nil || result.IsError) {
			t.Errorf("%s %s: want %q in %s", server, c.tool, c.says, said)
		}
		if !listed[c.tool] {
			t.Errorf("%s: %s is not listed", server, c.tool)
		}
		delete(listed, c.tool)
	}
	if len(listed) > 0 {
		t.Errorf("%s: never called: %v", server, listed)
	}
	mu.Lock()
	defer mu.Unlock()
	if strings.HasSuffix(server, "/everything") && progress == 0 {
		t.Errorf("%s: no progress came through", server)
	}
}

// inspectEvery is callEvery with a process of the Inspector for each call.
func (in *installed) inspectEvery(t *testing.T, server string, calls []toolCall) {
	t.Helper()
	list := in.inspectOver(t, "tomas", server, "--method", "tools/list")
	if listed := strings.Count(list, `"inputSchema"`); listed != len(calls) {
		t.Errorf("%s lists %d tools, of which %d are called", server, listed, len(calls))
	}
	for _, c := range calls {
		var arguments map[string]json.RawMessage
		if err := json.Unmarshal([]byte(c.args), &arguments); err != nil {
			t.Fatal(err)
		}
		args := []string{"--method", "tools/call", "--tool-name", c.tool}
		for key, value := range arguments {
			var text string
			if json.Unmarshal(value, &text) != nil {
				text = string(value)
			}
			args = append(args, "--tool-arg", key+"="+text)
		}
		began := time.Now()
		out, err := in.inspect(t, "tomas", server, args...)
		if !strings.Contains(out, c.says) || err != nil && c.says != "task" {
			t.Errorf("%s %s: %v; want %q in %s", server, c.tool, err, c.says, out)
		}
		t.Logf("Inspector: %s %s, %d bytes, %s", server, c.tool, len(out), time.Since(began).Round(time.Millisecond))
	}
}

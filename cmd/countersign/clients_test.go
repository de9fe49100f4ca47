package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"golang.org/x/net/html"

	"countersign/internal/orders"
)

// clientsWorld is one installation that all the real clients call: a server that counts what it executes, a person whose
// calls are held, and one who approves them.
type clientsWorld struct {
	*installed
	shop     *orders.Server
	token    string
	address  string // of the server, at the gateway
	approver *clerk
}

func startClientsWorld(t *testing.T) *clientsWorld {
	t.Helper()
	w := &clientsWorld{shop: orders.New()}
	t.Cleanup(w.shop.Close)
	upstream := httptest.NewServer(w.shop.Handler())
	t.Cleanup(upstream.Close)
	w.installed = startUp(t)
	const server = "org.example/orders"
	ada := newClerk(t, w.console, "ada")
	ada.registerEverything(t, server, upstream.URL+"/mcp")
	ada.grantEverything(t, "tomas", server)
	w.approver = newClerk(t, w.console, "priya")
	eventually(t, "the grant reaches the gateway", func() bool { return len(w.toolNames(t, "tomas", server)) > 0 })
	connection, err := readConnection(w.data)
	if err == nil {
		w.token, err = connection.token(t.Context(), "tomas")
	}
	if err != nil {
		t.Fatal(err)
	}
	w.address = w.gateway + "/mcp/" + server
	return w
}

var approvalURL = regexp.MustCompile(`http://[^\s"]+(/approvals/apr_\w+)`)

// approve opens the address that a client was shown, as another person, and approves.
func (w *clientsWorld) approve(t *testing.T, shown string) {
	t.Helper()
	m := approvalURL.FindStringSubmatch(shown)
	if m == nil || !strings.HasPrefix(m[0], w.console) {
		t.Fatalf("the client does not show where people decide: %s", shown)
	}
	w.approver.approve(t, m[1])
}

// approve approves the call of that page.
func (c *clerk) approve(t *testing.T, page string) {
	t.Helper()
	err := c.open(t.Context(), page)
	if err == nil {
		c.fill("reason", "The customer asked for it")
		err = c.press(t.Context(), func(n *html.Node) bool { return attribute(n, "value") == "approve" })
	}
	if err != nil {
		t.Fatal(err)
	}
}

// executed fails unless the server executed so many deletions since before.
func (w *clientsWorld) executed(t *testing.T, when string, before, want int) {
	t.Helper()
	if got := w.shop.Executions("delete_orders") - before; got != want {
		t.Fatalf("%s the server executed %d deletions, want %d", when, got, want)
	}
}

// TestClientsShowHeldCalls holds the gateway to clients that we did not write: each shows its user where to approve, its
// identical retry is executed once, and the call after that is held again.
func TestClientsShowHeldCalls(t *testing.T) { //nolint:tparallel // the clients share the count of executions
	t.Parallel()
	w := startClientsWorld(t)
	for _, c := range []struct {
		name string
		call func(*testing.T) func(order string) string // what the client gives its user
		held string                                     // what is in it while the call is held
	}{
		{"TypeScript SDK v1", w.typeScriptCall("v1"), `"isError":true`},
		{"TypeScript client v2, legacy", w.typeScriptCall("v2"), `"isError":true`},
		{"Inspector", w.inspectorCall, `tool_is_error`},
		{"Go SDK", w.goClient, `"isError":true`},
	} {
		t.Run(c.name, func(t *testing.T) { //nolint:paralleltest // they share the count of executions
			w.heldThenOnce(t, c.call(t), c.held)
		})
	}
	t.Run("TypeScript client v2, modern", w.modernAsksItsUser) //nolint:paralleltest // as above
	t.Run("Claude Code", w.claudeCodeConnects)                 //nolint:paralleltest // as above
}

// heldThenOnce goes from the held call over the approval to the execution and to the next held call.
func (w *clientsWorld) heldThenOnce(t *testing.T, call func(order string) string, held string) {
	t.Helper()
	before, order := w.shop.Executions("delete_orders"), w.nextOrder()
	first := call(order)
	for _, want := range []string{held, "APPROVAL REQUIRED (not executed)", `countersign/approval`, `"retryAfterMs"`} {
		if !strings.Contains(first, want) {
			t.Errorf("a held call shows no %s:\n%s", want, first)
		}
	}
	w.executed(t, "while it was held", before, 0)
	w.approve(t, first)
	if again := call(order); strings.Contains(again, held) || strings.Contains(again, "APPROVAL REQUIRED") {
		t.Fatalf("the approved call:\n%s", again)
	}
	w.executed(t, "after the approval", before, 1)
	third := call(order)
	if !strings.Contains(third, "APPROVAL REQUIRED") || approvalURL.FindString(third) == approvalURL.FindString(first) {
		t.Errorf("the same call once more is not held anew:\n%s", third)
	}
	w.executed(t, "after the third call", before, 1)
}

// nextOrder is an order that is still there: each deletion takes one.
func (w *clientsWorld) nextOrder() string {
	return fmt.Sprint("o-", 1001+w.shop.Executions("delete_orders"))
}

func deletion(order string) map[string]any { return map[string]any{"ids": []string{order}} }

// script is testdata/held.mjs while it runs.
type script struct {
	t   *testing.T
	in  io.WriteCloser
	out *bufio.Reader
}

func (w *clientsWorld) typeScript(t *testing.T, kind string) *script {
	t.Helper()
	command := exec.CommandContext(t.Context(), node(t), filepath.Join("testdata", "held.mjs"), kind, module(t), w.address)
	command.Env = []string{"HOME=" + t.TempDir(), "TOKEN=" + w.token}
	var complaints output
	command.Stderr = &complaints
	in, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := command.StdoutPipe()
	if err == nil {
		err = command.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		if err := command.Wait(); err != nil && t.Context().Err() == nil || t.Failed() {
			t.Errorf("%s ended: %v\n%s", kind, err, complaints.String())
		}
	})
	return &script{t, in, bufio.NewReader(out)}
}

func (w *clientsWorld) typeScriptCall(kind string) func(*testing.T) func(string) string {
	return func(t *testing.T) func(string) string {
		t.Helper()
		return w.typeScript(t, kind).call
	}
}

// tell writes a line and gives the line that follows.
func (s *script) tell(line string) string {
	s.t.Helper()
	if _, err := io.WriteString(s.in, line+"\n"); err != nil {
		s.t.Fatal(err)
	}
	said, err := s.out.ReadString('\n')
	if err != nil {
		s.t.Fatalf("the client says nothing: %v", err)
	}
	return said
}

func (s *script) call(order string) string {
	s.t.Helper()
	raw, err := json.Marshal(deletion(order))
	if err != nil {
		s.t.Fatal(err)
	}
	return s.tell(string(raw))
}

// inspectorCall is a new process for every call: nothing but the identical arguments connects them.
func (w *clientsWorld) inspectorCall(t *testing.T) func(string) string {
	t.Helper()
	return func(order string) string {
		code, out := w.inspector(t, "tomas", "org.example/orders", "--method", "tools/call", "--tool-name", "delete_orders", "--tool-arg", `ids=["`+order+`"]`)
		if held := strings.Contains(out, "APPROVAL REQUIRED"); held != (code == 5) || !held && code != 0 {
			t.Errorf("the Inspector ends with %d:\n%s", code, out)
		}
		return out
	}
}

func (w *clientsWorld) goClient(t *testing.T) func(string) string {
	t.Helper()
	client := mcp.NewClient(&mcp.Implementation{Name: "go", Version: "1"}, nil)
	session, err := client.Connect(t.Context(), &mcp.StreamableClientTransport{
		Endpoint: w.address, HTTPClient: &http.Client{Transport: bearer(w.token)},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = session.Close() })
	return func(order string) string {
		result, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "delete_orders", Arguments: deletion(order)})
		if err != nil {
			t.Fatal(err)
		}
		raw, err := json.Marshal(result)
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
}

// modernAsksItsUser is the client that can show its user an address: it asks, and one call goes from held to executed.
func (w *clientsWorld) modernAsksItsUser(t *testing.T) {
	before, order := w.shop.Executions("delete_orders"), w.nextOrder()
	s := w.typeScript(t, "v2-modern")
	asked := s.call(order)
	if !strings.Contains(asked, `{"asked":{"mode":"url"`) || !strings.Contains(asked, "delete_orders needs the approval of another person") {
		t.Fatalf("it does not ask its user: %s", asked)
	}
	w.executed(t, "while it was held", before, 0)
	w.approve(t, asked)
	if done := s.tell("accept"); strings.Contains(done, `"isError":true`) || !strings.Contains(done, `"retries":1`) {
		t.Fatalf("the retry with requestState: %s", done)
	}
	w.executed(t, "after the approval", before, 1)
	again := s.call(order)
	if !strings.Contains(again, `{"asked":`) || approvalURL.FindString(again) == approvalURL.FindString(asked) {
		t.Fatalf("the same call once more is not held anew: %s", again)
	}
	if declined := s.tell("decline"); !strings.Contains(declined, `"isError":true`) || !strings.Contains(declined, "declined where the call was made") {
		t.Errorf("declined: %s", declined)
	}
	w.executed(t, "after the second call", before, 1)
}

// claudeCodeConnects adds the server as its user would, by its address and as a process. What it shows of a held call needs a model, so it is not here.
func (w *clientsWorld) claudeCodeConnects(t *testing.T) {
	home := t.TempDir()
	claude := func(args ...string) string {
		command := exec.CommandContext(t.Context(), node(t), append([]string{module(t, "@anthropic-ai", "claude-code", "cli.js"), "mcp"}, args...)...)
		command.Dir = home
		command.Env = []string{
			"HOME=" + home, "PATH=" + filepath.Dir(node(t)) + ":/usr/bin:/bin", "GATEWAY_TOKEN=" + w.token,
			"DISABLE_AUTOUPDATER=1", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1",
		}
		var out bytes.Buffer
		command.Stdout, command.Stderr = &out, &out
		if err := command.Run(); err != nil {
			t.Fatalf("claude mcp %s: %v\n%s", args[0], err, out.String())
		}
		return out.String()
	}
	claude("add", "--scope", "user", "--transport", "http", "orders", w.address, "--header", "Authorization: Bearer ${GATEWAY_TOKEN}")
	claude("add", "bridged", "--scope", "user", "-e", runMain+"=1", "-e", "AGENT_TOKEN="+w.token, "--",
		os.Args[0], "connect", "org.example/orders", "--gateway", w.gateway, "--secret", "env:AGENT_TOKEN")
	if out := claude("list"); len(regexp.MustCompile(`(?m)^(orders|bridged): .*✓ Connected$`).FindAllString(out, -1)) != 2 {
		t.Errorf("claude mcp list:\n%s", out)
	}
	if out := claude("get", "bridged"); !strings.Contains(out, "✓ Connected") {
		t.Errorf("claude mcp get:\n%s", out)
	}
}

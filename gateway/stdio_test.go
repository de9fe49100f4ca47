package gateway

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"countersign/canonical"
	"countersign/client"
	"countersign/internal/orders"
	"countersign/policy"
)

// stdioArgument makes the test binary a stdio server.
const stdioArgument = "countersign-test-stdio"

// serveTestStdio is that server. Its tools tell and do what a test wants to see.
func serveTestStdio(mode string) {
	if mode == "garbage" {
		fmt.Println("Welcome to a server that logs to its standard output!")
		fmt.Println(`{"jsonrpc":"2.0","id":1,"id":1,"result":{}}`)
	}
	fmt.Fprintln(os.Stderr, "started \x1b[31m"+mode)
	server := orders.New().MCP()
	if mode == "legacy" {
		server = mcp.NewServer(&mcp.Implementation{Name: "old", Version: "1"}, &mcp.ServerOptions{SupportedProtocolVersions: []string{"2025-11-25"}})
	}
	type none struct{}
	text := func(s string) (*mcp.CallToolResult, any, error) {
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: s}}}, nil, nil
	}
	add := func(name string, do func(context.Context) string) {
		mcp.AddTool(server, &mcp.Tool{Name: name, Annotations: &mcp.ToolAnnotations{ReadOnlyHint: true}},
			func(ctx context.Context, _ *mcp.CallToolRequest, _ none) (*mcp.CallToolResult, any, error) {
				return text(do(ctx))
			})
	}
	add("environment", func(context.Context) string { return strings.Join(os.Environ(), "\n") })
	add("pid", func(context.Context) string { return strconv.Itoa(os.Getpid()) })
	add("die", func(context.Context) string { os.Exit(3); return "" })
	add("child", func(context.Context) string {
		child := exec.Command("sleep", "300")
		if err := child.Start(); err != nil {
			return err.Error()
		}
		return strconv.Itoa(child.Process.Pid)
	})
	if mode == "poison" {
		add("poison", func(context.Context) string { return "\x1b[31mred\u200b <script>x</script> AKIAZ5GMXQZQ7NOPQRST" })
	}
	if mode == "asking" {
		mcp.AddTool(server, &mcp.Tool{Name: "ask", Annotations: &mcp.ToolAnnotations{ReadOnlyHint: true}},
			func(ctx context.Context, req *mcp.CallToolRequest, _ none) (*mcp.CallToolResult, any, error) {
				said, err := req.Session.Elicit(ctx, &mcp.ElicitParams{Message: "Who?", RequestedSchema: map[string]any{
					"type": "object", "properties": map[string]any{"name": map[string]any{"type": "string"}},
				}})
				if err != nil {
					return text(err.Error())
				}
				return text(fmt.Sprint(said.Content["name"]))
			})
	}
	add("hang", func(ctx context.Context) string { <-ctx.Done(); return "" })
	if err := server.Run(context.Background(), &mcp.StdioTransport{}); err != nil && mode != "quiet" {
		fmt.Fprintln(os.Stderr, err)
	}
}

// newStdioStand is a stand whose server is the test binary.
func newStdioStand(t *testing.T, mode string, change func(*Config)) *stand {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command := Command{Argv: []string{self, stdioArgument, mode}, Env: []string{"PATH", "NO_SUCH_VARIABLE"}, Dir: t.TempDir()}
	s := newStand(t, func(c *Config) {
		c.Commands = map[string]Command{"orders": command}
		if change != nil {
			change(c)
		}
	})
	digest, err := command.Digest()
	if err != nil {
		t.Fatal(err)
	}
	s.source.Servers = []policy.Server{s.pinned(policy.Endpoint{
		Transport: policy.Stdio, Command: "orders", CommandDigest: digest.String(), Digest: canonical.Sum("test", []byte("stdio")),
	})}
	s.source.Grants = []policy.SourceGrant{{
		Grant:    policy.Grant{ID: "grt_1", Name: "all", Subject: policy.Subject{Everyone: true}},
		Resource: policy.Resource{Servers: []string{"*"}, Kinds: []policy.Kind{"tool", "prompt", "resource"}},
	}}
	s.source.Guardrails = []policy.SourceGuardrail{{
		Guardrail: policy.Guardrail{
			ID: "grd_1", Name: "destructive", Subject: policy.Subject{Everyone: true},
			Effect: policy.Effect{Approval: &policy.Approval{Quorum: 1, OwningTeam: true}},
		},
		Resource: policy.Resource{Servers: []string{"*"}, Risks: []policy.Risk{policy.Destructive}},
	}}
	return s.publish()
}

func TestStdioServerInEachEra(t *testing.T) {
	t.Parallel()
	for _, era := range eras {
		t.Run(era, func(t *testing.T) {
			t.Parallel()
			s := newStdioStand(t, "garbage", nil)
			session := s.connect("ada", era, nil)
			tools, err := session.ListTools(t.Context(), nil)
			if err != nil || len(tools.Tools) != 8 {
				t.Fatalf("%d tools, %v", len(tools.Tools), err)
			}
			if res := call(t, session, "list_orders", `{"status":"open"}`); res.IsError || !strings.Contains(textOf(res), "o-1001") {
				t.Errorf("got %q", textOf(res))
			}
			const args = `{"ids":["o-1001"]}`
			if res := call(t, session, "delete_orders", args); res.Meta[metaApproval] == nil {
				t.Fatalf("not held: %q", textOf(res))
			}
			s.plane.decide(s.plane.only().ID, client.ApprovalApproved, "")
			if res := call(t, session, "delete_orders", args); textOf(res) != "Deleted 1 orders: o-1001." {
				t.Errorf("approved, and then %q", textOf(res))
			}
			if diff := cmp.Diff([]client.OutcomeStatus{client.Succeeded}, s.plane.outcomeList()); diff != "" {
				t.Errorf("outcomes (-want +got):\n%s", diff)
			}
		})
	}
}

func TestObligationsOfAStdioServer(t *testing.T) {
	t.Parallel()
	s := newStdioStand(t, "plain", nil)
	s.guardedWhere("grd_2", "has(args.status)", atMost(20), "list_orders").guarded("grd_3", budget(20, 600), "list_orders").publish()
	for i, era := range eras {
		clock := s.clocked()
		clock.move(time.Duration(2*i) * 24 * time.Hour)
		ada := s.connect("ada", era, nil)
		if res := call(t, ada, "list_orders", `{"status":"open"}`); !strings.Contains(textOf(res), "over the limit of 20") {
			t.Errorf("%s: %q", era, textOf(res))
		}
		clock.move(24 * time.Hour)
		if res := call(t, ada, "list_orders", `{}`); !strings.Contains(textOf(res), "o-1001") {
			t.Errorf("%s, without the condition: %q", era, textOf(res))
		}
		if res := call(t, ada, "list_orders", `{}`); reasonOf(res) != "token_budget_spent" {
			t.Errorf("%s: %q", era, textOf(res))
		}
	}
}

func TestStdioServerGetsNothingOfOurs(t *testing.T) {
	t.Parallel()
	s := newStdioStand(t, "plain", nil)
	session := s.connect("ada", "2025-11-25", nil)
	if got := textOf(call(t, session, "environment", `{}`)); got != "PATH="+os.Getenv("PATH") {
		t.Errorf("environment is %q", got)
	}
}

func TestCallersNeverShareAProcess(t *testing.T) {
	t.Parallel()
	s := newStdioStand(t, "plain", nil)
	pids := map[string]bool{}
	for _, era := range []string{"2025-11-25", "2026-07-28"} {
		for _, who := range []string{"ada", "eve"} {
			session := s.connect(who, era, nil)
			pids[textOf(call(t, session, "pid", `{}`))] = true
		}
	}
	if len(pids) != 4 {
		t.Errorf("%d processes for four", len(pids))
	}
}

func TestModernClientOfAnOlderServerStartsOneProcess(t *testing.T) {
	t.Parallel()
	s := newStdioStand(t, "legacy", nil)
	server := &s.source.Servers[0]
	s.eventually("the first look at the server", func() bool { return s.gateway.watch.speaks(server) == "2025-11-25" })
	session := s.connect("ada", "2026-07-28", nil)
	if got := session.InitializeResult().ProtocolVersion; got != "2025-11-25" {
		t.Errorf("spoke %s", got)
	}
	call(t, session, "pid", `{}`)
	s.gateway.stdio.mu.Lock()
	defer s.gateway.stdio.mu.Unlock()
	if n := len(s.gateway.stdio.instances); n != 1 {
		t.Errorf("%d processes", n)
	}
}

func TestProcessesAreBounded(t *testing.T) {
	t.Parallel()
	s := newStdioStand(t, "plain", func(c *Config) { c.MaxProcesses = 1 })
	call(t, s.connect("ada", "2026-07-28", nil), "pid", `{}`)
	h := http.Header{"Authorization": {"Bearer " + s.idp.token("eve")}}
	r := s.post(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"x","version":"1"}}}`, h)
	if !strings.Contains(r.text, "Too many servers") {
		t.Errorf("got %s", r.body)
	}
}

func TestEndOfASessionEndsEverythingItStarted(t *testing.T) {
	t.Parallel()
	s := newStdioStand(t, "plain", nil)
	session := s.connect("ada", "2025-11-25", nil)
	var pids []int
	for _, tool := range []string{"pid", "child"} {
		pid, err := strconv.Atoi(textOf(call(t, session, tool, `{}`)))
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	if err := session.Close(); err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		s.eventually("process "+strconv.Itoa(pid)+" to end", func() bool { return !running(pid) })
	}
}

// running reports whether a process lives; a zombie does not.
func running(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

func TestProcessThatDies(t *testing.T) {
	t.Parallel()
	s := newStdioStand(t, "plain", nil)
	session := s.connect("ada", "2026-07-28", nil)
	if res := call(t, session, "die", `{}`); !strings.Contains(textOf(res), "whether the request was carried out is not known") || executed(res) != "unknown" {
		t.Errorf("got %q", textOf(res))
	}
	if _, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "list_orders"}); err == nil || !strings.Contains(err.Error(), "nothing was executed") {
		t.Errorf("it was started at once, or %v", err)
	}
	s.eventually("a new process", func() bool {
		res, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "list_orders"})
		return err == nil && !res.IsError
	})
}

func TestCancelledStdioCall(t *testing.T) {
	t.Parallel()
	s := newStdioStand(t, "plain", nil)
	session := s.connect("ada", "2025-11-25", nil)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := session.CallTool(ctx, &mcp.CallToolParams{Name: "hang"}); err == nil {
		t.Error("a call that hangs came back")
	}
	if res := call(t, session, "list_orders", `{}`); res.IsError {
		t.Errorf("the session is of no use any more: %q", textOf(res))
	}
}

func TestAnotherCommandLineThanWasRegistered(t *testing.T) {
	t.Parallel()
	s := newStdioStand(t, "plain", nil)
	s.source.Servers[0].Endpoint.CommandDigest = canonical.Sum("test", nil).String()
	s.source.Servers[0].Endpoint.Digest = canonical.Sum("test", []byte("other"))
	s.publish()
	r := s.post(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"x","version":"1"}}}`, nil)
	if !strings.Contains(r.text, "another one than was registered") {
		t.Errorf("got %s", r.body)
	}
}

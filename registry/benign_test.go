package registry

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// realServers are MCP servers that many people use, as npm has them. Each lists its tools without a network and without
// a real credential.
var realServers = []struct {
	name   string
	module string
	args   []string
	env    []string
}{
	{name: "airtable", module: "airtable-mcp-server/dist/main.js", env: []string{"AIRTABLE_API_KEY=pat123.abc123"}},
	{name: "bitbucket", module: "bitbucket-mcp/dist/index.js", env: []string{"BITBUCKET_URL=https://bitbucket.test", "BITBUCKET_TOKEN=none"}},
	{name: "chart", module: "@antv/mcp-server-chart/build/index.js"},
	{name: "devtools", module: "chrome-devtools-mcp/build/src/bin/chrome-devtools-mcp.js"},
	{name: "everything", module: "@modelcontextprotocol/server-everything/dist/index.js"},
	{name: "filesystem", module: "@modelcontextprotocol/server-filesystem/dist/index.js", args: []string{os.TempDir()}},
	{name: "github", module: "@modelcontextprotocol/server-github/dist/index.js"},
	{name: "hubspot", module: "@hubspot/mcp-server/dist/index.js", env: []string{"PRIVATE_APP_ACCESS_TOKEN=none"}},
	{name: "memory", module: "@modelcontextprotocol/server-memory/dist/index.js"},
	{name: "notion", module: "@notionhq/notion-mcp-server/bin/cli.mjs", env: []string{"NOTION_TOKEN=none"}},
	{name: "playwright", module: "@playwright/mcp/cli.js"},
	{name: "slack", module: "@modelcontextprotocol/server-slack/dist/index.js", env: []string{"SLACK_BOT_TOKEN=none", "SLACK_TEAM_ID=none"}},
	{name: "tavily", module: "tavily-mcp/build/index.js", env: []string{"TAVILY_API_KEY=none"}},
	{name: "thinking", module: "@modelcontextprotocol/server-sequential-thinking/dist/index.js"},
}

// TestBenignToolsAreNotFlagged is the gate of all checks together, those beside other servers included: of real tools
// none is blocked, and heuristics flag no more than 2 in 100.
func TestBenignToolsAreNotFlagged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	offers := make([][]json.RawMessage, len(realServers))
	started, ctx := errgroup.WithContext(t.Context())
	started.SetLimit(4)
	for i, s := range realServers {
		home := t.TempDir()
		started.Go(func() (err error) {
			if offers[i], err = listTools(ctx, home, s.module, s.args, s.env); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			return nil
		})
	}
	w.must(started.Wait())

	total, flagged, same := 0, 0, 0
	for i, s := range realServers {
		server := w.register(s.name, tools(offers[i]...))
		for name, tool := range w.tools(server.ID) {
			total++
			guessed := false
			for _, f := range tool.Served.Findings {
				if f.Code == codeSameName {
					same++
					continue
				}
				t.Logf("%s %s: %s", s.name, name, f.Message)
				guessed = guessed || f.Heuristic
				if f.Blocks {
					t.Errorf("%s of %s is blocked: %s", name, s.name, f.Message)
				}
			}
			if guessed {
				flagged++
			}
		}
	}
	t.Logf("of %d tools of %d servers, heuristics flag %d; %d have a name that another server has as well", total, len(realServers), flagged, same)
	if total < 250 {
		t.Errorf("only %d tools were listed, too few to say anything", total)
	}
	if flagged*100 > 2*total {
		t.Errorf("heuristics flag %d of %d real tools", flagged, total)
	}
}

// listTools starts a server from node_modules and asks for its tools.
func listTools(ctx context.Context, home, module string, args, env []string) ([]json.RawMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	modules, err := filepath.Abs(filepath.Join("..", "node_modules"))
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(modules, module)); err != nil {
		return nil, fmt.Errorf("npm packages are missing, run make setup: %w", err)
	}
	command := exec.CommandContext(ctx, nodeIn(modules), append([]string{filepath.Join(modules, module)}, args...)...)
	command.Env = append([]string{"HOME=" + home, "PATH=/usr/bin:/bin", "MEMORY_FILE_PATH=" + filepath.Join(home, "memory.json")}, env...)
	command.Dir = home
	var stderr strings.Builder
	command.Stderr = &stderr
	in, err := command.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := command.Start(); err != nil {
		return nil, err
	}
	tools, err := converse(in, bufio.NewReaderSize(out, 1<<20))
	cancel()
	_ = command.Wait() // it was killed
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, stderr.String())
	}
	return tools, nil
}

// nodeIn gives the Node that came with the packages, or the one of the machine.
func nodeIn(modules string) string {
	if path := os.Getenv("COUNTERSIGN_NODE"); path != "" {
		return path
	}
	arch := map[string]string{"amd64": "x64"}[runtime.GOARCH]
	if arch == "" {
		arch = runtime.GOARCH
	}
	return filepath.Join(modules, "node-linux-"+arch, "bin", "node")
}

// converse is the shortest talk of MCP that gets all tools.
func converse(in io.Writer, out *bufio.Reader) ([]json.RawMessage, error) {
	hello := `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"test","version":"1"}}}`
	if _, err := fmt.Fprintln(in, hello); err != nil {
		return nil, err
	}
	if _, _, err := answer(out, 1); err != nil {
		return nil, err
	}
	_, err := fmt.Fprintln(in, `{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	var all []json.RawMessage
	for id, cursor := 2, "{}"; err == nil; id++ {
		if _, err = fmt.Fprintf(in, `{"jsonrpc":"2.0","id":%d,"method":"tools/list","params":%s}`+"\n", id, cursor); err != nil {
			break
		}
		page, next, problem := answer(out, id)
		all, err = append(all, page...), problem
		if next == "" {
			return all, err
		}
		cursor = fmt.Sprintf(`{"cursor":%q}`, next)
	}
	return nil, err
}

// answer reads lines until the one that answers the request.
func answer(out *bufio.Reader, id int) (tools []json.RawMessage, next string, err error) {
	for {
		line, err := out.ReadBytes('\n')
		if err != nil {
			return nil, "", fmt.Errorf("waiting for an answer: %w", err)
		}
		var message struct {
			ID     any             `json:"id"`
			Method string          `json:"method"`
			Error  json.RawMessage `json:"error"`
			Result struct {
				Tools      []json.RawMessage `json:"tools"`
				NextCursor string            `json:"nextCursor"`
			} `json:"result"`
		}
		if json.Unmarshal(line, &message) != nil || message.Method != "" || message.ID != float64(id) {
			continue // a log line, a notification, or a question to us
		}
		if message.Error != nil {
			return nil, "", fmt.Errorf("the server answers %s", message.Error)
		}
		return message.Result.Tools, message.Result.NextCursor, nil
	}
}

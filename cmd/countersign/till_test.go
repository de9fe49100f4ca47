package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

const (
	tillName = "com.example/till"
	payTool  = "pay"
)

// till is a real MCP server with one destructive tool. Each execution is a line in a file that is flushed to the disk
// before anything else happens, so that what was executed is known whatever dies.
type till struct {
	url  string
	file *os.File

	mu    sync.Mutex
	after map[string]func() // by payment: runs once, between its execution and its answer
}

// payment is the arguments of the tool.
type payment struct {
	Order string `json:"order"`
}

func openTill(t *testing.T) *till {
	t.Helper()
	file, err := os.OpenFile(filepath.Join(t.TempDir(), "executed"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	s := &till{file: file, after: map[string]func(){}}
	server := mcp.NewServer(&mcp.Implementation{Name: tillName, Version: "1"}, nil)
	destructive := true
	mcp.AddTool(server, &mcp.Tool{
		Name: payTool, Description: "Pay for an order.", Annotations: &mcp.ToolAnnotations{DestructiveHint: &destructive},
	}, s.pay)
	get := func(*http.Request) *mcp.Server { return server }
	sessions := mcp.NewStreamableHTTPHandler(get, nil)
	stateless := mcp.NewStreamableHTTPHandler(get, &mcp.StreamableHTTPOptions{Stateless: true})
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Mcp-Protocol-Version") >= "2026-07-28" {
			stateless.ServeHTTP(w, r)
			return
		}
		sessions.ServeHTTP(w, r)
	}))
	t.Cleanup(func() { up.CloseClientConnections(); up.Close() })
	s.url = up.URL
	return s
}

func (s *till) pay(_ context.Context, _ *mcp.CallToolRequest, p payment) (*mcp.CallToolResult, any, error) {
	s.mu.Lock()
	_, err := fmt.Fprintln(s.file, p.Order)
	if err == nil {
		err = s.file.Sync()
	}
	after := s.after[p.Order]
	delete(s.after, p.Order)
	s.mu.Unlock()
	if err != nil {
		return nil, nil, err
	}
	if after != nil {
		after()
	}
	return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: "paid " + p.Order}}}, nil, nil
}

// whenPaid runs fn after an order was paid for and before anybody hears of it.
func (s *till) whenPaid(order string, fn func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.after[order] = fn
}

// executions counts, by order.
func (s *till) executions(t *testing.T) map[string]int {
	t.Helper()
	text, err := os.ReadFile(s.file.Name())
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for line := range strings.Lines(string(text)) {
		counts[strings.TrimSpace(line)]++
	}
	return counts
}

package orders

import (
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// connect speaks to a fresh shop over HTTP, in the era of that protocol version.
func connect(t *testing.T, version string) (*Server, *mcp.ClientSession) {
	t.Helper()
	s := New()
	srv := httptest.NewServer(s.Handler())
	client := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil)
	session, err := client.Connect(t.Context(), &mcp.StreamableClientTransport{Endpoint: srv.URL, HTTPClient: srv.Client()},
		&mcp.ClientSessionOptions{ProtocolVersion: version})
	if err != nil {
		t.Fatalf("connecting: %v", err)
	}
	t.Cleanup(func() {
		_ = session.Close()
		s.Close()
		srv.Close()
	})
	return s, session
}

func TestShopInBothEras(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			s, session := connect(t, version)
			if got := session.InitializeResult().ProtocolVersion; got != version {
				t.Errorf("spoke %s, want %s", got, version)
			}
			tools, err := session.ListTools(t.Context(), nil)
			if err != nil {
				t.Fatalf("listing tools: %v", err)
			}
			var names []string
			for _, tool := range tools.Tools {
				names = append(names, tool.Name)
			}
			slices.Sort(names)
			if diff := cmp.Diff([]string{"delete_orders", "list_orders", "update_order"}, names); diff != "" {
				t.Errorf("tools (-want +got):\n%s", diff)
			}
			call := &mcp.CallToolParams{Name: "delete_orders", Arguments: map[string]any{"ids": []string{"o-1001", "o-1003"}}}
			res, err := session.CallTool(t.Context(), call)
			if err != nil || res.IsError {
				t.Fatalf("deleting: %v %+v", err, res)
			}
			if s.Len() != 3 || s.Executions("delete_orders") != 1 {
				t.Errorf("%d orders left after %d executions, want 3 after 1", s.Len(), s.Executions("delete_orders"))
			}
			if res, err = session.CallTool(t.Context(), call); err != nil || !res.IsError || s.Len() != 3 {
				t.Errorf("deleting again: %v %+v, %d left; want an error result and 3 left", err, res, s.Len())
			}
		})
	}
}

func TestPromptAndResources(t *testing.T) {
	t.Parallel()
	_, session := connect(t, "2025-11-25")
	if _, err := session.GetPrompt(t.Context(), &mcp.GetPromptParams{Name: "summarise_order", Arguments: map[string]string{"id": "o-1002"}}); err != nil {
		t.Errorf("prompt: %v", err)
	}
	for _, uri := range []string{"orders://all", "orders://order/o-1002"} {
		if res, err := session.ReadResource(t.Context(), &mcp.ReadResourceParams{URI: uri}); err != nil || len(res.Contents) != 1 {
			t.Errorf("reading %s: %v", uri, err)
		}
	}
	if _, err := session.ReadResource(t.Context(), &mcp.ReadResourceParams{URI: "orders://order/none"}); err == nil {
		t.Error("reading an order that does not exist gave no error")
	}
}

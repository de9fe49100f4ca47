package orders

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// firstStateless is the first protocol version that has no sessions.
const firstStateless = "2026-07-28"

// Server is one shop behind MCP.
type Server struct {
	SessionIdle time.Duration // after which a session nobody uses ends; set it before Handler; 0: never

	shop *shop
	mcp  *mcp.Server
}

// New makes a server with the same five orders each time.
func New() *Server {
	s := &Server{
		shop: newShop(),
		mcp: mcp.NewServer(&mcp.Implementation{Name: Name, Title: "Orders", Version: "1.0.0"}, &mcp.ServerOptions{
			Instructions: "Orders of a small shop. Deleting cannot be undone.",
		}),
	}
	s.addTools()
	s.addPrompt()
	s.addResources()
	return s
}

// MCP is the server itself, to be run over another transport than HTTP.
func (s *Server) MCP() *mcp.Server { return s.mcp }

// Handler serves streamable HTTP, both eras, at any path.
func (s *Server) Handler() http.Handler {
	get := func(*http.Request) *mcp.Server { return s.mcp }
	sessions := mcp.NewStreamableHTTPHandler(get, &mcp.StreamableHTTPOptions{SessionTimeout: s.SessionIdle})
	stateless := mcp.NewStreamableHTTPHandler(get, &mcp.StreamableHTTPOptions{Stateless: true, PropagateRequestCancellation: true})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Mcp-Protocol-Version") >= firstStateless {
			stateless.ServeHTTP(w, r)
			return
		}
		sessions.ServeHTTP(w, r)
	})
}

// Close ends all sessions.
func (s *Server) Close() {
	for session := range s.mcp.Sessions() {
		_ = session.Close() // it may have ended by itself meanwhile
	}
}

// Executions says how often a tool was really executed.
func (s *Server) Executions(tool string) int { return s.shop.executed(tool) }

// Len says how many orders there are.
func (s *Server) Len() int { return s.shop.size() }

func (s *Server) addPrompt() {
	s.mcp.AddPrompt(&mcp.Prompt{
		Name:        "summarise_order",
		Title:       "Summarise an order",
		Description: "Write a short summary of one order for its customer.",
		Arguments:   []*mcp.PromptArgument{{Name: "id", Description: "Id of the order, such as o-1001.", Required: true}},
	}, func(_ context.Context, r *mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
		o, err := s.shop.find(r.Params.Arguments["id"])
		if err != nil {
			return nil, err
		}
		text := fmt.Sprintf("Summarise in two sentences, for %s: %s, status %s.", o.Customer, o.Item, o.Status)
		return &mcp.GetPromptResult{
			Description: "Summary of " + o.ID,
			Messages:    []*mcp.PromptMessage{{Role: "user", Content: &mcp.TextContent{Text: text}}},
		}, nil
	})
}

func (s *Server) addResources() {
	s.mcp.AddResource(&mcp.Resource{
		URI: "orders://all", Name: "all_orders", Title: "All orders",
		Description: "Every order as JSON.", MIMEType: "application/json",
	}, func(_ context.Context, r *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) {
		return resource(r.Params.URI, s.shop.list("", 0))
	})
	s.mcp.AddResourceTemplate(&mcp.ResourceTemplate{
		URITemplate: "orders://order/{id}", Name: "order", Title: "One order",
		Description: "One order as JSON.", MIMEType: "application/json",
	}, func(_ context.Context, r *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) {
		var id string
		if _, err := fmt.Sscanf(r.Params.URI, "orders://order/%s", &id); err != nil {
			return nil, mcp.ResourceNotFoundError(r.Params.URI)
		}
		o, err := s.shop.find(id)
		if err != nil {
			return nil, mcp.ResourceNotFoundError(r.Params.URI)
		}
		return resource(r.Params.URI, o)
	})
}

func resource(uri string, value any) (*mcp.ReadResourceResult, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("writing %q: %w", uri, err)
	}
	return &mcp.ReadResourceResult{Contents: []*mcp.ResourceContents{{URI: uri, MIMEType: "application/json", Text: string(text)}}}, nil
}

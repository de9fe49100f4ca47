package main

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"countersign/client"
)

// tool is one tool: how it is described, and what it does with arguments that may be executed.
type tool struct {
	definition *mcp.Tool
	check      func(arguments json.RawMessage) error // that its arguments are ones it takes at all; a token may be among them
	run        func(arguments json.RawMessage) (text string, err error)
}

// newGuard makes the guard of these tools. Their definitions are what people pin, byte for byte as they are served.
func newGuard(cfg client.GuardConfig, tools []tool) (*client.Guard, error) {
	for _, t := range tools {
		raw, err := json.Marshal(t.definition)
		if err != nil {
			return nil, err
		}
		cfg.Offer.Tools = append(cfg.Offer.Tools, raw)
	}
	return client.NewGuard(cfg)
}

// guarded answers calls of a tool. The raw form of AddTool is used, as it has the arguments as they were sent.
func guarded(guard *client.Guard, t tool) mcp.ToolHandler {
	return func(ctx context.Context, r *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		if err := t.check(r.Params.Arguments); err != nil {
			return failure("INVALID ARGUMENTS (not executed): "+err.Error()+".", nil), nil //nolint:nilerr // it is the answer
		}
		text, err := guard.Call(ctx, callerOf(r), t.definition.Name, r.Params.Arguments, func(_ context.Context, arguments json.RawMessage) ([]byte, error) {
			text, err := t.run(arguments)
			return []byte(text), err
		})
		if no := (*client.NotExecutedError)(nil); errors.As(err, &no) {
			return failure(no.Text, no.Meta()), nil
		}
		if err != nil {
			return failure(err.Error(), nil), nil
		}
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: string(text)}}}, nil
	}
}

func failure(text string, meta mcp.Meta) *mcp.CallToolResult {
	return &mcp.CallToolResult{IsError: true, Content: []mcp.Content{&mcp.TextContent{Text: text}}, Meta: meta}
}

// onlyVisible leaves out of lists what the caller may not call.
func onlyVisible(guard *client.Guard) mcp.Middleware {
	return func(next mcp.MethodHandler) mcp.MethodHandler {
		return func(ctx context.Context, method string, r mcp.Request) (mcp.Result, error) {
			result, err := next(ctx, method, r)
			if list, ok := result.(*mcp.ListToolsResult); ok && err == nil {
				visible := guard.Visible(callerOf(r))
				list.Tools = slices.DeleteFunc(list.Tools, func(t *mcp.Tool) bool { return !slices.Contains(visible, t.Name) })
			}
			return result, err
		}
	}
}

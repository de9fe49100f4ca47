package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// agentFlags say through which gateway, and as whom, an agent calls. Beside a running up, --data is enough.
type agentFlags struct {
	Data      string `default:"./data" type:"path" env:"COUNTERSIGN_DATA" help:"Data folder of a running countersign up."`
	As        string `default:"tomas" help:"Demo person the agent acts for, beside a running up."`
	Gateway   string `name:"gateway" env:"COUNTERSIGN_GATEWAY" help:"Address of a gateway, instead of --data."`
	TokenFile string `name:"token-file" env:"COUNTERSIGN_TOKEN_FILE" type:"path" help:"File with an access token for that gateway."`
	JSON      bool   `name:"json" help:"Print the answer as JSON."`
	Timeout   int    `default:"60" help:"Seconds to wait for an answer."`
}

type toolsCmd struct {
	Server string `arg:"" help:"Name of the server, as com.example/orders."`
	agentFlags
}

type callCmd struct {
	Server string `arg:"" help:"Name of the server, as com.example/orders."`
	Tool   string `arg:"" help:"Name of the tool."`
	Args   string `name:"args" default:"{}" help:"Arguments as a JSON object; @FILE reads a file, - standard input."`
	agentFlags
}

// Run lists what this caller may call: what is not granted is not in the list.
func (cmd toolsCmd) Run(ctx context.Context, c *console) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(cmd.Timeout)*time.Second)
	defer cancel()
	session, err := cmd.connect(ctx, cmd.Server)
	if err != nil {
		return err
	}
	defer session.Close()
	tools := []*mcp.Tool{}
	for tool, err := range session.Tools(ctx, nil) {
		if err != nil {
			return callError(err)
		}
		tools = append(tools, tool)
	}
	if cmd.JSON {
		return writeJSON(c.out, map[string]any{"tools": tools})
	}
	if len(tools) == 0 {
		fmt.Fprintf(c.out, "You may call no tool of %s. Ask an admin for a grant.\n", cmd.Server)
	}
	for _, tool := range tools {
		fmt.Fprintf(c.out, "%-24s %s\n", printable(tool.Name), printable(firstLine(tool.Description)))
	}
	return nil
}

// Run calls the tool once. The exit code says what became of it.
func (cmd callCmd) Run(ctx context.Context, c *console) error {
	arguments, err := readArguments("--args", cmd.Args)
	if err != nil {
		return codeError{exitUsage, err.Error()}
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(cmd.Timeout)*time.Second)
	defer cancel()
	session, err := cmd.connect(ctx, cmd.Server)
	if err != nil {
		return err
	}
	defer session.Close()
	result, err := session.CallTool(ctx, &mcp.CallToolParams{Name: cmd.Tool, Arguments: arguments})
	if err != nil {
		return callError(err)
	}
	if cmd.JSON {
		if err := writeJSON(c.out, result); err != nil {
			return err
		}
	} else {
		for _, content := range result.Content {
			writeContent(c.out, content)
		}
	}
	switch {
	case result.Meta["countersign/approval"] != nil:
		return codeError{code: exitHeld}
	case result.Meta["countersign/decision"] != nil:
		return codeError{code: exitDenied}
	case result.IsError:
		return codeError{code: exitError}
	}
	return nil
}

// readArguments reads what a flag says: JSON, @ and a file, or - for standard input.
func readArguments(flag, text string) (json.RawMessage, error) {
	raw := []byte(text)
	var err error
	switch {
	case text == "-":
		raw, err = io.ReadAll(os.Stdin)
	case strings.HasPrefix(text, "@"):
		raw, err = os.ReadFile(text[1:])
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", flag, err)
	}
	if raw = bytes.TrimSpace(raw); !json.Valid(raw) || raw[0] != '{' {
		return nil, fmt.Errorf(`%s has to be a JSON object, as '{"ids":["o-1001"]}'`, flag)
	}
	return raw, nil
}

func (f agentFlags) connect(ctx context.Context, server string) (*mcp.ClientSession, error) {
	if strings.Count(server, "/") != 1 {
		return nil, codeError{exitUsage, fmt.Sprintf("%q is not a server name; it has one slash, as com.example/orders", server)}
	}
	gateway, token, err := f.credential(ctx)
	if err != nil {
		return nil, err
	}
	client := mcp.NewClient(&mcp.Implementation{Name: "countersign", Version: version}, nil)
	session, err := client.Connect(ctx, &mcp.StreamableClientTransport{
		Endpoint:             strings.TrimSuffix(gateway, "/") + "/mcp/" + server,
		HTTPClient:           &http.Client{Transport: bearer(token)},
		DisableStandaloneSSE: true, MaxRetries: -1,
	}, nil)
	if err != nil {
		return nil, callError(err)
	}
	return session, nil
}

func (f agentFlags) credential(ctx context.Context) (gateway, token string, err error) {
	if f.Gateway != "" {
		raw, err := os.ReadFile(f.TokenFile)
		if err != nil {
			return "", "", fmt.Errorf("--gateway needs --token-file: %w", err)
		}
		return f.Gateway, strings.TrimSpace(string(raw)), nil
	}
	connection, err := readConnection(f.Data)
	if err != nil {
		return "", "", err
	}
	token, err = connection.token(ctx, f.As)
	return connection.Gateway, token, err
}

// bearer sends its value as the access token of each request.
type bearer string

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+string(b))
	return http.DefaultTransport.RoundTrip(r)
}

// callError tells a refusal from a fault: a tool that one may not see is refused as one that does not exist.
func callError(err error) error {
	var rpc *jsonrpc.Error
	if errors.As(err, &rpc) && (rpc.Code == jsonrpc.CodeInvalidParams || rpc.Code == jsonrpc.CodeMethodNotFound) {
		return codeError{exitDenied, "denied: " + printable(rpc.Message)}
	}
	return codeError{exitError, printable(err.Error())}
}

func writeContent(w io.Writer, content mcp.Content) {
	if text, ok := content.(*mcp.TextContent); ok {
		fmt.Fprintln(w, printable(text.Text))
		return
	}
	_ = writeJSON(w, content)
}

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// printable keeps a server's text from moving the cursor or hiding: control, bidirectional and invisible
// characters are written as escapes. Line breaks and tabs stay.
func printable(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r == '\n' || r == '\t' || isGraphic(r) {
			b.WriteRune(r)
			continue
		}
		fmt.Fprintf(&b, `\u{%X}`, r)
	}
	return b.String()
}

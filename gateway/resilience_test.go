package gateway

import (
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// executed is what a result says of a call that got no answer.
func executed(res *mcp.CallToolResult) string {
	d, _ := res.Meta[metaDecision].(map[string]any)
	said, _ := d["executed"].(string)
	return said
}

package gateway

import (
	"encoding/base64"
	"net/http"
	"strings"

	"countersign/canonical"
)

// Headers of MCP over HTTP.
const (
	headerSession = "Mcp-Session-Id"
	headerVersion = "Mcp-Protocol-Version"
	headerMethod  = "Mcp-Method"
	headerName    = "Mcp-Name"
	headerParam   = "Mcp-Param-"
	headerLast    = "Last-Event-Id"
)

// forwarded are the request headers that reach an upstream as the caller sent them. No other does: not the
// caller's credentials, not what some proxy said of the caller.
var forwarded = []string{
	"Accept", "Content-Type", "User-Agent", "Traceparent", "Tracestate",
	headerVersion, headerMethod, headerName, headerLast,
}

// returned are the response headers that reach a caller.
var returned = []string{"Content-Type", "Cache-Control", "X-Accel-Buffering", "Retry-After", headerSession, headerVersion}

// reservedHeader reports whether a header may not be set by configuration.
func reservedHeader(name string) bool {
	name = http.CanonicalHeaderKey(name)
	switch name {
	case "Host", "Content-Length", "Transfer-Encoding", "Connection", "Content-Type", "Accept", "Accept-Encoding", "Idempotency-Key", "X-Idempotency-Key":
		return true
	}
	return strings.HasPrefix(name, "Mcp-")
}

// checkHeaders decides the era of the message and requires that headers say what the body says. A header that
// is there must match in the older era too, as some server might act on it.
func (x *exchange) checkHeaders() error {
	h, m := x.r.Header, x.message
	mismatch := func(header string) error {
		return &rpcError{
			status: http.StatusBadRequest, code: codeHeaderMismatch,
			message: "The header " + header + " is missing, given twice, or does not match the body.",
		}
	}
	for _, name := range []string{headerVersion, headerMethod, headerName, headerSession, headerLast} {
		if len(h.Values(name)) > 1 {
			return mismatch(name)
		}
	}
	version, body := h.Get(headerVersion), m.bodyVersion()
	x.modern = version >= firstModern
	if x.modern && m.request() && body == "" {
		return &rpcError{
			status: http.StatusBadRequest, code: codeInvalidParams, message: "The parameter _meta does not name the version of the protocol.",
		}
	}
	if body != "" && version != body {
		return mismatch("MCP-Protocol-Version")
	}
	if said := h.Get(headerMethod); (x.modern || said != "") && said != m.method {
		return mismatch("Mcp-Method")
	}
	named := ""
	if key, ok := nameParam[m.method]; ok {
		named, _ = m.text(key)
	}
	if said, given := h.Get(headerName), len(h.Values(headerName)) > 0; (x.modern && named != "" || given) && decodeHeader(said) != named {
		return mismatch("Mcp-Name")
	}
	return nil
}

// nameParam is the parameter that Mcp-Name repeats.
var nameParam = map[string]string{"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}

// decodeHeader undoes the encoding of values that a header cannot hold as they are.
func decodeHeader(value string) string {
	inside, ok := strings.CutPrefix(value, "=?base64?")
	if inside, ok2 := strings.CutSuffix(inside, "?="); ok && ok2 {
		if decoded, err := base64.StdEncoding.DecodeString(inside); err == nil {
			return string(decoded)
		}
	}
	return value
}

// metaText returns a string member of _meta.
func metaText(m *message, key string) (string, bool) {
	value, ok := canonical.Lookup(m.meta, key)
	if !ok {
		return "", false
	}
	return canonical.Text(value)
}

package gateway

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
)

// ParamHeaders are the headers with which a client repeats arguments of a call, as the schema of the tool asks
// (x-mcp-header). A gateway, and a server, require that they match.
func ParamHeaders(schema, arguments json.RawMessage) http.Header {
	h := http.Header{}
	for _, p := range boundParams(schema, nil, nil) {
		if value, ok := argumentText(arguments, p.path); ok {
			h.Set(p.header, EncodeHeader(value))
		}
	}
	return h
}

// EncodeHeader writes a value as a header can hold it: as it is, or in base64 in a frame that says so.
func EncodeHeader(value string) string {
	plain := value == strings.TrimSpace(value) && !strings.HasPrefix(value, "=?") &&
		!strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' })
	if plain {
		return value
	}
	return "=?base64?" + base64.StdEncoding.EncodeToString([]byte(value)) + "?="
}

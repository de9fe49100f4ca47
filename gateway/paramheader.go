package gateway

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"countersign/canonical"
	"countersign/policy"
)

// A schema may ask that an argument is repeated in a header (x-mcp-header), for servers and proxies that route
// by it. Whoever acts on such a header must not see another value than the one that was decided on.

// boundParam is an argument that a header repeats.
type boundParam struct {
	path   []string
	header string // canonical form of the whole name
}

// maxParamDepth bounds how deep in a schema such arguments are looked for.
const maxParamDepth = 8

// boundParams finds what the pinned schema binds to headers.
func boundParams(schema json.RawMessage, path []string, found []boundParam) []boundParam {
	members, err := canonical.Members(schema)
	if err != nil || len(path) > maxParamDepth {
		return found
	}
	if value, ok := canonical.Lookup(members, "x-mcp-header"); ok && len(path) > 0 {
		if name, ok := canonical.Text(value); ok && name != "" {
			found = append(found, boundParam{path: append([]string{}, path...), header: http.CanonicalHeaderKey(headerParam + name)})
		}
	}
	properties, _ := canonical.Lookup(members, "properties")
	inside, err := canonical.Members(properties)
	if err != nil {
		return found
	}
	for _, p := range inside {
		found = boundParams(p.Value, append(path, p.Key), found)
	}
	return found
}

// checkParamHeaders requires that each Mcp-Param header repeats the argument that the pinned schema binds to it,
// once, and that there is no other.
func (x *exchange) checkParamHeaders(tool *policy.Tool, arguments json.RawMessage) error {
	bound := map[string]string{}
	given := false
	for name := range x.r.Header {
		given = given || strings.HasPrefix(name, headerParam)
	}
	if !given {
		return nil // a server that needs one says so itself
	}
	for _, p := range boundParams(tool.InputSchema, nil, nil) {
		if value, ok := argumentText(arguments, p.path); ok {
			bound[p.header] = value
		}
	}
	for name, values := range x.r.Header {
		if !strings.HasPrefix(name, headerParam) {
			continue
		}
		if want, ok := bound[name]; !ok || len(values) != 1 || decodeHeader(values[0]) != want {
			return &rpcError{
				status: http.StatusBadRequest, code: codeHeaderMismatch, message: "A Mcp-Param header does not match the arguments.",
			}
		}
	}
	return nil
}

// argumentText is the text that a header has for an argument: of a string, an integer or a truth value.
func argumentText(value json.RawMessage, path []string) (string, bool) {
	for _, step := range path {
		members, err := canonical.Members(value)
		if err != nil {
			return "", false
		}
		var ok bool
		if value, ok = canonical.Lookup(members, step); !ok {
			return "", false
		}
	}
	if text, ok := canonical.Text(value); ok {
		return text, true
	}
	if string(value) == "true" || string(value) == "false" {
		return string(value), true
	}
	if _, err := strconv.ParseInt(string(value), 10, 64); err == nil {
		return string(value), true
	}
	return "", false
}

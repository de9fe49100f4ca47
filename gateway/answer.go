package gateway

import (
	"bytes"
	"encoding/json"
	"net/http"
)

// Answers that we make ourselves. They never repeat text of an upstream.

type rpcReply struct {
	Version string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id"`
	Result  any             `json:"result,omitempty"`
	Error   *rpcErrorBody   `json:"error,omitempty"`
}

type rpcErrorBody struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
	Data    any    `json:"data,omitempty"`
}

// toolResult is the result of tools/call. The resultType is new in 2026-07-28 and harmless before.
type toolResult struct {
	ResultType string         `json:"resultType"`
	IsError    bool           `json:"isError"`
	Content    []textContent  `json:"content"`
	Structured any            `json:"structuredContent,omitempty"`
	Meta       map[string]any `json:"_meta,omitempty"`
}

type textContent struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

func errorResult(text string, meta map[string]any) toolResult {
	return toolResult{ResultType: "complete", IsError: true, Content: []textContent{{Type: "text", Text: text}}, Meta: meta}
}

// encode writes one of the types above, which cannot fail, without HTML escapes.
func encode(value any) []byte {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(value) // our own types
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
}

func errorMessage(id json.RawMessage, e *rpcError) []byte {
	if id == nil {
		id = json.RawMessage("null")
	}
	return encode(rpcReply{Version: "2.0", ID: id, Error: &rpcErrorBody{Code: e.code, Message: e.message, Data: e.data}})
}

func resultMessage(id json.RawMessage, result any) []byte {
	return encode(rpcReply{Version: "2.0", ID: id, Result: result})
}

func writeRPCError(w http.ResponseWriter, id json.RawMessage, e *rpcError) {
	status := e.status
	if status == 0 {
		status = http.StatusOK
	}
	writeMessage(w, status, errorMessage(id, e))
}

func writeMessage(w http.ResponseWriter, status int, message []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(message) // the caller may have gone
}

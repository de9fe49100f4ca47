package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// shifter is an MCP server that offers other tools whenever a test says so: byte for byte what it is given, since a
// library would write numbers, spaces and the order of members its own way. It counts what it really runs.
type shifter struct {
	url string

	mu    sync.Mutex
	tools []string
	ran   map[string]int
}

func startShifter(t *testing.T, tools ...string) *shifter {
	t.Helper()
	s := &shifter{tools: tools, ran: map[string]int{}}
	web := httptest.NewServer(s)
	t.Cleanup(web.Close)
	s.url = web.URL + "/mcp"
	return s
}

// offers lets it serve these tools from now on.
func (s *shifter) offers(tools ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tools = tools
}

func (s *shifter) runs(tool string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ran[tool]
}

func (s *shifter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		http.Error(w, "POST only", http.StatusMethodNotAllowed)
		return
	}
	var in struct {
		ID     json.RawMessage `json:"id"`
		Method string          `json:"method"`
		Params struct {
			Name            string `json:"name"`
			ProtocolVersion string `json:"protocolVersion"`
		} `json:"params"`
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		http.Error(w, "no JSON", http.StatusBadRequest)
		return
	}
	if in.ID == nil {
		w.WriteHeader(http.StatusAccepted)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var result string
	switch in.Method {
	case "initialize":
		result = fmt.Sprintf(`{"protocolVersion":%q,"capabilities":{"tools":{}},"serverInfo":{"name":"shifter","version":"1.0.0"}}`, in.Params.ProtocolVersion)
	case "ping":
		result = `{}`
	case "tools/list":
		result = `{"tools":[` + strings.Join(s.tools, ",") + `]}`
	case "tools/call":
		s.ran[in.Params.Name]++
		result = `{"content":[{"type":"text","text":"done"}]}`
	default:
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"no such method"}}`, in.ID)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":%s}`, in.ID, result)
}

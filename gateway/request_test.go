package gateway

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// connect is an MCP client that we did not write, signed in as subject.
func (s *stand) connect(subject, version string, options *mcp.ClientOptions) *mcp.ClientSession {
	s.t.Helper()
	c := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, options)
	transport := &http.Transport{}
	session, err := c.Connect(s.t.Context(), &mcp.StreamableClientTransport{
		Endpoint: s.url(), MaxRetries: -1,
		HTTPClient: &http.Client{Transport: bearerTransport{s.idp.token(subject), transport}},
	}, &mcp.ClientSessionOptions{ProtocolVersion: version})
	if err != nil {
		s.t.Fatalf("connecting: %v", err)
	}
	s.t.Cleanup(func() {
		_ = session.Close()
		transport.CloseIdleConnections()
	})
	return session
}

func (b bearerTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+b.token)
	return b.next.RoundTrip(r)
}

// post sends raw bytes as a caller with a good token; header changes the request.
func (s *stand) post(body string, header http.Header) reply {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.url(), strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.idp.token("ada"))
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	maps.Copy(req.Header, header)
	return s.do(req)
}

func (s *stand) do(req *http.Request) reply {
	s.t.Helper()
	res, err := s.front.Client().Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(res.Body)
	if err != nil && !s.cutOff {
		s.t.Fatal(err)
	}
	r := reply{status: res.StatusCode, header: res.Header, body: string(raw)}
	text := r.body
	if i := strings.LastIndex(text, "data: {"); i >= 0 {
		text = strings.TrimSpace(text[i+len("data: "):])
	}
	var m struct {
		Result json.RawMessage `json:"result"`
		Error  struct {
			Code    int             `json:"code"`
			Message string          `json:"message"`
			Data    json.RawMessage `json:"data"`
		} `json:"error"`
	}
	if json.Unmarshal([]byte(text), &m) == nil {
		r.result, r.code, r.text, r.data = m.Result, m.Error.Code, m.Error.Message, m.Error.Data
	}
	return r
}

func (s *stand) get(path string) reply {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.front.URL+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.do(req)
}

func modernHeader(method, name string) http.Header {
	h := http.Header{headerVersion: {"2026-07-28"}, headerMethod: {method}}
	if name != "" {
		h.Set(headerName, name)
	}
	return h
}

// modernCall calls a tool by the stateless protocol.
func (s *stand) modernCall(tool, arguments string) reply {
	s.t.Helper()
	body := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"` + tool + `","arguments":` + arguments + `,` + modernMeta + `}}`
	return s.post(body, modernHeader("tools/call", tool))
}

// modernCallUnsure calls a tool of a server that may break the connection.
func (s *stand) modernCallUnsure(tool, arguments string) {
	s.t.Helper()
	body := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"` + tool + `","arguments":` + arguments + `,` + modernMeta + `}}`
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.url(), strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header = modernHeader("tools/call", tool)
	req.Header.Set("Authorization", "Bearer "+s.idp.token("ada"))
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	if res, err := s.front.Client().Do(req); err == nil {
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
	}
}

func readScript(r *http.Request) scriptMessage {
	var m scriptMessage
	_ = json.NewDecoder(r.Body).Decode(&m)
	return m
}

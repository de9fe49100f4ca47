package gateway

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"countersign/canonical"
	"countersign/policy"
)

func readAll(t *testing.T, text string) (data []string) {
	t.Helper()
	s := newEvents(strings.NewReader(text))
	for {
		e, err := s.next()
		if err != nil {
			return data
		}
		data = append(data, string(e.data))
	}
}

func TestEvents(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, text string
		want       []string
	}{
		{"LF", "data: a\n\ndata: b\n\n", []string{"a", "b"}},
		{"CRLF", "data: a\r\n\r\ndata: b\r\n\r\n", []string{"a", "b"}},
		{"CR", "data: a\r\rdata: b\r\r", []string{"a", "b"}},
		{"mixed", "data: a\r\n\rdata: b\n\r\n", []string{"a", "b"}},
		{"lines of data", "data: a\ndata:b\ndata\n\n", []string{"a\nb\n"}},
		{"two spaces", "data:  a\n\n", []string{" a"}},
		{"a comment", ": x\n\n", []string{""}},
		{"no end", "data: a", []string{"a"}},
		{"byte order mark", "\ufeffdata: a\n\n", []string{"a"}},
		{"byte order mark later", "data: a\n\n\ufeffdata: b\n\n", []string{"a"}},
		{"other fields", "event: e\nid: 1\nretry: 5\ndata: a\n\n", []string{"a"}},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, readAll(t, tt.text)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

// TestCREndsAnEventAtOnce shows that an event is not held back until the byte after its CR arrives.
func TestCREndsAnEventAtOnce(t *testing.T) {
	t.Parallel()
	r, w := io.Pipe()
	go func() { _, _ = w.Write([]byte("data: a\r\r")) }()
	e, err := newEvents(r).next()
	if err != nil || string(e.data) != "a" {
		t.Errorf("got %q %v", e.data, err)
	}
	_ = w.Close()
}

// FuzzEvents holds that what is written is read again the same, however a reader ends its lines.
func FuzzEvents(f *testing.F) {
	f.Add("data: a\r\rdata: b\n\n: c\n\nid: 1\ndata\n\n")
	f.Fuzz(func(t *testing.T, text string) {
		var once, twice bytes.Buffer
		copyEvents := func(to *bytes.Buffer, from string) {
			s := newEvents(strings.NewReader(from))
			for {
				e, err := s.next()
				if err != nil {
					return
				}
				to.Write(e.append(nil))
			}
		}
		copyEvents(&once, text)
		copyEvents(&twice, once.String())
		if once.String() != twice.String() {
			t.Errorf("not the same twice:\n%q\n%q", once.String(), twice.String())
		}
		if strings.Contains(once.String(), "\r") {
			t.Errorf("a CR came through: %q", once.String())
		}
	})
}

// FuzzReadMessage holds that whatever is accepted has one method, one name and no second reading.
func FuzzReadMessage(f *testing.F) {
	f.Add([]byte(callBody))
	f.Add([]byte(`{"jsonrpc":"2.0","id":1,"Method":"x","method":"y"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := readMessage(raw)
		if err != nil {
			return
		}
		var lenient struct {
			Method string `json:"method"`
			Params struct {
				Name *string `json:"name"`
			} `json:"params"`
		}
		if json.Unmarshal(raw, &lenient) != nil {
			return // a name that is no text
		}
		if lenient.Method != m.method {
			t.Errorf("a lenient reader sees the method %q, we see %q", lenient.Method, m.method)
		}
		if name, ok := m.text("name"); ok && (lenient.Params.Name == nil || *lenient.Params.Name != name) {
			t.Errorf("a lenient reader sees another name than %q", name)
		}
	})
}

func TestReadLine(t *testing.T) {
	t.Parallel()
	r := bufio.NewReader(strings.NewReader("a\n" + strings.Repeat("x", maxEvent+1) + "\n"))
	if line, err := readLine(r); err != nil || string(line) != "a" {
		t.Errorf("got %q %v", line, err)
	}
	if _, err := readLine(r); err == nil {
		t.Error("a line of more than 32 MiB was read")
	}
}

func tool(schema string) *policy.Tool {
	return &policy.Tool{Definition: canonical.Sum("test", []byte(schema)), InputSchema: json.RawMessage(schema)}
}

func TestSchemasOfHostileServers(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, schema, arguments string
		path                    string // "": not enforceable
		ok                      bool
	}{
		{"good", `{"type":"object"}`, `{"a":1}`, "", true},
		{"no arguments", `{"type":"object"}`, ``, "", true},
		{"not an object", `{"type":"object"}`, `[1]`, "/arguments", false},
		{"exact numbers", `{"properties":{"n":{"maximum":9007199254740992}}}`, `{"n":9007199254740993}`, "/n", false},
		{"draft 7", `{"$schema":"http://json-schema.org/draft-07/schema#","properties":{"a":{"const":1}}}`, `{"a":2}`, "/a", false},
		{"refers to itself", `{"$ref":"#"}`, `{}`, "", false},
		{"refers to a file", `{"$ref":"file:///etc/passwd"}`, `{}`, "", false},
		{"refers to the network", `{"$ref":"http://127.0.0.1/x"}`, `{}`, "", false},
		{"refers to nothing", `{"$ref":"#/nowhere"}`, `{}`, "", false},
		{"look-around", `{"properties":{"a":{"pattern":"(?=x)"}}}`, `{}`, "", false},
		{"not a schema", `{"type":7}`, `{}`, "", false},
		{"a key with what does not print", `{"additionalProperties":{"type":"string"}}`, "{\"a\\u202eb/~\":1}", `/a\u202eb~1~0`, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path, err := newSchemas().check(tool(tt.schema), json.RawMessage(tt.arguments))
			if (err == nil) != tt.ok || path != tt.path {
				t.Errorf("got %q %v", path, err)
			}
		})
	}
}

func TestParamHeaders(t *testing.T) {
	t.Parallel()
	schema := tool(`{"properties":{"region":{"type":"string","x-mcp-header":"Region"},"deep":{"properties":{"n":{"type":"integer","x-mcp-header":"N"}}},"plain":{}}}`)
	const arguments = `{"region":"é u","deep":{"n":7},"plain":"p"}`
	tests := []struct {
		name   string
		header http.Header
		ok     bool
	}{
		{"none", http.Header{}, true},
		{"both", http.Header{"Mcp-Param-Region": {"=?base64?w6kgdQ==?="}, "Mcp-Param-N": {"7"}}, true},
		{"another value", http.Header{"Mcp-Param-N": {"8"}}, false},
		{"twice", http.Header{"Mcp-Param-N": {"7", "7"}}, false},
		{"one that the schema does not bind", http.Header{"Mcp-Param-Plain": {"p"}}, false},
	}
	for _, tt := range tests {
		x := &exchange{r: &http.Request{Header: tt.header}}
		if err := x.checkParamHeaders(schema, json.RawMessage(arguments)); (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

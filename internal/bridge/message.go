package bridge

import (
	"bytes"
	"encoding/json"
	"errors"

	"countersign/canonical"
)

// Codes of JSON-RPC, and our own, which are the gateway's.
const (
	codeParse          = -32700
	codeInvalidRequest = -32600
	codeRefused        = -40302 // the credential
	codeUnreachable    = -40506 // the gateway; nothing was executed
	codeUnknown        = -40507 // whether the request was carried out
)

// firstModern is the first version of the protocol without sessions.
const firstModern = "2026-07-28"

var envelope = []string{"jsonrpc", "id", "method", "params", "result", "error"}

// message is one message that every parser reads the same way.
type message struct {
	raw    []byte
	id     json.RawMessage // nil: a notification
	method string          // "": an answer
	params []canonical.Member
	meta   []canonical.Member
}

// fault is what is wrong with a message of the client.
type fault struct {
	code int
	text string
}

func (m message) request() bool { return m.id != nil && m.method != "" }

// version is the version of the protocol that a message of the stateless era names.
func (m message) version() string {
	value, _ := canonical.Lookup(m.meta, "io.modelcontextprotocol/protocolVersion")
	version, _ := canonical.Text(value)
	return version
}

// text is a parameter that is text.
func (m message) text(key string) string {
	value, _ := canonical.Lookup(m.params, key)
	text, _ := canonical.Text(value)
	return text
}

// readMessage reads one message of the client strictly.
func readMessage(line []byte) (message, *fault) {
	if err := canonical.Check(line, canonical.Limits{MaxBytes: maxLine, MaxDepth: maxDepth}); err != nil {
		text := "The line is no JSON message."
		if e := (*canonical.Error)(nil); errors.As(err, &e) {
			text = "The message cannot be read in exactly one way: " + e.Error() + "."
		}
		return message{}, &fault{codeParse, text}
	}
	if line[0] != '{' {
		return message{}, &fault{codeInvalidRequest, "A message is one JSON object; batches are not accepted."}
	}
	fields, err := canonical.Fields(line, envelope...)
	if err != nil {
		return message{}, &fault{codeInvalidRequest, "The message cannot be read in exactly one way."}
	}
	m := message{raw: line}
	if id, ok := canonical.Lookup(fields, "id"); ok && string(id) != "null" && (id[0] == '"' || id[0] == '-' || id[0] >= '0' && id[0] <= '9') {
		m.id = id
	}
	if value, ok := canonical.Lookup(fields, "method"); ok {
		if m.method, ok = canonical.Text(value); !ok || m.method == "" {
			return m, &fault{codeInvalidRequest, "The method is no text."}
		}
	} else if m.id == nil {
		return m, &fault{codeInvalidRequest, "The message is neither a request nor an answer."}
	}
	if value, ok := canonical.Lookup(fields, "params"); ok {
		if m.params, err = canonical.Members(value); err != nil {
			return m, &fault{codeInvalidRequest, "The parameters are no object."}
		}
	}
	if value, ok := canonical.Lookup(m.params, "_meta"); ok {
		m.meta, _ = canonical.Members(value)
	}
	return m, nil
}

// received is a message of the gateway.
type received struct {
	raw    []byte
	id     json.RawMessage
	answer bool
	result json.RawMessage
}

var errForeign = errors.New("the gateway sent a message that cannot be read in exactly one way")

// readReceived reads one message of the gateway, no less strictly: the client may read it in another way than we do.
func readReceived(raw []byte) (received, error) {
	raw = trim(raw)
	if err := canonical.Check(raw, canonical.Limits{MaxBytes: maxMessage, MaxDepth: 1000}); err != nil || raw[0] != '{' {
		return received{}, errForeign
	}
	fields, err := canonical.Fields(raw, envelope...)
	if err != nil {
		return received{}, errForeign
	}
	r := received{raw: raw}
	r.id, _ = canonical.Lookup(fields, "id")
	_, isMethod := canonical.Lookup(fields, "method")
	var isResult, isError bool
	r.result, isResult = canonical.Lookup(fields, "result")
	_, isError = canonical.Lookup(fields, "error")
	if isMethod == (isResult || isError) || isResult && isError {
		return received{}, errForeign
	}
	r.answer = !isMethod
	return r, nil
}

// withID is an answer under another id.
func (r received) withID(id json.RawMessage) []byte {
	fields, err := canonical.Members(r.raw)
	if err != nil {
		return r.raw
	}
	out := []canonical.Member{{Key: "jsonrpc", Value: json.RawMessage(`"2.0"`)}, {Key: "id", Value: id}}
	for _, f := range fields {
		if f.Key != "jsonrpc" && f.Key != "id" {
			out = append(out, f)
		}
	}
	return canonical.AppendObject(nil, out)
}

// errorAnswer is an answer of our own.
func errorAnswer(id json.RawMessage, code int, text string) []byte {
	if id == nil {
		id = json.RawMessage("null")
	}
	said, _ := json.Marshal(map[string]any{"code": code, "message": text}) // our own types
	return canonical.AppendObject(nil, []canonical.Member{
		{Key: "jsonrpc", Value: json.RawMessage(`"2.0"`)}, {Key: "id", Value: id}, {Key: "error", Value: said},
	})
}

func (b *Bridge) answerError(id json.RawMessage, code int, text string) error {
	return b.write(errorAnswer(id, code, text))
}

func trim(line []byte) []byte { return bytes.Trim(line, " \t\r\n") }

// oneLine takes the line ends out of a message: they are only ever between tokens, as no string holds one unescaped.
func oneLine(message []byte) []byte {
	return bytes.Map(func(r rune) rune {
		if r == '\n' || r == '\r' {
			return ' '
		}
		return r
	}, message)
}

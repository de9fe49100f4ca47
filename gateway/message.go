package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"strings"

	"countersign/canonical"
)

// Bounds of what a caller may send.
const (
	maxBody  = 1 << 20
	maxDepth = 100
)

// Codes of JSON-RPC and MCP, and our own, which lie outside −32768…−32000.
const (
	codeParse          = -32700
	codeInvalidRequest = -32600
	codeUnknownMethod  = -32601
	codeInvalidParams  = -32602
	codeInternal       = -32603
	codeHeaderMismatch = -32020
	codeVersion        = -32022

	codeHeld        = -40301 // needs approval
	codeDenied      = -40302 // policy says no
	codeNoPolicy    = -40303 // there is no policy to decide with
	codeWithheld    = -40304 // it ran, and its result is longer than a guardrail allows
	codeUpstream    = -40502 // the server behind us did not answer as it should
	codeTooManyHere = -40503 // a bound of this gateway
	codeStopping    = -40505 // the gateway is about to stop
)

// message is one JSON-RPC message of a caller that every parser reads the same way. raw is what was read,
// the rest are slices of it.
type message struct {
	raw    []byte
	id     json.RawMessage // nil: a notification
	method string          // "": an answer to a request of the server
	params []canonical.Member
	meta   []canonical.Member // params._meta
	urls   bool               // the caller can show its user a URL
}

// rpcError is an error that is answered as a JSON-RPC error.
type rpcError struct {
	status  int // of HTTP
	code    int
	message string
	data    any
}

func (e *rpcError) Error() string { return e.message }

// The members to which the protocol gives meaning. One that differs from them only in case is refused.
var (
	envelopeFields = []string{"jsonrpc", "id", "method", "params", "result", "error"}
	paramFields    = []string{
		"name", "arguments", "uri", "_meta", "ref", "cursor", "requestState", "inputResponses", "task",
		"requestId", "progressToken", "protocolVersion", "capabilities", "clientInfo", "notifications",
	}
)

// readMessage reads one message strictly; see canonical.Check. The error is an *rpcError.
func readMessage(raw []byte) (*message, error) {
	if err := canonical.Check(raw, canonical.Limits{MaxBytes: maxBody, MaxDepth: maxDepth}); err != nil {
		return nil, unacceptable(err)
	}
	if bytes.TrimLeft(raw, " \t\r\n")[0] == '[' {
		return nil, &rpcError{status: 400, code: codeInvalidRequest, message: "Batches are not accepted; send one message at a time."}
	}
	fields, err := canonical.Fields(raw, envelopeFields...)
	if err != nil {
		return nil, unacceptable(err)
	}
	m := &message{raw: raw}
	if err := m.readEnvelope(fields); err != nil {
		return nil, err
	}
	return m, m.readParams(fields)
}

// unacceptable keeps parse errors apart from JSON that is well-formed but not unambiguous.
func unacceptable(err error) *rpcError {
	code := codeInvalidRequest
	if e := (*canonical.Error)(nil); errors.As(err, &e) {
		switch e.Code {
		case canonical.CodeSyntax, canonical.CodeControlCharacter, canonical.CodeNotUTF8, canonical.CodeByteOrderMark, canonical.CodeTrailingData:
			code = codeParse
		case canonical.CodeSize:
			return &rpcError{status: 413, code: codeInvalidRequest, message: "The message is larger than 1 MiB."}
		}
	}
	return &rpcError{status: 400, code: code, message: "The message cannot be read in exactly one way: " + err.Error() + "."}
}

func (m *message) readEnvelope(fields []canonical.Member) error {
	invalid := func(why string) error {
		return &rpcError{status: 400, code: codeInvalidRequest, message: why}
	}
	answers := 0
	for _, f := range fields {
		switch f.Key {
		case "jsonrpc":
			if version, ok := canonical.Text(f.Value); !ok || version != "2.0" {
				return invalid(`The member jsonrpc is not "2.0".`)
			}
		case "id":
			if !validID(f.Value) {
				return invalid("The id is neither a string nor an integer that every parser keeps.")
			}
			m.id = f.Value
		case "method":
			method, ok := canonical.Text(f.Value)
			if !ok || method == "" {
				return invalid("The method is not a name.")
			}
			m.method = method
		case "params":
		case "result", "error":
			answers++
		default:
			return invalid("The message has a member that JSON-RPC does not know.")
		}
	}
	if _, ok := canonical.Lookup(fields, "jsonrpc"); !ok {
		return invalid(`The member jsonrpc is missing.`)
	}
	switch {
	case m.method != "" && answers == 0:
		if strings.HasPrefix(m.method, "notifications/") == m.request() {
			return invalid("A notification has no id, and everything else has one.") // what has none would be done, and neither counted nor recorded
		}
		return nil
	case m.method == "" && answers == 1 && m.id != nil:
		return nil
	}
	return invalid("The message is neither a request, nor a notification, nor an answer.")
}

// Bounds of an id, which is echoed: as a text, and as a number that a float64 keeps.
const (
	maxID      = 256
	maxInteger = 1<<53 - 1
)

// validID accepts a text, and an integer that a server will not write in another way when it answers.
func validID(raw json.RawMessage) bool {
	if len(raw) == 0 || len(raw) > maxID {
		return false
	}
	n, err := strconv.ParseInt(string(raw), 10, 64)
	return raw[0] == '"' || err == nil && n <= maxInteger && n >= -maxInteger && strconv.FormatInt(n, 10) == string(raw)
}

func (m *message) readParams(fields []canonical.Member) error {
	raw, ok := canonical.Lookup(fields, "params")
	if !ok || m.method == "" {
		return nil
	}
	var err error
	if m.params, err = canonical.Fields(raw, paramFields...); err != nil {
		return unacceptable(err)
	}
	meta, ok := canonical.Lookup(m.params, "_meta")
	if !ok {
		return nil
	}
	if m.meta, err = canonical.Fields(meta, metaFields...); err != nil {
		return unacceptable(err)
	}
	return nil
}

// request reports whether the message wants an answer.
func (m *message) request() bool { return m.method != "" && m.id != nil }

// text returns a string parameter.
func (m *message) text(key string) (string, bool) {
	value, ok := canonical.Lookup(m.params, key)
	if !ok {
		return "", false
	}
	return canonical.Text(value)
}

package policy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"

	"countersign/canonical"
)

// callDomain sets digests of calls apart from all other digests.
const callDomain = "countersign/call/v1"

// Call is one exact call: what people approve, and what a confirmation is good
// for. Two calls that differ in anything here have different digests.
type Call struct {
	Issuer         string           `json:"issuer"` // of the control plane
	Epoch          int64            `json:"epoch"`
	Gateway        string           `json:"gateway"` // id
	ServerID       string           `json:"server_id"`
	EndpointDigest canonical.Digest `json:"endpoint_digest"`
	Tool           string           `json:"tool"` // name
	Kind           Kind             `json:"kind"`
	Definition     canonical.Digest `json:"definition"`
	Principal      CallPrincipal    `json:"principal"`
	Arguments      json.RawMessage  `json:"arguments,omitempty"` // as received; none is {}
}

// CallPrincipal is what identifies a principal, without what merely describes it.
type CallPrincipal struct {
	Issuer  string `json:"issuer"`
	Subject string `json:"subject"`
	Agent   string `json:"agent"`
	Model   string `json:"model"`
}

// Identity returns what identifies p in a Call.
func (p *Principal) Identity() CallPrincipal {
	return CallPrincipal{Issuer: p.Issuer, Subject: p.Subject, Agent: p.Agent, Model: p.Model}
}

// Digest returns SHA-256("countersign/call/v1" ‖ 0x00 ‖ Canonical), and the
// arguments in canonical form: the bytes to forward, as they are what was hashed.
// The error is an *Error, or a *canonical.Error about the arguments.
func (c Call) Digest() (d canonical.Digest, arguments []byte, err error) {
	text, arguments, err := c.canonical()
	if err != nil {
		return canonical.Digest{}, nil, err
	}
	return canonical.Sum(callDomain, text), arguments, nil
}

// Canonical returns the RFC 8785 form of the call, which is what Digest hashes.
// It has every member, and the arguments without a confirmation token.
func (c Call) Canonical() ([]byte, error) {
	text, _, err := c.canonical()
	return text, err
}

func (c Call) canonical() (text, arguments []byte, err error) {
	if err := c.validate(); err != nil {
		return nil, nil, fmt.Errorf("reading call: %w", err)
	}
	arguments, err = canonicalArguments(c.Arguments)
	if err != nil {
		return nil, nil, fmt.Errorf("reading arguments of call: %w", err)
	}
	quoted := func(s string) json.RawMessage { return canonical.AppendString(nil, s) }
	principal := canonical.AppendObject(nil, []canonical.Member{
		{Key: "agent", Value: quoted(c.Principal.Agent)},
		{Key: "issuer", Value: quoted(c.Principal.Issuer)},
		{Key: "model", Value: quoted(c.Principal.Model)},
		{Key: "subject", Value: quoted(c.Principal.Subject)},
	})
	text = canonical.AppendObject(nil, []canonical.Member{
		{Key: "arguments", Value: arguments},
		{Key: "definition", Value: quoted(c.Definition.String())},
		{Key: "endpoint_digest", Value: quoted(c.EndpointDigest.String())},
		{Key: "epoch", Value: strconv.AppendInt(nil, c.Epoch, 10)},
		{Key: "gateway", Value: quoted(c.Gateway)},
		{Key: "issuer", Value: quoted(c.Issuer)},
		{Key: "kind", Value: quoted(string(c.Kind))},
		{Key: "principal", Value: principal},
		{Key: "server_id", Value: quoted(c.ServerID)},
		{Key: "tool", Value: quoted(c.Tool)},
	})
	return text, arguments, nil
}

// validate reports what is missing from c, or cannot be written exactly.
func (c Call) validate() error {
	for _, f := range []struct {
		field, value string
		optional     bool
	}{
		{"issuer", c.Issuer, false},
		{"gateway", c.Gateway, false},
		{"server_id", c.ServerID, false},
		{"tool", c.Tool, false},
		{"principal.issuer", c.Principal.Issuer, true},
		{"principal.subject", c.Principal.Subject, true},
		{"principal.agent", c.Principal.Agent, true},
		{"principal.model", c.Principal.Model, true},
	} {
		if f.optional && f.value == "" {
			continue
		}
		if problem := textProblem(f.value, maxNameBytes); problem != "" {
			return wrong(f.field, problem)
		}
	}
	switch {
	case !c.Kind.Known():
		return wrong("kind", "is not tool, prompt or resource")
	case c.Epoch < 0 || c.Epoch > maxExact:
		return wrong("epoch", "is out of range")
	case c.EndpointDigest.IsZero():
		return wrong("endpoint_digest", "is missing")
	case c.Definition.IsZero():
		return wrong("definition", "is missing")
	}
	return nil
}

// Limits on a call as it is written: its arguments and the rest.
const (
	maxCallBytes = 2*canonical.MaxArgumentBytes + 32<<10
	maxCallDepth = canonical.MaxArgumentDepth + 1
)

// DecodeCall reads a call: strictly, with no unknown, repeated or misspelt
// member, and complete. Its arguments are kept as received; Digest reads them.
func DecodeCall(data []byte) (Call, error) {
	limits := canonical.Limits{MaxBytes: maxCallBytes, MaxDepth: maxCallDepth, FoldedKeys: true}
	c, err := parse[Call](data, limits)
	if err == nil {
		err = c.validate()
	}
	if err != nil {
		return Call{}, fmt.Errorf("reading call: %w", err)
	}
	return c, nil
}

// confirmationArgument is where a client that must carry its confirmation token
// puts it, in the arguments of the call.
const confirmationArgument = "confirmation_token"

// canonicalArguments returns the canonical form of arguments without our own
// confirmation token, which does not exist yet when the call is approved. An
// argument of the same name that is no token of ours is an argument like others.
func canonicalArguments(raw json.RawMessage) ([]byte, error) {
	arguments, err := canonical.Arguments(raw)
	if err != nil {
		return nil, err
	}
	return WithoutToken(arguments), nil
}

// WithoutToken returns the arguments of a call, strictly read JSON, as digests and conditions see them: without our own
// confirmation token. What is no object is returned as it is.
func WithoutToken(arguments json.RawMessage) json.RawMessage {
	if !bytes.Contains(arguments, []byte(tokenPrefix)) && !bytes.ContainsRune(arguments, '\\') {
		return arguments
	}
	members, err := canonical.Members(arguments)
	if err != nil {
		return arguments
	}
	for i, m := range members {
		if token, ok := canonical.Text(m.Value); ok && m.Key == confirmationArgument && isToken(token) {
			rest := append(members[:i:i], members[i+1:]...)
			return canonical.AppendObject(nil, rest)
		}
	}
	return arguments
}

const tokenPrefix = "cst_"

// isToken reports whether s has the form of a confirmation token,
// cst_[0-9A-Za-z]{49}.
func isToken(s string) bool {
	const length = len(tokenPrefix) + 49
	if len(s) != length || s[:len(tokenPrefix)] != tokenPrefix {
		return false
	}
	for _, c := range []byte(s[len(tokenPrefix):]) {
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}

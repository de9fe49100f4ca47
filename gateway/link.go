package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"countersign/canonical"
	"countersign/client"
	"countersign/policy"
)

// link is the gateway's own connection to a server, to ask what it offers. It speaks whichever era the server
// does, and gives out results as the bytes that came.
type link struct {
	send         func(ctx context.Context, l *link, method string, message []byte, id string) (json.RawMessage, error)
	close        func()
	modern       bool
	version      string
	session      string
	info         json.RawMessage // serverInfo
	capabilities []string
	sent         int
	received     int
}

// remoteError is a JSON-RPC error of a server. Its text is the server's and is shown to nobody.
type remoteError struct{ code int }

func (e *remoteError) Error() string {
	return "the server answers with the error " + strconv.Itoa(e.code)
}

// lastLegacy is the version that we offer where there is a handshake.
const lastLegacy = "2025-11-25"

var errNoHandshake = errors.New("the server did not accept the MCP handshake")

// connect reaches a server and settles how to speak with it: the stateless protocol if it knows that, else the
// handshake.
func (g *Gateway) connect(ctx context.Context, name string, e policy.Endpoint, say stepFunc) (*link, error) {
	l, err := g.open(ctx, name, e, say)
	if err != nil {
		return nil, err
	}
	say.say(client.StepInitialize, client.StepRunning, "")
	err = l.discover(ctx)
	if err != nil && !final(err) {
		err = l.initialize(ctx)
	}
	if err != nil {
		l.close()
		say.say(client.StepInitialize, client.StepFailed, explain(err))
		return nil, err
	}
	say.say(client.StepInitialize, client.StepDone, "MCP "+l.version)
	return l, nil
}

// open dials.
func (g *Gateway) open(ctx context.Context, name string, e policy.Endpoint, say stepFunc) (*link, error) {
	switch e.Transport {
	case policy.StreamableHTTP:
		return g.openHTTP(ctx, name, e, say)
	case policy.Stdio:
		return g.openStdio(name, e, say)
	}
	return nil, fmt.Errorf("connecting: transport %q is not known", e.Transport)
}

// discover is the first request of the stateless protocol. A server of the older era refuses it in one of many
// ways.
func (l *link) discover(ctx context.Context) error {
	l.modern, l.version = true, firstModern
	result, err := l.call(ctx, "server/discover", nil)
	if err == nil {
		err = l.readServer(result)
	}
	if err == nil && !l.supports(result) {
		err = errNoHandshake
	}
	if err != nil {
		l.modern, l.version, l.capabilities, l.info = false, "", nil, nil
	}
	return err
}

func (l *link) supports(result json.RawMessage) bool {
	members, err := canonical.Members(result)
	if err != nil {
		return false
	}
	versions, ok := canonical.Lookup(members, "supportedVersions")
	if !ok {
		return false
	}
	elements, err := canonical.Elements(versions)
	return err == nil && slices.ContainsFunc(elements, func(e json.RawMessage) bool {
		v, _ := canonical.Text(e)
		return v == firstModern
	})
}

// initialize is the handshake of the older era.
func (l *link) initialize(ctx context.Context) error {
	result, err := l.call(ctx, "initialize", []canonical.Member{
		{Key: "protocolVersion", Value: json.RawMessage(`"` + lastLegacy + `"`)},
		{Key: "capabilities", Value: json.RawMessage("{}")},
		{Key: "clientInfo", Value: json.RawMessage(clientInfo)},
	})
	if err != nil {
		return err
	}
	if err := l.readServer(result); err != nil {
		return err
	}
	members, err := canonical.Members(result)
	if err != nil {
		return errNoHandshake
	}
	value, _ := canonical.Lookup(members, "protocolVersion")
	version, ok := canonical.Text(value)
	if !ok || len(version) != len(lastLegacy) || version >= firstModern {
		return errNoHandshake
	}
	l.version = version
	_, err = l.send(ctx, l, "notifications/initialized", []byte(`{"jsonrpc":"2.0","method":"notifications/initialized"}`), "")
	return err
}

const clientInfo = `{"name":"countersign-gateway","version":"1"}`

// readServer takes what a server says of itself.
func (l *link) readServer(result json.RawMessage) error {
	members, err := canonical.Fields(result, "capabilities", "serverInfo", "_meta")
	if err != nil {
		return errNoHandshake
	}
	if info, ok := canonical.Lookup(members, "serverInfo"); ok && len(info) <= maxDefinition {
		l.info = info
	} else if meta, ok := canonical.Lookup(members, "_meta"); ok {
		if inside, err := canonical.Members(meta); err == nil {
			if info, ok := canonical.Lookup(inside, "io.modelcontextprotocol/serverInfo"); ok && len(info) <= maxDefinition {
				l.info = info
			}
		}
	}
	capabilities, ok := canonical.Lookup(members, "capabilities")
	if !ok {
		return errNoHandshake
	}
	declared, err := canonical.Members(capabilities)
	if err != nil {
		return errNoHandshake
	}
	for _, c := range declared {
		l.capabilities = append(l.capabilities, c.Key)
	}
	return nil
}

// call makes one request and returns its result.
func (l *link) call(ctx context.Context, method string, params []canonical.Member) (json.RawMessage, error) {
	if l.modern {
		params = append(params, canonical.Member{Key: "_meta", Value: canonical.AppendObject(nil, []canonical.Member{
			{Key: metaVersion, Value: canonical.AppendString(nil, l.version)},
			{Key: metaCapabilities, Value: json.RawMessage("{}")},
			{Key: metaClientInfo, Value: json.RawMessage(clientInfo)},
		})})
	}
	l.sent++
	id := strconv.Itoa(l.sent)
	message := canonical.AppendObject(nil, []canonical.Member{
		{Key: "jsonrpc", Value: json.RawMessage(`"2.0"`)},
		{Key: "id", Value: json.RawMessage(id)},
		{Key: "method", Value: canonical.AppendString(nil, method)},
		{Key: "params", Value: canonical.AppendObject(nil, params)},
	})
	answer, err := l.send(ctx, l, method, message, id)
	if err != nil {
		return nil, err
	}
	return resultOf(answer)
}

// resultOf takes the result out of an answer.
func resultOf(answer json.RawMessage) (json.RawMessage, error) {
	fields, err := canonical.Fields(answer, envelopeFields...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errBadList, err)
	}
	if e, ok := canonical.Lookup(fields, "error"); ok {
		inside, err := canonical.Members(e)
		if err != nil {
			return nil, errBadList
		}
		value, _ := canonical.Lookup(inside, "code")
		code, _ := strconv.Atoi(string(value))
		return nil, &remoteError{code: code}
	}
	result, ok := canonical.Lookup(fields, "result")
	if !ok {
		return nil, errBadList
	}
	return result, nil
}

// took counts what a server sent, over all its answers.
func (l *link) took(n int) error {
	if l.received += n; l.received > maxOffer {
		return errBigOffer
	}
	return nil
}

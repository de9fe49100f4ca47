package gateway

import (
	"net/http"

	"countersign/canonical"
	"countersign/policy"
)

// method is what the gateway knows of a method of the protocol. A method that is not in the table is denied.
type method struct {
	serve func(*exchange) error
	use   func(*message) (use, error) // what it uses, for those that use something that is governed
	old   bool                        // the stateless protocol does not have it any more
}

// use is a tool, prompt or resource that a request is about.
type use struct {
	kind policy.Kind
	name string
}

// methodListen opens a stream of the stateless protocol.
const methodListen = "subscriptions/listen"

// methods is the whole list. The empty name is an answer of the client to a request of the server.
var methods map[string]method

func init() { //nolint:gochecknoinits // the table's functions refer to the table
	methods = map[string]method{
		"server/discover":  {serve: (*exchange).forward},
		"initialize":       {serve: (*exchange).forward, old: true},
		"ping":             {serve: (*exchange).forward, old: true},
		"logging/setLevel": {serve: (*exchange).forward, old: true},

		"notifications/initialized":        {serve: (*exchange).forward},
		"notifications/cancelled":          {serve: (*exchange).forward},
		"notifications/progress":           {serve: (*exchange).forward},
		"notifications/roots/list_changed": {serve: (*exchange).forwardRoots},
		"":                                 {serve: (*exchange).serveAnswer},

		"tools/list":               {serve: (*exchange).forward}, // answers are filtered wherever they come from
		"prompts/list":             {serve: (*exchange).forward},
		"resources/list":           {serve: (*exchange).forward},
		"resources/templates/list": {serve: (*exchange).forward},

		"tools/call":            governed(policy.KindTool, "name"),
		"prompts/get":           governed(policy.KindPrompt, "name"),
		"resources/read":        governed(policy.KindResource, "uri"),
		"resources/subscribe":   older(governed(policy.KindResource, "uri")),
		"resources/unsubscribe": older(governed(policy.KindResource, "uri")),
		"completion/complete":   {serve: (*exchange).govern, use: completionUse},
		methodListen:            {serve: (*exchange).serveListen},
	}
}

func older(m method) method {
	m.old = true
	return m
}

func governed(kind policy.Kind, key string) method {
	return method{serve: (*exchange).govern, use: func(m *message) (use, error) {
		name, ok := m.text(key)
		if !ok || name == "" {
			return use{}, &rpcError{code: codeInvalidParams, message: "The parameter " + key + " is missing or no text."}
		}
		return use{kind, name}, nil
	}}
}

// completionUse is what a completion is about: it tells the caller something of a prompt or resource.
func completionUse(m *message) (use, error) {
	invalid := &rpcError{code: codeInvalidParams, message: "The parameter ref names no prompt and no resource."}
	ref, ok := canonical.Lookup(m.params, "ref")
	if !ok {
		return use{}, invalid
	}
	members, err := canonical.Fields(ref, "type", "name", "uri")
	if err != nil {
		return use{}, invalid
	}
	text := func(key string) string {
		value, _ := canonical.Lookup(members, key)
		s, _ := canonical.Text(value)
		return s
	}
	switch text("type") {
	case "ref/prompt":
		return use{policy.KindPrompt, text("name")}, nil
	case "ref/resource":
		return use{policy.KindResource, text("uri")}, nil
	}
	return use{}, invalid
}

// unknownMethod denies what the gateway does not know.
func (x *exchange) unknownMethod() error {
	e := &rpcError{code: codeUnknownMethod, message: "This gateway does not pass that method."}
	switch {
	case x.message.id == nil:
		e.status = http.StatusBadRequest
	case x.modern:
		e.status = http.StatusNotFound
	}
	return e
}

// serveAnswer passes an answer to a request of the server, which only a session can have made.
func (x *exchange) serveAnswer() error {
	if x.modern || x.session == "" {
		return &rpcError{status: http.StatusBadRequest, code: codeInvalidRequest, message: "Nothing was asked of this client."}
	}
	return x.forward()
}

// forwardRoots tells a server that roots changed, if it may know of any.
func (x *exchange) forwardRoots() error {
	if x.server.MayAsk(policy.Roots) {
		return x.forward()
	}
	x.w.WriteHeader(http.StatusAccepted)
	return nil
}

// serveListen opens a stream of changes. Each resource in it needs to be allowed, like reading it.
func (x *exchange) serveListen() error {
	wanted, ok := canonical.Lookup(x.message.params, "notifications")
	if !ok {
		return x.forward()
	}
	members, err := canonical.Fields(wanted, "resourceSubscriptions")
	if err != nil {
		return unacceptable(err)
	}
	if uris, ok := canonical.Lookup(members, "resourceSubscriptions"); ok {
		elements, err := canonical.Elements(uris)
		if err != nil {
			return &rpcError{code: codeInvalidParams, message: "The resources to listen to are no list."}
		}
		for _, e := range elements {
			uri, ok := canonical.Text(e)
			v := x.decide(use{policy.KindResource, uri})
			if !ok || v.Outcome != policy.Allow {
				return &rpcError{code: codeInvalidParams, message: "A resource is unknown, or needs more than a subscription."}
			}
		}
	}
	return x.forward()
}

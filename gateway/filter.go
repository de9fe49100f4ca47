package gateway

import (
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strconv"

	"countersign/canonical"
	"countersign/client"
	"countersign/internal/cleanse"
	"countersign/policy"
)

// lists are the members of a result that hold definitions, with the member that names each. A result is
// filtered by what it holds, not by what was asked: an answer that takes another way (a stream that is resumed,
// another request's stream) is filtered all the same.
var lists = map[string]struct {
	kind policy.Kind
	key  string
}{
	"tools":             {policy.KindTool, "name"},
	"prompts":           {policy.KindPrompt, "name"},
	"resources":         {policy.KindResource, "uri"},
	"resourceTemplates": {policy.KindResource, "uriTemplate"},
}

var resultFields = []string{
	"tools", "prompts", "resources", "resourceTemplates", "cacheScope", "isError", "structuredContent", "content", "_meta",
	"resultType", "inputRequests", "requestState", "ttlMs", "capabilities",
}

// freshMillis is how long a client may keep a list that was filtered for it: a grant may end at any time.
const freshMillis = 60_000

var errUpstreamMessage = errors.New("the server's message cannot be read in exactly one way")

// filterMessage looks at one message of a server and returns what the caller may see of it: the very same
// bytes, or the message without what is not safe, not granted or not pinned. No bytes: nothing of it.
func (x *exchange) filterMessage(raw []byte) ([]byte, error) {
	raw = cleanse.Surrogates(raw)
	fields, err := canonical.Fields(raw, envelopeFields...)
	if err != nil {
		return nil, errUpstreamMessage
	}
	_, isRequest := canonical.Lookup(fields, "method")
	result, isResult := canonical.Lookup(fields, "result")
	problem, isError := canonical.Lookup(fields, "error")
	switch {
	case isRequest && (isResult || isError), isResult && isError:
		return nil, errUpstreamMessage
	case isRequest && x.refuses(fields):
		return nil, nil
	case isRequest:
		x.heed(fields)
		return x.told(raw), nil
	case isError:
		x.answered(true, len(raw))
		return x.deliver(fields, raw, problem)
	case !isResult:
		return nil, errUpstreamMessage
	case result[0] != '{':
		x.answered(false, len(raw))
		return x.deliver(fields, raw, result)
	}
	members, err := canonical.Fields(result, resultFields...)
	if err != nil {
		return nil, errUpstreamMessage
	}
	id, _ := canonical.Lookup(fields, "id")
	failed, _ := canonical.Lookup(members, "isError")
	forbidden := x.inputForbidden(members)
	if x.attempt != nil && x.modern && wantsInput(members) && !forbidden {
		return x.giveTurn(fields, raw, result)
	}
	x.answered(forbidden || string(failed) == "true", len(raw))
	if forbidden {
		return x.inputDenied(id), nil
	}
	return x.deliver(fields, raw, result)
}

// heed acts on notifications that say that definitions changed.
func (x *exchange) heed(fields []canonical.Member) {
	value, _ := canonical.Lookup(fields, "method")
	switch method, _ := canonical.Text(value); method {
	case "notifications/tools/list_changed", "notifications/prompts/list_changed", "notifications/resources/list_changed":
		x.g.watch.distrust(x.server)
	}
}

// filterLists filters the lists among the members of a result, in place. A list that was filtered for one
// caller is not for the cache of another.
func (x *exchange) filterLists(members []canonical.Member) (filtered bool) {
	for i := range members {
		list, ok := lists[members[i].Key]
		if !ok {
			continue
		}
		filtered = true
		elements, err := canonical.Elements(members[i].Value)
		if err != nil {
			elements = nil
		}
		kept := x.filterList(members[i].Key, list.kind, list.key, elements)
		members[i].Value = canonical.AppendArray(nil, kept)
	}
	for i := range members {
		switch {
		case !filtered:
		case members[i].Key == "cacheScope":
			members[i].Value = json.RawMessage(`"private"`)
		case members[i].Key == "ttlMs" && !fresh(members[i].Value):
			members[i].Value = json.RawMessage(strconv.Itoa(freshMillis))
		}
	}
	return filtered
}

// fresh reports whether a ttlMs is short enough for a list that was filtered. What is no number is not.
func fresh(ttl json.RawMessage) bool {
	var ms float64
	return json.Unmarshal(ttl, &ms) == nil && ms <= freshMillis && string(ttl) != "null"
}

// filterList keeps the definitions that are pinned, exactly, and that the caller may use. Their bytes are not
// touched. A pinned name with another definition is drift, seen in passing.
func (x *exchange) filterList(member string, kind policy.Kind, key string, elements []json.RawMessage) []json.RawMessage {
	snapshot, err := x.g.feed.Current()
	if err != nil {
		return nil
	}
	kept := make([]json.RawMessage, 0, len(elements))
	names := make(map[string]bool, len(elements))
	for _, raw := range elements {
		name, ok := definitionName(raw, key)
		if !ok {
			continue
		}
		v := snapshot.Index.Listing(policy.Request{
			Server: x.name, Kind: kind, Name: name, Principal: &x.caller.principal, Now: x.g.now(),
		})
		if v.Tool == nil || v.Tool.Name != name || v.Server.Endpoint.Digest != x.server.Endpoint.Digest {
			continue
		}
		digest, err := client.DefinitionDigest(raw)
		if err != nil || digest != v.Tool.Definition || names[name] {
			x.g.watch.drifted(v.Server, v.Tool, member, slices.Clone(raw))
			kept = slices.DeleteFunc(kept, func(k json.RawMessage) bool { n, _ := definitionName(k, key); return n == name })
			names[name] = true
			continue
		}
		names[name] = true
		if v.Listed() && !x.g.watch.isHeld(v.Server, v.Tool) {
			kept = append(kept, raw)
		}
	}
	return kept
}

// definitionName returns the name of a definition that can be read in exactly one way.
func definitionName(raw json.RawMessage, key string) (string, bool) {
	members, err := canonical.Fields(raw, key)
	if err != nil {
		return "", false
	}
	value, ok := canonical.Lookup(members, key)
	if !ok {
		return "", false
	}
	return canonical.Text(value)
}

// filterEvent filters the data of a server-sent event. Data that is no acceptable message is dropped; if the
// caller waits for an answer on this stream, it gets an error instead.
func (x *exchange) filterEvent(data []byte) []byte {
	out, err := x.filterMessage(data)
	if err == nil {
		return out
	}
	x.g.log.Warn("a server's message was dropped", slog.String("server", x.name), slog.Any("error", err))
	if x.message == nil || !x.message.request() {
		return nil
	}
	return errorMessage(x.message.id, &rpcError{code: codeUpstream, message: "The server sent a message that cannot be read in exactly one way."})
}

package cleanse

// place is where in a message a value stands, which says what its strings are for.
type place uint8

const (
	free     place = iota // anything of the server's own: structured content, data
	envelope              // a JSON-RPC message
	failure               // its error
	details               // the data of its error
	answer                // its result
	request               // the parameters of what the server asks or tells
	requests              // what the stateless protocol asks in a result, by name
	block                 // content, messages, resources, and whatever else the protocol has
	meta                  // _meta
	related               // the task that a message belongs to
	icons
)

// treatment is what is done with a string.
type treatment uint8

const (
	asText    treatment = iota
	asAddress           // of a resource or a page: may be a local file, must not run; is compared, so it has no secrets removed
	asName              // a word of the protocol: only what nobody sees goes
	asTicket            // for the server's own eyes: passes, or the whole message does not
	asBytes             // base64, or else text
	asIcon              // an address that a client loads
	asIs                // of the protocol itself, or of definitions, which are pinned
)

// rule says how the value of a key is read: where it stands if it is an array or object, what it is if it is a string.
type rule struct {
	place place
	as    treatment
}

// places are the keys that mean something. A key that is not there is read as rest says.
var places = map[place]struct {
	keys map[string]rule
	rest rule
}{
	envelope: {map[string]rule{
		"jsonrpc": {as: asIs}, "id": {as: asTicket}, "method": {as: asTicket},
		"result": {place: answer}, "error": {place: failure}, "params": {place: request},
	}, rule{}},
	failure: {map[string]rule{"data": {place: details}}, rule{}},
	details: {map[string]rule{"elicitations": {place: request}}, rule{}},
	answer: {map[string]rule{
		"nextCursor": {as: asTicket}, "requestState": {as: asTicket}, "taskId": {as: asTicket}, "resultType": {as: asName},
		"protocolVersion": {as: asName}, "cacheScope": {as: asName}, "status": {as: asName}, "structuredContent": {place: free}, "_meta": {place: meta},
		"tools": {as: asIs}, "prompts": {as: asIs}, "resources": {as: asIs}, "resourceTemplates": {as: asIs}, "task": {place: answer},
		"inputRequests": {place: requests}, "serverInfo": {place: block}, "capabilities": {place: free},
	}, rule{place: block}},
	request: {map[string]rule{
		"requestState": {as: asTicket}, "progressToken": {as: asTicket}, "requestId": {as: asTicket}, "taskId": {as: asTicket},
		"elicitationId": {as: asTicket}, "cursor": {as: asTicket}, "uri": {as: asAddress}, "url": {as: asAddress},
		"mode": {as: asName}, "level": {as: asName}, "data": {place: free}, "_meta": {place: meta}, "requestedSchema": {place: free},
	}, rule{place: block}},
	requests: {nil, rule{place: envelope}},
	block: {map[string]rule{
		"data": {place: free, as: asBytes}, "blob": {as: asBytes}, "uri": {as: asAddress}, "url": {as: asAddress},
		"uriTemplate": {as: asName}, "mimeType": {as: asName}, "type": {as: asName}, "role": {as: asName}, "icons": {place: icons},
		"toolUseId": {as: asTicket}, "_meta": {place: meta}, "input": {place: free}, "structuredContent": {place: free},
	}, rule{place: block}},
	meta: {map[string]rule{
		"progressToken": {as: asTicket}, "io.modelcontextprotocol/related-task": {place: related},
	}, rule{}},
	related: {map[string]rule{"taskId": {as: asTicket}}, rule{}},
	icons:   {map[string]rule{"src": {place: icons, as: asIcon}, "mimeType": {as: asName}}, rule{}},
}

// of returns how the value of a key is read at a place.
func of(p place, key string) rule {
	known, ok := places[p]
	if !ok {
		return rule{}
	}
	if r, ok := known.keys[key]; ok {
		return r
	}
	return known.rest
}

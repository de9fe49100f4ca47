package gateway

import (
	"encoding/json"
	"slices"
	"strconv"

	"countersign/canonical"
)

// metaSubscription names, in _meta of a notification, the request that listens to it.
const metaSubscription = "io.modelcontextprotocol/subscriptionId"

// flightID reads an id of ours, written as we write it and in no other way.
func flightID(value json.RawMessage) (int64, bool) {
	id, err := strconv.ParseInt(string(value), 10, 64)
	return id, err == nil && id > 0 && strconv.FormatInt(id, 10) == string(value)
}

// with is members with another value for a key that is among them.
func with(members []canonical.Member, key string, value json.RawMessage) []canonical.Member {
	changed := slices.Clone(members)
	for i := range changed {
		if changed[i].Key == key {
			changed[i].Value = value
		}
	}
	return changed
}

// inside reads a member that is an object.
func inside(members []canonical.Member, key string) ([]canonical.Member, bool) {
	value, ok := canonical.Lookup(members, key)
	if !ok {
		return nil, false
	}
	in, err := canonical.Members(value)
	return in, err == nil
}

func (f *flight) id() json.RawMessage { return json.RawMessage(strconv.FormatInt(f.ours, 10)) }

// outward is a request as the process gets it: with our id, and our progress token where the caller wants progress.
func (f *flight) outward(fields []canonical.Member) []byte {
	fields = with(fields, "id", f.id())
	params, ok := inside(fields, "params")
	if !ok {
		return canonical.AppendObject(nil, fields)
	}
	meta, ok := inside(params, "_meta")
	if !ok {
		return canonical.AppendObject(nil, fields)
	}
	if f.token, ok = canonical.Lookup(meta, "progressToken"); ok {
		meta = with(meta, "progressToken", f.id())
		params = with(params, "_meta", canonical.AppendObject(nil, meta))
		fields = with(fields, "params", canonical.AppendObject(nil, params))
	}
	return canonical.AppendObject(nil, fields)
}

// homeward is an answer as the caller gets it: with the caller's id, also where a subscription names it.
func (f *flight) homeward(line []byte) ([]byte, error) {
	fields, err := canonical.Members(line)
	if err != nil {
		return nil, errUpstreamMessage
	}
	fields = with(fields, "id", f.theirs)
	if result, ok := inside(fields, "result"); ok {
		if meta, ok := inside(result, "_meta"); ok && f.named(meta) {
			result = with(result, "_meta", canonical.AppendObject(nil, with(meta, metaSubscription, f.theirs)))
			fields = with(fields, "result", canonical.AppendObject(nil, result))
		}
	}
	return canonical.AppendObject(nil, fields), nil
}

// named reports whether a notification belongs to the stream that this request opened.
func (f *flight) named(meta []canonical.Member) bool {
	value, ok := canonical.Lookup(meta, metaSubscription)
	return ok && string(value) == string(f.id())
}

// aboutFlight gives a notification about a request to who made it, under the token and the id that it has there. It
// reports whether the notification is about a request at all; one about a request that is over is for nobody.
func (p *process) aboutFlight(fields []canonical.Member) bool {
	value, _ := canonical.Lookup(fields, "method")
	method, _ := canonical.Text(value)
	params, ok := inside(fields, "params")
	if _, request := canonical.Lookup(fields, "id"); request || !ok {
		return method == "notifications/progress"
	}
	if method == "notifications/progress" {
		token, _ := canonical.Lookup(params, "progressToken")
		if f := p.flight(token); f != nil && f.token != nil {
			f.tell(fields, with(params, "progressToken", f.token))
		}
		return true
	}
	meta, ok := inside(params, "_meta")
	if !ok {
		return false
	}
	subscription, ok := canonical.Lookup(meta, metaSubscription)
	if !ok {
		return false
	}
	if f := p.flight(subscription); f != nil && f.stream {
		p.heed(fields)
		f.tell(fields, with(params, "_meta", canonical.AppendObject(nil, with(meta, metaSubscription, f.theirs))))
	}
	return true
}

// heed lets the gateway itself hear that definitions changed, also where a stream is told.
func (p *process) heed(fields []canonical.Member) {
	value, _ := canonical.Lookup(fields, "method")
	p.heard(canonical.AppendObject(nil, []canonical.Member{{Key: "jsonrpc", Value: json.RawMessage(`"2.0"`)}, {Key: "method", Value: value}}))
}

func (p *process) flight(value json.RawMessage) *flight {
	id, ok := flightID(value)
	if !ok {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.flights[id]
}

// known finds the requests under way that a caller knows by an id.
func (p *process) known(id json.RawMessage) []*flight {
	p.mu.Lock()
	defer p.mu.Unlock()
	var found []*flight
	for _, f := range p.flights {
		if string(f.theirs) == string(id) {
			found = append(found, f)
		}
	}
	return found
}

func (p *process) idle() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.flights) == 0
}

// tell hands a notification to the caller; one that does not keep up misses the newest.
func (f *flight) tell(fields, params []canonical.Member) {
	f.said.put(canonical.AppendObject(nil, with(fields, "params", canonical.AppendObject(nil, params))))
}

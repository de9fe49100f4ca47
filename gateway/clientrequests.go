package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"countersign/canonical"
	"countersign/client"
	"countersign/policy"
)

// What a server may ask of clients is policy. What it may not is kept from both sides:
//
//	caller ──capabilities, without what is not allowed──▶ server
//	caller ◀──────────────── nothing ──┤ ◀── request ──── server, which is answered with an error
//	caller ◀── error in its place ─────┤ ◀── input_required with such a request
var clientMethods = map[string]policy.ClientRequest{
	"elicitation/create":     policy.Elicitation,
	"roots/list":             policy.Roots,
	"sampling/createMessage": policy.Sampling,
}

// reasonClientRequest: the server asked the client for something that it may not, so there is no result.
const reasonClientRequest policy.Reason = "client_request_denied"

// limitCapabilities takes out of what the caller declares what the server may not ask for, and what has to do with tasks. It
// leaves every other byte of the members as it is.
func (x *exchange) limitCapabilities() error {
	m := x.message
	m.urls = m.showsURL() // for our own use: what the gateway asks is no request of the server's
	changed := m.asNoTask()
	limit := func(members []canonical.Member, key string) ([]canonical.Member, error) {
		value, ok := canonical.Lookup(members, key)
		if !ok {
			return members, nil
		}
		capabilities, err := canonical.Members(value)
		if err != nil {
			return nil, &rpcError{status: http.StatusBadRequest, code: codeInvalidParams, message: "The capabilities of the client are no object."}
		}
		kept, fewer := withoutTasks(slices.DeleteFunc(slices.Clone(capabilities), func(c canonical.Member) bool { return x.forbidden(c.Key) }))
		if !fewer && len(kept) == len(capabilities) {
			return members, nil
		}
		changed = true
		return with(members, key, canonical.AppendObject(nil, kept)), nil
	}
	var err error
	if m.method == "initialize" {
		if m.params, err = limit(m.params, "capabilities"); err != nil {
			return err
		}
	}
	if m.meta, err = limit(m.meta, metaCapabilities); err != nil || !changed {
		return err
	}
	if m.meta != nil {
		m.params = with(m.params, "_meta", canonical.AppendObject(nil, m.meta))
	}
	fields, err := canonical.Members(m.raw)
	if err != nil {
		return err
	}
	x.body = canonical.AppendObject(nil, with(fields, "params", canonical.AppendObject(nil, m.params)))
	return nil
}

// forbidden reports whether a capability is one that the server may not use. A server that reads names ignoring case gains
// nothing by it.
func (x *exchange) forbidden(capability string) bool {
	for _, c := range policy.ClientRequests() {
		if strings.EqualFold(capability, string(c)) {
			return !x.server.MayAsk(c)
		}
	}
	return false
}

// refuses reports whether a message of the server asks the client for something that it may not. Then the server has its
// answer from us.
func (x *exchange) refuses(fields []canonical.Member) bool {
	value, _ := canonical.Lookup(fields, "method")
	method, _ := canonical.Text(value)
	request, ok := clientMethods[method]
	if !ok || x.mayAsk(request) {
		return false
	}
	x.noteRefused(request)
	if id, ok := canonical.Lookup(fields, "id"); ok && validID(id) && !x.modern {
		x.answerServer(errorMessage(id, &rpcError{code: codeUnknownMethod, message: "This client does not do that."}))
	}
	return true
}

// mayAsk looks into the policy that is valid now: a stream may be older than that.
func (x *exchange) mayAsk(request policy.ClientRequest) bool {
	snapshot, err := x.g.feed.Current()
	if err != nil {
		return false
	}
	v := snapshot.Index.Decide(policy.Request{Server: x.name, Kind: policy.KindTool, Now: x.g.now()})
	return v.Server != nil && v.Server.ID == x.server.ID && v.Server.MayAsk(request)
}

func (x *exchange) noteRefused(request policy.ClientRequest) {
	if request == "" {
		request = other
	}
	x.g.metrics.requests.WithLabelValues(x.serverLabel(), string(request)).Inc()
	if !x.log.refused {
		x.log.refused = true
		x.g.log.Warn("a server asked a client for what it may not", slog.String("server", x.name), slog.String("request", string(request)))
	}
}

// Bounds of answering servers. A server that asks faster than it takes answers gets none.
const (
	refusalsAtOnce = 16
	refusalTime    = 10 * time.Second
)

// answerServer sends the server a message that is no caller's.
func (x *exchange) answerServer(message []byte) {
	select {
	case x.g.refusals <- struct{}{}:
	default:
		return
	}
	send := x.sender()
	if send == nil || !x.g.background.run(func() {
		defer func() { <-x.g.refusals }()
		if err := send(message); err != nil {
			x.g.log.Debug("a server did not take an answer", slog.String("server", x.name), slog.Any("error", err))
		}
	}) {
		<-x.g.refusals
	}
}

// sender sends a message into the session of the exchange, also when that is over; nil if there is no way.
func (x *exchange) sender() func(message []byte) error {
	if x.server.Endpoint.Transport == policy.Stdio {
		i := x.g.stdio.find(instanceKey{endpointKey: keyOf(x.server), session: x.session})
		if i == nil {
			return nil
		}
		return i.process.write
	}
	extra, err := x.g.credentials(x.name)
	if err != nil {
		return nil
	}
	header, url := x.upstreamHeader(extra), x.server.Endpoint.URL
	header.Set("Content-Type", "application/json")
	header.Set("Accept", "application/json, text/event-stream")
	header.Del(headerLast)
	return func(message []byte) error { return x.g.postUpstream(url, header, message) }
}

func (g *Gateway) postUpstream(url string, header http.Header, message []byte) error {
	ctx, cancel := context.WithTimeout(g.ctx, refusalTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(message))
	if err != nil {
		return err
	}
	req.Header = header
	res, err := g.upstream.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }() // nothing of it is wanted
	_, err = io.CopyN(io.Discard, res.Body, 4<<10)
	if err == io.EOF { //nolint:errorlint // CopyN's own
		err = nil
	}
	return err
}

// inputForbidden reports whether a result asks the client for something that the server may not ask for, or that is not
// known here.
func (x *exchange) inputForbidden(result []canonical.Member) bool {
	if !wantsInput(result) {
		return false
	}
	raw, ok := canonical.Lookup(result, "inputRequests")
	if !ok {
		return false
	}
	requests, err := canonical.Members(raw)
	if err != nil {
		return true
	}
	for _, r := range requests {
		members, err := canonical.Fields(r.Value, "method", "params")
		if err != nil {
			return true
		}
		value, _ := canonical.Lookup(members, "method")
		method, _ := canonical.Text(value)
		request, known := clientMethods[method]
		if !known || !x.mayAsk(request) {
			x.noteRefused(request)
			return true
		}
	}
	return false
}

// inputDenied is what the caller gets in the place of such a result.
func (x *exchange) inputDenied(id json.RawMessage) []byte {
	x.record(client.AllowedCall, reasonClientRequest)
	const text = "NO RESULT: the server asks this client for something that policy does not let it ask for (sampling, elicitation or roots), and does not go on without. Do not retry; tell the owner of the server."
	said := map[string]any{metaDecision: decision{Decision: client.DeniedCall, Reason: reasonClientRequest}}
	if x.message != nil && x.message.method == "tools/call" {
		return resultMessage(id, errorResult(text, said))
	}
	return errorMessage(id, &rpcError{code: codeDenied, message: text, data: said})
}

package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"sync/atomic"

	"go.opentelemetry.io/otel/trace"

	"countersign/canonical"
	"countersign/client"
	"countersign/internal/cleanse"
	"countersign/policy"
)

// exchange is one request of a caller and what becomes of it.
type exchange struct {
	g        *Gateway
	w        http.ResponseWriter
	r        *http.Request
	caller   *caller
	message  *message    // nil for GET and DELETE
	modern   bool        // the stateless protocol
	session  string      // Mcp-Session-Id
	ended    atomic.Bool // its stream, as the gateway is about to stop
	name     string      // of the server
	server   *policy.Server
	snapshot *client.Snapshot
	body     []byte // what is forwarded
	attempt  *attempt
	approved canonical.Digest // the call of the attempt
	span     trace.Span       // nil where nothing is traced
	traced   context.Context  //nolint:containedctx // of the span that is open
	duty     duty             // of the call that runs
	clean    *cleanse.Filter
	passage  passage
	patience *patience // with the server; nil: it was not asked yet
	log      callLog
}

// serveMCP is the address of one server.
func (g *Gateway) serveMCP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if !g.fromAllowedOrigin(r) {
		writeRPCError(w, nil, &rpcError{status: http.StatusForbidden, code: codeDenied, message: "This origin may not call."})
		return
	}
	c := g.authenticate(w, r)
	if c == nil {
		return
	}
	if c.apiKey != nil {
		ctx, done := g.keys.begin(r.Context(), c)
		defer done()
		r = r.WithContext(ctx)
	}
	x := &exchange{
		g: g, w: w, r: r, caller: c, name: r.PathValue("namespace") + "/" + r.PathValue("name"),
		session: r.Header.Get(headerSession),
	}
	x.caller.principal = declareModel(c.principal, r)
	defer x.leave()
	defer x.conclude() //nolint:contextcheck // an outcome is reported also after the request
	var err error
	switch r.Method {
	case http.MethodPost:
		err = x.post()
	case http.MethodGet, http.MethodDelete:
		err = x.sessionRequest() //nolint:contextcheck // an outcome is reported also after the request
	default:
		w.Header().Set("Allow", "GET, POST, DELETE")
		err = &rpcError{status: http.StatusMethodNotAllowed, code: codeInvalidRequest, message: "Use POST, GET or DELETE."}
	}
	if err != nil {
		x.log.err = err
		x.fail(err)
	}
}

// declareModel takes the model that a request declares, when the token attests none.
func declareModel(p policy.Principal, r *http.Request) policy.Principal {
	if declared := r.Header.Get("X-Model-Id"); p.Model == "" && declared != "" && len(declared) <= 200 {
		p.Model, p.ModelAssurance = declared, policy.Declared
	}
	return p
}

// fail answers an error that nobody answered yet.
func (x *exchange) fail(err error) {
	e := (*rpcError)(nil)
	if !errors.As(err, &e) {
		e = &rpcError{status: http.StatusInternalServerError, code: codeInternal, message: "The gateway failed. Nothing was executed."}
	}
	if x.message != nil {
		writeRPCError(x.w, x.message.id, e)
		return
	}
	writeRPCError(x.w, nil, e)
}

// post reads one message and governs it.
func (x *exchange) post() error {
	if err := x.admit(); err != nil {
		return err
	}
	raw, err := x.readBody()
	if err != nil {
		return err
	}
	x.log.began, x.log.requestBytes = x.g.now(), int64(len(raw))
	m, err := readMessage(raw)
	if err != nil {
		return err
	}
	x.message, x.body = m, raw
	x.startSpan()
	if err := x.checkHeaders(); err != nil {
		return err
	}
	end, err := x.begin()
	if err != nil {
		return err
	}
	defer end()
	if model, ok := metaText(m, metaModel); ok && x.caller.principal.Model == "" && len(model) <= 200 {
		x.caller.principal.Model, x.caller.principal.ModelAssurance = model, policy.Declared
	}
	rule, known := methods[m.method]
	if !known || rule.old && x.modern {
		return x.unknownMethod()
	}
	x.caller.principal.Taint = x.g.taints.of(x.caller)
	if err := x.find(); err != nil {
		return x.refuseUse(rule, err)
	}
	if err := x.checkSession(); err != nil {
		return err
	}
	if err := x.limitCapabilities(); err != nil {
		return err
	}
	return rule.serve(x)
}

// readBody accepts JSON, whole, of at most 1 MiB, in no other coding.
func (x *exchange) readBody() ([]byte, error) {
	types := x.r.Header.Values("Content-Type")
	var media string
	var params map[string]string
	var err error
	if len(types) == 1 {
		media, params, err = mime.ParseMediaType(types[0])
	}
	charset := params["charset"]
	if len(types) != 1 || err != nil || media != "application/json" || charset != "" && charset != "utf-8" && charset != "UTF-8" {
		return nil, &rpcError{status: http.StatusUnsupportedMediaType, code: codeInvalidRequest, message: "The body must be application/json."}
	}
	if len(x.r.Header.Values("Content-Encoding")) > 0 {
		return nil, &rpcError{status: http.StatusUnsupportedMediaType, code: codeInvalidRequest, message: "The body must not be compressed."}
	}
	raw, err := io.ReadAll(http.MaxBytesReader(x.w, x.r.Body, maxBody))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, &rpcError{status: http.StatusRequestEntityTooLarge, code: codeInvalidRequest, message: "The message is larger than 1 MiB."}
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, &rpcError{status: http.StatusRequestTimeout, code: codeParse, message: "The body did not arrive in time."}
	}
	if err != nil {
		return nil, &rpcError{status: http.StatusBadRequest, code: codeParse, message: "The body did not arrive whole."}
	}
	readWhole(x.w)
	return raw, nil
}

// serverError is a server that cannot be used now; the text is for the caller.
type serverError struct {
	reason policy.Reason
	text   string
}

func (e *serverError) Error() string { return e.text }

// Reasons of ours, beside those of package policy.
const (
	reasonNoPolicy     policy.Reason = "no_policy"
	reasonExpired      policy.Reason = "policy_expired"
	reasonRevoked      policy.Reason = "gateway_revoked"
	reasonUnobserved   policy.Reason = "not_observed"
	reasonArguments    policy.Reason = "invalid_arguments"
	reasonSchema       policy.Reason = "schema_not_enforceable"
	reasonRateLimited  policy.Reason = "rate_limited"
	reasonBudget       policy.Reason = "token_budget_spent"
	reasonUnavailable  policy.Reason = "approval_unavailable"
	reasonNotApproved  policy.Reason = "not_approved"
	reasonPolicyMoving policy.Reason = "policy_changing"
	reasonApproved     policy.Reason = "approved"          // allowed after an approval
	reasonNoAnswer     policy.Reason = "no_answer"         // allowed, and the server did not answer
	reasonWithheld     policy.Reason = "response_too_long" // allowed, and the caller did not get the result
	reasonUnsafe       policy.Reason = "output_unsafe"     // the same: it cannot be made safe
	reasonOutput       policy.Reason = "output_invalid"    // the same: it is not of the form that was approved
	reasonGone         policy.Reason = "caller_gone"       // the caller did not wait for the end
	reasonStopped      policy.Reason = "gateway_stopped"   // the gateway ended before the call did
	reasonInvalid      policy.Reason = "invalid_request"   // a request that the protocol does not allow
	reasonInternal     policy.Reason = "gateway_error"
)

// find looks the server up in the policy that is valid now.
func (x *exchange) find() error {
	snapshot, err := x.g.feed.Current()
	switch {
	case errors.Is(err, client.ErrRevoked):
		return &serverError{reasonRevoked, "This gateway was revoked and denies every call. Tell its operator."}
	case errors.Is(err, client.ErrExpired):
		return &serverError{reasonExpired, "The gateway lost contact with its control plane for too long, so it denies every call. Try again later, or tell its operator."}
	case err != nil:
		return &serverError{reasonNoPolicy, "The gateway has no policy yet, so it denies every call. Try again in a moment."}
	}
	x.snapshot = snapshot
	if err := x.caller.stands(snapshot.Index, x.g.now()); err != nil { // it ended since it was looked at
		return x.signedOut(err)
	}
	snapshot.Index.Attest(&x.caller.principal)
	v := snapshot.Index.Decide(policy.Request{Server: x.name, Kind: policy.KindTool, Now: x.g.now()})
	x.server = v.Server
	switch v.Reason {
	case policy.ReasonUnknownServer:
		x.unknownServer()
		return &rpcError{status: http.StatusNotFound, code: codeDenied, message: "This gateway knows no server of that name."}
	case policy.ReasonSuspended:
		return &serverError{policy.ReasonSuspended, "The server is suspended: nothing of it may be used now. Ask the team that owns it."}
	default: // it is active; the tool of no name is not there
		return nil
	}
}

// unknownServer notes that somebody wants a server that nobody registered, whatever it is that they want of it.
func (x *exchange) unknownServer() {
	if x.message == nil {
		return
	}
	x.log.use = use{kind: policy.KindTool}
	if rule := methods[x.message.method]; rule.use != nil {
		if u, err := rule.use(x.message); err == nil {
			x.log.use = u
		}
	}
	x.record(client.DeniedCall, policy.ReasonUnknownServer)
}

// refuseUse answers what cannot be served at all: as a tool's result where one is awaited, which every client
// shows, else as an error.
func (x *exchange) refuseUse(rule method, err error) error {
	e := (*serverError)(nil)
	if !errors.As(err, &e) {
		return err
	}
	if rule.use != nil {
		if u, uerr := rule.use(x.message); uerr == nil {
			x.log.use = u
			return x.deny(e.reason, e.text)
		}
	}
	return &rpcError{code: codeNoPolicy, message: e.text, data: map[string]any{metaDecision: decision{Decision: client.DeniedCall, Reason: e.reason}}}
}

// checkSession refuses a session that this caller did not open. The stateless protocol has none.
func (x *exchange) checkSession() error {
	if x.modern || x.session == "" {
		return nil
	}
	if x.message.method == "initialize" {
		return &rpcError{status: http.StatusBadRequest, code: codeInvalidRequest, message: "A session is initialized once."}
	}
	if !x.g.sessions.owns(x.server.ID, x.session, x.caller) {
		return &rpcError{status: http.StatusNotFound, code: codeInvalidRequest, message: "There is no such session. Initialize a new one."}
	}
	return nil
}

// streams reports whether this is a stream of what a server says unasked.
func (x *exchange) streams() bool {
	return x.r.Method == http.MethodGet || x.message != nil && x.message.method == methodListen
}

// sessionKey tells the session apart, for the drain; "" is every stateless request of the server.
func (x *exchange) sessionKey() sessionKey {
	if x.modern {
		return sessionKey{x.name, ""}
	}
	return sessionKey{x.name, x.session}
}

// streamKey tells whose stream this is. One of the stateless protocol waits for no request.
func (x *exchange) streamKey() sessionKey {
	if x.message != nil {
		return sessionKey{x.name, methodListen}
	}
	return x.sessionKey()
}

// begin counts a request that runs, unless the gateway is about to stop. Streams do not count: they would never end.
func (x *exchange) begin() (end func(), err error) {
	switch {
	case !x.message.request():
		return func() {}, nil
	case x.streams():
		if x.g.drain.closed() {
			return nil, x.stopping()
		}
		return func() {}, nil
	}
	key := x.sessionKey()
	if !x.g.drain.enter(key) {
		return nil, x.stopping()
	}
	return func() { x.g.drain.leave(key) }, nil
}

// sessionRequest is GET, which opens the stream of a session, and DELETE, which ends it.
func (x *exchange) sessionRequest() error {
	if x.r.Method == http.MethodGet && x.g.drain.closed() {
		return x.stopping()
	}
	if x.r.Header.Get(headerVersion) >= firstModern || x.session == "" {
		x.w.Header().Set("Allow", "POST")
		return &rpcError{status: http.StatusMethodNotAllowed, code: codeInvalidRequest, message: "Only a session has a stream, or an end."}
	}
	if err := x.find(); err != nil {
		if e := (*serverError)(nil); errors.As(err, &e) {
			return &rpcError{status: http.StatusServiceUnavailable, code: codeNoPolicy, message: e.text}
		}
		return err
	}
	if !x.g.sessions.owns(x.server.ID, x.session, x.caller) {
		return &rpcError{status: http.StatusNotFound, code: codeInvalidRequest, message: "There is no such session. Initialize a new one."}
	}
	return x.forward()
}

// forward hands the exchange to the server.
func (x *exchange) forward() error {
	if ok, err := x.enter(""); !ok {
		return err
	}
	if err := x.stillStands(); err != nil {
		return err
	}
	defer x.startHop()()
	switch x.server.Endpoint.Transport {
	case policy.StreamableHTTP:
		return x.forwardHTTP()
	case policy.Stdio:
		return x.forwardStdio()
	}
	return fmt.Errorf("forwarding: transport %q is not known", x.server.Endpoint.Transport)
}

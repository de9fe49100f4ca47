package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"mime"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"countersign/internal/secret"
	"countersign/policy"
)

// exchangeKey finds the exchange in the context of a proxied request.
type exchangeKey struct{}

func exchangeOf(ctx context.Context) *exchange {
	x, _ := ctx.Value(exchangeKey{}).(*exchange)
	return x
}

// newProxy is the transparent part: it streams, and rewrites nothing but lists.
func (g *Gateway) newProxy() *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Transport:     timedTransport{g.upstream.Transport},
		FlushInterval: -1,
		Rewrite:       func(p *httputil.ProxyRequest) { exchangeOf(p.In.Context()).rewrite(p) },
		ModifyResponse: func(res *http.Response) error {
			x, status := exchangeOf(res.Request.Context()), res.StatusCode
			err := x.receive(res)
			x.judgeAnswer(status, err)
			return err
		},
		ErrorHandler: func(_ http.ResponseWriter, r *http.Request, err error) {
			x := exchangeOf(r.Context())
			x.judgeAnswer(0, err)
			if cause := context.Cause(r.Context()); cause != nil && !errors.Is(cause, context.Canceled) {
				err = cause
			}
			x.broken(err)
		},
		ErrorLog: slog.NewLogLogger(g.log.Handler(), slog.LevelDebug),
	}
}

// forwardHTTP sends the exchange to a server behind HTTP and streams its answer back.
func (x *exchange) forwardHTTP() error {
	defer func() { x.finish(x.mayHaveRun()) }() // also when the copy is aborted by a panic
	target, err := url.Parse(x.server.Endpoint.URL)
	if err != nil || target.Host == "" || target.User != nil || target.Scheme != "http" && target.Scheme != "https" {
		return x.upstreamError("The address that is registered for this server cannot be used.")
	}
	extra, err := x.g.credentials(x.name)
	if err != nil {
		x.g.log.Error("upstream credentials are missing", slog.String("server", x.name), slog.Any("error", err))
		return x.upstreamError("The gateway lacks its credential for this server. Tell its operator.")
	}
	ctx, patience, end := x.endurance(x.r.Context())
	defer end()
	x.patience = patience
	ctx = context.WithValue(toUpstream(ctx, x.name), exchangeKey{}, x)
	if x.streams() { // a stream does not outlive what we know of the caller
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, x.caller.expires)
		defer cancel()
		defer x.g.drain.untilQuiet(x.streamKey(), func() { x.ended.Store(true); cancel() })()
	}
	in := x.r.WithContext(ctx)
	in.Header = x.upstreamHeader(extra)
	in.URL, in.Host = target, target.Host
	in.Body, in.ContentLength = http.NoBody, int64(len(x.body))
	if len(x.body) > 0 {
		// Only a request of which no byte was written is sent again: on a connection that the server had closed. For that the
		// transport needs a body to begin anew with. It repeats nothing else that has a body and no Idempotency-Key, and that
		// header passes neither from callers nor from the configuration.
		in.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(x.body)), nil }
		in.Body, _ = in.GetBody()
	}
	in.Trailer, in.TransferEncoding, in.Form = nil, nil, nil
	x.g.proxy.ServeHTTP(x.w, in)
	return nil
}

// rewrite has nothing left to do but to undo what the proxy adds.
func (x *exchange) rewrite(p *httputil.ProxyRequest) {
	p.Out.URL, p.Out.Host = p.In.URL, p.In.Host
	p.Out.Header = p.In.Header
}

// upstreamHeader is what the server gets: some headers of the caller, and the gateway's own credential.
func (x *exchange) upstreamHeader(extra http.Header) http.Header {
	h := http.Header{}
	for _, name := range forwarded {
		if values := x.r.Header.Values(name); len(values) > 0 {
			h[name] = values
		}
	}
	if parent := x.traceparent(); parent != "" {
		h.Set("Traceparent", parent)
	}
	if x.session != "" && !x.modern {
		h.Set(headerSession, x.session)
	}
	for name, values := range x.r.Header {
		if strings.HasPrefix(name, headerParam) && x.log.use.kind == policy.KindTool { // checked with the arguments
			h[name] = values
		}
	}
	maps.Copy(h, extra)
	return h
}

// credentials reads the headers that the configuration adds for a server.
func (g *Gateway) credentials(server string) (http.Header, error) {
	h := http.Header{}
	for name, source := range g.config().Upstreams[server].Headers {
		value, err := secret.Source(source).Read()
		if err != nil {
			return nil, err
		}
		h.Set(name, value)
	}
	return h, nil
}

// The ways in which an answer of a server is not passed on.
var (
	errRedirect   = errors.New("the server answers with a redirect")
	errCredential = errors.New("the server refuses the gateway's credential")
	errCompressed = errors.New("the server compressed its answer although it was not asked to")
	errNotMCP     = errors.New("the server answers with something that is not MCP")
	errTooLong    = errors.New("the server's answer is longer than 32 MiB")
)

// receive checks and filters the answer of a server before a byte of it goes to the caller.
func (x *exchange) receive(res *http.Response) error {
	if coding := res.Header.Get("Content-Encoding"); coding != "" && coding != "identity" {
		return errCompressed
	}
	for name := range res.Header {
		if !slices.Contains(returned, name) {
			delete(res.Header, name)
		}
	}
	media, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	switch {
	case res.StatusCode >= 300 && res.StatusCode < 400:
		return errRedirect
	case res.StatusCode == http.StatusUnauthorized || res.StatusCode == http.StatusForbidden:
		return errCredential
	case len(res.Header.Values(headerSession)) > 1 || len(res.Header.Values("Content-Type")) > 1:
		return errNotMCP
	}
	if err := x.receiveSession(res); err != nil {
		return err
	}
	res.Trailer = nil
	if x.patience != nil {
		x.patience.enter(reading, x.patience.Idle)
		res.Body = patientBody{res.Body, x.patience}
	}
	switch media {
	case "text/event-stream":
		x.openStream()
		res.Header.Set("X-Accel-Buffering", "no")
		told := &endedStream{filteredStream: newFilteredStream(res.Body, x.filterEvent), x: x}
		res.Body = &endingStream{ReadCloser: told, ended: &x.ended}
		res.ContentLength = -1
		return nil
	case "application/json":
		return x.receiveJSON(res)
	}
	if x.message != nil && x.message.request() && (res.StatusCode < 300 || res.StatusCode >= 500) {
		return errNotMCP
	}
	return replaceBody(res, nil)
}

// receiveSession remembers whose session it is that the server opened, or that one is over.
func (x *exchange) receiveSession(res *http.Response) error {
	if x.modern {
		res.Header.Del(headerSession)
		return nil
	}
	id := res.Header.Get(headerSession)
	switch {
	case x.message != nil && x.message.method == "initialize" && id != "" && res.StatusCode < 300:
		if len(id) > 256 {
			return errNotMCP
		}
		return x.g.sessions.bind(x.server.ID, id, x.caller)
	case x.session != "" && (res.StatusCode == http.StatusNotFound || x.r.Method == http.MethodDelete && res.StatusCode < 300):
		x.g.sessions.end(x.server.ID, x.session)
	}
	if id != x.session {
		res.Header.Del(headerSession)
	}
	return nil
}

// receiveJSON filters one JSON message.
func (x *exchange) receiveJSON(res *http.Response) error {
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxEvent+1))
	if err != nil {
		return fmt.Errorf("reading the server's answer: %w", err)
	}
	if len(raw) > maxEvent {
		return errTooLong
	}
	if err := res.Body.Close(); err != nil {
		return fmt.Errorf("reading the server's answer: %w", err)
	}
	if len(bytes.TrimSpace(raw)) == 0 {
		return replaceBody(res, nil)
	}
	out, err := x.filterMessage(raw)
	if err != nil {
		return err
	}
	return replaceBody(res, out)
}

func replaceBody(res *http.Response, body []byte) error {
	if res.Body != nil {
		_ = res.Body.Close() // it was read, or is not wanted
	}
	res.Body = io.NopCloser(bytes.NewReader(body))
	res.ContentLength = int64(len(body))
	res.Header.Set("Content-Length", strconv.Itoa(len(body)))
	if len(body) > 0 {
		res.Header.Set("Content-Type", "application/json")
	} else {
		res.Header.Del("Content-Type")
	}
	return nil
}

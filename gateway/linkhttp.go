package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net"
	"net/http"
	"net/url"
	"time"

	"countersign/canonical"
	"countersign/client"
	"countersign/policy"
)

// httpError is an HTTP status that is no answer to a request.
type httpError struct{ status int }

func (e *httpError) Error() string {
	return fmt.Sprintf("the server answers with the HTTP status %d", e.status)
}

var (
	errBadURL = errors.New("the address is no http or https URL without credentials")
	errHTML   = errors.New("the address answers with a web page, not with MCP")
)

// openHTTP resolves and dials an address, each for its own step, and returns a link over it.
func (g *Gateway) openHTTP(ctx context.Context, name string, e policy.Endpoint, say stepFunc) (*link, error) {
	u, err := url.Parse(e.URL)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errBadURL
	}
	extra, err := g.credentials(name)
	if err != nil {
		return nil, err
	}
	if say != nil {
		if err := g.probe(ctx, u, say); err != nil {
			return nil, err
		}
	}
	return &link{
		close: func() {},
		send: func(ctx context.Context, l *link, method string, message []byte, id string) (json.RawMessage, error) {
			return g.post(toUpstream(ctx, name), l, u, extra, method, message, id)
		},
	}, nil
}

// probe resolves the name and opens a connection, so that the progress of a discovery tells which of them fails.
func (g *Gateway) probe(ctx context.Context, u *url.URL, say stepFunc) error {
	say.say(client.StepResolve, client.StepRunning, "")
	addresses, err := net.DefaultResolver.LookupNetIP(ctx, "ip", u.Hostname())
	if err != nil {
		say.say(client.StepResolve, client.StepFailed, explain(err))
		return err
	}
	say.say(client.StepResolve, client.StepDone, fmt.Sprintf("%d addresses", len(addresses)))
	say.say(client.StepConnect, client.StepRunning, "")
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	conn, err := g.dialer.DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		say.say(client.StepConnect, client.StepFailed, explain(err))
		return err
	}
	_ = conn.Close() // it was only to see
	say.say(client.StepConnect, client.StepDone, "")
	return nil
}

// post sends one message and returns the answer with that id ("": none is wanted).
func (g *Gateway) post(ctx context.Context, l *link, u *url.URL, extra http.Header, method string, message []byte, id string) (json.RawMessage, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(message))
	if err != nil {
		return nil, fmt.Errorf("making request: %w", err)
	}
	maps.Copy(req.Header, extra)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	if l.version != "" {
		req.Header.Set(headerVersion, l.version)
	}
	if l.modern {
		req.Header.Set(headerMethod, method)
	}
	if l.session != "" {
		req.Header.Set(headerSession, l.session)
	}
	res, err := g.upstream.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }() // it was read as far as wanted
	if method == "initialize" {
		server, _ := ctx.Value(outboundKey{}).(string)
		g.adoptSession(l, server, u, extra, res.Header.Get(headerSession)) //nolint:contextcheck // the session ends after the request
	}
	return readAnswer(l, res, id)
}

// adoptSession keeps the id of the session that a handshake opened, and ends the session with the link.
func (g *Gateway) adoptSession(l *link, server string, u *url.URL, extra http.Header, id string) {
	if id == "" || len(id) > 256 {
		return
	}
	l.session = id
	l.close = func() {
		ctx, cancel := context.WithTimeout(toUpstream(context.WithoutCancel(g.ctx), server), 2*time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodDelete, u.String(), nil)
		if err != nil {
			return
		}
		maps.Copy(req.Header, extra)
		req.Header.Set(headerSession, id)
		if res, err := g.upstream.Do(req); err == nil {
			_ = res.Body.Close() // a server may keep sessions until they are idle
		}
	}
}

func readAnswer(l *link, res *http.Response, id string) (json.RawMessage, error) {
	media, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	switch {
	case res.StatusCode >= 300 && res.StatusCode < 400:
		return nil, errRedirect
	case res.StatusCode == http.StatusUnauthorized || res.StatusCode == http.StatusForbidden:
		return nil, errCredential
	case media == "text/html":
		return nil, errHTML
	case res.Header.Get("Content-Encoding") != "":
		return nil, errCompressed
	case res.StatusCode >= 400 && media != "application/json":
		return nil, &httpError{status: res.StatusCode}
	case id == "":
		return nil, nil
	case media == "application/json":
		raw, err := io.ReadAll(io.LimitReader(res.Body, int64(maxOffer-l.received)+1))
		if err != nil {
			return nil, err
		}
		if err := l.took(len(raw)); err != nil {
			return nil, err
		}
		if !isAnswer(raw, id) && res.StatusCode >= 400 {
			return nil, &httpError{status: res.StatusCode}
		}
		return raw, nil
	case media == "text/event-stream":
		return readEvents(l, res.Body, id)
	}
	return nil, errNotMCP
}

func readEvents(l *link, body io.Reader, id string) (json.RawMessage, error) {
	stream := newEvents(body)
	for {
		e, err := stream.next()
		if errors.Is(err, io.EOF) {
			return nil, errNotMCP
		}
		if err != nil {
			return nil, err
		}
		if err := l.took(len(e.data)); err != nil {
			return nil, err
		}
		if isAnswer(e.data, id) {
			return e.data, nil
		}
	}
}

// isAnswer reports whether a message is the answer to the request with that id.
func isAnswer(raw []byte, id string) bool {
	fields, err := canonical.Fields(raw, envelopeFields...)
	if err != nil {
		return false
	}
	if _, request := canonical.Lookup(fields, "method"); request {
		return false
	}
	got, _ := canonical.Lookup(fields, "id")
	_, isError := canonical.Lookup(fields, "error")
	return string(got) == id || isError && (string(got) == "null" || got == nil)
}

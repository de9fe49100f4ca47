package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"countersign/internal/secret"
)

// OAuth is how the gateway gets tokens of its own for a server, by client credentials (RFC 6749, section 4.4). The secret
// is where it says: env:NAME, file:PATH or keyring:NAME.
type OAuth struct {
	TokenURL     string   `yaml:"token_url"`
	ClientID     string   `yaml:"client_id"`
	ClientSecret string   `yaml:"client_secret"`
	Scopes       []string `yaml:"scopes"`
	Audience     string   `yaml:"audience"` // as some providers want it
	Resource     string   `yaml:"resource"` // RFC 8707
	Auth         string   `yaml:"auth"`     // basic, the default, or post: where the credential stands
}

// Bounds of tokens of our own.
const (
	outboundWait   = 10 * time.Second // for an answer of the token endpoint
	outboundEarly  = 30 * time.Second // before its end a token is renewed
	outboundUnsaid = 5 * time.Minute  // the life of a token that says none
	outboundRetry  = 2 * time.Second  // after a failure nobody is asked for so long
	maxOutbound    = 16 << 10
)

// validate says everything that is wrong with o.
func (o *OAuth) validate(headers map[string]string) error {
	if o == nil {
		return nil
	}
	var errs []error
	require := func(ok bool, text string) {
		if !ok {
			errs = append(errs, errors.New(text))
		}
	}
	u, err := url.Parse(o.TokenURL)
	require(absolute(o.TokenURL) && err == nil && (u.Scheme == "https" || isLoopback(u.Host)), "oauth: token_url must be an https URL, or http on this machine")
	require(o.ClientID != "", "oauth: client_id is missing")
	require(secret.Source(o.ClientSecret).Validate() == nil, "oauth: client_secret must come from env:NAME, file:PATH or keyring:NAME, never from this file")
	require(o.Auth == "" || o.Auth == "basic" || o.Auth == "post", "oauth: auth must be basic or post")
	require(o.Resource == "" || absolute(o.Resource), "oauth: resource must be an http or https URL")
	for name := range headers {
		require(!strings.EqualFold(name, "Authorization"), "oauth: there is an Authorization header already")
	}
	return errors.Join(errs...)
}

// outboundKey finds in the context of a request which server it is for.
type outboundKey struct{}

// toUpstream marks requests for a server, whose credential they are to carry.
func toUpstream(ctx context.Context, server string) context.Context {
	return context.WithValue(ctx, outboundKey{}, server)
}

// outbound sends requests to servers with tokens of the gateway's own, where the configuration says how to get them.
//
// A server that answers 401 has refused the request and not executed it. So it is sent once more, with a new token: in
// that sense, and in no other, a call is sent twice. It is executed at most once all the same.
type outbound struct {
	next   http.RoundTripper
	config func() *Config
	tokens *http.Client // for token endpoints, through the same guarded dialer
	now    func() time.Time
	life   context.Context //nolint:containedctx // of the gateway: a token is not fetched for one request alone
	log    *slog.Logger

	mu    sync.Mutex
	known map[string]*outboundTokens // by server
}

// RoundTrip adds the token, and renews it once when the server refuses it.
func (o *outbound) RoundTrip(r *http.Request) (*http.Response, error) {
	server, _ := r.Context().Value(outboundKey{}).(string)
	cfg := o.config().Upstreams[server].OAuth
	if cfg == nil {
		return o.next.RoundTrip(r)
	}
	tokens := o.of(server, cfg)
	token, err := o.token(r.Context(), tokens, "")
	if err != nil {
		return nil, err
	}
	res, err := o.next.RoundTrip(bearing(r, token))
	if err != nil || res.StatusCode != http.StatusUnauthorized {
		return res, err
	}
	again, ok := anew(r)
	if !ok {
		return res, nil
	}
	renewed, err := o.token(r.Context(), tokens, token)
	if err != nil || renewed == token {
		return res, nil //nolint:nilerr // the refusal is the answer; why there is no other token was logged
	}
	_, _ = io.CopyN(io.Discard, res.Body, 64<<10)
	_ = res.Body.Close() // a refusal has nothing to say
	return o.next.RoundTrip(bearing(again, renewed))
}

// bearing is r with the token.
func bearing(r *http.Request, token string) *http.Request {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+token)
	return r
}

// anew is r with its body from the beginning, if that can be had.
func anew(r *http.Request) (*http.Request, bool) {
	if r.Body == nil || r.Body == http.NoBody {
		return r, true
	}
	if r.GetBody == nil {
		return nil, false
	}
	body, err := r.GetBody()
	if err != nil {
		return nil, false
	}
	r = r.Clone(r.Context())
	r.Body = body
	return r, true
}

// CloseIdleConnections lets the transport below do so.
func (o *outbound) CloseIdleConnections() {
	if t, ok := o.next.(*http.Transport); ok {
		t.CloseIdleConnections()
	}
	o.tokens.CloseIdleConnections()
}

// outboundTokens is the token of one server.
type outboundTokens struct {
	server string
	cfg    OAuth
	turn   chan struct{} // holds one while nobody fetches

	mu      sync.Mutex
	token   string
	until   time.Time
	failed  error
	retryAt time.Time
}

// of finds the tokens of a server. Another configuration begins anew.
func (o *outbound) of(server string, cfg *OAuth) *outboundTokens {
	o.mu.Lock()
	defer o.mu.Unlock()
	if t := o.known[server]; t != nil && reflect.DeepEqual(t.cfg, *cfg) {
		return t
	}
	t := &outboundTokens{server: server, cfg: *cfg, turn: make(chan struct{}, 1)}
	t.turn <- struct{}{}
	if o.known == nil {
		o.known = map[string]*outboundTokens{}
	}
	o.known[server] = t
	return t
}

// have gives what is known: a token that is good and not the refused one, or why there is none for now.
func (t *outboundTokens) have(refused string, now time.Time) (token string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.token != "" && t.token != refused && now.Before(t.until):
		return t.token, nil
	case t.failed != nil && now.Before(t.retryAt):
		return "", t.failed
	}
	return "", nil
}

// token gives a token other than the refused one. Of many who want one, one asks for it and the others wait.
func (o *outbound) token(ctx context.Context, t *outboundTokens, refused string) (string, error) {
	if token, err := t.have(refused, o.now()); token != "" || err != nil {
		return token, err
	}
	select {
	case <-t.turn:
		defer func() { t.turn <- struct{}{} }()
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
	if token, err := t.have(refused, o.now()); token != "" || err != nil {
		return token, err
	}
	token, until, err := o.fetch(&t.cfg) //nolint:contextcheck // for whoever waits, not for one request
	if err != nil {
		o.log.Error("no token for a server", slog.String("server", t.server), slog.Any("error", err))
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.token, t.until, t.failed, t.retryAt = token, until, err, o.now().Add(outboundRetry)
	return token, err
}

// errNoOutbound is that the gateway has no token for a server. The request was not sent.
var errNoOutbound = errors.New("the gateway got no access token for it")

// fetch asks the token endpoint. The error says which step failed, and repeats nothing that the endpoint wrote but the code
// of its error.
func (o *outbound) fetch(cfg *OAuth) (token string, until time.Time, err error) {
	own, err := secret.Source(cfg.ClientSecret).Read()
	if err != nil {
		return "", time.Time{}, fmt.Errorf("%w: reading the client secret: %w", errNoOutbound, err)
	}
	more := url.Values{}
	if cfg.Audience != "" {
		more.Set("audience", cfg.Audience)
	}
	if cfg.Resource != "" {
		more.Set("resource", cfg.Resource)
	}
	style := oauth2.AuthStyleInHeader
	if cfg.Auth == "post" {
		style = oauth2.AuthStyleInParams
	}
	ask := clientcredentials.Config{
		ClientID: cfg.ClientID, ClientSecret: own, TokenURL: cfg.TokenURL, Scopes: cfg.Scopes, EndpointParams: more, AuthStyle: style,
	}
	ctx, cancel := context.WithTimeout(context.WithValue(o.life, oauth2.HTTPClient, o.tokens), outboundWait)
	defer cancel()
	answer, err := ask.Token(ctx)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("%w: %w", errNoOutbound, outboundFault(err))
	}
	if !strings.EqualFold(answer.Type(), "Bearer") || len(answer.AccessToken) > maxOutbound || strings.ContainsFunc(answer.AccessToken, unquotable) {
		return "", time.Time{}, fmt.Errorf("%w: what the token endpoint answered is no bearer token", errNoOutbound)
	}
	if answer.Expiry.IsZero() {
		return answer.AccessToken, o.now().Add(outboundUnsaid), nil
	}
	left := answer.Expiry.Sub(o.now())
	return answer.AccessToken, o.now().Add(left - min(outboundEarly, left/2)), nil
}

// outboundFault says what went wrong at the token endpoint without what it wrote, which may hold anything.
func outboundFault(err error) error {
	if refused, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		status := 0
		if refused.Response != nil {
			status = refused.Response.StatusCode
		}
		if refused.ErrorCode != "" {
			return fmt.Errorf("the token endpoint answered %d: %s", status, printable(refused.ErrorCode, 60))
		}
		return fmt.Errorf("the token endpoint answered %d", status)
	}
	if errors.Is(err, errForbiddenAddress) {
		return fmt.Errorf("reaching the token endpoint: %w", errForbiddenAddress)
	}
	if failed, ok := errors.AsType[*url.Error](err); ok {
		return fmt.Errorf("reaching the token endpoint: %w", failed.Err)
	}
	return errors.New("what the token endpoint answered cannot be read")
}

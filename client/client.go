package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"countersign/canonical"
)

// maxReply bounds what is read of an answer, except of a policy.
const maxReply = 4 << 20

// defaultTimeout bounds a request that does not wait for anything.
const defaultTimeout = 10 * time.Second

// Config says which control plane, and who we are to it.
type Config struct {
	ControlPlane string // base URL
	ClientID     string
	ClientSecret Secret
	Instance     string // which instance of the gateway this is
	Version      string
	HTTP         *http.Client // nil: a client of its own
	Now          func() time.Time
	Log          *slog.Logger
}

// Secret is a string that no log shows.
type Secret string

// LogValue hides the secret.
func (Secret) LogValue() slog.Value { return slog.StringValue("[secret]") }

// String hides the secret.
func (Secret) String() string { return "[secret]" }

// Client calls /v1 with the credential of one gateway. It is safe for concurrent use.
type Client struct {
	base     *url.URL
	http     *http.Client
	instance string
	process  string // told apart from others of that name
	version  string
	now      func() time.Time
	log      *slog.Logger
	tokens   tokenCache
}

// New makes a Client. It talks to nobody yet. It refuses a configuration that cannot work.
func New(cfg Config) (*Client, error) {
	base, err := url.Parse(strings.TrimSuffix(cfg.ControlPlane, "/"))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading address of the control plane: %w", err)
	case base.Scheme != "https" && base.Scheme != "http", base.Host == "", base.User != nil, base.RawQuery != "":
		return nil, errors.New("the address of the control plane must be an http or https URL without credentials")
	case cfg.ClientID == "" || cfg.ClientSecret == "":
		return nil, errors.New("a gateway needs a client id and its secret")
	case cfg.Instance == "":
		return nil, errors.New("a gateway needs a name for this instance")
	}
	c := &Client{
		base: base, http: cfg.HTTP, instance: cfg.Instance, process: rand.Text(), version: cfg.Version, now: cfg.Now, log: cfg.Log,
	}
	if c.http == nil {
		c.http = newHTTPClient()
	}
	if c.now == nil {
		c.now = time.Now
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	c.tokens = tokenCache{now: c.now, config: clientcredentials.Config{
		ClientID: cfg.ClientID, ClientSecret: string(cfg.ClientSecret), TokenURL: c.url(PathToken), AuthStyle: oauth2.AuthStyleInHeader,
	}}
	return c, nil
}

// newHTTPClient makes a client that follows no redirect: a credential goes to the control plane only.
func newHTTPClient() *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 16
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Close lets go of idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Instance is the name of this instance of the gateway.
func (c *Client) Instance() string { return c.instance }

// Version is the version of the gateway.
func (c *Client) Version() string { return c.version }

func (c *Client) url(path string) string { return c.base.String() + path }

// send makes one request with the gateway's token. A token that is refused is fetched anew, once.
func (c *Client) send(ctx context.Context, method, path string, header http.Header, body []byte) (*http.Response, error) {
	for attempt := 0; ; attempt++ {
		token, err := c.tokens.get(ctx, c.http)
		if err != nil {
			return nil, err
		}
		req, err := http.NewRequestWithContext(ctx, method, c.url(path), bytes.NewReader(body))
		if err != nil {
			return nil, fmt.Errorf("making request: %w", err)
		}
		maps.Copy(req.Header, header)
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set(HeaderProcess, c.process)
		if body != nil {
			req.Header.Set("Content-Type", "application/json")
		}
		res, err := c.http.Do(req)
		if err != nil {
			return nil, fmt.Errorf("calling control plane: %w", err)
		}
		if res.StatusCode != http.StatusUnauthorized || attempt > 0 {
			return res, nil
		}
		c.tokens.drop(token)
		drain(res.Body)
		_ = res.Body.Close() // it was only read
	}
}

// call sends in as JSON and reads the answer into out (nil: no answer is wanted). It reports whether there
// was one: 204 has none. An answer of 400 and above is an *Error.
func (c *Client) call(ctx context.Context, method, path string, in, out any) (answered bool, err error) {
	var body []byte
	if in != nil {
		if body, err = encode(in); err != nil {
			return false, err
		}
	}
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, defaultTimeout)
		defer cancel()
	}
	res, err := c.send(ctx, method, path, http.Header{"Accept": {"application/json"}}, body)
	if err != nil {
		return false, err
	}
	defer func() {
		drain(res.Body)
		_ = res.Body.Close() // it was only read
	}()
	if res.StatusCode >= 300 {
		return false, readError(res)
	}
	if out == nil || res.StatusCode == http.StatusNoContent {
		return false, nil
	}
	return true, decode(res.Body, out)
}

func encode(in any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(in); err != nil {
		return nil, fmt.Errorf("writing request: %w", err)
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

// decode reads an answer. Members we do not know are ignored: a newer control plane may say more.
func decode(r io.Reader, out any) error {
	body, err := readBounded(r, maxReply)
	if err != nil {
		return err
	}
	if err := canonical.Check(body, canonical.Limits{MaxDepth: 64}); err != nil {
		return fmt.Errorf("reading answer of the control plane: %w", err)
	}
	if err := json.Unmarshal(body, out); err != nil {
		return fmt.Errorf("reading answer of the control plane: %w", err)
	}
	return nil
}

var errTooLong = errors.New("the answer of the control plane is too long")

func readBounded(r io.Reader, limit int64) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, limit+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading answer of the control plane: %w", err)
	case int64(len(body)) > limit:
		return nil, errTooLong
	}
	return body, nil
}

// drain reads what is left, so that the connection can be used again.
func drain(body io.Reader) { _, _ = io.CopyN(io.Discard, body, 64<<10) }

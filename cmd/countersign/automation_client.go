package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"countersign/client"
)

// automationFlags say at which control plane, and as which automation client. The secret is in a file, or in the
// environment as COUNTERSIGN_CLIENT_SECRET: an argument could be read by every user of the machine.
type automationFlags struct {
	URL        string `name:"url" env:"COUNTERSIGN_URL" required:"" help:"Address of the control plane; https, or http on loopback."`
	ClientID   string `name:"client-id" env:"COUNTERSIGN_CLIENT_ID" required:"" help:"Id of an automation client of yours. Its secret is in COUNTERSIGN_CLIENT_SECRET, unless --client-secret-file says otherwise."`
	SecretFile string `name:"client-secret-file" env:"COUNTERSIGN_CLIENT_SECRET_FILE" type:"path" help:"File with the client's secret."`
}

// automationClient talks to /v1 with a token of its own.
type automationClient struct {
	base string
	http *http.Client
}

const (
	automationTimeout = 2 * time.Minute
	maxAutomation     = 64 << 20 // bytes of an answer
)

// connect makes a client that works until ctx ends; it talks to nobody yet.
func (f automationFlags) connect(ctx context.Context) (*automationClient, error) {
	base := strings.TrimSuffix(f.URL, "/")
	if u, err := url.Parse(base); err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || !isSafe(u) {
		return nil, codeError{exitUsage, "--url has to be an https address, or an http one on loopback"}
	}
	secret, err := readSecret(f.SecretFile)
	if err != nil {
		return nil, err
	}
	if secret == "" {
		secret = os.Getenv("COUNTERSIGN_CLIENT_SECRET")
	}
	if secret == "" {
		return nil, codeError{exitUsage, "the client's secret is needed, in COUNTERSIGN_CLIENT_SECRET or with --client-secret-file"}
	}
	plain := &http.Client{Timeout: automationTimeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	ctx = context.WithValue(ctx, oauth2.HTTPClient, plain)
	config := clientcredentials.Config{ClientID: f.ClientID, ClientSecret: secret, TokenURL: base + client.PathToken, AuthStyle: oauth2.AuthStyleInHeader}
	authorized := config.Client(ctx)
	authorized.Timeout, authorized.CheckRedirect = plain.Timeout, plain.CheckRedirect
	return &automationClient{base: base, http: authorized}, nil
}

// isSafe says whether what is sent there stays between the two of us.
func isSafe(u *url.URL) bool {
	ip := net.ParseIP(u.Hostname())
	return u.Scheme == "https" || u.Scheme == "http" && (u.Hostname() == "localhost" || ip != nil && ip.IsLoopback())
}

// Do sends in as JSON, nil for no body, and reads the answer into out unless that is nil. header is names and values by
// turns. What the control plane refuses is an error with its own words.
func (c *automationClient) Do(ctx context.Context, method, path string, in, out any, header ...string) error {
	var body io.Reader
	if in != nil {
		raw, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encoding the request: %w", err)
		}
		body = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json")
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return sendingError(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAutomation))
	if err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return refusal(resp.StatusCode, raw)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return fmt.Errorf("the answer is not the control plane's: %w", err)
	}
	return nil
}

// sendingError says why there is no answer. It repeats no credential.
func sendingError(err error) error {
	var refused *oauth2.RetrieveError
	if !errors.As(err, &refused) {
		return err
	}
	if refused.Response != nil && refused.Response.StatusCode == http.StatusUnauthorized {
		return codeError{exitDenied, "the control plane does not take this client id and secret"}
	}
	return codeError{exitError, "no token: " + printable(refused.ErrorCode+" "+refused.ErrorDescription)}
}

// refusedError is what the control plane says about a request (RFC 9457).
type refusedError struct {
	code   int // to exit with
	detail string
	fields map[string]string
}

// Error is a line for the whole and one for each field.
func (e *refusedError) Error() string {
	var text strings.Builder
	text.WriteString(printable(e.detail))
	for _, field := range slices.Sorted(maps.Keys(e.fields)) {
		fmt.Fprintf(&text, "\n  %s: %s", printable(field), printable(e.fields[field]))
	}
	return text.String()
}

// Unwrap is how the program ends.
func (e *refusedError) Unwrap() error { return codeError{e.code, e.Error()} }

func refusal(status int, body []byte) error {
	var problem struct {
		Detail string            `json:"detail"`
		Fields map[string]string `json:"fields"`
	}
	if json.Unmarshal(body, &problem) != nil || problem.Detail == "" {
		problem.Detail = fmt.Sprintf("the answer is %d %s", status, http.StatusText(status))
	}
	code := exitError
	if status == http.StatusUnauthorized || status == http.StatusForbidden {
		code = exitDenied
	}
	return &refusedError{code, problem.Detail, problem.Fields}
}

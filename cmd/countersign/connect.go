package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"countersign/internal/bridge"
	"countersign/internal/secret"
)

// connectCmd is what a client that only speaks stdio starts as its server.
type connectCmd struct {
	Server   string        `arg:"" help:"Name of the server, as com.example/orders."`
	Gateway  string        `name:"gateway" env:"COUNTERSIGN_GATEWAY" help:"Address of the gateway."`
	Secret   secret.Source `name:"secret" env:"COUNTERSIGN_SECRET" help:"Where the agent key, the access token or, with --issuer, the client's secret is: env:NAME, file:PATH or keyring:NAME."`
	Issuer   string        `name:"issuer" env:"COUNTERSIGN_ISSUER" help:"Identity provider at which to get access tokens, with the client's own credentials."`
	ClientID string        `name:"client-id" env:"COUNTERSIGN_CLIENT_ID" help:"The client's id there."`
	Scope    string        `name:"scope" help:"Scope to ask for there."`
	Data     string        `default:"./data" type:"path" env:"COUNTERSIGN_DATA" help:"Data folder of a running countersign up, instead of --gateway."`
	As       string        `default:"tomas" help:"Demo person the agent acts for, beside a running up."`
}

// Run carries messages until the client closes our input. Nothing but the protocol goes to the output.
func (cmd connectCmd) Run(ctx context.Context, c *console) error {
	if strings.Count(cmd.Server, "/") != 1 {
		return codeError{exitUsage, "a server name has one slash, as com.example/orders"}
	}
	gateway, source, err := cmd.credential()
	if err != nil {
		return codeError{exitUsage, err.Error()}
	}
	signal.Ignore(syscall.SIGPIPE) // a client that left is an error of ours to tell: the session is closed first
	b := &bridge.Bridge{
		Endpoint: strings.TrimSuffix(gateway, "/") + "/mcp/" + cmd.Server, HTTP: bridgeClient(), Token: source.Token, Log: c.log,
	}
	err = b.Run(ctx, c.input(), c.out)
	b.HTTP.CloseIdleConnections()
	return err
}

// credential finds the gateway and how to sign in there.
func (cmd connectCmd) credential() (gateway string, source *bridge.Credential, err error) {
	switch {
	case cmd.Gateway == "" && cmd.Secret == "" && cmd.Issuer == "":
		connection, err := readConnection(cmd.Data)
		if err != nil {
			return "", nil, err
		}
		return connection.Gateway, bridge.Minted(func(ctx context.Context) (string, time.Duration, error) {
			token, err := connection.token(ctx, cmd.As)
			return token, 0, err
		}), nil
	case cmd.Gateway == "":
		return "", nil, errors.New("--gateway is missing: the address of the gateway")
	case cmd.Secret == "":
		return "", nil, errors.New("--secret is missing: env:NAME, file:PATH or keyring:NAME")
	case (cmd.Issuer == "") != (cmd.ClientID == ""):
		return "", nil, errors.New("--issuer and --client-id go together")
	}
	if err := validGateway(cmd.Gateway); err != nil {
		return "", nil, err
	}
	if _, err := cmd.Secret.Read(); err != nil { // now, where somebody sees it, and not at the first request
		return "", nil, err
	}
	if cmd.Issuer == "" {
		return cmd.Gateway, bridge.Stored(cmd.Secret.Read), nil
	}
	return cmd.Gateway, bridge.Exchanged(bridge.Exchange{
		Issuer: cmd.Issuer, ClientID: cmd.ClientID, Secret: cmd.Secret.Read, Resource: strings.TrimSuffix(cmd.Gateway, "/"), Scope: cmd.Scope,
		HTTP: &http.Client{Timeout: 15 * time.Second, CheckRedirect: noRedirect},
	}), nil
}

// validGateway says what is wrong with how an address is written.
func validGateway(address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return errors.New("--gateway must be an address as https://gateway.example")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Contains(u.Path+"/", "/mcp/"):
		return errors.New("--gateway is the address of the gateway alone, as https://gateway.example; the server is named beside it")
	}
	return nil
}

// bridgeClient speaks HTTP as a bridge needs it: streams have no time limit, and nobody leads our credential elsewhere.
func bridgeClient() *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DisableCompression = true
	t.DialContext = (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}).DialContext
	t.MaxIdleConnsPerHost = 16
	return &http.Client{Transport: t, CheckRedirect: noRedirect}
}

func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// input is where the client writes.
func (c *console) input() *os.File {
	if c.in != nil {
		return c.in
	}
	return os.Stdin
}

// Command go is an MCP server with a destructive tool that holds itself to the policy of Countersign: no gateway stands in
// front of it. It is an example; README.md says how to run it.
//
//	main.go      configuration, and everything put together
//	callers.go   who calls: bearer tokens of one identity provider, made for this very server
//	tools.go     from MCP to client.Guard and back
//	shop.go      the tools themselves, which know nothing of all that
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"golang.org/x/sync/errgroup"

	"countersign/client"
)

// config is what the server is told by its environment.
type config struct {
	controlPlane string
	clientID     string
	clientSecret client.Secret
	rootKey      string // thumbprint; "": the one at first contact
	server       string // the name that it is registered by
	resource     string // its own URL, for which callers' tokens are made
	issuer       string // who makes them
	state        string // a folder of its own that outlives it
	wait         time.Duration
}

func fromEnvironment() (config, error) {
	wait, err := time.ParseDuration(cmp.Or(os.Getenv("WAIT"), "0s"))
	if err != nil {
		return config{}, fmt.Errorf("reading WAIT: %w", err)
	}
	return config{
		controlPlane: os.Getenv("CONTROL_PLANE"), clientID: os.Getenv("CLIENT_ID"), clientSecret: client.Secret(os.Getenv("CLIENT_SECRET")),
		rootKey: os.Getenv("ROOT_KEY"), server: cmp.Or(os.Getenv("SERVER"), "com.example/shop"),
		resource: os.Getenv("RESOURCE"), issuer: os.Getenv("ISSUER"), state: cmp.Or(os.Getenv("STATE"), "state"), wait: wait,
	}, nil
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	cfg, err := fromEnvironment()
	if err == nil {
		err = listenAndRun(ctx, cfg, cmp.Or(os.Getenv("LISTEN"), "127.0.0.1:9091"), log)
	}
	if err != nil {
		log.Error("the server ends", slog.Any("error", err))
		os.Exit(1)
	}
}

func listenAndRun(ctx context.Context, cfg config, address string, log *slog.Logger) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return run(ctx, cfg, newShop(), listener, log)
}

// run serves until ctx ends.
func run(ctx context.Context, cfg config, s *shop, listener net.Listener, log *slog.Logger) error {
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	control, err := client.New(client.Config{
		ControlPlane: cfg.controlPlane, ClientID: cfg.clientID, ClientSecret: cfg.clientSecret,
		Instance: fmt.Sprintf("%s/%d", host, os.Getpid()), Version: "example", Log: log,
	})
	if err != nil {
		return err
	}
	defer control.Close()
	feed, err := client.NewFeed(client.FeedConfig{Client: control, StateDir: cfg.state, RootKey: cfg.rootKey})
	if err != nil {
		return err
	}
	records := client.NewRecorder(control, cfg.state)
	guard, err := newGuard(client.GuardConfig{Client: control, Feed: feed, Server: cfg.server, Wait: cfg.wait, Records: records}, s.tools())
	if err != nil {
		return err
	}
	callers, err := newCallers(ctx, cfg.issuer, cfg.resource)
	if err != nil {
		return err
	}
	log.Info("listening", slog.String("url", fmt.Sprintf("http://%s/mcp/%s", listener.Addr(), cfg.server)))
	parts, ctx := errgroup.WithContext(ctx)
	parts.Go(func() error { return feed.Run(ctx) })
	parts.Go(func() error { return guard.Run(ctx) })
	parts.Go(func() error { return records.Run(ctx) })
	parts.Go(func() error { return serve(ctx, listener, callers.only(handler(guard, s.tools()))) })
	return parts.Wait()
}

// handler is the MCP server itself. It is stateless: a session is bound to nobody, as each request says who calls.
func handler(guard *client.Guard, tools []tool) http.Handler {
	server := mcp.NewServer(&mcp.Implementation{Name: "shop", Version: "1"}, nil)
	for _, t := range tools {
		server.AddTool(t.definition, guarded(guard, t))
	}
	server.AddReceivingMiddleware(onlyVisible(guard))
	return mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, &mcp.StreamableHTTPOptions{Stateless: true, JSONResponse: true})
}

func serve(ctx context.Context, listener net.Listener, h http.Handler) error {
	server := &http.Server{Handler: http.MaxBytesHandler(h, 1<<20), ReadHeaderTimeout: 10 * time.Second}
	go func() {
		<-ctx.Done()
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = server.Shutdown(last) // what does not end by then is cut off
	}()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// only lets in who has a good token.
func (c *callers) only(h http.Handler) http.Handler {
	return auth.RequireBearerToken(c.verify, nil)(h)
}

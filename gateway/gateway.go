package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"countersign/client"
	"countersign/internal/cleanse"
	"countersign/internal/room"
)

// Gateway is one instance of the enforcement point.
type Gateway struct {
	current    atomic.Pointer[Config] // read it through config
	loaded     configuration
	client     *client.Client
	feed       *client.Feed
	records    *client.Recorder
	log        *slog.Logger
	now        func() time.Time
	verifier   atomic.Pointer[verifier]
	sessions   *sessions
	schemas    *schemas
	watch      *watcher
	held       *heldCalls
	rooms      *room.Rooms // for rate limits and token budgets
	places     *places
	bodies     atomic.Int64 // bytes of requests in memory
	breakers   *breakers
	challenged challenges
	strangers  strangers
	keys       keyRequests
	metrics    *metrics
	refusals   chan struct{} // answers to servers under way
	stdio      *stdioPool
	drain      *drain
	disk       stateDisk
	lock       *os.File // on the state directory
	background background
	dialer     *dialer
	upstream   *http.Client // for our own requests to upstreams; follows no redirect
	proxy      *httputil.ReverseProxy
	taints     *taints
	traces     *tracing
	own        *http.Client    // for identity providers
	ctx        context.Context //nolint:containedctx // the life of the gateway, which processes and reports outlast no request by
	stop       context.CancelFunc
}

// New makes a gateway from its configuration. It opens the state directory and starts from the last known good
// policy there; it talks to nobody before Run. ctx bounds its whole life: when it ends, so does every stream,
// process and report.
func New(ctx context.Context, cfg Config, c *client.Client, log *slog.Logger) (*Gateway, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("checking gateway configuration: %w", err)
	}
	cfg = cfg.withDefaults()
	offered, err := cfg.Offered()
	if err != nil {
		return nil, err
	}
	lock, err := lockState(cfg.StateDir)
	if err != nil {
		return nil, err
	}
	feed, err := client.NewFeed(client.FeedConfig{Client: c, StateDir: cfg.StateDir, RootKey: cfg.RootKey, Commands: offered})
	if err != nil {
		_ = lock.Close() // nothing was written to it
		return nil, fmt.Errorf("starting the policy feed: %w", err)
	}
	seal, err := loadSeal(cfg.StateDir)
	if err != nil {
		_ = lock.Close() // nothing was written to it
		return nil, err
	}
	taints, err := openTaints(cfg.StateDir, log, time.Now)
	if err != nil {
		_ = lock.Close() // nothing was written to it
		return nil, err
	}
	traces, err := newTracing(ctx, cfg.Traces, c.Instance(), log)
	if err != nil {
		_ = lock.Close() // nothing was written to it
		return nil, err
	}
	g := &Gateway{
		client: c, lock: lock, feed: feed, taints: taints, records: client.NewRecorder(c, cfg.StateDir), log: log, now: time.Now,
		schemas: newSchemas(), dialer: newDialer(cfg.AllowPrivateUpstreams),
		own: &http.Client{Timeout: 10 * time.Second, Transport: http.DefaultTransport.(*http.Transport).Clone(), CheckRedirect: noRedirect},
	}
	g.current.Store(&cfg)
	_ = cleanse.New(cleanse.Options{}) // compiles the rules now, and not in the first call
	g.ctx, g.stop = context.WithCancel(ctx)
	g.loaded.loaded = g.now()
	g.drain = newDrain()
	g.verifier.Store(newVerifier(cfg, g.own, g.now))
	g.sessions = newSessions(g.now)
	g.held = newHeldCalls(seal, g.now)
	g.rooms = room.New(log, g.now)
	g.places = newPlaces()
	g.breakers = newBreakers(log)
	g.upstream = &http.Client{CheckRedirect: noRedirect, Transport: &outbound{
		next: g.dialer.transport(), config: g.config, now: g.now, life: g.ctx, log: log,
		tokens: &http.Client{Transport: g.dialer.transport(), CheckRedirect: noRedirect},
	}}
	g.stdio = newStdioPool(g)
	g.watch = newWatcher(g)
	g.proxy = g.newProxy()
	g.metrics = newMetrics(g)
	g.traces = traces
	g.refusals = make(chan struct{}, refusalsAtOnce)
	return g, nil
}

// config is the configuration in force. It may be another one at the next call, so whoever must decide twice by the
// same one keeps it; nobody changes what it points to.
func (g *Gateway) config() *Config { return g.current.Load() }

func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// Handler serves callers: /mcp/{namespace}/{name} for each server, the metadata of the resource, and health.
func (g *Gateway) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/mcp/{namespace}/{name}", g.serveMCP)
	mux.HandleFunc("GET "+wellKnown, g.serveMetadata)
	mux.HandleFunc("GET "+wellKnown+"/{path...}", g.serveMetadata)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, health{Status: "ok"}) })
	mux.HandleFunc("GET /readyz", g.serveReady)
	return g.paced(mux)
}

// discoveryWorkers is how many discoveries one instance does at once.
const discoveryWorkers = 2

// Run follows the policy, watches upstreams, does discoveries and sends records until ctx ends. It returns
// when all of that has stopped, with every process it started.
func (g *Gateway) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return g.feed.Run(ctx) })
	group.Go(func() error { return g.records.Run(ctx) })
	group.Go(func() error { return g.watch.run(ctx) })
	group.Go(func() error { return g.stdio.run(ctx) })
	group.Go(func() error { g.cutEndedKeys(ctx); return nil })
	group.Go(func() error { return g.serveMetrics(ctx) })
	for range discoveryWorkers {
		group.Go(func() error { g.discoverLoop(ctx); return nil })
	}
	err := group.Wait()
	g.stop()
	g.stdio.closeAll()
	g.background.close()
	g.upstream.CloseIdleConnections()
	g.own.CloseIdleConnections()
	g.taints.close()
	g.traces.close(context.WithoutCancel(ctx), g.log)
	_ = g.lock.Close() // nothing was written to it
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// shutdownGrace is what connections get when nothing runs on them any more.
const shutdownGrace = 3 * time.Second

// server serves callers over HTTP.
func (g *Gateway) server() *http.Server {
	bounds := g.config().Callers
	return &http.Server{
		Handler: g.Handler(), ReadHeaderTimeout: bounds.Header, IdleTimeout: bounds.Idle, MaxHeaderBytes: 64 << 10,
		BaseContext: func(net.Listener) context.Context { return g.ctx },
		ErrorLog:    slog.NewLogLogger(g.log.Handler(), slog.LevelDebug),
	}
}

// Serve listens where the configuration says and runs the gateway. When ctx ends it drains, which see, and returns nil
// when it stopped in order. The end of the context that New got stops it at once. ready, when it is not nil, is told the
// address.
func (g *Gateway) Serve(ctx context.Context, ready func(net.Addr)) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", g.config().Listen)
	if err != nil {
		return fmt.Errorf("listening for callers: %w", err)
	}
	server := g.server()
	if ready != nil {
		ready(listener.Addr())
	}
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	group, failed := errgroup.WithContext(life)
	group.Go(func() error {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serving callers: %w", err)
		}
		return nil
	})
	group.Go(func() error { return g.Run(failed) })
	group.Go(func() error {
		defer end()
		select {
		case <-ctx.Done():
		case <-g.ctx.Done():
		case <-failed.Done():
			g.stop()
		}
		cut := g.leave(server)
		grace, cancel := context.WithTimeout(life, shutdownGrace)
		defer cancel()
		if err := server.Shutdown(grace); err != nil {
			_ = server.Close() // nobody waits for what is left
		}
		if cut > 0 {
			return errCutOff
		}
		return nil
	})
	return group.Wait()
}

// Package server is the control plane's HTTP face: the console for people, /v1 for gateways, and the wiring of
// everything below.
//
//	browser ──▶ pages (page_*.go)  ─┐
//	gateway ──▶ /v1   (v1_*.go)    ─┼─▶ registry, approvals, delivery, auth, audit ──▶ PostgreSQL
//	           /oauth/token        ─┘
//
// The one route table is routes.go; a route that is not in it does not exist. A handler reads the request,
// calls one domain method and writes the answer; whether this person may, and what is recorded, is decided
// there. Errors become answers in one place (onError).
//
// Any number of replicas run on one database. They share sessions, keys and snapshots through it, wake each
// other with the hub, and elect one leader that compiles policy and sweeps what is overdue.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/labstack/echo/v4"
	"golang.org/x/sync/errgroup"

	"countersign/approvals"
	"countersign/auth"
	"countersign/delivery"
	"countersign/identity"
	"countersign/internal/postgres"
	"countersign/internal/seal"
	"countersign/migrations"
	"countersign/notify"
	"countersign/registry"
	"countersign/usage"
)

// Config is what a replica needs. The zero value of a field without a comment is not valid.
type Config struct {
	DatabaseURL string // a role that can neither change nor delete audit events
	PublicURL   string // where people and gateways reach us: https, or http on loopback
	Key         *seal.Key

	OIDCIssuer       string
	OIDCClientID     string
	OIDCClientSecret string // "": a public client, protected by PKCE alone
	RoleGroups       map[identity.Role][]string

	CallerIssuers  []string       // identity providers of agents' callers, besides OIDCIssuer
	TrustedProxies []netip.Prefix // whose X-Forwarded-For is believed; none: the connection's own address counts

	PublicRegistry string // the part of the path at which anybody may read the registry API: a secret; "": nobody may

	Mail         *notify.Mail   // what takes our mail; nil: none is sent
	AllowPrivate []netip.Prefix // networks that are not public in which webhooks may be called

	Usage           usage.Config     // how long call records and what they add up to are kept
	MaxStaleSeconds int              // 0: delivery.DefaultMaxStaleSeconds
	Sample          *Sample          // offered with one click; nil outside countersign up
	Relaxed         bool             // tests only: the database may run with fsync off
	Tracer          pgx.QueryTracer  // tests only: is told of every query
	Log             *slog.Logger     // nil: nothing is logged
	Now             func() time.Time // nil: time.Now; for how long ago something was, never for what happened when
}

// Sample is an MCP server that the console offers to register with one click.
type Sample struct {
	Name, Title, Description, URL string
	Example                       string // the command of a first call
}

func (c Config) validate() error {
	u, err := url.Parse(c.PublicURL)
	if err != nil || u.Host == "" || u.Path != "" && u.Path != "/" {
		return fmt.Errorf("public URL %q: it has to be an origin, as https://countersign.example.com", c.PublicURL)
	}
	if u.Scheme != "https" {
		ip := net.ParseIP(u.Hostname())
		if u.Scheme != "http" || u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return fmt.Errorf("public URL %q: http is for loopback only; put TLS in front and say https", c.PublicURL)
		}
	}
	if c.Key == nil {
		return errors.New("a key file is needed")
	}
	if c.PublicRegistry != "" && !publicRegistryForm.MatchString(c.PublicRegistry) {
		return errors.New("the public registry's secret needs 32 to 200 letters, digits, hyphens and underscores that nobody can guess")
	}
	return c.Usage.Validate()
}

var publicRegistryForm = regexp.MustCompile(`^[A-Za-z0-9_-]{32,200}$`)

func (c Config) withDefaults() Config {
	c.PublicURL = strings.TrimSuffix(c.PublicURL, "/")
	if c.MaxStaleSeconds <= 0 {
		c.MaxStaleSeconds = delivery.DefaultMaxStaleSeconds
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// Server is one replica.
type Server struct {
	cfg       Config
	log       *slog.Logger
	pool      *pgxpool.Pool
	hub       *postgres.Hub
	auth      *auth.Authority
	registry  *registry.Registry
	approvals *approvals.Queue
	delivery  *delivery.Delivery
	notify    *notify.Notifier
	usage     *usage.Ledger
	anonymous *limiter
	pulls     *pulls
	readers   *limiter // of the public registry: an office full of editors must not lock itself out of signing in
	openAPI   []byte   // GET /v1/openapi.json
	echo      *echo.Echo
	draining  chan struct{} // closed when the replica begins to stop: parked requests answer at once
}

// New connects to the database, checks that the schema is the one this binary knows and that the role is a
// lesser one, and wires the parts. It starts nothing; see Run. Close releases it.
func New(ctx context.Context, cfg Config) (*Server, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	pool, err := openDatabase(ctx, cfg)
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg: cfg, log: cfg.Log, pool: pool, hub: postgres.NewHub(pool, cfg.Log),
		anonymous: newLimiter(cfg.Now), readers: newLimiter(cfg.Now), pulls: newPulls(cfg.Now), draining: make(chan struct{}),
	}
	if err := s.wire(ctx); err != nil {
		pool.Close()
		return nil, err
	}
	s.openAPI, err = openAPIDocument(s.operations(), cfg.PublicURL) //nolint:contextcheck // as for newEcho
	if err != nil {
		pool.Close()
		return nil, err
	}
	s.echo = s.newEcho() //nolint:contextcheck // handlers take the context of their request
	return s, nil
}

func openDatabase(ctx context.Context, cfg Config) (*pgxpool.Pool, error) {
	pool, err := postgres.OpenTraced(ctx, cfg.DatabaseURL, cfg.Log, cfg.Tracer)
	if err != nil {
		return nil, fmt.Errorf("connecting to the database: %w", err)
	}
	want, err := postgres.LatestVersion(migrations.FS)
	if err == nil {
		err = postgres.CheckSchema(ctx, pool, want)
	}
	if err == nil {
		err = postgres.AssertLesser(ctx, pool)
	}
	if err == nil && !cfg.Relaxed {
		err = postgres.AssertDurable(ctx, pool)
	}
	if err != nil {
		pool.Close()
		return nil, err
	}
	return pool, nil
}

// Handler serves everything; tests use it without a listener.
func (s *Server) Handler() http.Handler { return s.echo }

// Close releases the database.
func (s *Server) Close() { s.pool.Close() }

// Run serves on l until ctx ends or a part fails, then lets requests finish. It owns every goroutine it starts.
func (s *Server) Run(ctx context.Context, l net.Listener) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { s.hub.Run(ctx); return nil })
	g.Go(func() error { return s.auth.Run(ctx) })
	g.Go(func() error { return s.delivery.Run(ctx) })
	g.Go(func() error { return s.approvals.Run(ctx) })
	g.Go(func() error { return s.notify.Run(ctx) })
	g.Go(func() error { return s.usage.Run(ctx) })
	srv := &http.Server{
		Handler: s.Handler(), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 90 * time.Second,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10,
	}
	g.Go(func() error {
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serving: %w", err)
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		close(s.draining)
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		if err := srv.Shutdown(end); err != nil {
			return srv.Close()
		}
		return nil
	})
	return g.Wait()
}

// secure says whether people reach us by https.
func (s *Server) secure() bool { return strings.HasPrefix(s.cfg.PublicURL, "https:") }

// sessionCookie is bound to our host where the browser enforces it; plain http on loopback cannot have that.
func (s *Server) sessionCookie() string {
	if s.secure() {
		return "__Host-countersign"
	}
	return "countersign"
}

// parked is ctx for a request that waits for something to happen: it ends when the replica begins to stop.
func (s *Server) parked(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-s.draining:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"
)

// Metrics says where Prometheus may read what this instance counts. It is not served where callers call, and asks for no
// credential: whoever reaches the address reads the names of servers and tools.
type Metrics struct {
	Listen string `yaml:"listen"` // "": nowhere
}

func (m Metrics) validate() error {
	if m.Listen == "" {
		return nil
	}
	if _, port, err := net.SplitHostPort(m.Listen); err != nil || port == "" {
		return errors.New("metrics: listen must be an address such as 127.0.0.1:9464")
	}
	return nil
}

// serveMetrics serves /metrics until ctx ends, if the configuration says where.
func (g *Gateway) serveMetrics(ctx context.Context) error {
	if g.config().Metrics.Listen == "" {
		return nil
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", g.config().Metrics.Listen)
	if err != nil {
		return fmt.Errorf("listening for metrics: %w", err)
	}
	address := listener.Addr()
	g.metrics.listening.Store(&address)
	server := &http.Server{
		Handler: g.metricsHandler(), ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 30 * time.Second, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(g.log.Handler(), slog.LevelDebug),
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serving metrics: %w", err)
		}
		return nil
	})
	group.Go(func() error {
		<-ctx.Done()
		return server.Close()
	})
	return group.Wait()
}

// metricsHandler refuses what a page in a browser could send to loopback by a name of its own.
func (g *Gateway) metricsHandler() http.Handler {
	metrics := promhttp.HandlerFor(g.metrics.registry, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(g.log.Handler(), slog.LevelWarn), MaxRequestsInFlight: 4,
	})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		if local != nil && isLoopback(local.String()) && !isLoopback(r.Host) || r.Header.Get("Origin") != "" {
			http.Error(w, "Not from here.", http.StatusForbidden)
			return
		}
		metrics.ServeHTTP(w, r)
	})
	return mux
}

//go:build unix

package pgtest

import (
	"context"
	"crypto/rand"
	"log/slog"
	"strings"
	"syscall"
	"testing"
	"time"

	"countersign/internal/postgres"
	"countersign/migrations"
)

// Server is a private PostgreSQL that a test may kill and start again on the
// same data. Its DSNs stay the same.
type Server struct {
	OwnerDSN, RuntimeDSN, SuperuserDSN string

	name    string
	durable bool
	server  *postgres.Server
}

// NewServer starts a private, migrated server, with fsync and all that belongs
// to it when durable. It is stopped when tb ends.
func NewServer(tb testing.TB, durable bool) *Server {
	tb.Helper()
	s := &Server{name: "server-" + strings.ToLower(rand.Text()[:6]), durable: durable}
	s.Start(tb)
	tb.Cleanup(func() { s.Stop(tb) })
	s.OwnerDSN, s.RuntimeDSN = s.server.DSN(postgres.OwnerRole), s.server.DSN(postgres.RuntimeRole)
	s.SuperuserDSN = s.server.DSN("postgres")
	if err := postgres.Migrate(tb.Context(), s.OwnerDSN, migrations.FS, slog.New(slog.DiscardHandler)); err != nil {
		tb.Fatalf("migrating the private server: %v", err)
	}
	return s
}

// Start starts the server again after Stop, Kill or StopImmediately, and
// returns when it has recovered.
func (s *Server) Start(tb testing.TB) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), time.Minute)
	defer cancel()
	server, err := start(ctx, s.name, s.durable)
	if err != nil {
		tb.Fatalf("starting the private server: %v", err)
	}
	s.server = server
}

// Stop shuts the server down in order. It does nothing when it is not running.
func (s *Server) Stop(tb testing.TB) {
	tb.Helper()
	if s.server == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(tb.Context()), time.Minute)
	defer cancel()
	if err := s.server.Stop(ctx); err != nil {
		tb.Errorf("stopping the private server: %v", err)
	}
	s.server = nil
}

// Kill ends the server with SIGKILL, as when memory runs out.
func (s *Server) Kill(tb testing.TB) {
	tb.Helper()
	s.crash(tb, syscall.SIGKILL)
}

// StopImmediately makes the server quit without a checkpoint, as pg_ctl stop -m
// immediate does.
func (s *Server) StopImmediately(tb testing.TB) {
	tb.Helper()
	s.crash(tb, syscall.SIGQUIT)
}

func (s *Server) crash(tb testing.TB, signal syscall.Signal) {
	tb.Helper()
	if err := syscall.Kill(s.server.PID(), signal); err != nil {
		tb.Fatalf("sending %v to the private server: %v", signal, err)
	}
	<-s.server.Done()
	_ = s.server.Stop(context.WithoutCancel(tb.Context())) // frees the data folder; the exit status is the crash we asked for
	s.server = nil
}

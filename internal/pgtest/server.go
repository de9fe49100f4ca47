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
// to it when durable. It is stopped when t ends.
func NewServer(t testing.TB, durable bool) *Server {
	t.Helper()
	s := &Server{name: "server-" + strings.ToLower(rand.Text()[:6]), durable: durable}
	s.Start(t)
	t.Cleanup(func() { s.Stop(t) })
	s.OwnerDSN, s.RuntimeDSN = s.server.DSN(postgres.OwnerRole), s.server.DSN(postgres.RuntimeRole)
	s.SuperuserDSN = s.server.DSN("postgres")
	if err := postgres.Migrate(t.Context(), s.OwnerDSN, migrations.FS, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatalf("migrating the private server: %v", err)
	}
	return s
}

// Start starts the server again after Stop, Kill or StopImmediately, and
// returns when it has recovered.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	server, err := start(ctx, s.name, s.durable)
	if err != nil {
		t.Fatalf("starting the private server: %v", err)
	}
	s.server = server
}

// Stop shuts the server down in order. It does nothing when it is not running.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	if s.server == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := s.server.Stop(ctx); err != nil {
		t.Errorf("stopping the private server: %v", err)
	}
	s.server = nil
}

// Kill ends the server with SIGKILL, as when memory runs out.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	s.crash(t, syscall.SIGKILL)
}

// StopImmediately makes the server quit without a checkpoint, as pg_ctl stop -m
// immediate does.
func (s *Server) StopImmediately(t testing.TB) {
	t.Helper()
	s.crash(t, syscall.SIGQUIT)
}

func (s *Server) crash(t testing.TB, signal syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(s.server.PID(), signal); err != nil {
		t.Fatalf("sending %v to the private server: %v", signal, err)
	}
	<-s.server.Done()
	_ = s.server.Stop(context.Background()) // frees the data folder; the exit status is the crash we asked for
	s.server = nil
}

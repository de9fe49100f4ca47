package postgres_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/internal/pgtest"
	"countersign/internal/postgres"
)

// start starts a server that ends with the test.
func start(t *testing.T, cfg postgres.Config) *postgres.Server {
	t.Helper()
	server, err := postgres.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Stop(context.WithoutCancel(t.Context())) }) // tests that care stop it themselves
	return server
}

// query runs sql in a role and returns its one value as text.
func query(t *testing.T, server *postgres.Server, role, sql string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), server.DSN(role))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context()) // nothing is pending on it
	var value string
	if err := conn.QueryRow(t.Context(), sql).Scan(&value); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return value
}

func wantInUse(t *testing.T, dataDir string, pid int) {
	t.Helper()
	_, err := postgres.Start(t.Context(), postgres.Config{DataDir: dataDir})
	var inUse *postgres.InUseError
	if !errors.As(err, &inUse) || inUse.PID != pid || !strings.Contains(err.Error(), "already runs on") {
		t.Errorf("got %v, want it in use by process %d", err, pid)
	}
}

func TestServerStartsStopsAndRemembers(t *testing.T) {
	t.Parallel()
	data := filepath.Join(pgtest.TempDir(t), "deep", "down", "data")
	server := start(t, postgres.Config{DataDir: data})
	for sql, want := range map[string]string{
		`show listen_addresses`:     "",
		`show fsync`:                "on",
		`show full_page_writes`:     "on",
		`show synchronous_commit`:   "on",
		`show data_checksums`:       "on",
		`show server_encoding`:      "UTF8",
		`show timezone`:             "UTC",
		`select current_user::text`: postgres.RuntimeRole,
		`select current_database()`: "countersign",
		`select rolsuper::text from pg_roles where rolname = current_user`: "false",
	} {
		if got := query(t, server, postgres.RuntimeRole, sql); got != want {
			t.Errorf("%s: %q, want %q", sql, got, want)
		}
	}
	query(t, server, postgres.OwnerRole, `select lo_from_bytea(4711, 'kept')::text`)
	wantInUse(t, data, os.Getpid())
	if err := server.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	<-server.Done()
	if log, err := os.ReadFile(filepath.Join(data, "log", "postgresql.log")); err != nil || !strings.Contains(string(log), "is shut down") {
		t.Errorf("the log does not end in order (%v):\n%s", err, log)
	}
	again := start(t, postgres.Config{DataDir: data})
	if got := query(t, again, postgres.OwnerRole, `select convert_from(lo_get(4711), 'UTF8')`); got != "kept" {
		t.Errorf("after a restart: %q, want what was committed", got)
	}
}

func TestServerTrustsNobodyElse(t *testing.T) {
	t.Parallel()
	server := start(t, postgres.Config{DataDir: madeData(t), Volatile: true})
	conn, err := pgx.Connect(t.Context(), server.DSN("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context()) // nothing is pending on it
	if _, err := conn.Exec(t.Context(), `create role stranger login`); err != nil {
		t.Fatal(err)
	}
	if _, err := pgx.Connect(t.Context(), server.DSN("stranger")); err == nil {
		t.Error("a role that is not ours could connect")
	}
	info, err := os.Stat(socketDir(t, server))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the socket's folder is open to others: %v, %v", info.Mode(), err)
	}
}

func socketDir(t *testing.T, server *postgres.Server) string {
	t.Helper()
	cfg, err := pgx.ParseConfig(server.DSN(postgres.RuntimeRole))
	if err != nil {
		t.Fatal(err)
	}
	return cfg.Host
}

func TestServerRecoversAfterItsOwnCrash(t *testing.T) {
	t.Parallel()
	cfg := postgres.Config{DataDir: madeData(t)}
	server := start(t, cfg)
	query(t, server, postgres.OwnerRole, `select lo_from_bytea(4711, 'kept')::text`)
	if err := syscall.Kill(server.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-server.Done()
	if err := server.Stop(t.Context()); err == nil {
		t.Error("stopping a server that crashed tells nothing of it")
	}
	if _, err := os.Stat(filepath.Join(cfg.DataDir, "postmaster.pid")); err != nil {
		t.Errorf("the crash left no stale lock file to recover from: %v", err)
	}
	again := start(t, cfg)
	if got := query(t, again, postgres.OwnerRole, `select convert_from(lo_get(4711), 'UTF8')`); got != "kept" {
		t.Errorf("after recovery: %q, want what was committed", got)
	}
	if again.DSN(postgres.OwnerRole) != server.DSN(postgres.OwnerRole) {
		t.Error("the restarted server is not where it was")
	}
}

func TestStopByForceLosesNothing(t *testing.T) {
	t.Parallel()
	cfg := postgres.Config{DataDir: madeData(t), Volatile: true}
	server := start(t, cfg)
	query(t, server, postgres.OwnerRole, `select lo_from_bytea(4711, 'kept')::text`)
	expired, cancel := context.WithCancel(t.Context())
	cancel()
	if err := server.Stop(expired); err == nil {
		t.Error("a stop that had no time was in order")
	}
	again := start(t, cfg)
	query(t, again, postgres.OwnerRole, `select convert_from(lo_get(4711), 'UTF8')`)
}

func TestStartGivesUpWithItsContext(t *testing.T) {
	t.Parallel()
	cfg := postgres.Config{DataDir: filepath.Join(pgtest.TempDir(t), "data"), Volatile: true}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := postgres.Start(ctx, cfg); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the deadline", err)
	}
	start(t, cfg)
	wantNoLeftovers(t, cfg.DataDir)
}

func wantNoLeftovers(t *testing.T, dataDir string) {
	t.Helper()
	if leftovers, _ := filepath.Glob(dataDir + ".tmp-*"); len(leftovers) > 0 {
		t.Errorf("left behind: %v", leftovers)
	}
}

func TestStartRefusesAFolderItCannotUse(t *testing.T) {
	t.Parallel()
	dir := pgtest.TempDir(t)
	write := func(path, content string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(dir, "photos", "cat.jpg"), "meow")
	write(filepath.Join(dir, "old", "PG_VERSION"), "12\n")
	write(filepath.Join(dir, "file"), "")
	if err := os.Mkdir(filepath.Join(dir, "private"), 0o700); err != nil {
		t.Fatal(err)
	}
	type refusal struct{ data, want string }
	refusals := []refusal{
		{"", "has no name"},
		{filepath.Join(dir, "photos"), "holds no database"},
		{filepath.Join(dir, "old"), "PostgreSQL server 12, with which the data folder was made"},
		{filepath.Join(dir, "file"), "not a directory"},
		{filepath.Join(dir, "file", "data"), "not a directory"},
	}
	if os.Geteuid() == 0 {
		refusals = append(refusals, refusal{filepath.Join(dir, "private", "data"), "may not enter " + filepath.Join(dir, "private")})
	}
	for _, r := range refusals {
		_, err := postgres.Start(t.Context(), postgres.Config{DataDir: r.data})
		if err == nil || !strings.Contains(err.Error(), r.want) {
			t.Errorf("%q: got %v, want %q", r.data, err, r.want)
		}
	}
}

func TestStartShowsTheLogOfAServerThatFails(t *testing.T) {
	t.Parallel()
	_, err := postgres.Start(t.Context(), postgres.Config{
		DataDir: madeData(t), Volatile: true,
		Settings: map[string]string{"max_connections": "many"},
	})
	if err == nil || !strings.Contains(err.Error(), "max_connections") {
		t.Errorf("got %v, want what the server's log says", err)
	}
}

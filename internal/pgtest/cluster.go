//go:build unix

package pgtest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/internal/postgres"
	"countersign/migrations"
)

// cluster is a server on which test databases are made.
type cluster struct {
	dsn       func(role, database string) string
	superuser string
	template  string
}

var shared = sync.OnceValues(func() (*cluster, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	c, err := newCluster(ctx)
	if err != nil {
		return nil, err
	}
	return c, c.makeTemplate(ctx)
})

func sharedCluster(tb testing.TB) *cluster {
	tb.Helper()
	c, err := shared()
	if err != nil {
		tb.Fatalf("starting the PostgreSQL for tests: %v", err)
	}
	return c
}

func newCluster(ctx context.Context) (*cluster, error) {
	if given := os.Getenv("TEST_DATABASE_URL"); given != "" {
		return givenCluster(ctx, given)
	}
	s, err := start(ctx, "shared", false)
	if err != nil {
		return nil, err
	}
	return &cluster{superuser: "postgres", dsn: func(role, name string) string { return inDatabase(s.DSN(role), name) }}, nil
}

// start starts a server in a folder of this process's test area.
func start(ctx context.Context, name string, durable bool) (*postgres.Server, error) {
	area, err := Area()
	if err != nil {
		return nil, err
	}
	return postgres.Start(ctx, postgres.Config{
		DataDir:   filepath.Join(area, name),
		SocketDir: filepath.Join(area, name+".s"),
		Roots:     moduleRoots(),
		Volatile:  !durable,
		Settings:  map[string]string{"max_connections": "400", "shared_buffers": "64MB"},
	})
}

// moduleRoots returns the folder of go.mod above the package under test, where
// pinned binaries lie when the machine has none of its own.
func moduleRoots() []string {
	dir, err := os.Getwd()
	if err != nil {
		return nil
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return []string{dir}
		}
	}
	return nil
}

func inDatabase(dsn, name string) string {
	u, err := url.Parse(dsn)
	if err != nil {
		return dsn // ours are well-formed; a given one was parsed before
	}
	u.Path = "/" + name
	return u.String()
}

// givenCluster uses a server of somebody else's, maybe beside other test
// processes. Its roles get a password that all of these can derive.
func givenCluster(ctx context.Context, given string) (*cluster, error) {
	u, err := url.Parse(given)
	if err != nil {
		return nil, fmt.Errorf("reading TEST_DATABASE_URL: %w", err)
	}
	if u.RawQuery == "" {
		u.RawQuery = "application_name=countersign+test"
	}
	digest := sha256.Sum256([]byte(given))
	password := hex.EncodeToString(digest[:])
	c := &cluster{superuser: u.User.Username(), dsn: func(role, name string) string {
		as := *u
		if role != u.User.Username() {
			as.User = url.UserPassword(role, password)
		}
		as.Path = "/" + name
		return as.String()
	}}
	return c, c.alone(ctx, postgres.RolesSQL+`
		alter role countersign_owner password '`+password+`';
		alter role countersign_runtime password '`+password+`';`)
}

// alone runs sql while no other test process does the same.
func (c *cluster) alone(ctx context.Context, sql string) error {
	return c.exec(ctx, `begin; select pg_advisory_xact_lock(7253001); `+sql+`; commit`)
}

// makeTemplate migrates the database that test databases are copied from. Its
// name tells the content of the migrations, so that test processes which share
// a server share it too. It is built under another name and renamed when whole.
func (c *cluster) makeTemplate(ctx context.Context) error {
	digest, err := digestOf(migrations.FS)
	if err != nil {
		return fmt.Errorf("reading the migrations: %w", err)
	}
	c.template = "countersign_template_" + digest
	conn, err := pgx.Connect(ctx, c.dsn(c.superuser, "postgres"))
	if err != nil {
		return fmt.Errorf("connecting to make the template: %w", err)
	}
	defer conn.Close(ctx) // nothing is pending on it
	// Held until the connection ends.
	if _, err := conn.Exec(ctx, `select pg_advisory_lock(7253002)`); err != nil {
		return fmt.Errorf("locking the template: %w", err)
	}
	var exists bool
	err = conn.QueryRow(ctx, `select exists (select from pg_database where datname = $1)`, c.template).Scan(&exists)
	if err != nil || exists {
		return err
	}
	return c.buildTemplate(ctx, conn)
}

func (c *cluster) buildTemplate(ctx context.Context, conn *pgx.Conn) error {
	draft := c.template + "_draft"
	for _, sql := range []string{
		`drop database if exists ` + draft + ` with (force)`,
		`create database ` + draft + ` owner ` + postgres.OwnerRole,
	} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	log := slog.New(slog.DiscardHandler)
	if err := postgres.Migrate(ctx, c.dsn(postgres.OwnerRole, draft), migrations.FS, log); err != nil {
		return fmt.Errorf("migrating the template: %w", err)
	}
	if _, err := conn.Exec(ctx, `alter database `+draft+` rename to `+c.template); err != nil {
		return fmt.Errorf("naming the template: %w", err)
	}
	return nil
}

func digestOf(fsys fs.FS) (string, error) {
	hash := sha256.New()
	err := fs.WalkDir(fsys, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(fsys, path)
		fmt.Fprintf(hash, "%s %d\n%s", path, len(content), content)
		return err
	})
	return hex.EncodeToString(hash.Sum(nil)[:8]), err
}

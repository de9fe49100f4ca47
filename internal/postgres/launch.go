//go:build unix

package postgres

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// How long Start waits for the server of a Countersign that just died to end,
// and for a server that replays its log after a crash.
const (
	orphanPatience = 20 * time.Second
	startPatience  = 5 * time.Minute
)

// errNotFree tells that another postmaster still holds the data folder.
var errNotFree = errors.New("the data folder is held by another PostgreSQL")

// launchWhenFree launches the server, waiting for one that is still shutting
// down because its Countersign was killed a moment ago.
func (s *Server) launchWhenFree(ctx context.Context) error {
	deadline := time.Now().Add(orphanPatience)
	for {
		err := s.launch(ctx)
		if !errors.Is(err, errNotFree) {
			return err
		}
		if time.Now().After(deadline) {
			return &InUseError{PID: readPID(s.dir.postmasterFile()), DataDir: string(s.dir), orphan: true}
		}
		s.cfg.Log.Info("waiting for the previous PostgreSQL to end", slog.String("folder", string(s.dir)))
		if !sleep(ctx, 200*time.Millisecond) {
			return fmt.Errorf("starting PostgreSQL: %w", ctx.Err())
		}
	}
}

func (s *Server) launch(ctx context.Context) error {
	if err := s.dir.writeAccess(s.account); err != nil {
		return err
	}
	logged := s.dir.logSize()
	started := time.Now()
	if err := s.run(); err != nil {
		return err
	}
	if err := s.awaitReady(ctx); err != nil {
		tail := s.dir.logTail(logged)
		if strings.Contains(tail, `lock file "postmaster.pid" already exists`) {
			return errNotFree
		}
		return fmt.Errorf("starting PostgreSQL: %w; its log says:\n%s", err, tail)
	}
	s.cfg.Log.Info("database is running", slog.Int("pid", s.PID()), slog.Int("version", s.binaries.major),
		slog.String("folder", string(s.dir)), slog.Duration("took", time.Since(started)))
	return nil
}

// arguments are settings that no file in the data folder can override.
func (s *Server) arguments() []string {
	settings := map[string]string{
		"listen_addresses": "", "port": "5432", "unix_socket_permissions": "0700",
		"unix_socket_directories": s.socketDir,
		"hba_file":                s.dir.path("pg_hba.conf"), "ident_file": s.dir.path("pg_ident.conf"),
		"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on",
		"timezone": "UTC", "log_timezone": "UTC", "log_destination": "stderr", "logging_collector": "off",
		"log_line_prefix": "%m [%p] %q%u %a: ",
		// The detail of an error shows values of rows.
		"log_error_verbosity": "terse",
	}
	if s.cfg.Volatile {
		maps.Copy(settings, map[string]string{"fsync": "off", "full_page_writes": "off"})
	}
	maps.Copy(settings, s.cfg.Settings)
	args := []string{"-D", string(s.dir)}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		args = append(args, "-c", name+"="+settings[name])
	}
	return args
}

// awaitReady returns when the server answers as superuser, or has ended.
func (s *Server) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, s.dsn(superuser, superuser))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-s.done:
			return fmt.Errorf("it ended at once: %w", s.exit)
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
		if !IsUnavailable(err) && !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
	}
}

// ensureRoles makes the roles and the database that are missing.
func (s *Server) ensureRoles(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, s.dsn(superuser, superuser))
	if err != nil {
		return fmt.Errorf("connecting to make the database roles: %w", err)
	}
	defer hangUp(ctx, conn)
	if _, err := conn.Exec(ctx, RolesSQL); err != nil {
		return fmt.Errorf("making the database roles: %w", err)
	}
	var exists bool
	err = conn.QueryRow(ctx, `select exists (select from pg_database where datname = $1)`, database).Scan(&exists)
	if err != nil {
		return fmt.Errorf("looking for the database: %w", err)
	}
	if exists {
		return nil
	}
	if _, err := conn.Exec(ctx, `create database countersign owner countersign_owner`); err != nil {
		return fmt.Errorf("creating the database: %w", err)
	}
	return nil
}

// RolesSQL makes the owner's and the runtime role where they are missing. A
// commit that the runtime acknowledges is on disk, whatever the server's default.
const RolesSQL = `
	do $$ begin
	  if not exists (select from pg_roles where rolname = 'countersign_owner') then
	    create role countersign_owner;
	  end if;
	  if not exists (select from pg_roles where rolname = 'countersign_runtime') then
	    create role countersign_runtime;
	  end if;
	end $$;
	alter role countersign_owner login nosuperuser nocreatedb createrole;
	alter role countersign_runtime login nosuperuser nocreatedb nocreaterole;
	alter role countersign_runtime set synchronous_commit = on;`

func (d dataDir) path(name string) string { return filepath.Join(string(d), name) }

func (d dataDir) postmasterFile() string { return d.path("postmaster.pid") }

// writeAccess lets this process's user, and nobody else, connect in any of the
// three roles. It is written anew at each start: the user may have changed.
func (d dataDir) writeAccess(a account) error {
	us, err := user.Current()
	if err != nil {
		return fmt.Errorf("reading our own user name: %w", err)
	}
	var ident strings.Builder
	for _, role := range []string{superuser, OwnerRole, RuntimeRole} {
		fmt.Fprintf(&ident, "countersign \"%s\" %s\n", us.Username, role)
	}
	files := map[string]string{"pg_hba.conf": "local all all peer map=countersign\n", "pg_ident.conf": ident.String()}
	root, err := os.OpenRoot(string(d))
	if err != nil {
		return fmt.Errorf("opening the data folder: %w", err)
	}
	defer root.Close() // only a handle
	for name, content := range files {
		if err := replaceFile(root, name, content, a); err != nil {
			return fmt.Errorf("writing %s: %w", name, err)
		}
	}
	return nil
}

// replaceFile works inside root, so that a link left in a folder that belongs to
// another account leads nowhere.
func replaceFile(root *os.Root, name, content string, a account) error {
	tmp := name + ".new"
	if err := root.RemoveAll(tmp); err != nil {
		return err
	}
	if err := root.WriteFile(tmp, []byte(content), 0o600); err != nil {
		return err
	}
	if a.lent {
		if err := root.Lchown(tmp, a.uid, a.gid); err != nil {
			return err
		}
	}
	return root.Rename(tmp, name)
}

// logLimit is the size at which a start sets the log aside as postgresql.log.1.
const logLimit = 8 << 20

func (d dataDir) openLog(a account) (*os.File, error) {
	root, err := os.OpenRoot(string(d))
	if err != nil {
		return nil, fmt.Errorf("opening the data folder: %w", err)
	}
	defer root.Close() // only a handle
	if err := root.Mkdir("log", 0o700); err == nil && a.lent {
		err = root.Lchown("log", a.uid, a.gid)
		if err != nil {
			return nil, fmt.Errorf("making the log folder: %w", err)
		}
	}
	const name = "log/postgresql.log"
	if info, err := root.Stat(name); err == nil && info.Size() > logLimit {
		_ = root.Rename(name, name+".1")
	}
	f, err := root.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening PostgreSQL's log: %w", err)
	}
	if a.lent {
		if err := f.Chown(a.uid, a.gid); err != nil {
			_ = f.Close()
			return nil, fmt.Errorf("opening PostgreSQL's log: %w", err)
		}
	}
	return f, nil
}

func (d dataDir) logFile() string { return d.path("log/postgresql.log") }

func (d dataDir) logSize() int64 {
	if info, err := os.Stat(d.logFile()); err == nil && info.Size() <= logLimit {
		return info.Size()
	}
	return 0
}

// logTail returns what was logged after offset, at most its last 4 KiB.
func (d dataDir) logTail(offset int64) string {
	f, err := os.Open(d.logFile())
	if err != nil {
		return err.Error()
	}
	defer f.Close() // only read from
	if info, err := f.Stat(); err == nil {
		offset = max(offset, info.Size()-4096)
	}
	tail, _ := io.ReadAll(io.NewSectionReader(f, offset, 4096))
	return strings.TrimSpace(string(tail))
}

// makeSocketDir makes the folder of the Unix socket, whose path has to be
// short. The name depends on the data folder alone, so a crash leaves at most
// one behind and a restarted server is found where it was.
func makeSocketDir(wanted string, d dataDir, a account) (string, error) {
	dir := wanted
	if dir == "" {
		digest := sha256.Sum256([]byte(d))
		dir = fmt.Sprintf("/tmp/countersign-%d-%x", a.uid, digest[:5])
	}
	err := a.makeDir(dir)
	if errors.Is(err, fs.ErrExist) {
		err = ownedBy(dir, a)
	}
	if err != nil {
		return "", fmt.Errorf("making the folder of the database socket: %w", err)
	}
	return dir, nil
}

// ownedBy refuses a folder that somebody else put in our place.
func ownedBy(dir string, a account) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.IsDir() || int(stat.Uid) != a.uid || info.Mode().Perm() != 0o700 {
		return fmt.Errorf("%s belongs to somebody else: remove it", dir)
	}
	return nil
}

//go:build unix

package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
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
		if strings.Contains(tail, `lock file "postmaster.pid" already exists`) ||
			strings.Contains(tail, "pre-existing shared memory block") { // its backends are still leaving
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
	alter role countersign_owner login nosuperuser nocreatedb nocreaterole;
	alter role countersign_runtime login nosuperuser nocreatedb nocreaterole;
	alter role countersign_runtime set synchronous_commit = on;`

package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"github.com/golang-migrate/migrate/v4"
	migratepgx "github.com/golang-migrate/migrate/v4/database/pgx/v5"
	"github.com/golang-migrate/migrate/v4/source/iofs"
	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
)

// migrationLockTimeout bounds the wait for another migrator and for tables that
// a long transaction holds. A migration that cannot get its locks changes nothing.
const migrationLockTimeout = 60 * time.Second

// Migrate brings the schema of dsn up to the newest migration in fsys. dsn must
// connect as the owner. An advisory lock lets one migrator in at a time. Each
// migration is one transaction together with its version number, so it must not
// contain transaction control or CREATE INDEX CONCURRENTLY, and a migrator that
// is killed leaves a whole schema behind.
func Migrate(ctx context.Context, dsn string, fsys fs.FS, log *slog.Logger) error {
	return withMigrations(ctx, dsn, fsys, log, (*migrate.Migrate).Up)
}

// MigrateTo moves the schema up or down to version; 0 takes everything away.
// Down migrations lose data: they are for development.
func MigrateTo(ctx context.Context, dsn string, fsys fs.FS, version uint, log *slog.Logger) error {
	return withMigrations(ctx, dsn, fsys, log, func(m *migrate.Migrate) error {
		if version == 0 {
			return m.Down()
		}
		return m.Migrate(version)
	})
}

func withMigrations(ctx context.Context, dsn string, fsys fs.FS, log *slog.Logger, move func(*migrate.Migrate) error) error {
	latest, err := LatestVersion(fsys)
	if err != nil {
		return err
	}
	db, err := openForMigration(dsn, log)
	if err != nil {
		return err
	}
	defer db.Close() // nothing is pending on it
	m, err := newMigrator(ctx, db, fsys, log)
	if err != nil {
		return err
	}
	defer m.Close() // only this gives the lock's connection back
	if _, err := db.ExecContext(ctx, publishVersion); err != nil {
		return fmt.Errorf("letting the server read the schema version: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { m.GracefulStop <- true })
	defer stop()
	before, _, err := m.Version()
	if err != nil && !errors.Is(err, migrate.ErrNilVersion) {
		return fmt.Errorf("reading the schema version: %w", err)
	}
	if before > latest {
		return &SchemaError{Have: before, Want: latest}
	}
	if err := explainMigration(move(m)); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("migrating: %w", err)
	}
	return nil
}

// publishVersion lets every role read the version of the schema and only the
// owner change it, whatever a migration granted on all tables. Migrators take
// turns at it: two grants at once on one table are an error.
const publishVersion = `
	do $$ begin
	  perform pg_advisory_xact_lock(hashtext('countersign schema_migrations'));
	  grant select on schema_migrations to public;
	  if exists (select from pg_roles where rolname = 'countersign_runtime') then
	    revoke insert, update, delete, truncate on schema_migrations from countersign_runtime;
	  end if;
	end $$`

func explainMigration(err error) error {
	var dirty migrate.ErrDirty
	var pgErr *pgconn.PgError
	switch {
	case err == nil, errors.Is(err, migrate.ErrNoChange):
		return nil
	case errors.As(err, &dirty):
		return fmt.Errorf("the schema is marked as half-migrated at version %d, which Countersign never does itself: "+
			"repair it and the row in schema_migrations by hand: %w", dirty.Version, err)
	case errors.As(err, &pgErr) && pgErr.Code == pgerrcode.LockNotAvailable, errors.Is(err, migrate.ErrLockTimeout):
		return fmt.Errorf("another migration or a long transaction holds the lock; nothing was changed, try again: %w", err)
	default:
		return fmt.Errorf("migrating: %w", err)
	}
}

func openForMigration(dsn string, log *slog.Logger) (*sql.DB, error) {
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("reading the database URL: %w", err)
	}
	prepareConn(cfg, log)
	cfg.RuntimeParams["application_name"] = "countersign migrate"
	cfg.RuntimeParams["statement_timeout"] = "0"
	cfg.RuntimeParams["idle_in_transaction_session_timeout"] = "0"
	cfg.RuntimeParams["lock_timeout"] = fmt.Sprint(migrationLockTimeout.Milliseconds())
	return stdlib.OpenDB(*cfg), nil
}

func newMigrator(ctx context.Context, db *sql.DB, fsys fs.FS, log *slog.Logger) (*migrate.Migrate, error) {
	src, err := iofs.New(fsys, ".")
	if err != nil {
		return nil, fmt.Errorf("reading the migrations: %w", err)
	}
	lib, err := migratepgx.WithInstance(db, &migratepgx.Config{})
	if err != nil {
		return nil, fmt.Errorf("connecting to migrate: %w", err)
	}
	driver := &atomicDriver{Postgres: lib.(*migratepgx.Postgres)}
	driver.apply = func(body string, version int) error { return applyMigration(ctx, db, body, version, log) }
	m, err := migrate.NewWithInstance("embedded", src, "postgres", driver)
	if err != nil {
		return nil, fmt.Errorf("preparing to migrate: %w", err)
	}
	m.LockTimeout = migrationLockTimeout + 5*time.Second
	return m, nil
}

// atomicDriver makes a migration and its version number one transaction, where
// the library's driver marks the schema dirty, migrates, and marks it clean.
//
//	SetVersion(n, dirty)  remembers n
//	Run(body)             body and version n commit together
//	SetVersion(n, clean)  is already done
type atomicDriver struct {
	*migratepgx.Postgres
	apply   func(body string, version int) error
	version int  // announced by SetVersion(…, true)
	applied bool // Run has committed version
}

func (d *atomicDriver) SetVersion(version int, dirty bool) error {
	if dirty {
		d.version, d.applied = version, false
		return nil
	}
	if d.applied && version == d.version {
		return nil
	}
	return d.Postgres.SetVersion(version, false)
}

func (d *atomicDriver) Run(migration io.Reader) error {
	body, err := io.ReadAll(migration)
	if err != nil {
		return fmt.Errorf("reading migration %d: %w", d.version, err)
	}
	if err := d.apply(string(body), d.version); err != nil {
		return err
	}
	d.applied = true
	return nil
}

func applyMigration(ctx context.Context, db *sql.DB, body string, version int, log *slog.Logger) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("beginning migration to version %d: %w", version, err)
	}
	defer tx.Rollback() //nolint:errcheck // a no-op once committed
	if _, err := tx.ExecContext(ctx, body); err != nil {
		return fmt.Errorf("migration to version %d, %s: %w", version, whereInSQL(body, err), err)
	}
	if _, err := tx.ExecContext(ctx, `truncate schema_migrations`); err != nil {
		return fmt.Errorf("recording version %d: %w", version, err)
	}
	if version > 0 {
		_, err = tx.ExecContext(ctx, `insert into schema_migrations (version, dirty) values ($1, false)`, version)
		if err != nil {
			return fmt.Errorf("recording version %d: %w", version, err)
		}
	}
	if _, err := tx.ExecContext(ctx, publishVersion); err != nil {
		return fmt.Errorf("letting the server read version %d: %w", version, err)
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("committing migration to version %d: %w", version, err)
	}
	log.Info("schema migrated", slog.Int("version", max(version, 0)))
	return nil
}

// whereInSQL names the line of body that err complains about.
func whereInSQL(body string, err error) string {
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) || pgErr.Position < 1 {
		return "unknown line"
	}
	line := 1
	for i, r := range []rune(body) {
		if i >= int(pgErr.Position)-1 {
			break
		}
		if r == '\n' {
			line++
		}
	}
	return fmt.Sprintf("line %d", line)
}

// LatestVersion returns the number of the newest migration in fsys.
func LatestVersion(fsys fs.FS) (uint, error) {
	src, err := iofs.New(fsys, ".")
	if err != nil {
		return 0, fmt.Errorf("reading the migrations: %w", err)
	}
	version, err := src.First()
	for err == nil {
		var next uint
		if next, err = src.Next(version); err == nil {
			version = next
		}
	}
	if !errors.Is(err, os.ErrNotExist) || version == 0 {
		return 0, fmt.Errorf("reading the migrations: %w", err)
	}
	return version, nil
}

// SchemaVersion returns the version of the schema, 0 before the first migration.
func SchemaVersion(ctx context.Context, pool *pgxpool.Pool) (uint, error) {
	var version int64
	var dirty bool
	err := pool.QueryRow(ctx, `select version, dirty from schema_migrations`).Scan(&version, &dirty)
	var pgErr *pgconn.PgError
	switch {
	case errors.Is(err, pgx.ErrNoRows), errors.As(err, &pgErr) && pgErr.Code == pgerrcode.UndefinedTable:
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("reading the schema version: %w", err)
	case dirty || version < 0:
		return 0, fmt.Errorf("the schema is half-migrated at version %d: repair it by hand", version)
	}
	return uint(version), nil
}

// CheckSchema returns a *SchemaError unless the schema is at version want or one ahead: a migration is valid for the
// binary before it too, so that replicas can be rolled after it.
func CheckSchema(ctx context.Context, pool *pgxpool.Pool, want uint) error {
	have, err := SchemaVersion(ctx, pool)
	if err != nil {
		return err
	}
	if have != want && have != want+1 {
		return &SchemaError{Have: have, Want: want}
	}
	return nil
}

// SchemaError says that the database is older or newer than this binary.
type SchemaError struct{ Have, Want uint }

func (e *SchemaError) Error() string {
	if e.Have > e.Want {
		return fmt.Sprintf("the database schema is at version %d, newer than the %d this binary knows: "+
			"run the newer countersign binary", e.Have, e.Want)
	}
	return fmt.Sprintf("the database schema is at version %d, this binary needs %d: "+
		"run `countersign migrate` with the owner's DATABASE_URL", e.Have, e.Want)
}

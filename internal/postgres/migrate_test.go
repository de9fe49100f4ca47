package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"countersign/internal/pgtest"
	"countersign/internal/postgres"
	"countersign/migrations"
)

// files makes migrations 1, 2, … of the given SQL.
func files(ups ...string) fs.FS {
	fsys := fstest.MapFS{}
	for i, up := range ups {
		fsys[fmt.Sprintf("%06d_step.up.sql", i+1)] = &fstest.MapFile{Data: []byte(up)}
		fsys[fmt.Sprintf("%06d_step.down.sql", i+1)] = &fstest.MapFile{Data: []byte(fmt.Sprintf("drop table t%d;", i+1))}
	}
	return fsys
}

// blank returns a database without any schema.
func blank(t *testing.T) *pgtest.DB {
	t.Helper()
	db := pgtest.New(t)
	if err := postgres.MigrateTo(t.Context(), db.OwnerDSN, migrations.FS, 0, quiet()); err != nil {
		t.Fatal(err)
	}
	mustExec(t, db, `drop table schema_migrations`)
	return db
}

func mustMigrate(t *testing.T, db *pgtest.DB, fsys fs.FS) {
	t.Helper()
	if err := postgres.Migrate(t.Context(), db.OwnerDSN, fsys, quiet()); err != nil {
		t.Fatal(err)
	}
}

func wantVersion(t *testing.T, pool *pgxpool.Pool, want uint) {
	t.Helper()
	got, err := postgres.SchemaVersion(t.Context(), pool)
	if err != nil || got != want {
		t.Errorf("schema version %d (%v), want %d", got, err, want)
	}
}

func TestMigrateForwardAgainAndBack(t *testing.T) {
	t.Parallel()
	db := blank(t)
	wantVersion(t, db.Runtime, 0)
	mustMigrate(t, db, files(`create table t1 ();`))
	wantVersion(t, db.Runtime, 1)
	two := files(`create table t1 ();`, `create table t2 (); create index on t2 ((1));`)
	mustMigrate(t, db, two)
	mustMigrate(t, db, two)
	wantVersion(t, db.Runtime, 2)
	if err := postgres.MigrateTo(t.Context(), db.OwnerDSN, two, 1, quiet()); err != nil {
		t.Fatal(err)
	}
	wantVersion(t, db.Runtime, 1)
	if err := postgres.MigrateTo(t.Context(), db.OwnerDSN, two, 0, quiet()); err != nil {
		t.Fatal(err)
	}
	wantVersion(t, db.Runtime, 0)
}

func TestMigrationsOfTheProductGoBackAndForth(t *testing.T) {
	t.Parallel()
	db := blank(t)
	mustMigrate(t, db, migrations.FS)
	want, err := postgres.LatestVersion(migrations.FS)
	if err != nil {
		t.Fatal(err)
	}
	if err := postgres.CheckSchema(t.Context(), db.Runtime, want); err != nil {
		t.Error(err)
	}
}

func TestMigrationThatFailsChangesNothing(t *testing.T) {
	t.Parallel()
	db := blank(t)
	bad := files(`create table t1 ();`, "create table t2 ();\nselect nonsense;")
	err := postgres.Migrate(t.Context(), db.OwnerDSN, bad, quiet())
	if err == nil || !strings.Contains(err.Error(), "version 2, line 2") {
		t.Errorf("got %v, want the version and line at fault", err)
	}
	wantVersion(t, db.Runtime, 1)
	if got := count(t, db, `select count(*) from pg_class where relname = 't2'`); got != 0 {
		t.Error("half of the failed migration stayed")
	}
	mustMigrate(t, db, files(`create table t1 ();`, `create table t2 ();`))
	wantVersion(t, db.Runtime, 2)
}

func TestMigrationCutOffChangesNothing(t *testing.T) {
	t.Parallel()
	db := blank(t)
	slow := files(`create table t1 ();`, `create table t2 (); select pg_sleep(20);`)
	done := make(chan error, 1)
	go func() { done <- postgres.Migrate(t.Context(), db.OwnerDSN, slow, quiet()) }()
	const asleep = `select count(pg_terminate_backend(pid)) from pg_stat_activity
		where datname = current_database() and query like '%pg_sleep(20)%' and pid <> pg_backend_pid()`
	eventually(t, 30*time.Second, "the slow migration", func() bool { return count(t, db, asleep) > 0 })
	if err := <-done; err == nil {
		t.Error("a migration whose connection was cut succeeded")
	}
	wantVersion(t, db.Runtime, 1)
	mustMigrate(t, db, files(`create table t1 ();`, `create table t2 ();`))
}

func TestMigrateEndsWithItsContext(t *testing.T) {
	t.Parallel()
	db := blank(t)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	err := postgres.Migrate(ctx, db.OwnerDSN, files(`create table t1 (); select pg_sleep(20);`), quiet())
	if err == nil {
		t.Error("a cancelled migration succeeded")
	}
	wantVersion(t, db.Runtime, 0)
}

func TestManyMigratorsTakeTurns(t *testing.T) {
	t.Parallel()
	db := blank(t)
	fsys := files(`create table t1 (); select pg_sleep(0.2);`, `create table t2 ();`)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := postgres.Migrate(t.Context(), db.OwnerDSN, fsys, quiet()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	wantVersion(t, db.Runtime, 2)
}

func TestCheckSchemaSaysWhatToRun(t *testing.T) {
	t.Parallel()
	db := blank(t)
	check := func(want uint, advice string) {
		t.Helper()
		err := postgres.CheckSchema(t.Context(), db.Runtime, want)
		var schemaErr *postgres.SchemaError
		if !errors.As(err, &schemaErr) || !strings.Contains(err.Error(), advice) {
			t.Errorf("got %v, want a SchemaError saying %q", err, advice)
		}
	}
	check(1, "run `countersign migrate`")
	mustMigrate(t, db, files(`create table t1 ();`, `create table t2 ();`, `create table t3 ();`))
	check(4, "run `countersign migrate`")
	check(1, "run the newer countersign")
	for _, want := range []uint{2, 3} { // 2: the binary before the last migration
		if err := postgres.CheckSchema(t.Context(), db.Runtime, want); err != nil {
			t.Error(err)
		}
	}
	err := postgres.Migrate(t.Context(), db.OwnerDSN, files(`create table t1 ();`), quiet())
	if _, newer := errors.AsType[*postgres.SchemaError](err); !newer {
		t.Errorf("migrating a newer schema: got %v, want a SchemaError", err)
	}
}

func TestRuntimeCannotChangeTheSchemaVersion(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	for _, sql := range []string{`update schema_migrations set version = 9`, `delete from schema_migrations`, `create table t ()`} {
		if _, err := db.Runtime.Exec(t.Context(), sql); err == nil {
			t.Errorf("the runtime role may %s", sql)
		}
	}
}

func TestLatestVersion(t *testing.T) {
	t.Parallel()
	if got, err := postgres.LatestVersion(files(``, ``, ``)); err != nil || got != 3 {
		t.Errorf("got %d, %v, want 3", got, err)
	}
	if _, err := postgres.LatestVersion(fstest.MapFS{}); err == nil {
		t.Error("no migrations at all is not an error")
	}
}

package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// AssertDurable refuses a database that may lose a commit it acknowledged: a
// confirmation token redeemed in such a commit could be redeemed a second time
// after a crash. The server calls it once at start; only a test against a
// volatile server leaves the call out.
func AssertDurable(ctx context.Context, pool *pgxpool.Pool) error {
	rows, err := pool.Query(ctx, `
		select name, setting
		  from pg_settings
		 where name in ('fsync', 'full_page_writes', 'synchronous_commit')
		 order by name`)
	if err != nil {
		return fmt.Errorf("reading the durability settings: %w", err)
	}
	type setting struct{ Name, Setting string }
	settings, err := pgx.CollectRows(rows, pgx.RowToStructByName[setting])
	if err != nil {
		return fmt.Errorf("reading the durability settings: %w", err)
	}
	if len(settings) != 3 {
		return fmt.Errorf("reading the durability settings: got %d of 3", len(settings))
	}
	var problems []error
	for _, s := range settings {
		if !durable(s.Name, s.Setting) {
			problems = append(problems, fmt.Errorf("%s is %s: set it to on", s.Name, s.Setting))
		}
	}
	if len(problems) > 0 {
		return fmt.Errorf("this PostgreSQL may lose acknowledged commits: %w", errors.Join(problems...))
	}
	return nil
}

func durable(name, setting string) bool {
	if name == "synchronous_commit" && (setting == "remote_apply" || setting == "remote_write") {
		return true
	}
	return setting == "on"
}

// AssertLesser refuses a connection that could rewrite history: one whose role,
// or any role it may assume, is a superuser, owns the table audit_events, or
// may update, delete or truncate it. It also refuses when there is no such table.
func AssertLesser(ctx context.Context, pool *pgxpool.Pool) error {
	const query = `
		select r.rolname
		  from pg_roles r
		 where pg_has_role(session_user, r.oid, 'MEMBER')
		   and (r.rolsuper
		        or exists (select from pg_class c
		                    where c.oid = to_regclass('audit_events')
		                      and (c.relowner = r.oid
		                           or has_table_privilege(r.oid, c.oid, 'UPDATE, DELETE, TRUNCATE')
		                           or has_any_column_privilege(r.oid, c.oid, 'UPDATE'))))
		 order by r.rolname = session_user desc, r.rolname
		 limit 1`
	var exists bool
	if err := pool.QueryRow(ctx, `select to_regclass('audit_events') is not null`).Scan(&exists); err != nil {
		return fmt.Errorf("looking for the audit log: %w", err)
	}
	if !exists {
		return errors.New("there is no table audit_events: run `countersign migrate` first")
	}
	var role string
	err := pool.QueryRow(ctx, query).Scan(&role)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the privileges of the database role: %w", err)
	}
	return fmt.Errorf("the server must not connect with a role that can change the audit log (as %q can): "+
		"use %s in DATABASE_URL and keep the owner for `countersign migrate`", role, RuntimeRole)
}

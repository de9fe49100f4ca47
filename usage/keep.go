package usage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"
)

// constraintMissing says that no partition takes a record.
func constraintMissing(err error) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pgErr.Code == pgerrcode.CheckViolation && pgErr.ConstraintName == ""
}

// keepRecords makes the partitions that records need, and drops those that are too old.
func (l *Ledger) keepRecords(ctx context.Context) error {
	var dropped int
	if err := l.pool.QueryRow(ctx, `select keep_call_records($1)`, l.cfg.KeepRecords).Scan(&dropped); err != nil {
		return fmt.Errorf("making and dropping partitions of call records: %w", err)
	}
	if dropped > 0 {
		l.cfg.Log.Info("old call records were dropped", slog.Int("weeks", dropped))
	}
	return nil
}

// unknownBound is how many names of unknown servers are kept for each gateway.
const unknownBound = 1000

// keep drops what is older than it is kept.
func (l *Ledger) keep(ctx context.Context) error {
	if err := l.keepRecords(ctx); err != nil {
		return err
	}
	for _, old := range []struct {
		doing, sql string
		args       []any
	}{
		{"hours", `
			with parts as (delete from usage_parts where step = 'hour' and at < clock_timestamp() - make_interval(days => $1))
			delete from usage_hours where at < clock_timestamp() - make_interval(days => $1)`, []any{l.cfg.KeepRecords}},
		{"days", `
			with parts as (delete from usage_parts where step = 'day' and at < clock_timestamp() - make_interval(days => $1))
			delete from usage_days where at < clock_timestamp() - make_interval(days => $1)`, []any{l.cfg.KeepUsage}},
		{"unknown servers", `
			delete from unknown_servers u
			where u.last_at < clock_timestamp() - make_interval(days => $1)
			   or (u.name, u.gateway_id) in (select r.name, r.gateway_id
			        from (select name, gateway_id, row_number() over (partition by gateway_id order by last_at desc, name) as place from unknown_servers) r
			        where r.place > $2)`, []any{l.cfg.KeepRecords, unknownBound}},
	} {
		if _, err := l.pool.Exec(ctx, old.sql, old.args...); err != nil {
			return fmt.Errorf("dropping old %s: %w", old.doing, err)
		}
	}
	return nil
}

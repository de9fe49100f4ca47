package audit

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// AppendAll writes many events in the caller's transaction, in their order, by one statement: for a change of
// thousands of things at once. Without events it does nothing.
func AppendAll(ctx context.Context, tx pgx.Tx, events []Event) error {
	if len(events) == 0 {
		return nil
	}
	names := []string{
		"kind", "actor_kind", "actor_id", "actor_name", "target_kind", "target_id", "target_name", "detail", "ip", "request_id",
	}
	columns := pgx.StrictNamedArgs{}
	for _, name := range names {
		columns[name] = make([]string, 0, len(events))
	}
	for _, e := range events {
		args, err := e.args()
		if err != nil {
			return err
		}
		for _, name := range names {
			columns[name] = append(columns[name].([]string), args[name].(string)) //nolint:forcetypeassert // made above, and in args
		}
	}
	_, err := tx.Exec(ctx, `
		select audit_append(e.kind, e.actor_kind, e.actor_id, e.actor_name, e.target_kind, e.target_id, e.target_name,
		                    e.detail::jsonb, e.ip, e.request_id)
		from (
		  select *
		  from unnest(@kind::text[], @actor_kind::text[], @actor_id::text[], @actor_name::text[], @target_kind::text[],
		              @target_id::text[], @target_name::text[], @detail::text[], @ip::text[], @request_id::text[])
		    with ordinality as n (kind, actor_kind, actor_id, actor_name, target_kind, target_id, target_name, detail, ip, request_id, nth)
		  order by nth) e`, columns)
	if err != nil {
		return fmt.Errorf("writing %d audit events: %w", len(events), err)
	}
	return nil
}

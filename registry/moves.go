package registry

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/identity"
)

// Move is how the policy came to a generation. Its texts are those of the audit event that tells it.
type Move struct {
	Generation int64
	Epoch      int64
	At         time.Time
	Kind       string // of the event, as "grant.created"; "": it was compiled anew, or history begins here
	ActorKind  string
	ActorID    string
	ActorName  string
	TargetKind string
	TargetID   string
	TargetName string
}

const selectMoves = `
	select n.generation, n.epoch, n.at, coalesce(e.kind, '') as kind, coalesce(e.actor_kind, '') as actor_kind,
	       coalesce(e.actor_id, '') as actor_id, coalesce(e.actor_name, '') as actor_name,
	       coalesce(e.target_kind, '') as target_kind, coalesce(e.target_id, '') as target_id,
	       coalesce(e.target_name, '') as target_name
	from generations n
	left join audit_events e on e.id = n.event_id `

// Moves lists how the policy moved, the newest generation first. after is Page.Next of the page before; limit is 1 to
// 200, default 50. It needs identity.ReadPolicy.
func (r *Registry) Moves(ctx context.Context, who identity.Principal, after string, limit int) (Page[Move], error) {
	if err := who.Can(identity.ReadPolicy, ""); err != nil {
		return Page[Move]{}, err
	}
	before, _ := strconv.ParseInt(after, 10, 64) // what is no number begins anew
	limit = limitOf(limit, 50, 200)
	rows, _ := r.pool.Query(ctx, selectMoves+`
		where @before = 0 or n.generation < @before
		order by n.generation desc
		limit @limit`, pgx.StrictNamedArgs{"before": before, "limit": limit + 1})
	moves, err := pgx.CollectRows(rows, pgx.RowToStructByName[Move])
	if err != nil {
		return Page[Move]{}, fmt.Errorf("listing how the policy moved: %w", err)
	}
	return pageOf(moves, limit, func(m Move) string { return strconv.FormatInt(m.Generation, 10) }), nil
}

// MovesBetweenTx lists the moves after the generation from up to to, the newest first, at most limit.
func (r *Registry) MovesBetweenTx(ctx context.Context, tx pgx.Tx, from, to int64, limit int) ([]Move, error) {
	rows, _ := tx.Query(ctx, selectMoves+`
		where n.generation > @from and n.generation <= @to
		order by n.generation desc
		limit @limit`, pgx.StrictNamedArgs{"from": from, "to": to, "limit": limit})
	moves, err := pgx.CollectRows(rows, pgx.RowToStructByName[Move])
	if err != nil {
		return nil, fmt.Errorf("listing how the policy moved: %w", err)
	}
	return moves, nil
}

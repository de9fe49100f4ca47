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

// Span is the generations after After up to Upto.
type Span struct{ After, Upto int64 }

// MovesWithinTx gives, for each span, how the policy moved within it: the newest most, the newest first.
func (r *Registry) MovesWithinTx(ctx context.Context, tx pgx.Tx, spans []Span, most int) ([][]Move, error) {
	after, upto := make([]int64, len(spans)), make([]int64, len(spans))
	for i, s := range spans {
		after[i], upto[i] = s.After, s.Upto
	}
	rows, _ := tx.Query(ctx, `
		select s.place, m.*
		from unnest(@after::bigint[], @upto::bigint[]) with ordinality as s (after, upto, place)
		cross join lateral (`+selectMoves+`
		  where n.generation > s.after and n.generation <= s.upto
		  order by n.generation desc
		  limit @most) m
		order by s.place, m.generation desc`,
		pgx.StrictNamedArgs{"after": after, "upto": upto, "most": most})
	type row struct {
		Place int64
		Move
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[row])
	if err != nil {
		return nil, fmt.Errorf("listing how the policy moved: %w", err)
	}
	moves := make([][]Move, len(spans))
	for _, f := range found {
		moves[f.Place-1] = append(moves[f.Place-1], f.Move)
	}
	return moves, nil
}

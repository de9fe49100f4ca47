// Package audit is the log of who did what: append-only events, each written in the transaction of the change
// it records. No event, no change: if the append fails the change is rolled back with it.
//
//	change  ── Append(ctx, tx, event) ──▶ commit: both or neither
//	refusal ── Refused(ctx, pool, event, err) ──▶ committed by itself, since there is no change to ride on
//
// The role the server runs as can insert and read events, never update or delete them (see migrations).
// Details hold facts for people and exports; they never hold a secret, a token or a call's arguments.
package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"countersign/identity"
	"countersign/internal/problem"
)

// Event is what happened, before it has a number. Kind is dotted lower case: "grant.created".
type Event struct {
	Kind       string
	Who        identity.Principal
	TargetKind string // the noun: "server", "grant", …
	TargetID   string
	TargetName string
	Detail     map[string]any
}

// Append writes the event in the caller's transaction.
func Append(ctx context.Context, tx pgx.Tx, e Event) error { return write(ctx, tx, e) }

// Refused records that something was refused, in a transaction of its own, with the problem's code, and
// returns the refusal itself; if the record cannot be written it returns both errors joined.
func Refused(ctx context.Context, pool *pgxpool.Pool, e Event, refusal error) error {
	detail := map[string]any{"refused": problem.From(refusal).Code}
	maps.Copy(detail, e.Detail)
	e.Detail = detail
	if err := write(ctx, pool, e); err != nil { // one statement is a transaction of its own
		return errors.Join(refusal, err)
	}
	return refusal
}

// querier is the caller's transaction, or a pool.
type querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

func write(ctx context.Context, db querier, e Event) error {
	args, err := e.args()
	if err != nil {
		return err
	}
	var id int64
	if err := db.QueryRow(ctx, appendSQL, args).Scan(&id); err != nil {
		return fmt.Errorf("writing audit event %s: %w", e.Kind, err)
	}
	return nil
}

const appendSQL = `
	select audit_append(@kind, @actor_kind, @actor_id, @actor_name, @target_kind, @target_id, @target_name, @detail, @ip, @request_id)`

// args are the arguments of the SQL function audit_append, which the redemption of a confirmation calls by
// itself, in the statement that changes the state.
func (e Event) args() (pgx.StrictNamedArgs, error) {
	if e.Detail == nil {
		e.Detail = map[string]any{}
	}
	detail, err := json.Marshal(e.Detail)
	if err != nil {
		return nil, fmt.Errorf("encoding audit detail of %s: %w", e.Kind, err)
	}
	kind := e.Who.Kind
	if kind == "" {
		kind = identity.Anonymous
	}
	return pgx.StrictNamedArgs{
		"kind": e.Kind, "actor_kind": string(kind), "actor_id": e.Who.ID, "actor_name": e.Who.Name,
		"target_kind": e.TargetKind, "target_id": e.TargetID, "target_name": e.TargetName,
		"detail": string(detail), "ip": e.Who.IP, "request_id": e.Who.RequestID,
	}, nil
}

// Entry is one recorded event.
type Entry struct {
	ID         int64
	At         time.Time
	Kind       string
	ActorKind  string
	ActorID    string
	ActorName  string
	TargetKind string
	TargetID   string
	TargetName string
	Detail     map[string]any
	IP         string
	RequestID  string
}

const entryColumns = `id, at, kind, actor_kind, actor_id, actor_name, target_kind, target_id, target_name, detail, ip, request_id`

// Filter selects entries; zero fields select everything. Kind matches a kind or, ending in ".", its prefix.
// Actor and Target match an id or a name. Before is a keyset cursor: entries with a smaller ID.
type Filter struct {
	Kind   string
	Actor  string
	Target string
	From   time.Time
	To     time.Time
	Before int64
	Limit  int // 1 to 200, default 50
}

// List gives the newest entries first. It needs identity.ReadAudit.
func List(ctx context.Context, pool *pgxpool.Pool, who identity.Principal, f Filter) ([]Entry, error) {
	if err := who.Can(identity.ReadAudit, ""); err != nil {
		return nil, err
	}
	return list(ctx, pool, f)
}

// Timeline gives the newest entries about one target, for a page that shows that target. The caller has
// decided that the reader may see it.
func Timeline(ctx context.Context, pool *pgxpool.Pool, targetID string, limit int) ([]Entry, error) {
	if targetID == "" {
		return nil, nil
	}
	return list(ctx, pool, Filter{Target: targetID, Limit: limit})
}

func list(ctx context.Context, pool *pgxpool.Pool, f Filter) ([]Entry, error) {
	if f.Limit <= 0 || f.Limit > 200 {
		f.Limit = 50
	}
	rows, _ := pool.Query(ctx, `
		select `+entryColumns+`
		from audit_events
		where (@kind = '' or kind = @kind or (right(@kind, 1) = '.' and starts_with(kind, @kind)))
		  and (@actor = '' or actor_id = @actor or lower(actor_name) = lower(@actor))
		  and (@target = '' or target_id = @target or lower(target_name) = lower(@target))
		  and (@from::timestamptz is null or at >= @from)
		  and (@to::timestamptz is null or at < @to)
		  and (@before = 0 or id < @before)
		order by id desc
		limit @limit`,
		pgx.StrictNamedArgs{
			"kind": f.Kind, "actor": f.Actor, "target": f.Target,
			"from": optional(f.From), "to": optional(f.To), "before": f.Before, "limit": f.Limit,
		})
	entries, err := pgx.CollectRows(rows, pgx.RowToStructByName[Entry])
	if err != nil {
		return nil, fmt.Errorf("reading the audit log: %w", err)
	}
	return entries, nil
}

// Get gives one entry. It needs identity.ReadAudit.
func Get(ctx context.Context, pool *pgxpool.Pool, who identity.Principal, id int64) (Entry, error) {
	if err := who.Can(identity.ReadAudit, ""); err != nil {
		return Entry{}, err
	}
	rows, _ := pool.Query(ctx, `select `+entryColumns+` from audit_events where id = @id`, pgx.StrictNamedArgs{"id": id})
	entry, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[Entry])
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return Entry{}, problem.New(problem.NotFound, "no_such_event", "There is no audit event %d.", id)
	case err != nil:
		return Entry{}, fmt.Errorf("reading audit event %d: %w", id, err)
	}
	return entry, nil
}

func optional(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

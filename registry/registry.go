package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"countersign/identity"
	"countersign/internal/postgres"
	"countersign/internal/problem"
	"countersign/policy"
)

// Topics of the hub that this package wakes, after the commit.
const (
	TopicPolicy      = "policy"      // registry_head.generation moved
	TopicDiscoveries = "discoveries" // a discovery was opened, progressed or ended
)

// Registry is the door to the tables of servers, their tools, grants and guardrails. Its methods are safe for
// concurrent use, authorise on their first lines, and write their audit event in the transaction of the change.
type Registry struct {
	pool *pgxpool.Pool
	hub  *postgres.Hub
	log  *slog.Logger

	// DisablePerson shuts the console to a person whom [Registry.SuspendPerson] suspends, in its transaction. It is set
	// before the first use; nil leaves the console open to them.
	DisablePerson func(ctx context.Context, tx pgx.Tx, who identity.Principal, personID, reason string) error

	// Fresh refuses who has not signed in of late. It is set before the first use; nil refuses everybody, so that nobody
	// makes keys unless somebody looks.
	Fresh func(who identity.Principal) error

	parts      memory[parts] // by definition id
	grants     memory[policy.SourceGrant]
	guardrails memory[policy.SourceGuardrail]
}

// New makes a registry on a migrated database.
func New(pool *pgxpool.Pool, hub *postgres.Hub, log *slog.Logger) *Registry {
	return &Registry{pool: pool, hub: hub, log: log}
}

// BumpTx moves the generation of the policy, and gives the new one. It belongs at the end of the transaction of
// every change of policy: the row it locks is the one that orders all of them. Wake [TopicPolicy] after the commit.
//
// A trigger numbers what the transaction made of rules with the new generation, and keeps the last audit event that
// the transaction wrote before: who moved the policy, and how ([Registry.RulesAt], [Registry.Moves]).
func BumpTx(ctx context.Context, tx pgx.Tx) (generation int64, err error) {
	err = tx.QueryRow(ctx, `update registry_head set generation = generation + 1 returning generation`).Scan(&generation)
	if err != nil {
		return 0, fmt.Errorf("moving the policy's generation: %w", err)
	}
	if moved, ok := ctx.Value(movedKey{}).(*Moved); ok {
		moved.generation.Store(generation)
	}
	return generation, nil
}

// Moved is which generation a request made. It means something only if the request succeeded.
type Moved struct{ generation atomic.Int64 }

// Generation is the one that was made last, 0 if the policy did not move.
func (m *Moved) Generation() int64 { return m.generation.Load() }

type movedKey struct{}

// WatchMoves gives a context under which BumpTx says which generation it makes.
func WatchMoves(ctx context.Context) (context.Context, *Moved) {
	moved := &Moved{}
	return context.WithValue(ctx, movedKey{}, moved), moved
}

// Page is one page of a list. Next is the cursor for the page after it, "" at the end.
type Page[T any] struct {
	Items []T
	Next  string
}

// pageOf cuts the one row too many that a list asked for to see whether there is more.
func pageOf[T any](rows []T, limit int, cursor func(T) string) Page[T] {
	if len(rows) <= limit {
		return Page[T]{Items: rows}
	}
	rows = rows[:limit]
	return Page[T]{Items: rows, Next: cursor(rows[limit-1])}
}

// limitOf gives the number of rows on a page.
func limitOf(asked, otherwise, most int) int {
	if asked <= 0 {
		return otherwise
	}
	return min(asked, most)
}

// contains makes a pattern for ilike that finds s anywhere.
func contains(s string) string {
	if s == "" {
		return ""
	}
	return "%" + strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(s) + "%"
}

// mayRead is the first line of every method that only reads.
func mayRead(who identity.Principal) error { return who.Can(identity.ReadRegistry, "") }

// one reads the only row of a query, and maps its absence to the problem.
func one[T any](rows pgx.Rows, fn pgx.RowToFunc[T], doing string, absent *problem.Error) (T, error) {
	row, err := pgx.CollectExactlyOneRow(rows, fn)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return row, absent
	case err != nil:
		return row, fmt.Errorf("%s: %w", doing, err)
	}
	return row, nil
}

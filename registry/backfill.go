package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"countersign/internal/postgres"
)

// Both columns came later than their tables, and what fills them may change: a migration empties them, and the leader
// fills them again, a few rows at a time.
const backfilledAtOnce = 200

// Backfill fills in what an earlier version stored without: all skeletons, and the tokens of some definitions. The
// leader calls it over and over; without such rows it costs two looks into empty indexes.
func (r *Registry) Backfill(ctx context.Context) error {
	return errors.Join(r.BackfillSkeletons(ctx), r.BackfillTokens(ctx))
}

// BackfillTokens counts the tokens of at most 200 definitions that were stored without.
func (r *Registry) BackfillTokens(ctx context.Context) error {
	err := postgres.InTx(ctx, r.pool, func(tx pgx.Tx) error {
		rows, _ := tx.Query(ctx, `
			select id, raw from definitions where tokens is null order by id limit @limit for no key update skip locked`,
			pgx.StrictNamedArgs{"limit": backfilledAtOnce})
		var ids []string
		var tokens []int
		var id string
		var raw json.RawMessage
		_, err := pgx.ForEachRow(rows, []any{&id, &raw}, func() error {
			ids, tokens = append(ids, id), append(tokens, Tokens(raw))
			return ctx.Err()
		})
		if err != nil || len(ids) == 0 {
			return err
		}
		_, err = tx.Exec(ctx, `
			update definitions d set tokens = n.tokens
			from unnest(@ids::text[], @tokens::integer[]) as n (id, tokens)
			where d.id = n.id`, pgx.StrictNamedArgs{"ids": ids, "tokens": tokens})
		return err
	})
	if err != nil {
		return fmt.Errorf("counting tokens: %w", err)
	}
	return nil
}

// BackfillSkeletons gives every tool its skeleton that has none yet.
func (r *Registry) BackfillSkeletons(ctx context.Context) error {
	for {
		n, err := r.backfillSkeletons(ctx)
		if err != nil {
			return fmt.Errorf("reducing names to what they look like: %w", err)
		}
		if n < backfilledAtOnce {
			return nil
		}
	}
}

func (r *Registry) backfillSkeletons(ctx context.Context) (n int, err error) {
	err = postgres.InTx(ctx, r.pool, func(tx pgx.Tx) error {
		rows, _ := tx.Query(ctx, `
			select id, name from tools where skeleton = '' and name <> '' order by id limit @limit for no key update skip locked`,
			pgx.StrictNamedArgs{"limit": backfilledAtOnce})
		var ids, skeletons []string
		var id, name string
		_, err := pgx.ForEachRow(rows, []any{&id, &name}, func() error {
			ids, skeletons = append(ids, id), append(skeletons, Skeleton(name))
			return nil
		})
		if n = len(ids); err != nil || n == 0 {
			return err
		}
		_, err = tx.Exec(ctx, `
			update tools t set skeleton = n.skeleton
			from unnest(@ids::text[], @skeletons::text[]) as n (id, skeleton)
			where t.id = n.id`, pgx.StrictNamedArgs{"ids": ids, "skeletons": skeletons})
		return err
	})
	return n, err
}

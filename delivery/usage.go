package delivery

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/policy"
)

// usedTool is what calls name.
type usedTool struct {
	server, name string
	kind         policy.Kind
}

// use is when a tool was last called.
type use struct {
	last *time.Time
	long bool // more than 90 days ago
}

func readUsage(ctx context.Context, tx pgx.Tx) (map[usedTool]use, error) {
	rows, _ := tx.Query(ctx, `select server, tool, kind, last_at, last_at < clock_timestamp() - interval '90 days' from tool_usage`)
	used := map[usedTool]use{}
	var t usedTool
	var u use
	_, err := pgx.ForEachRow(rows, []any{&t.server, &t.name, &t.kind, &u.last, &u.long}, func() error {
		used[t] = u
		u.last = nil // the next one gets a time of its own
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading when tools were last called: %w", err)
	}
	return used, nil
}

// costs remembers what definitions cost, in tokens. A definition never changes.
type costs struct {
	mu    sync.Mutex
	known map[string]int // by id of the definition
}

// fill says of each tool what its definition costs. One that nobody has counted yet costs nothing.
func (c *costs) fill(ctx context.Context, tx pgx.Tx, tools []sprawlLine) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var missing []string
	for i := range tools {
		if _, known := c.known[tools[i].definition]; !known {
			missing = append(missing, tools[i].definition)
		}
	}
	if err := c.read(ctx, tx, missing); err != nil {
		return err
	}
	for i := range tools {
		tools[i].tokens = c.known[tools[i].definition]
	}
	if len(c.known) > 2*len(tools)+1024 { // most of it is of definitions that are no longer in use
		c.known = nil
	}
	return nil
}

func (c *costs) read(ctx context.Context, tx pgx.Tx, ids []string) error {
	if c.known == nil {
		c.known = map[string]int{}
	}
	if len(ids) == 0 {
		return nil
	}
	rows, _ := tx.Query(ctx, `select id, tokens from definitions where id = any (@ids) and tokens is not null`, pgx.StrictNamedArgs{"ids": ids})
	var id string
	var tokens int
	_, err := pgx.ForEachRow(rows, []any{&id, &tokens}, func() error {
		c.known[id] = tokens
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading what definitions cost: %w", err)
	}
	return nil
}

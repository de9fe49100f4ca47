package registry

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"countersign/identity"
)

// received is what became of what a gateway saw.
type received struct {
	offered int
	created int
	changed int
	gone    int
	heldNow int
	moves   bool  // the policy depends on what changed
	holding []key // every pinned tool of the server that is held now
}

// receiveTx writes what compare finds: new tools and definitions, what is served and what is not, and holds. It
// does not move the policy's generation; the caller does, last, if it moves.
func receiveTx(ctx context.Context, tx pgx.Tx, who identity.Principal, server lockedServer, s served) (received, error) {
	rows, _ := tx.Query(ctx, `
		select t.id, t.kind, t.name, t.observed_digest as observed, d.digest as pinned, t.held_at is not null as held, t.severity
		from tools t
		left join definitions d on d.id = t.pinned_id
		where t.server_id = @server
		order by t.kind, t.name`, pgx.StrictNamedArgs{"server": server.ID})
	tools, err := pgx.CollectRows(rows, pgx.RowToStructByName[known])
	if err != nil {
		return received{}, fmt.Errorf("reading tools: %w", err)
	}
	c := compare(tools, s)
	if err := createTx(ctx, tx, server, &c); err != nil {
		return received{}, err
	}
	for _, write := range []func(context.Context, pgx.Tx, lockedServer, changes) error{serveTx, lookedTx} {
		if err := write(ctx, tx, server, c); err != nil {
			return received{}, err
		}
	}
	if err := refindTx(ctx, tx, s.refound); err != nil {
		return received{}, err
	}
	if err := holdTx(ctx, tx, who, server, tools, c); err != nil {
		return received{}, err
	}
	return received{
		offered: len(s.items), created: len(c.create), changed: len(c.serve) - len(c.create), gone: len(c.gone), heldNow: len(c.hold),
		moves: c.moves(), holding: c.holding,
	}, nil
}

// createTx inserts the tools never seen, and makes their definitions part of what is served.
func createTx(ctx context.Context, tx pgx.Tx, server lockedServer, c *changes) error {
	if len(c.create) == 0 {
		return nil
	}
	kinds, names, skeletons := make([]string, len(c.create)), make([]string, len(c.create)), make([]string, len(c.create))
	byKey := make(map[key]item, len(c.create))
	for i, it := range c.create {
		kinds[i], names[i], skeletons[i] = string(it.Kind), it.Name, Skeleton(it.Name)
		byKey[it.key] = it
	}
	rows, _ := tx.Query(ctx, `
		insert into tools (server_id, kind, name, skeleton)
		select @server, n.kind, n.name, n.skeleton
		from unnest(@kinds::text[], @names::text[], @skeletons::text[]) as n (kind, name, skeleton)
		returning id, kind, name`,
		pgx.StrictNamedArgs{"server": server.ID, "kinds": kinds, "names": names, "skeletons": skeletons})
	var id string
	var k key
	_, err := pgx.ForEachRow(rows, []any{&id, &k.Kind, &k.Name}, func() error {
		c.serve[id] = byKey[k]
		return nil
	})
	if err != nil {
		return fmt.Errorf("inserting tools: %w", err)
	}
	return nil
}

// serveTx records the definitions that are served now and were not served last. One that was known and superseded
// waits for a person again; one that was rejected stays rejected. What waited and is not served any more is
// superseded.
func serveTx(ctx context.Context, tx pgx.Tx, server lockedServer, c changes) error {
	if len(c.serve) == 0 {
		return nil
	}
	var ids, risks []string
	var digests, raws [][]byte
	var findings [][]Finding
	var tokens []int
	for id, it := range c.serve {
		if it.findings == nil {
			it.findings = []Finding{}
		}
		ids, risks, findings = append(ids, id), append(risks, string(it.risk)), append(findings, it.findings)
		digests, raws, tokens = append(digests, it.digest[:]), append(raws, it.raw), append(tokens, it.tokens)
	}
	_, err := tx.Exec(ctx, `
		insert into definitions (tool_id, number, digest, raw, proposed_risk, findings, tokens)
		select n.tool_id, 1 + coalesce((select max(o.number) from definitions o where o.tool_id = n.tool_id), 0),
		       n.digest, n.raw, n.risk, n.findings, nullif(n.tokens, 0)
		from unnest(@ids::text[], @digests::bytea[], @raws::bytea[], @risks::text[], @findings::jsonb[], @tokens::integer[])
		  as n (tool_id, digest, raw, risk, findings, tokens)
		on conflict (tool_id, digest) do update set state = 'pending' where definitions.state = 'superseded'`,
		pgx.StrictNamedArgs{"ids": ids, "digests": digests, "raws": raws, "risks": risks, "findings": findings, "tokens": tokens})
	if err != nil {
		return fmt.Errorf("inserting definitions: %w", err)
	}
	_, err = tx.Exec(ctx, `
		update tools t set observed_digest = n.digest, observed_endpoint = @endpoint, observed_at = clock_timestamp(), version = version + 1
		from unnest(@ids::text[], @digests::bytea[]) as n (id, digest)
		where t.id = n.id`,
		pgx.StrictNamedArgs{"ids": ids, "digests": digests, "endpoint": server.EndpointID})
	if err != nil {
		return fmt.Errorf("recording what is served: %w", err)
	}
	_, err = tx.Exec(ctx, `
		update definitions d set state = 'superseded'
		from tools t
		where t.id = any (@ids) and d.tool_id = t.id and d.state = 'pending' and d.digest <> t.observed_digest`,
		pgx.StrictNamedArgs{"ids": ids})
	if err != nil {
		return fmt.Errorf("superseding definitions: %w", err)
	}
	return nil
}

// lookedTx records what was seen unchanged, and what is not offered any more. That everything was looked at is one
// note for all of it.
func lookedTx(ctx context.Context, tx pgx.Tx, server lockedServer, c changes) error {
	seen := `update endpoints set looked_at = clock_timestamp() where id = @endpoint`
	args := pgx.StrictNamedArgs{"endpoint": server.EndpointID}
	if c.partial {
		seen = `update tools set observed_at = clock_timestamp(), observed_endpoint = @endpoint where id = any (@ids)`
		args["ids"] = c.same
	}
	if _, err := tx.Exec(ctx, seen, args); err != nil {
		return fmt.Errorf("recording what was seen: %w", err)
	}
	if len(c.gone) == 0 {
		return nil
	}
	_, err := tx.Exec(ctx, `
		update tools set observed_digest = null, observed_at = clock_timestamp(), version = version + 1 where id = any (@ids)`,
		pgx.StrictNamedArgs{"ids": c.gone})
	if err != nil {
		return fmt.Errorf("recording what is gone: %w", err)
	}
	return nil
}

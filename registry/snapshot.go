package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/canonical"
	"countersign/policy"
)

// Snapshot is everything a compile reads, at one generation: all servers that gateways may hear of, with what is
// pinned, and all rules that have not ended.
type Snapshot struct {
	Generation int64
	Epoch      int64
	Servers    []policy.Server
	Grants     []policy.SourceGrant
	Guardrails []policy.SourceGuardrail
}

// ReadOnly are the options of the transaction that SnapshotTx belongs into: every statement sees the same state.
var ReadOnly = pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}

// SnapshotTx reads the registry. tx must be of the kind [ReadOnly]. Rules are read strictly: one that this program
// does not understand is an error, so that an older replica cannot publish a looser policy.
func (r *Registry) SnapshotTx(ctx context.Context, tx pgx.Tx) (Snapshot, error) {
	var s Snapshot
	if err := tx.QueryRow(ctx, `select generation, epoch from registry_head`).Scan(&s.Generation, &s.Epoch); err != nil {
		return Snapshot{}, fmt.Errorf("reading the policy's generation: %w", err)
	}
	for _, read := range []func(context.Context, pgx.Tx, *Snapshot) error{r.readServers, r.readTools, readGrants, readGuardrails} {
		if err := read(ctx, tx, &s); err != nil {
			return Snapshot{}, err
		}
	}
	return s, nil
}

func (r *Registry) readServers(ctx context.Context, tx pgx.Tx, s *Snapshot) error {
	rows, _ := tx.Query(ctx, `
		select s.id, s.name, s.state, s.team_id as team, s.labels, `+endpointColumns+`
		from servers s
		join endpoints e on e.server_id = s.id and e.ended_at is null
		where s.state in ('active', 'suspended')
		order by s.id`)
	type row struct {
		ID, Name, State, Team string
		Labels                []string
		endpointRow
	}
	servers, err := pgx.CollectRows(rows, func(c pgx.CollectableRow) (policy.Server, error) {
		v, err := pgx.RowToStructByName[row](c)
		return policy.Server{
			ID: v.ID, Name: v.Name, State: v.State, Team: v.Team, Labels: v.Labels, Endpoint: v.endpoint().policy(),
		}, err
	})
	if err != nil {
		return fmt.Errorf("reading servers: %w", err)
	}
	s.Servers = servers
	return nil
}

// readTools adds what is pinned. A tool counts as held also where only the digests say so: a second wall.
func (r *Registry) readTools(ctx context.Context, tx pgx.Tx, s *Snapshot) error {
	byID := make(map[string]*policy.Server, len(s.Servers))
	for i := range s.Servers {
		byID[s.Servers[i].ID] = &s.Servers[i]
	}
	rows, _ := tx.Query(ctx, `
		select t.id, t.server_id, t.kind, t.name, t.risk, t.pinned_id, d.digest,
		       t.held_at is not null or (t.observed_digest is not null and t.observed_digest <> d.digest) as held
		from tools t
		join definitions d on d.id = t.pinned_id
		join servers s on s.id = t.server_id
		where s.state in ('active', 'suspended')
		order by t.server_id, t.kind, t.name`)
	var t policy.Tool
	var serverID, definitionID string
	var digest []byte
	var pinned []string
	type place struct {
		server *policy.Server
		index  int
	}
	var places []place
	_, err := pgx.ForEachRow(rows, []any{&t.ID, &serverID, &t.Kind, &t.Name, &t.Risk, &definitionID, &digest, &t.Held}, func() error {
		server := byID[serverID]
		if server == nil {
			return fmt.Errorf("tool %s has no server", t.ID)
		}
		t.Definition = digestOf(digest)
		places = append(places, place{server, len(server.Tools)})
		server.Tools = append(server.Tools, t)
		pinned = append(pinned, definitionID)
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading pinned tools: %w", err)
	}
	all, err := r.parts.get(ctx, tx, pinned)
	if err != nil {
		return err
	}
	for i, p := range places {
		tool := &p.server.Tools[p.index]
		tool.InputSchema, tool.HasOutputSchema = all[i].inputSchema, all[i].hasOutput
	}
	return nil
}

// parts is what a compile needs of a definition's text.
type parts struct {
	inputSchema json.RawMessage
	hasOutput   bool
}

// partsCache keeps the parts of the pinned definitions between compiles; a definition never changes.
type partsCache struct {
	mu   sync.Mutex
	byID map[string]parts
}

// get gives the parts of the definitions, in their order, reading those that are new, and forgets all others.
func (c *partsCache) get(ctx context.Context, tx pgx.Tx, ids []string) ([]parts, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	kept := make(map[string]parts, len(ids))
	var missing []string
	for _, id := range ids {
		if p, known := c.byID[id]; known {
			kept[id] = p
		} else {
			missing = append(missing, id)
		}
	}
	if len(missing) > 0 {
		rows, _ := tx.Query(ctx, `
			select d.id, t.kind, d.raw from definitions d join tools t on t.id = d.tool_id where d.id = any (@ids)`,
			pgx.StrictNamedArgs{"ids": missing})
		var id string
		var kind policy.Kind
		var raw []byte
		_, err := pgx.ForEachRow(rows, []any{&id, &kind, &raw}, func() (err error) {
			kept[id], err = partsOf(kind, raw)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("reading pinned definitions: %w", err)
		}
	}
	c.byID = kept
	out := make([]parts, len(ids))
	for i, id := range ids {
		out[i] = kept[id]
	}
	return out, nil
}

func partsOf(kind policy.Kind, raw []byte) (parts, error) {
	if kind != policy.KindTool {
		return parts{}, nil
	}
	members, err := canonical.Members(raw)
	if err != nil {
		return parts{}, err
	}
	input, _ := canonical.Lookup(members, "inputSchema")
	exact, err := canonical.Exact(input)
	if err != nil {
		return parts{}, err
	}
	_, hasOutput := canonical.Lookup(members, "outputSchema")
	return parts{inputSchema: exact, hasOutput: hasOutput}, nil
}

func readGrants(ctx context.Context, tx pgx.Tx, s *Snapshot) error {
	rows, _ := tx.Query(ctx, `
		select id, name, subject::text, resource::text, not_before, not_after from grants where ended_at is null order by id`)
	var id, name, subject, resource string
	var from, until *time.Time
	_, err := pgx.ForEachRow(rows, []any{&id, &name, &subject, &resource, &from, &until}, func() (err error) {
		g := policy.SourceGrant{Grant: policy.Grant{ID: id, Name: name, NotBefore: from, NotAfter: until}}
		if g.Subject, err = policy.ParseSubject([]byte(subject)); err != nil {
			return fmt.Errorf("grant %s: %w", id, err)
		}
		if g.Resource, err = policy.ParseResource([]byte(resource)); err != nil {
			return fmt.Errorf("grant %s: %w", id, err)
		}
		s.Grants = append(s.Grants, g)
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading grants: %w", err)
	}
	return nil
}

func readGuardrails(ctx context.Context, tx pgx.Tx, s *Snapshot) error {
	rows, _ := tx.Query(ctx, `
		select id, name, subject::text, exempt::text, resource::text, effect::text from guardrails where ended_at is null order by id`)
	var id, name, subject, exempt, resource, effect string
	_, err := pgx.ForEachRow(rows, []any{&id, &name, &subject, &exempt, &resource, &effect}, func() (err error) {
		g := policy.SourceGuardrail{Guardrail: policy.Guardrail{ID: id, Name: name}}
		if g.Subject, err = policy.ParseSubject([]byte(subject)); err != nil {
			return fmt.Errorf("guardrail %s: %w", id, err)
		}
		if g.Except, err = policy.ParseExcept([]byte(exempt)); err != nil {
			return fmt.Errorf("guardrail %s: %w", id, err)
		}
		if g.Resource, err = policy.ParseResource([]byte(resource)); err != nil {
			return fmt.Errorf("guardrail %s: %w", id, err)
		}
		if g.Effect, err = policy.ParseEffect([]byte(effect)); err != nil {
			return fmt.Errorf("guardrail %s: %w", id, err)
		}
		s.Guardrails = append(s.Guardrails, g)
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading guardrails: %w", err)
	}
	return nil
}

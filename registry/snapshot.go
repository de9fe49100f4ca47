package registry

import (
	"context"
	"encoding/json"
	"fmt"

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
	Keys       []policy.Key
	Agents     []policy.Agent
}

// ReadOnly are the options of the transaction that SnapshotTx belongs into: every statement sees the same state.
var ReadOnly = pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}

// SnapshotTx reads the registry. tx must be of the kind [ReadOnly]. Rules are read strictly: one that this program
// does not understand is an error, so that an older replica cannot publish a looser policy.
func (r *Registry) SnapshotTx(ctx context.Context, tx pgx.Tx) (Snapshot, error) {
	s, err := r.permitsTx(ctx, tx, "")
	if err != nil {
		return Snapshot{}, err
	}
	if err := r.readGuardrails(ctx, tx, &s); err != nil {
		return Snapshot{}, err
	}
	err = readAgentsTx(ctx, tx, &s)
	return s, err
}

// permitsTx reads what allows: one server, "" for all, and all grants.
func (r *Registry) permitsTx(ctx context.Context, tx pgx.Tx, only string) (s Snapshot, err error) {
	if s, err = r.offersTx(ctx, tx, only); err != nil {
		return Snapshot{}, err
	}
	err = r.readGrants(ctx, tx, &s)
	return s, err
}

// offersTx reads what there is to call: one server, "" for all.
func (r *Registry) offersTx(ctx context.Context, tx pgx.Tx, only string) (s Snapshot, err error) {
	if err := tx.QueryRow(ctx, `select generation, epoch from registry_head`).Scan(&s.Generation, &s.Epoch); err != nil {
		return Snapshot{}, fmt.Errorf("reading the policy's generation: %w", err)
	}
	if err := r.readServers(ctx, tx, &s, only); err != nil {
		return Snapshot{}, err
	}
	err = r.readTools(ctx, tx, &s, only)
	return s, err
}

func (r *Registry) readServers(ctx context.Context, tx pgx.Tx, s *Snapshot, only string) error {
	rows, _ := tx.Query(ctx, `
		select s.id, s.name, s.state, s.team_id as team, s.labels, s.client_requests as requests, `+endpointColumns+`
		from servers s
		join endpoints e on e.server_id = s.id and e.ended_at is null
		where s.state in ('active', 'suspended') and (@only = '' or s.id = @only)
		order by s.id`, pgx.StrictNamedArgs{"only": only})
	type row struct {
		ID, Name, State, Team string
		Labels                []string
		Requests              []policy.ClientRequest
		endpointRow
	}
	servers, err := pgx.CollectRows(rows, func(c pgx.CollectableRow) (policy.Server, error) {
		v, err := pgx.RowToStructByName[row](c)
		return policy.Server{
			ID: v.ID, Name: v.Name, State: v.State, Team: v.Team, Labels: v.Labels, Endpoint: v.endpoint().policy(),
			ClientRequests: v.Requests,
		}, err
	})
	if err != nil {
		return fmt.Errorf("reading servers: %w", err)
	}
	s.Servers = servers
	return nil
}

// readTools adds what is pinned. Only a tool that is offered exactly so, and not held, is callable: one that is gone
// counts as held, and so does one where only the digests say so.
func (r *Registry) readTools(ctx context.Context, tx pgx.Tx, s *Snapshot, only string) error {
	byID := make(map[string]*policy.Server, len(s.Servers))
	for i := range s.Servers {
		byID[s.Servers[i].ID] = &s.Servers[i]
	}
	rows, _ := tx.Query(ctx, `
		select t.id, t.server_id, t.kind, t.name, t.risk, t.labels, t.pinned_id, d.digest,
		       t.held_at is not null or t.observed_digest is distinct from d.digest as held
		from tools t
		join definitions d on d.id = t.pinned_id
		join servers s on s.id = t.server_id
		where s.state in ('active', 'suspended') and (@only = '' or s.id = @only)
		order by t.server_id, t.kind, t.name`, pgx.StrictNamedArgs{"only": only})
	var t policy.Tool
	var serverID, definitionID string
	var digest []byte
	var pinned []string
	type place struct {
		server *policy.Server
		index  int
	}
	var places []place
	_, err := pgx.ForEachRow(rows, []any{&t.ID, &serverID, &t.Kind, &t.Name, &t.Risk, &t.Labels, &definitionID, &digest, &t.Held}, func() error {
		server := byID[serverID]
		if server == nil {
			return fmt.Errorf("tool %s has no server", t.ID)
		}
		t.Definition = digestOf(digest)
		if len(t.Labels) == 0 {
			t.Labels = nil
		}
		places = append(places, place{server, len(server.Tools)})
		server.Tools = append(server.Tools, t)
		t.Labels = nil // the next one gets a list of its own
		pinned = append(pinned, definitionID)
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading pinned tools: %w", err)
	}
	all, err := r.readParts(ctx, tx, pinned, only == "")
	if err != nil {
		return err
	}
	for i, p := range places {
		tool, parts := &p.server.Tools[p.index], all[pinned[i]]
		tool.InputSchema, tool.HasOutputSchema = parts.inputSchema, parts.hasOutput
	}
	return nil
}

// parts is what a compile needs of a definition's text.
type parts struct {
	inputSchema json.RawMessage
	hasOutput   bool
}

// readParts gives the parts of these definitions by id. It reads only those that are new to it, and keeps them if they
// are those of all servers.
func (r *Registry) readParts(ctx context.Context, tx pgx.Tx, ids []string, keep bool) (map[string]parts, error) {
	all, missing := r.parts.pick(ids)
	if len(missing) > 0 {
		rows, _ := tx.Query(ctx, `
			select d.id, t.kind, d.raw from definitions d join tools t on t.id = d.tool_id where d.id = any (@ids)`,
			pgx.StrictNamedArgs{"ids": missing})
		var id string
		var kind policy.Kind
		var raw []byte
		_, err := pgx.ForEachRow(rows, []any{&id, &kind, &raw}, func() (err error) {
			all[id], err = partsOf(kind, raw)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("reading pinned definitions: %w", err)
		}
	}
	if keep {
		r.parts.keep(all)
	}
	return all, nil
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

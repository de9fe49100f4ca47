package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/canonical"
	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
)

// DefinitionState is what a person decided about a definition.
type DefinitionState string

// The states of a definition; see the package comment.
const (
	Pending    DefinitionState = "pending"
	Approved   DefinitionState = "approved"
	Rejected   DefinitionState = "rejected"
	Superseded DefinitionState = "superseded"
)

// Tool is a tool, prompt or resource of a server. Everything in Raw, and Name, is the server's text: hostile.
type Tool struct {
	ID         string
	ServerID   string
	Kind       policy.Kind
	Name       string
	Risk       policy.Risk // "" before the first pin
	Labels     []string    // by which rules select it
	HeldAt     *time.Time
	HeldReason string // HeldChanged, HeldBroken
	Offered    bool   // served at the last look
	ObservedAt *time.Time
	Version    int64
	Pinned     *Definition `db:"-"` // nil: not callable
	Served     *Definition `db:"-"` // what was served last; nil: not offered any more
}

// Held reports whether calls wait for somebody to look at a change.
func (t Tool) Held() bool { return t.HeldAt != nil }

// Definition is one immutable version of a tool.
type Definition struct {
	ID            string
	ToolID        string
	Number        int              // v1, v2, …
	Digest        canonical.Digest `db:"-"`
	Raw           json.RawMessage  // as received
	ProposedRisk  policy.Risk      // from the server's own annotations
	Findings      []Finding
	State         DefinitionState
	FirstSeenAt   time.Time
	DecidedAt     *time.Time
	DecidedBy     string
	DecidedByName string
	Reason        string
	Tokens        int // what it costs a model to read, estimated; 0: not counted yet
}

// Blocked reports whether a finding keeps the definition from being pinned.
func (d Definition) Blocked() bool { return blocked(d.Findings) }

// Text is what a definition says, taken apart for a page. All of it is the server's.
type Text struct {
	Title        string          `json:"title"`
	Description  string          `json:"description"`
	Annotations  json.RawMessage `json:"annotations"`
	InputSchema  json.RawMessage `json:"inputSchema"`
	OutputSchema json.RawMessage `json:"outputSchema"`
	Arguments    json.RawMessage `json:"arguments"` // of a prompt
	MIMEType     string          `json:"mimeType"`  // of a resource
}

// Text takes the raw definition apart; what is of the wrong type is left empty.
func (d Definition) Text() (t Text) {
	members, err := canonical.Members(d.Raw)
	if err != nil {
		return Text{}
	}
	for _, m := range members {
		text, _ := canonical.Text(m.Value)
		switch m.Key {
		case "title":
			t.Title = text
		case "description":
			t.Description = text
		case "mimeType":
			t.MIMEType = text
		case "annotations":
			t.Annotations = m.Value
		case "inputSchema":
			t.InputSchema = m.Value
		case "outputSchema":
			t.OutputSchema = m.Value
		case "arguments":
			t.Arguments = m.Value
		}
	}
	return t
}

// ToolFilter selects tools of a server; zero fields select everything.
type ToolFilter struct {
	ServerID string // required
	Kind     policy.Kind
	Query    string // part of the name
	Only     string // "held", "pending" (served and not pinned), "pinned", "gone"
	After    string // cursor: Page.Next of the page before
	Limit    int    // 1 to 500, default 100
}

const selectTools = `
	select t.id, t.server_id, t.kind, t.name, coalesce(t.risk, '') as risk, t.labels, t.held_at, t.held_reason,
	       t.observed_digest is not null as offered, ` + seenAt + ` as observed_at, t.version
	from tools t
	left join endpoints e on e.id = t.observed_endpoint `

// seenAt is when a gateway saw the tool last, or saw that it is gone: in a look at everything, or by itself.
const seenAt = `case when t.observed_digest is null then t.observed_at else greatest(t.observed_at, e.looked_at) end`

// Tools lists what a server offers or offered, by kind and name. It needs identity.ReadRegistry.
func (r *Registry) Tools(ctx context.Context, who identity.Principal, f ToolFilter) (Page[Tool], error) {
	if err := mayRead(who); err != nil {
		return Page[Tool]{}, err
	}
	limit := limitOf(f.Limit, 100, 500)
	rows, _ := r.pool.Query(ctx, selectTools+`
		where t.server_id = @server
		  and (@kind = '' or t.kind = @kind)
		  and (@query = '' or t.name ilike @query)
		  and case @only
		        when 'held' then t.held_at is not null
		        when 'pending' then t.pinned_id is null and t.observed_digest is not null
		        when 'pinned' then t.pinned_id is not null
		        when 'gone' then t.observed_digest is null
		        else true
		      end
		  and (@after = '' or (t.kind, t.name) > (select b.kind, b.name from tools b where b.id = @after))
		order by t.kind, t.name
		limit @limit`,
		pgx.StrictNamedArgs{
			"server": f.ServerID, "kind": string(f.Kind), "query": contains(f.Query), "only": f.Only,
			"after": f.After, "limit": limit + 1,
		})
	tools, err := pgx.CollectRows(rows, pgx.RowToStructByName[Tool])
	if err != nil {
		return Page[Tool]{}, fmt.Errorf("listing tools: %w", err)
	}
	page := pageOf(tools, limit, func(t Tool) string { return t.ID })
	return page, r.attach(ctx, page.Items)
}

func noSuchTool() *problem.Error {
	return problem.New(problem.NotFound, "no_such_tool", "There is no such tool.")
}

// Tool gives one tool. It needs identity.ReadRegistry. Problem: NotFound no_such_tool.
func (r *Registry) Tool(ctx context.Context, who identity.Principal, id string) (Tool, error) {
	if err := mayRead(who); err != nil {
		return Tool{}, err
	}
	rows, _ := r.pool.Query(ctx, selectTools+`where t.id = @id`, pgx.StrictNamedArgs{"id": id})
	tool, err := one(rows, pgx.RowToStructByName[Tool], "reading tool", noSuchTool())
	if err != nil {
		return Tool{}, err
	}
	tools := []Tool{tool}
	err = r.attach(ctx, tools)
	return tools[0], err
}

type definitionRow struct {
	Definition
	DigestColumn []byte `db:"digest"`
}

func (d definitionRow) definition() Definition {
	d.Digest = digestOf(d.DigestColumn)
	return d.Definition
}

const definitionColumns = `
	d.id, d.tool_id, d.number, d.digest, d.raw, d.proposed_risk, d.findings, d.state, d.first_seen_at,
	d.decided_at, d.decided_by, coalesce(p.name, d.decided_by) as decided_by_name, d.reason, coalesce(d.tokens, 0) as tokens`

// attach fills in what is pinned and what is served.
func (r *Registry) attach(ctx context.Context, tools []Tool) error {
	ids := make([]string, len(tools))
	byID := make(map[string]*Tool, len(tools))
	for i := range tools {
		ids[i], byID[tools[i].ID] = tools[i].ID, &tools[i]
	}
	rows, _ := r.pool.Query(ctx, `
		select `+definitionColumns+`,
		       d.id is not distinct from t.pinned_id as is_pinned,
		       d.digest is not distinct from t.observed_digest as is_served
		from tools t
		join definitions d on d.tool_id = t.id and (d.id = t.pinned_id or d.digest = t.observed_digest)
		left join people p on p.id = d.decided_by
		where t.id = any (@ids)`, pgx.StrictNamedArgs{"ids": ids})
	type attached struct {
		definitionRow
		IsPinned bool
		IsServed bool
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[attached])
	if err != nil {
		return fmt.Errorf("reading definitions: %w", err)
	}
	for _, f := range found {
		definition := f.definition()
		if f.IsPinned {
			byID[definition.ToolID].Pinned = &definition
		}
		if f.IsServed {
			byID[definition.ToolID].Served = &definition
		}
	}
	return nil
}

// Definitions gives all versions of a tool, newest first. It needs identity.ReadRegistry.
func (r *Registry) Definitions(ctx context.Context, who identity.Principal, toolID string) ([]Definition, error) {
	if err := mayRead(who); err != nil {
		return nil, err
	}
	rows, _ := r.pool.Query(ctx, `
		select `+definitionColumns+`
		from definitions d
		left join people p on p.id = d.decided_by
		where d.tool_id = @tool
		order by d.number desc`, pgx.StrictNamedArgs{"tool": toolID})
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Definition, error) {
		d, err := pgx.RowToStructByName[definitionRow](row)
		return d.definition(), err
	})
	if err != nil {
		return nil, fmt.Errorf("reading definitions: %w", err)
	}
	return found, nil
}

// DefinitionText gives the raw text of a definition that is or was pinned on a server in the gateway's audience.
// What nobody has accepted never leaves the control plane. It needs identity.Enforce.
// Problem: NotFound no_such_definition.
func (r *Registry) DefinitionText(ctx context.Context, who identity.Principal, digest canonical.Digest) (json.RawMessage, error) {
	if err := who.Can(identity.Enforce, ""); err != nil {
		return nil, err
	}
	rows, _ := r.pool.Query(ctx, `
		select d.raw
		from definitions d
		join tools t on t.id = d.tool_id
		join servers s on s.id = t.server_id
		join gateways g on g.id = @gateway and g.revoked_at is null
		join audiences a on a.id = g.audience_id
		where d.digest = @digest and d.decided_at is not null and d.state <> 'rejected' and audience_sees(a.servers, s.name)
		limit 1`, pgx.StrictNamedArgs{"digest": digest[:], "gateway": who.GatewayID})
	return one(rows, pgx.RowTo[json.RawMessage], "reading definition",
		problem.New(problem.NotFound, "no_such_definition", "There is no such definition among those this gateway may see."))
}

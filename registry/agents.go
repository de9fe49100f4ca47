package registry

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/identity"
	"countersign/internal/problem"
)

// Agent gives one agent, ended ones too. It needs identity.ReadRegistry. Problem: NotFound no_such_agent.
func (r *Registry) Agent(ctx context.Context, who identity.Principal, id string) (Agent, error) {
	if err := mayRead(who); err != nil {
		return Agent{}, err
	}
	rows, _ := r.pool.Query(ctx, selectAgents+`where g.id = @id`, pgx.StrictNamedArgs{"id": id})
	return one(rows, pgx.RowToStructByName[Agent], "reading agent", noSuchAgent())
}

func noSuchAgent() *problem.Error {
	return problem.New(problem.NotFound, "no_such_agent", "There is no such agent.")
}

// AgentFilter selects agents.
type AgentFilter struct {
	Query   string // part of the name or of the client
	OwnerID string
	Ended   string // "" only those that have an owner, "only" only ended ones, "all" both
	After   string // cursor: Page.Next of the page before
	Limit   int    // 1 to 200, default 50
}

// Agents lists agents that have an owner, newest first. It needs identity.ReadRegistry.
func (r *Registry) Agents(ctx context.Context, who identity.Principal, f AgentFilter) (Page[Agent], error) {
	if err := mayRead(who); err != nil {
		return Page[Agent]{}, err
	}
	limit := limitOf(f.Limit, 50, 200)
	rows, _ := r.pool.Query(ctx, selectAgents+`
		where case @ended when 'all' then true when 'only' then g.ended_at is not null else g.ended_at is null end
		  and (@query = '' or g.name ilike @query or g.agent ilike @query)
		  and (@owner = '' or g.owner_id = @owner)
		  and (@after = '' or (g.created_at, g.id) < (select b.created_at, b.id from agents b where b.id = @after))
		order by g.created_at desc, g.id desc
		limit @limit`,
		pgx.StrictNamedArgs{"ended": f.Ended, "query": contains(f.Query), "owner": f.OwnerID, "after": f.After, "limit": limit + 1})
	agents, err := pgx.CollectRows(rows, pgx.RowToStructByName[Agent])
	if err != nil {
		return Page[Agent]{}, fmt.Errorf("listing agents: %w", err)
	}
	return pageOf(agents, limit, func(a Agent) string { return a.ID }), nil
}

// SeenAgent is an agent that nobody owns: nobody is kept from approving its calls.
type SeenAgent struct {
	Agent  string
	Calls  int // of late; at most as many as are looked at
	Asked  int // for approvals, in thirty days
	LastAt time.Time
}

// What SeenAgents looks at.
const (
	seenCalls  = 20_000 // the newest
	seenAgents = 50
)

// SeenAgents gives the agents that called or asked for approvals of late and that nobody owns: first who asked for
// approvals, then who called last. It needs identity.ReadRegistry.
func (r *Registry) SeenAgents(ctx context.Context, who identity.Principal) ([]SeenAgent, error) {
	if err := mayRead(who); err != nil {
		return nil, err
	}
	rows, _ := r.pool.Query(ctx, `
		with seen as (
			(select agent, at, 1 as calls, 0 as asked from call_records order by at desc limit @calls)
			union all
			select agent, created_at, 0, 1 from approvals where created_at > clock_timestamp() - interval '30 days'
		)
		select s.agent, sum(s.calls)::int as calls, sum(s.asked)::int as asked, max(s.at) as last_at
		from seen s
		where s.agent <> '' and not exists (select from agents g where g.agent = s.agent and g.ended_at is null)
		group by s.agent
		order by sum(s.asked) > 0 desc, max(s.at) desc, s.agent
		limit @agents`, pgx.StrictNamedArgs{"calls": seenCalls, "agents": seenAgents})
	seen, err := pgx.CollectRows(rows, pgx.RowToStructByName[SeenAgent])
	if err != nil {
		return nil, fmt.Errorf("looking for agents that nobody owns: %w", err)
	}
	return seen, nil
}

// Owner is somebody who can own an agent.
type Owner struct {
	ID    string
	Name  string
	Email string
}

// maxOwners bounds the people that are offered.
const maxOwners = 1000

// Owners gives the people who can own an agent, by name: those who have signed in once and are not switched off. It needs
// identity.ChangeAgent.
func (r *Registry) Owners(ctx context.Context, who identity.Principal) ([]Owner, error) {
	if err := who.Can(identity.ChangeAgent, ""); err != nil {
		return nil, err
	}
	rows, _ := r.pool.Query(ctx, `select id, name, email from people where disabled_at is null order by lower(name), id limit @most`,
		pgx.StrictNamedArgs{"most": maxOwners})
	owners, err := pgx.CollectRows(rows, pgx.RowToStructByName[Owner])
	if err != nil {
		return nil, fmt.Errorf("listing owners: %w", err)
	}
	return owners, nil
}

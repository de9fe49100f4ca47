package delivery

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
)

// SeenCaller is somebody who was seen: a person who signed in here, or a subject whose calls gateways reported.
type SeenCaller struct {
	Issuer  string   // "" if it is not known
	Subject string   // by which rules and calls know them
	Name    string   // "" if it is not known
	Email   string   // "" if it is not known
	Groups  []string // as of their last sign-in here; nil if that is not known
	Agents  []string // through which they called in the last 90 days
	Known   bool     // they signed in here
}

const mostCallers = 200

// Callers lists people who were seen whose name, subject or mail address has the query in it, at most 200: those who
// signed in here and those who called a tool in the last 90 days. It needs identity.ReadPolicy.
func (d *Delivery) Callers(ctx context.Context, who identity.Principal, query string) ([]SeenCaller, error) {
	if err := who.Can(identity.ReadPolicy, ""); err != nil {
		return nil, err
	}
	rows, _ := d.pool.Query(ctx, `
		with callers as (
		  select subject, array_agg(distinct agent) filter (where agent <> '') as agents
		  from usage_days
		  where at > clock_timestamp() - interval '90 days' and subject <> ''
		  group by subject
		)
		select coalesce(p.issuer, '') as issuer, coalesce(p.subject, c.subject) as subject, coalesce(p.name, '') as name,
		       coalesce(p.email, '') as email, p.groups, coalesce(c.agents, '{}') as agents, p.id is not null as known
		from (select id, issuer, subject, name, email, groups from people where disabled_at is null) p
		full join callers c on c.subject = p.subject
		where @query = '' or strpos(lower(coalesce(p.name, '')), lower(@query)) > 0 or strpos(lower(coalesce(p.email, '')), lower(@query)) > 0
		   or strpos(lower(coalesce(p.subject, c.subject)), lower(@query)) > 0
		order by coalesce(nullif(lower(p.name), ''), lower(coalesce(p.subject, c.subject))), coalesce(p.subject, c.subject)
		limit @most`, pgx.StrictNamedArgs{"query": query, "most": mostCallers})
	callers, err := pgx.CollectRows(rows, pgx.RowToStructByName[SeenCaller])
	if err != nil {
		return nil, fmt.Errorf("listing callers: %w", err)
	}
	return callers, nil
}

// CallerAccess says exactly what one caller may call by the rules as they are now, published or not, server by server:
// what no grant gives them is left out. Arguments are not known, so an access that asks about them depends. Of the
// filter it takes server, team, tool and risk. It needs identity.ReadPolicy. Problem: Invalid invalid_question.
func (d *Delivery) CallerAccess(ctx context.Context, who identity.Principal, caller policy.Principal, f AccessFilter) ([]AccessCell, error) {
	if err := who.Can(identity.ReadPolicy, ""); err != nil {
		return nil, err
	}
	asked := Question{Request: policy.Request{Server: "any", Name: "any", Principal: &caller}}
	if err := asked.clean(); err != nil {
		return nil, err
	}
	if f.Risk != "" && !f.Risk.Known() {
		return nil, problem.New(problem.Invalid, "invalid_question", "There is no such risk.").Field("risk", "It is read_only, write or destructive.")
	}
	s, err := d.stands(ctx)
	if err != nil {
		return nil, err
	}
	ix, err := s.index()
	if err != nil {
		return nil, err
	}
	f.Tools = true
	document := ix.Document()
	cells := []AccessCell{}
	for i := range document.Servers {
		server := &document.Servers[i]
		if !f.wantsServer(server) {
			continue
		}
		cell := AccessCell{ServerID: server.ID, Server: server.Name, Team: server.Team}
		for e := range ix.Access(server.Name, &caller, s.at) {
			if f.wantsTool(e.Tool) {
				f.add(&cell, document, e)
			}
		}
		if len(cell.Tools) > 0 {
			cells = append(cells, cell)
		}
	}
	return cells, nil
}

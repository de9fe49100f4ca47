package registry

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/desired"
	"countersign/policy"
)

// present is the registry in the words of files, with what it takes to change it.
type present struct {
	teams      map[string]presentTeam             // by lower-case name
	names      map[string]string                  // of teams, by id
	servers    map[string]presentServer           // by lower-case name
	grants     map[string]kept[desired.Grant]     // by key
	guardrails map[string]kept[desired.Guardrail] // by key
	strays     map[string]bool                    // what guardrails name as a team and is none
}

type presentTeam struct {
	ID     string
	People []string // members by name
	is     desired.Team
}

type presentServer struct {
	ID     string
	TeamID string
	State  State
	Pinned int
	is     desired.Server // its State is that of the registry
}

// kept is a rule at a version.
type kept[T any] struct {
	id      string
	version int64
	is      T
}

// readPresentTx reads what has not ended or retired, and the retired servers of these names as well. tx sees one
// state of the database.
func readPresentTx(ctx context.Context, tx pgx.Tx, names []string) (present, error) {
	p := present{
		teams: map[string]presentTeam{}, names: map[string]string{}, servers: map[string]presentServer{},
		grants: map[string]kept[desired.Grant]{}, guardrails: map[string]kept[desired.Guardrail]{}, strays: map[string]bool{},
	}
	if err := p.readTeams(ctx, tx); err != nil {
		return p, err
	}
	if err := p.readServers(ctx, tx, names); err != nil {
		return p, err
	}
	if err := p.readGrants(ctx, tx); err != nil {
		return p, err
	}
	return p, p.readGuardrails(ctx, tx)
}

func (p present) readTeams(ctx context.Context, tx pgx.Tx) error {
	rows, _ := tx.Query(ctx, `
		select m.id, m.name, m.idp_groups,
		       array(select x.person_id from team_members x where x.team_id = m.id order by x.person_id) as people
		from teams m`)
	var id, name string
	var groups, people []string
	_, err := pgx.ForEachRow(rows, []any{&id, &name, &groups, &people}, func() error {
		p.teams[strings.ToLower(name)] = presentTeam{id, slices.Clone(people), desired.Team{Name: name, Groups: optional(groups)}}
		p.names[id] = name
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading teams: %w", err)
	}
	return nil
}

// optional is a copy of list, nil for an empty one.
func optional[T any](list []T) []T {
	if len(list) == 0 {
		return nil
	}
	return slices.Clone(list)
}

func (p present) readServers(ctx context.Context, tx pgx.Tx, names []string) error {
	rows, _ := tx.Query(ctx, `
		select s.id, s.name, s.title, s.description, s.team_id, s.labels, s.client_requests as requests, s.state, `+endpointColumns+`,
		       (select count(*) from tools t where t.server_id = s.id and t.pinned_id is not null) as pinned
		from servers s
		left join endpoints e on e.server_id = s.id and e.ended_at is null
		where s.state <> 'retired' or lower(s.name) = any (@names)`, pgx.StrictNamedArgs{"names": names})
	type row struct {
		ID, Name, Title, Description, TeamID string
		Labels, Requests                     []string
		State                                State
		endpointRow
		Pinned int
	}
	servers, err := pgx.CollectRows(rows, pgx.RowToStructByName[row])
	if err != nil {
		return fmt.Errorf("reading servers: %w", err)
	}
	for _, s := range servers {
		at := s.endpoint()
		p.servers[strings.ToLower(s.Name)] = presentServer{ID: s.ID, TeamID: s.TeamID, State: s.State, Pinned: s.Pinned, is: desired.Server{
			Name: s.Name, Title: s.Title, Description: s.Description, Team: p.names[s.TeamID], Labels: optional(s.Labels),
			ClientRequests: optional(s.Requests),
			URL:            at.URL, Command: at.Command, CommandDigest: at.CommandDigest, State: desired.State(s.State),
		}}
	}
	return nil
}

func (p present) readGrants(ctx context.Context, tx pgx.Tx) error {
	rows, _ := tx.Query(ctx, `
		select id, version, key, name, subject::text, resource::text, condition, not_before, not_after, reason
		from grants where ended_at is null`)
	var k kept[desired.Grant]
	var subject, resource string
	var from, until *time.Time
	into := []any{&k.id, &k.version, &k.is.Key, &k.is.Name, &subject, &resource, &k.is.Condition, &from, &until, &k.is.Reason}
	_, err := pgx.ForEachRow(rows, into, func() (err error) {
		g := k
		if g.is.For, g.is.On, err = parseRule(subject, resource); err != nil {
			return fmt.Errorf("grant %s: %w", k.id, err)
		}
		g.is.From, g.is.Until = truncated(from), truncated(until)
		p.grants[k.is.Key] = g
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading grants: %w", err)
	}
	return nil
}

// parseRule reads what all rules have, strictly.
func parseRule(subject, resource string) (policy.Subject, policy.Resource, error) {
	s, err := policy.ParseSubject([]byte(subject))
	if err != nil {
		return s, policy.Resource{}, err
	}
	r, err := policy.ParseResource([]byte(resource))
	return s, r, err
}

func (p present) readGuardrails(ctx context.Context, tx pgx.Tx) error {
	rows, _ := tx.Query(ctx, `
		select id, version, key, name, subject::text, exempt::text, resource::text, condition, effect::text, reason
		from guardrails where ended_at is null and not emergency`) // a suspension is in no file
	var k kept[desired.Guardrail]
	var subject, except, resource, effect string
	into := []any{&k.id, &k.version, &k.is.Key, &k.is.Name, &subject, &except, &resource, &k.is.Condition, &effect, &k.is.Reason}
	_, err := pgx.ForEachRow(rows, into, func() (err error) {
		g := k
		if g.is.For, g.is.On, err = parseRule(subject, resource); err != nil {
			return fmt.Errorf("guardrail %s: %w", k.id, err)
		}
		if g.is.Except, err = policy.ParseExcept([]byte(except)); err != nil {
			return fmt.Errorf("guardrail %s: %w", k.id, err)
		}
		parsed, err := policy.ParseEffect([]byte(effect))
		if err != nil {
			return fmt.Errorf("guardrail %s: %w", k.id, err)
		}
		g.is.SetEffect(p.withNames(parsed))
		p.guardrails[k.is.Key] = g
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading guardrails: %w", err)
	}
	return nil
}

// withNames gives the effect with the names of teams in the place of their ids. What is the id of no team stays.
func (p present) withNames(e policy.Effect) policy.Effect {
	return e.WithTeams(func(id string) string {
		if name, ok := p.names[id]; ok {
			return name
		}
		p.strays[id] = true
		return id
	})
}

// set is everything that has neither ended nor retired, by name and key.
func (p present) set() desired.Set {
	var s desired.Set
	for _, name := range slices.Sorted(maps.Keys(p.teams)) {
		s.Teams = append(s.Teams, p.teams[name].is)
	}
	for _, name := range slices.Sorted(maps.Keys(p.servers)) {
		server := p.servers[name].is
		switch server.State {
		case desired.Retired:
			continue
		case desired.Suspended:
		default:
			server.State = "" // so that a server which somebody suspends is not resumed by the next apply
		}
		s.Servers = append(s.Servers, server)
	}
	for _, key := range slices.Sorted(maps.Keys(p.grants)) {
		s.Grants = append(s.Grants, p.grants[key].is)
	}
	for _, key := range slices.Sorted(maps.Keys(p.guardrails)) {
		s.Guardrails = append(s.Guardrails, p.guardrails[key].is)
	}
	return s
}

package delivery

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/policy"
)

// usage is what the calls of one caller to one tool have in common.
type usage struct {
	server, tool          string
	kind                  policy.Kind
	subject, agent, model string
	last                  time.Time
}

// uses says when the grants of what stands were made, and when they were last used, by id, as far as recorded calls tell.
func (d *Delivery) uses(ctx context.Context) (s standing, made, uses map[string]time.Time, err error) {
	if s, err = d.stands(ctx); err != nil {
		return s, nil, nil, err
	}
	ix, err := s.index()
	if err != nil {
		return s, nil, nil, err
	}
	people, err := d.groupsOfPeople(ctx)
	if err != nil {
		return s, nil, nil, err
	}
	if made, err = d.grantsMade(ctx); err != nil {
		return s, nil, nil, err
	}
	uses = map[string]time.Time{}
	rows, _ := d.pool.Query(ctx, `
		select server, kind, tool, subject, agent, model, max(used_at)
		from usage_days
		where used_at is not null
		group by server, kind, tool, subject, agent, model`)
	var u usage
	_, err = pgx.ForEachRow(rows, []any{&u.server, &u.kind, &u.tool, &u.subject, &u.agent, &u.model, &u.last}, func() error {
		groups, known := people[u.subject]
		if !known {
			groups = nil
		}
		u.count(made, uses, ix, groups)
		return nil
	})
	if err != nil {
		return s, nil, nil, fmt.Errorf("reading who called what: %w", err)
	}
	return s, made, uses, nil
}

// grantsMade says when each grant was made, by id.
func (d *Delivery) grantsMade(ctx context.Context) (map[string]time.Time, error) {
	made := map[string]time.Time{}
	rows, _ := d.pool.Query(ctx, `select id, created_at from grants where ended_at is null`)
	var id string
	var at time.Time
	_, err := pgx.ForEachRow(rows, []any{&id, &at}, func() error {
		made[id] = at
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading when grants were made: %w", err)
	}
	return made, nil
}

// count notes the use of every grant that could have allowed it.
func (u usage) count(made, uses map[string]time.Time, ix *policy.Index, groups []string) {
	caller := policy.Principal{Subject: u.subject, Groups: groups, Agent: u.agent, Model: u.model}
	for _, g := range ix.Granting(policy.Request{Server: u.server, Kind: u.kind, Name: u.tool}) {
		if last, used := uses[g.ID]; used && !u.last.After(last) || !g.Subject.Could(caller) {
			continue
		}
		if u.last.Before(made[g.ID]) || g.NotBefore != nil && u.last.Before(*g.NotBefore) {
			continue
		}
		uses[g.ID] = u.last
	}
}

// groupsOfPeople gives the groups of people who signed in here, by subject. Of a subject that two providers know, they
// are those of both.
func (d *Delivery) groupsOfPeople(ctx context.Context) (map[string][]string, error) {
	rows, _ := d.pool.Query(ctx, `select subject, groups from people`)
	people := map[string][]string{}
	var subject string
	var groups []string
	_, err := pgx.ForEachRow(rows, []any{&subject, &groups}, func() error {
		people[subject] = append(append([]string{}, people[subject]...), groups...)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the groups of people: %w", err)
	}
	return people, nil
}

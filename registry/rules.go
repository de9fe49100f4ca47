package registry

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/policy"
)

// memory keeps what was parsed for the last snapshot, by a key under which it never changes: the id of a definition,
// the id and version of a rule. What the last snapshot did not need is forgotten.
type memory[T any] struct {
	mu    sync.Mutex
	byKey map[string]T
}

// pick gives what is known of keys, in a new map, and the keys that are not.
func (m *memory[T]) pick(keys []string) (known map[string]T, missing []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	known = make(map[string]T, len(keys))
	for _, k := range keys {
		if v, ok := m.byKey[k]; ok {
			known[k] = v
		} else {
			missing = append(missing, k)
		}
	}
	return known, missing
}

// known gives everything that is kept. It must not be changed.
func (m *memory[T]) known() map[string]T {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.byKey
}

// keep replaces everything that is kept. all must not be changed afterwards.
func (m *memory[T]) keep(all map[string]T) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.byKey = all
}

func (r *Registry) readGrants(ctx context.Context, tx pgx.Tx, s *Snapshot) error {
	rows, _ := tx.Query(ctx, `
		select id, id || '.' || version, name, subject::text, resource::text, condition, not_before, not_after
		from grants where ended_at is null order by id`)
	known := r.grants.known()
	kept := make(map[string]policy.SourceGrant, len(known))
	s.Grants = make([]policy.SourceGrant, 0, len(known)+1)
	var id, key, name, subject, resource, condition string
	var from, until *time.Time
	_, err := pgx.ForEachRow(rows, []any{&id, &key, &name, &subject, &resource, &condition, &from, &until}, func() (err error) {
		g, seen := known[key]
		if !seen {
			g.Grant = policy.Grant{ID: id, Name: name, NotBefore: from, NotAfter: until, Condition: condition}
			if g.Subject, err = policy.ParseSubject([]byte(subject)); err != nil {
				return fmt.Errorf("grant %s: %w", id, err)
			}
			if g.Resource, err = policy.ParseResource([]byte(resource)); err != nil {
				return fmt.Errorf("grant %s: %w", id, err)
			}
		}
		kept[key] = g
		s.Grants = append(s.Grants, g)
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading grants: %w", err)
	}
	r.grants.keep(kept)
	return nil
}

func (r *Registry) readGuardrails(ctx context.Context, tx pgx.Tx, s *Snapshot) error {
	rows, _ := tx.Query(ctx, `
		select id, id || '.' || version, name, subject::text, exempt::text, resource::text, condition, effect::text
		from guardrails where ended_at is null order by id`)
	known, kept := r.guardrails.known(), map[string]policy.SourceGuardrail{}
	var id, key, name string
	var text guardrailText
	into := []any{&id, &key, &name, &text.subject, &text.exempt, &text.resource, &text.condition, &text.effect}
	_, err := pgx.ForEachRow(rows, into, func() (err error) {
		g, seen := known[key]
		if !seen {
			if g, err = text.parse(id, name); err != nil {
				return fmt.Errorf("guardrail %s: %w", id, err)
			}
		}
		kept[key] = g
		s.Guardrails = append(s.Guardrails, g)
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading guardrails: %w", err)
	}
	r.guardrails.keep(kept)
	return nil
}

// guardrailText is a guardrail as it is stored.
type guardrailText struct{ subject, exempt, resource, condition, effect string }

func (t guardrailText) parse(id, name string) (g policy.SourceGuardrail, err error) {
	g.Guardrail = policy.Guardrail{ID: id, Name: name, Condition: t.condition}
	if g.Subject, err = policy.ParseSubject([]byte(t.subject)); err != nil {
		return g, err
	}
	if g.Except, err = policy.ParseExcept([]byte(t.exempt)); err != nil {
		return g, err
	}
	if g.Resource, err = policy.ParseResource([]byte(t.resource)); err != nil {
		return g, err
	}
	g.Effect, err = policy.ParseEffect([]byte(t.effect))
	return g, err
}

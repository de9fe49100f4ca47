package registry

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/canonical"
	"countersign/policy"
)

// examined is a definition that is served, and what the registry knew of it.
type examined struct {
	*item
	own     *standing // of its tool; nil: a tool never seen
	id      string    // of the definition; "": never seen
	decided bool      // a person accepted or rejected it
}

// standing says who was first: of two tools on different servers that should not be confused, the later one has the
// finding.
type standing struct {
	pinned  bool
	since   time.Time
	tieless string // id of the tool
}

// before reports whether s was there before o: what a person pinned comes before what nobody did, then what is older.
// Everything is before a tool never seen.
func (s standing) before(o *standing) bool {
	switch {
	case o == nil:
		return true
	case s.pinned != o.pinned:
		return s.pinned
	case !s.since.Equal(o.since):
		return s.since.Before(o.since)
	}
	return s.tieless < o.tieless
}

// examineNew runs the checks on those definitions that the server was not known to serve, and looks again at what was
// found beside other servers' tools in those that nobody decided on: the other tool may be gone, or have been pinned
// first. It does so before the transaction begins, as it costs the most.
func (r *Registry) examineNew(ctx context.Context, serverID string, s *served) error {
	all, own, err := r.recognise(ctx, serverID, s)
	if err != nil {
		return err
	}
	for _, e := range all {
		if err := ctx.Err(); err != nil {
			return err
		}
		if e.id == "" {
			e.findings, e.tokens = examine(e.Kind, e.raw), Tokens(e.raw)
		}
	}
	return r.examineAcross(ctx, serverID, all, own, s)
}

// knownDefinition is a tool of the server with, if it is among those served now, its definition.
type knownDefinition struct {
	ToolID       string
	Kind         policy.Kind
	Name         string
	Pinned       bool
	CreatedAt    time.Time
	DefinitionID string
	Digest       []byte
	State        DefinitionState
	Findings     []Finding
}

// recognise says what is known of everything served, and of all tools of the server. What is known keeps what was
// found in it.
func (r *Registry) recognise(ctx context.Context, serverID string, s *served) ([]examined, map[key]*standing, error) {
	digests := make([][]byte, len(s.items))
	for i := range s.items {
		digests[i] = s.items[i].digest[:]
	}
	rows, _ := r.pool.Query(ctx, `
		select t.id as tool_id, t.kind, t.name, t.pinned_id is not null as pinned, t.created_at,
		       coalesce(d.id, '') as definition_id, d.digest, coalesce(d.state, '') as state, coalesce(d.findings, '[]') as findings
		from tools t
		left join definitions d on d.tool_id = t.id and d.digest = any (@digests)
		where t.server_id = @server`, pgx.StrictNamedArgs{"server": serverID, "digests": digests})
	known, err := pgx.CollectRows(rows, pgx.RowToStructByName[knownDefinition])
	if err != nil {
		return nil, nil, fmt.Errorf("reading known definitions: %w", err)
	}
	own := make(map[key]*standing, len(known))
	type exactly struct { // a digest alone does not do: it does not say as what a definition is offered
		key
		canonical.Digest
	}
	byDigest := make(map[exactly]*knownDefinition, len(known))
	for i := range known {
		k := &known[i]
		own[key{k.Kind, k.Name}] = &standing{k.Pinned, k.CreatedAt, k.ToolID}
		byDigest[exactly{key{k.Kind, k.Name}, digestOf(k.Digest)}] = k
	}
	all := make([]examined, len(s.items))
	for i := range s.items {
		it := &s.items[i]
		all[i] = examined{item: it, own: own[it.key]}
		if k := byDigest[exactly{it.key, it.digest}]; k != nil && k.DefinitionID != "" {
			all[i].id, all[i].decided = k.DefinitionID, k.State == Approved || k.State == Rejected
			it.findings = k.Findings
		}
	}
	return all, own, nil
}

// examineAcross adds what is found beside other servers' tools, to what was never seen, and anew to what nobody decided
// on.
func (r *Registry) examineAcross(ctx context.Context, serverID string, all []examined, own map[key]*standing, s *served) error {
	if err := r.BackfillSkeletons(ctx); err != nil { // in a database of before there were any
		return err
	}
	open := slices.DeleteFunc(all, func(e examined) bool { return e.decided })
	quotes := make([][]quote, len(open))
	var names asked
	mine := map[nameKey]bool{}
	for k := range own {
		mine[nameKey{k.Kind, Skeleton(k.Name)}] = true
	}
	for _, it := range s.items {
		mine[nameKey{it.Kind, Skeleton(it.Name)}] = true
	}
	for i, e := range open {
		names.add(e.Kind, e.Name)
		if e.id == "" || slices.ContainsFunc(e.findings, isReference) {
			quotes[i] = names.quotes(e.raw, mine)
		}
	}
	others, err := r.neighbours(ctx, serverID, names)
	if err != nil {
		return err
	}
	for i, e := range open {
		found := slices.DeleteFunc(slices.Clone(e.findings), isAcross)
		found = append(found, others.alike(e)...)
		found = append(found, others.quoted(quotes[i])...)
		switch {
		case e.id == "":
			e.findings = found
		case !slices.Equal(found, e.findings):
			if s.refound == nil {
				s.refound = map[string][]Finding{}
			}
			s.refound[e.id] = found
		}
	}
	return nil
}

// refindTx keeps what was found anew in definitions that nobody decided on yet.
func refindTx(ctx context.Context, tx pgx.Tx, refound map[string][]Finding) error {
	for id, findings := range refound {
		_, err := tx.Exec(ctx, `
			update definitions set findings = @findings where id = @id and state in ('pending', 'superseded')`,
			pgx.StrictNamedArgs{"id": id, "findings": findings})
		if err != nil {
			return fmt.Errorf("keeping findings: %w", err)
		}
	}
	return nil
}

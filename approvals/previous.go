package approvals

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
)

// Previous is the last call of the same tool that people approved, of the same caller if there is one, and how the
// arguments of this call differ from it.
type Previous struct {
	ID         string
	CallerName string
	SameCaller bool
	SameAgent  bool
	DecidedBy  string
	DecidedAt  time.Time
	Changes    []Change
	More       int // changes that are not listed
}

// Change is one place where arguments differ: there is no Before of what was added, and no After of what was removed.
type Change struct {
	Path   []string // keys, and numbers of elements
	Before json.RawMessage
	After  json.RawMessage
}

// mostChanges are listed. Who wants more reads both.
const mostChanges = 100

type previousRow struct {
	ID         string
	Call       []byte
	Principal  []byte
	CallDigest []byte
	CallerName string
	SameCaller bool
	SameAgent  bool
	DecidedBy  string
	DecidedAt  time.Time
}

// previous finds the call that this one is to be compared with. A call that cannot be opened any more is no reason not to
// show this one.
func (q *Queue) previous(ctx context.Context, tx pgx.Tx, r *row, arguments json.RawMessage) (*Previous, error) {
	rows, _ := tx.Query(ctx, `
		select b.id, b.call, b.principal, b.call_digest, coalesce(nullif(b.caller_name, ''), b.caller_subject) as caller_name,
		       (b.caller_issuer, b.caller_subject) = (@issuer, @subject) as same_caller, b.agent = @agent as same_agent,
		       coalesce((select d.name from people d where d.id = b.decided_by), '') as decided_by, b.decided_at
		from approvals b
		where b.tool_id = @tool and b.id <> @id and b.created_at <= @at and b.decided_at is not null and b.purged_at is null
		  and b.state in ('approved', 'closed', 'revoked')
		order by (b.caller_issuer, b.caller_subject) = (@issuer, @subject) desc, b.decided_at desc
		limit 1`,
		pgx.StrictNamedArgs{
			"tool": r.ToolID, "id": r.ID, "at": r.CreatedAt, "issuer": r.CallerIssuer, "subject": r.CallerSubject, "agent": r.Agent,
		})
	b, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[previousRow])
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil //nolint:nilnil // none is an answer here, and no error
	}
	if err != nil {
		return nil, fmt.Errorf("looking for an approved call like %s: %w", r.ID, err)
	}
	call, _, err := q.open(b.Call, b.Principal, b.CallDigest)
	if err != nil {
		q.cfg.Log.WarnContext(ctx, "an approved call cannot be opened for a comparison", slog.String("approval", b.ID), slog.Any("error", err))
		return nil, nil //nolint:nilnil // it is left out
	}
	_, before, err := call.Digest()
	if err != nil {
		return nil, fmt.Errorf("writing the call of %s: %w", b.ID, err)
	}
	p := &Previous{ID: b.ID, CallerName: b.CallerName, SameCaller: b.SameCaller, SameAgent: b.SameAgent, DecidedBy: b.DecidedBy, DecidedAt: b.DecidedAt}
	p.compare(nil, before, arguments)
	return p, nil
}

// compare adds the differences between two canonical JSON values at a path.
func (p *Previous) compare(path []string, before, after json.RawMessage) {
	switch {
	case bytes.Equal(before, after):
	case before != nil && after != nil && before[0] == '{' && after[0] == '{':
		p.compareMembers(path, object(before), object(after))
	case before != nil && after != nil && before[0] == '[' && after[0] == '[':
		p.compareMembers(path, list(before), list(after))
	case len(p.Changes) == mostChanges:
		p.More++
	default:
		p.Changes = append(p.Changes, Change{Path: slices.Clone(path), Before: before, After: after})
	}
}

func (p *Previous) compareMembers(path []string, before, after members) {
	for _, key := range before.and(after) {
		p.compare(append(slices.Clone(path), key), before.values[key], after.values[key])
	}
}

// members are those of an object, or the elements of a list by their numbers, in their order.
type members struct {
	keys   []string
	values map[string]json.RawMessage
}

func object(raw json.RawMessage) members {
	m := members{values: map[string]json.RawMessage{}}
	_ = json.Unmarshal(raw, &m.values) // it is canonical: it was read before
	m.keys = slices.Sorted(maps.Keys(m.values))
	return m
}

func list(raw json.RawMessage) members {
	var elements []json.RawMessage
	_ = json.Unmarshal(raw, &elements) // it is canonical: it was read before
	m := members{values: map[string]json.RawMessage{}}
	for i, e := range elements {
		key := strconv.Itoa(i)
		m.keys, m.values[key] = append(m.keys, key), e
	}
	return m
}

// and is all keys of both, those of m first.
func (m members) and(other members) []string {
	keys := slices.Clone(m.keys)
	for _, key := range other.keys {
		if _, known := m.values[key]; !known {
			keys = append(keys, key)
		}
	}
	return keys
}

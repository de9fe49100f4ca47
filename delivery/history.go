package delivery

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"countersign/identity"
	"countersign/internal/problem"
	"countersign/registry"
)

// RevisionID names a revision of an audience. A revision carries the number of the generation that it says.
type RevisionID struct{ Epoch, Revision int64 }

// String is the id as ETags have it: "e1.r42".
func (id RevisionID) String() string { return fmt.Sprintf("e%d.r%d", id.Epoch, id.Revision) }

// ParseRevisionID reads what String writes.
func ParseRevisionID(s string) (id RevisionID, ok bool) {
	n, err := fmt.Sscanf(s, "e%d.r%d", &id.Epoch, &id.Revision)
	return id, err == nil && n == 2 && id.Epoch > 0 && id.Revision > 0 && s == id.String()
}

// PastRevision is a published policy, and how the registry came from the one before it to this one.
type PastRevision struct {
	Revision
	AudienceName string
	Before       RevisionID      // the revision of this audience before it; zero: it was the first
	Moves        []registry.Move `db:"-"` // the last few moves since, newest first; not all of them concern this audience
	MoreMoves    int64           `db:"-"` // that were left out
}

// ID is the revision's name within its audience.
func (p PastRevision) ID() RevisionID { return RevisionID{p.Epoch, p.Revision.Revision} }

// mostMoves is how many moves tell how a revision came about.
const mostMoves = 5

const selectPast = `
	select r.audience_id, a.name as audience_name, r.epoch, r.revision, r.digest, r.kid,
	       octet_length(r.document) as bytes, r.created_at as published_at,
	       coalesce(b.epoch, 0) as before_epoch, coalesce(b.revision, 0) as before_revision
	from revisions r
	join audiences a on a.id = r.audience_id
	left join lateral (
	  select epoch, revision from revisions b
	  where b.audience_id = r.audience_id and (b.epoch, b.revision) < (r.epoch, r.revision)
	  order by epoch desc, revision desc
	  limit 1) b on true `

func scanPast(row pgx.CollectableRow) (PastRevision, error) {
	var p PastRevision
	var digest []byte
	err := row.Scan(&p.AudienceID, &p.AudienceName, &p.Epoch, &p.Revision.Revision, &digest, &p.Kid, &p.Bytes, &p.PublishedAt,
		&p.Before.Epoch, &p.Before.Revision)
	copy(p.Digest[:], digest)
	return p, err
}

// History lists the revisions of an audience, of all for "", the newest first. after is Page.Next of the page before;
// limit is 1 to 200, default 50. It needs identity.ReadPolicy.
func (d *Delivery) History(ctx context.Context, who identity.Principal, audienceID, after string, limit int) (registry.Page[PastRevision], error) {
	if err := who.Can(identity.ReadPolicy, ""); err != nil {
		return registry.Page[PastRevision]{}, err
	}
	if limit <= 0 || limit > 200 {
		limit = 50
	}
	below, _ := ParseRevisionID(beforeSlash(after)) // what is no cursor begins anew
	var page registry.Page[PastRevision]
	err := pgx.BeginTxFunc(ctx, d.pool, registry.ReadOnly, func(tx pgx.Tx) error {
		rows, _ := tx.Query(ctx, selectPast+`
			where (@audience = '' or r.audience_id = @audience)
			  and (@epoch = 0 or (r.epoch, r.revision, r.audience_id) < (@epoch, @revision, @below))
			order by r.epoch desc, r.revision desc, r.audience_id desc
			limit @limit`,
			pgx.StrictNamedArgs{
				"audience": audienceID, "epoch": below.Epoch, "revision": below.Revision, "below": afterSlash(after), "limit": limit + 1,
			})
		found, err := pgx.CollectRows(rows, scanPast)
		if err != nil {
			return fmt.Errorf("listing revisions: %w", err)
		}
		if len(found) > limit {
			found = found[:limit]
			last := found[limit-1]
			page.Next = last.ID().String() + "/" + last.AudienceID
		}
		page.Items = found
		return d.tell(ctx, tx, found)
	})
	return page, err
}

func beforeSlash(cursor string) string { s, _, _ := strings.Cut(cursor, "/"); return s }
func afterSlash(cursor string) string  { _, s, _ := strings.Cut(cursor, "/"); return s }

// tell adds how the registry moved.
func (d *Delivery) tell(ctx context.Context, tx pgx.Tx, revisions []PastRevision) error {
	spans := make([]registry.Span, len(revisions))
	for i, r := range revisions {
		if r.Before != (RevisionID{}) {
			spans[i] = registry.Span{After: r.Before.Revision, Upto: r.ID().Revision}
		}
	}
	moves, err := d.registry.MovesWithinTx(ctx, tx, spans, mostMoves)
	if err != nil {
		return err
	}
	for i := range revisions {
		revisions[i].Moves = moves[i]
		if len(moves[i]) == mostMoves { // generations have no gaps
			revisions[i].MoreMoves = spans[i].Upto - spans[i].After - mostMoves
		}
	}
	return nil
}

// Past gives one revision. It needs identity.ReadPolicy. Problem: NotFound no_such_revision.
func (d *Delivery) Past(ctx context.Context, who identity.Principal, audienceID string, id RevisionID) (PastRevision, error) {
	if err := who.Can(identity.ReadPolicy, ""); err != nil {
		return PastRevision{}, err
	}
	one := make([]PastRevision, 1)
	err := pgx.BeginTxFunc(ctx, d.pool, registry.ReadOnly, func(tx pgx.Tx) (err error) {
		if one[0], err = pastTx(ctx, tx, audienceID, id); err != nil {
			return err
		}
		return d.tell(ctx, tx, one)
	})
	return one[0], err
}

func pastTx(ctx context.Context, tx pgx.Tx, audienceID string, id RevisionID) (PastRevision, error) {
	rows, _ := tx.Query(ctx, selectPast+`where r.audience_id = @audience and r.epoch = @epoch and r.revision = @revision`,
		pgx.StrictNamedArgs{"audience": audienceID, "epoch": id.Epoch, "revision": id.Revision})
	past, err := pgx.CollectExactlyOneRow(rows, scanPast)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return past, problem.New(problem.NotFound, "no_such_revision", "There is no such revision.")
	case err != nil:
		return past, fmt.Errorf("reading revision: %w", err)
	}
	return past, nil
}

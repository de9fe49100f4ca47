package delivery

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/canonical"
	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
)

// Audience is a set of servers that some gateways may see, and the policy compiled for it.
type Audience struct {
	ID                 string
	Name               string
	Servers            []string // name globs
	Gateways           int      // enrolled
	Epoch              int64
	Revision           int64  // in force; 0: none yet
	CompiledGeneration int64  // up to which generation Revision speaks
	Generation         int64  // of the registry, now
	CompileError       string // why a later generation is not in force; "" if nothing is wrong
	Warnings           []policy.Warning
	Digest             canonical.Digest `db:"-"`
	Bytes              int
	Kid                string
	PublishedAt        *time.Time
	CreatedAt          time.Time
}

// Behind reports whether the registry has changes that are not compiled yet.
func (a Audience) Behind() bool { return a.CompiledGeneration < a.Generation }

type audienceRow struct {
	Audience
	DigestColumn []byte `db:"digest"`
}

const selectPublished = `
	select a.id, a.name, a.servers, a.revision, a.compiled_generation, h.generation, h.epoch, a.compile_error, a.warnings,
	       (select count(*) from gateways g where g.audience_id = a.id and g.revoked_at is null) as gateways,
	       r.digest, coalesce(octet_length(r.document), 0) as bytes, coalesce(r.kid, '') as kid, r.created_at as published_at, a.created_at
	from audiences a
	cross join registry_head h
	left join revisions r on r.audience_id = a.id and r.revision = a.revision and r.epoch = h.epoch `

// Audiences lists audiences by name. It needs identity.ReadPolicy.
func (d *Delivery) Audiences(ctx context.Context, who identity.Principal) ([]Audience, error) {
	if err := who.Can(identity.ReadPolicy, ""); err != nil {
		return nil, err
	}
	rows, _ := d.pool.Query(ctx, selectPublished+`order by lower(a.name) limit 1000`)
	audiences, err := pgx.CollectRows(rows, scanAudience)
	if err != nil {
		return nil, fmt.Errorf("listing audiences: %w", err)
	}
	return audiences, nil
}

func scanAudience(row pgx.CollectableRow) (Audience, error) {
	a, err := pgx.RowToStructByName[audienceRow](row)
	copy(a.Digest[:], a.DigestColumn)
	return a.Audience, err
}

// Audience gives one audience. It needs identity.ReadPolicy. Problem: NotFound no_such_audience.
func (d *Delivery) Audience(ctx context.Context, who identity.Principal, id string) (Audience, error) {
	if err := who.Can(identity.ReadPolicy, ""); err != nil {
		return Audience{}, err
	}
	rows, _ := d.pool.Query(ctx, selectPublished+`where a.id = @id`, pgx.StrictNamedArgs{"id": id})
	audience, err := pgx.CollectExactlyOneRow(rows, scanAudience)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return Audience{}, problem.New(problem.NotFound, "no_such_audience", "There is no such audience.")
	case err != nil:
		return Audience{}, fmt.Errorf("reading audience: %w", err)
	}
	return audience, nil
}

// Revision is one published policy.
type Revision struct {
	AudienceID  string
	Epoch       int64
	Revision    int64
	Digest      canonical.Digest `db:"-"`
	Kid         string
	Bytes       int
	PublishedAt time.Time
}

// Revisions lists the audience's last revisions, newest first, at most 200. It needs identity.ReadPolicy.
func (d *Delivery) Revisions(ctx context.Context, who identity.Principal, audienceID string, limit int) ([]Revision, error) {
	if err := who.Can(identity.ReadPolicy, ""); err != nil {
		return nil, err
	}
	if limit <= 0 || limit > 200 {
		limit = 50
	}
	rows, _ := d.pool.Query(ctx, `
		select audience_id, epoch, revision, digest, kid, octet_length(document) as bytes, created_at as published_at
		from revisions
		where audience_id = @audience
		order by epoch desc, revision desc
		limit @limit`, pgx.StrictNamedArgs{"audience": audienceID, "limit": limit})
	type row struct {
		Revision
		DigestColumn []byte `db:"digest"`
	}
	revisions, err := pgx.CollectRows(rows, func(c pgx.CollectableRow) (Revision, error) {
		r, err := pgx.RowToStructByName[row](c)
		copy(r.Digest[:], r.DigestColumn)
		return r.Revision, err
	})
	if err != nil {
		return nil, fmt.Errorf("listing revisions: %w", err)
	}
	return revisions, nil
}

// Document gives the bytes of a published policy. It needs identity.ReadPolicy. Problem: NotFound no_such_revision.
func (d *Delivery) Document(ctx context.Context, who identity.Principal, audienceID string, epoch, revision int64) ([]byte, error) {
	if err := who.Can(identity.ReadPolicy, ""); err != nil {
		return nil, err
	}
	rows, _ := d.pool.Query(ctx, `
		select document from revisions where audience_id = @audience and epoch = @epoch and revision = @revision`,
		pgx.StrictNamedArgs{"audience": audienceID, "epoch": epoch, "revision": revision})
	document, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[[]byte])
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, problem.New(problem.NotFound, "no_such_revision", "There is no such revision.")
	case err != nil:
		return nil, fmt.Errorf("reading revision: %w", err)
	}
	return document, nil
}

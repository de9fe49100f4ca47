package delivery

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/canonical"
	"countersign/policy"
)

// follow keeps the snapshots at what is published: when woken, when asked, and at least every 5 s.
func (d *Delivery) follow(ctx context.Context) error {
	wake, stop := d.hub.Subscribe(TopicRevisions)
	defer stop()
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	failing := false
	for {
		err := d.catchUp(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !failing:
			d.log.Error("following published policies", slog.Any("error", err))
		case err == nil && failing:
			d.log.Info("following published policies again")
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return nil
		case <-wake:
		case <-ticker.C:
		case <-d.look:
		}
	}
}

// published is what an audience row says of its current revision.
type published struct {
	AudienceID         string
	AudienceName       string
	Epoch              int64
	Revision           int64
	CompiledGeneration int64
}

// catchUp reads the head and loads what is new. A revision that cannot be read is an error, and leaves that
// audience as it was; the others go on.
func (d *Delivery) catchUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	began := d.now()
	rows, _ := d.pool.Query(ctx, `
		select a.id as audience_id, a.name as audience_name, r.epoch, a.revision, a.compiled_generation
		from registry_head h
		cross join audiences a
		join revisions r on r.audience_id = a.id and r.revision = a.revision and r.epoch = h.epoch`)
	all, err := pgx.CollectRows(rows, pgx.RowToStructByName[published])
	if err != nil {
		return fmt.Errorf("reading the head: %w", err)
	}
	next := maps.Clone(*d.snapshots.Load())
	var failed error
	for _, p := range all {
		s, err := d.advance(ctx, next[p.AudienceID], p)
		if err != nil {
			failed = fmt.Errorf("loading revision %d of audience %s: %w", p.Revision, p.AudienceID, err)
			continue
		}
		next[p.AudienceID] = s
	}
	d.swap(next)
	if failed == nil {
		d.headReadAt.Store(began.UnixNano())
	}
	return failed
}

// advance gives the snapshot for what is published, reusing the one at hand where only its generation moved. It
// never goes back within an epoch, nor to an earlier epoch.
func (d *Delivery) advance(ctx context.Context, have *Snapshot, p published) (*Snapshot, error) {
	if have != nil {
		switch {
		case p.Epoch < have.Epoch, p.Epoch == have.Epoch && p.Revision < have.Revision:
			return have, nil
		case p.Epoch == have.Epoch && p.Revision == have.Revision:
			if p.CompiledGeneration <= have.CompiledGeneration {
				return have, nil
			}
			moved := *have
			moved.CompiledGeneration = p.CompiledGeneration
			return &moved, nil
		}
	}
	s, err := d.loadOwn(ctx, p)
	if s != nil || err != nil {
		return s, err
	}
	return d.load(ctx, p)
}

// keep remembers what this replica has just published, so that it need not read its own bytes back.
func (d *Delivery) keep(audienceID string, r *revision) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.made[audienceID] = r
}

// own takes what this replica made itself of a revision, nil if another one did.
func (d *Delivery) own(p published) *revision {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.made[p.AudienceID]
	if r == nil || r.Epoch != p.Epoch || r.Revision != p.Revision {
		return nil
	}
	delete(d.made, p.AudienceID)
	return r
}

// loadOwn makes a snapshot of what this replica itself published, if that is what is stored; else it is nil.
func (d *Delivery) loadOwn(ctx context.Context, p published) (*Snapshot, error) {
	r := d.own(p)
	if r == nil {
		return nil, nil //nolint:nilnil // then it is loaded
	}
	var digest []byte
	var at time.Time
	err := d.pool.QueryRow(ctx, `
		select digest, created_at from revisions where audience_id = @audience and epoch = @epoch and revision = @revision`,
		pgx.StrictNamedArgs{"audience": p.AudienceID, "epoch": p.Epoch, "revision": p.Revision}).Scan(&digest, &at)
	if err != nil || string(digest) != string(r.digest[:]) {
		return nil, err
	}
	index, err := policy.NewIndex(r.Document)
	if err != nil {
		return nil, err
	}
	return snapshotOf(p, index, r.digest, revisionRow{
		Document: r.text, Gzipped: r.gzipped, Kid: r.kid, Signature: r.signature.Detached, Jws: r.signature.JWS, CreatedAt: at,
	}), nil
}

func snapshotOf(p published, index *policy.Index, digest canonical.Digest, row revisionRow) *Snapshot {
	tag := policy.NewTag(p.Epoch, p.Revision, digest, "")
	return &Snapshot{
		AudienceID: p.AudienceID, AudienceName: p.AudienceName, Epoch: p.Epoch, Revision: p.Revision, CompiledGeneration: p.CompiledGeneration,
		Digest: digest, ETag: tag.String(), Tag: tag,
		Document: row.Document, Gzip: row.Gzipped, JWS: row.Jws, Detached: row.Signature, Kid: row.Kid,
		PublishedAt: row.CreatedAt, Index: index,
	}
}

// revisionRow is a stored revision.
type revisionRow struct {
	Digest    []byte
	Document  []byte
	Gzipped   []byte
	Kid       string
	Signature string
	Jws       string
	CreatedAt time.Time
}

func (d *Delivery) load(ctx context.Context, p published) (*Snapshot, error) {
	rows, _ := d.pool.Query(ctx, `
		select digest, document, gzipped, kid, signature, jws, created_at
		from revisions
		where audience_id = @audience and epoch = @epoch and revision = @revision`,
		pgx.StrictNamedArgs{"audience": p.AudienceID, "epoch": p.Epoch, "revision": p.Revision})
	row, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[revisionRow])
	if err != nil {
		return nil, err
	}
	digest := canonical.Digest(sha256.Sum256(row.Document))
	if string(digest[:]) != string(row.Digest) {
		return nil, fmt.Errorf("the stored document has the digest %s, which is not its own", digest)
	}
	document, err := policy.DecodeOwn(row.Document) // the digest says that it is what a leader wrote
	if err != nil {
		return nil, err
	}
	if document.Audience != p.AudienceID || document.Epoch != p.Epoch || document.Revision != p.Revision {
		return nil, fmt.Errorf("the stored document is revision %d of audience %s", document.Revision, document.Audience)
	}
	index, err := policy.NewIndex(document)
	if err != nil {
		return nil, err
	}
	return snapshotOf(p, index, digest, row), nil
}

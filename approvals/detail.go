package approvals

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/audit"
	"countersign/canonical"
	"countersign/identity"
	"countersign/policy"
)

// Detail is one request with all that a decision needs. Everything in it that came from a server, an agent or
// a caller is hostile text.
type Detail struct {
	Summary
	CallDigest       canonical.Digest // a vote has to carry it
	Call             policy.Call
	Arguments        json.RawMessage  // canonical: exactly what is hashed and executed
	Principal        policy.Principal // as verified, or asserted, at the ask
	Definition       canonical.Digest
	DefinitionNumber int        // v1, v2, …
	PurgedAt         *time.Time // since then the call, its arguments and the principal are gone; nil: they are there
	Guardrails       []Rule     // why it is held
	Grants           []Rule     // what would allow it
	TeamIDs          []string
	Ways             []Way          // any one of them is enough
	Fallback         *Escalation    // who is asked as well if nobody decides in time; nil: nobody
	MostScope        *Scope         // the most that may be approved beside the very call; nil: nothing
	GivenScope       *Scope         // what was
	StepUp           *policy.StepUp // how who approves has to have signed in
	RevealedAt       *time.Time     // its caller was shown the token
	Cues             Cues           // what stands out
	Previous         *Previous      // the last call of the same tool that was approved; nil: there is none that can be compared
	Votes            []CastVote
	Confirmations    []Confirmation
	Timeline         []audit.Entry // oldest first
	Standing         Standing      // whether the reader may decide
	MayRevoke        bool          // the reader may take the approval back, now
	Deeds            Deeds         // what else the reader may do about it, now
}

// Rule is a guardrail or a grant by name.
type Rule struct {
	ID   string
	Name string
}

// CastVote is one person's vote.
type CastVote struct {
	PersonID  string
	Name      string
	Decision  Decision
	Reason    string
	AMR       []string
	AuthTime  time.Time
	At        time.Time
	Scope     *Scope // what it allows beside the very call
	Emergency bool   // it decided alone
	Counts    bool   // the voter may still vote
}

// Way is one of the sets of people who may approve, and how far it is.
type Way struct {
	Teams  []string // names; none: nobody
	Quorum int
	Votes  int // that count
}

// Escalation is who is asked as well when time passes.
type Escalation struct {
	Way
	At    time.Time // when; or when it was
	Asked bool
}

// Confirmation is one token's life. There are several when one ran out and another was claimed.
type Confirmation struct {
	ID           string
	State        ConfirmationState
	Rotations    int
	IssuedAt     time.Time
	ExpiresAt    time.Time
	RedemptionID string
	Instance     string
	RedeemedAt   *time.Time
	OutcomeBy    *time.Time
	FinishedAt   *time.Time
	Outcome      map[string]any // status, error, response_bytes, duration_ms
}

// Detail opens the sealed call of a request for a reader. It needs identity.ReadApprovals.
func (q *Queue) Detail(ctx context.Context, who identity.Principal, id string) (Detail, error) {
	if err := who.Can(identity.ReadApprovals, ""); err != nil {
		return Detail{}, err
	}
	var d Detail
	err := pgx.BeginTxFunc(ctx, q.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		return q.detailTx(ctx, tx, who, id, &d)
	})
	return d, err
}

func (q *Queue) detailTx(ctx context.Context, tx pgx.Tx, who identity.Principal, id string, d *Detail) error {
	r, err := load(ctx, tx, id)
	if err != nil {
		return err
	}
	if d.Summary, err = summary(ctx, tx, who, id); err != nil {
		return err
	}
	if err := q.openInto(r, d); err != nil {
		return err
	}
	if err := readRules(ctx, tx, r, d); err != nil {
		return err
	}
	if d.Votes, err = castVotes(ctx, tx, id); err != nil {
		return err
	}
	if err := waysInto(ctx, tx, &r, d); err != nil {
		return err
	}
	if r.PurgedAt == nil {
		if d.Cues, err = q.cues(ctx, tx, &r, len(d.Arguments)); err != nil {
			return err
		}
		if d.Previous, err = q.previous(ctx, tx, &r, d.Arguments); err != nil {
			return err
		}
	}
	if d.Confirmations, err = confirmations(ctx, tx, id); err != nil {
		return err
	}
	if d.Timeline, err = timeline(ctx, tx, id); err != nil {
		return err
	}
	if d.Standing, err = standing(ctx, tx, who, id); err != nil {
		return err
	}
	if d.Deeds, err = deedsOf(ctx, tx, who, &r, d); err != nil {
		return err
	}
	d.MayRevoke = r.State == Approved && who.Can(identity.Vote, "") == nil && d.Standing.mayRevoke(who)
	return nil
}

func summary(ctx context.Context, tx pgx.Tx, who identity.Principal, id string) (Summary, error) {
	rows, _ := tx.Query(ctx, `select `+summaryColumns+` from `+summaryTables+` where a.id = @id`,
		pgx.StrictNamedArgs{"id": id, "reader": who.ID})
	s, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[Summary])
	return s, found(err, id)
}

// openInto decrypts the call, and makes sure that it is the one whose digest everybody sees. Of one that was wiped only
// the digests are left.
func (q *Queue) openInto(r row, d *Detail) (err error) {
	d.TeamIDs, d.PurgedAt, d.RevealedAt = r.TeamIDs, r.PurgedAt, r.RevealedAt
	if r.PurgedAt != nil {
		d.CallDigest = r.digest()
		copy(d.Definition[:], r.DefinitionDigest)
		return nil
	}
	if d.Call, d.Principal, err = q.open(r.Call, r.Principal, r.CallDigest); err != nil {
		return err
	}
	if d.CallDigest, d.Arguments, err = d.Call.Digest(); err != nil {
		return fmt.Errorf("writing the call of %s: %w", r.ID, err)
	}
	if d.CallDigest != r.digest() {
		return fmt.Errorf("the sealed call of %s has another digest than the request", r.ID)
	}
	d.Definition = d.Call.Definition
	return nil
}

func readRules(ctx context.Context, tx pgx.Tx, r row, d *Detail) (err error) {
	rows, _ := tx.Query(ctx, `select id, name from guardrails where id = any ($1) order by name, id`, r.Guardrails)
	if d.Guardrails, err = pgx.CollectRows(rows, pgx.RowToStructByName[Rule]); err != nil {
		return fmt.Errorf("reading the guardrails of %s: %w", r.ID, err)
	}
	rows, _ = tx.Query(ctx, `select id, name from grants where id = any ($1) order by name, id`, r.Grants)
	if d.Grants, err = pgx.CollectRows(rows, pgx.RowToStructByName[Rule]); err != nil {
		return fmt.Errorf("reading the grants of %s: %w", r.ID, err)
	}
	err = tx.QueryRow(ctx, `select number from definitions where tool_id = $1 and digest = $2`, r.ToolID, r.DefinitionDigest).Scan(&d.DefinitionNumber)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("reading the definition of %s: %w", r.ID, err)
	}
	return nil
}

func castVotes(ctx context.Context, tx pgx.Tx, id string) ([]CastVote, error) {
	rows, _ := tx.Query(ctx, `
		select v.person_id, coalesce(nullif(p.name, ''), p.email) as name, v.decision, v.reason, v.amr, v.auth_time, v.at, v.scope, v.emergency,
		       `+member+` and not `+caller+` as counts
		from votes v join people p on p.id = v.person_id join approvals a on a.id = v.approval_id
		where v.approval_id = $1 order by v.at, v.person_id`, id)
	votes, err := pgx.CollectRows(rows, pgx.RowToStructByName[CastVote])
	if err != nil {
		return nil, fmt.Errorf("reading the votes on %s: %w", id, err)
	}
	return votes, nil
}

func confirmations(ctx context.Context, tx pgx.Tx, id string) ([]Confirmation, error) {
	rows, _ := tx.Query(ctx, `
		select id, state, rotations, issued_at, expires_at, coalesce(redemption_id, '') as redemption_id, instance,
		       redeemed_at, outcome_by, finished_at, outcome
		from confirmations where approval_id = $1 order by issued_at, id`, id)
	all, err := pgx.CollectRows(rows, pgx.RowToStructByName[Confirmation])
	if err != nil {
		return nil, fmt.Errorf("reading the confirmations of %s: %w", id, err)
	}
	return all, nil
}

// timeline is what happened to the request and to its confirmations.
func timeline(ctx context.Context, tx pgx.Tx, id string) ([]audit.Entry, error) {
	rows, _ := tx.Query(ctx, `
		select id, at, kind, actor_kind, actor_id, actor_name, target_kind, target_id, target_name, detail, ip, request_id
		from audit_events
		where target_id = any (array[$1::text] || array(select id from confirmations where approval_id = $1))
		order by id
		limit 500`, id)
	entries, err := pgx.CollectRows(rows, pgx.RowToStructByName[audit.Entry])
	if err != nil {
		return nil, fmt.Errorf("reading the timeline of %s: %w", id, err)
	}
	return entries, nil
}

package approvals

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/audit"
	"countersign/identity"
	"countersign/internal/problem"
)

// Review is the second look at an emergency approval. It is open until somebody else than who broke the glass has
// closed it; when it is overdue, people are told once a day.
type Review struct {
	ID            string
	ApprovalID    string
	ServerID      string
	ServerName    string
	ToolName      string
	Agent         string
	CallerSubject string
	CallerName    string
	Execution     ConfirmationState // what became of the call; "" when it was never claimed
	OpenedBy      string            // id of a person
	OpenedByName  string
	Reason        string // typed in the emergency: hostile
	Ticket        string
	OpenedAt      time.Time
	DueAt         time.Time
	Overdue       bool
	ClosedAt      *time.Time
	ClosedByName  string
	Finding       string // justified or not_justified; "" while it is open
	Note          string
	MayClose      bool // the reader may close it, now
}

// ReviewFilter selects reviews. Zero fields select everything.
type ReviewFilter struct {
	Open     bool   // those that nobody has closed, by the time they are due; otherwise the newest first
	Approval string // of this request
	After    string // ReviewPage.Next of the page before
	Limit    int    // 1 to 200, default 50
}

// ReviewPage is one page of reviews. Next is empty on the last.
type ReviewPage struct {
	Items []Review
	Next  string
}

// asked is SQL: whether person p belongs to a team that request a asked, or to the team that owns its server, and is
// not disabled.
const asked = `(p.disabled_at is null and exists (
	select from teams t
	where (t.id = any (a.team_ids) or t.id = (select s.team_id from servers s where s.id = a.server_id)) and ` + inTeam + `))`

const reviewTables = `reviews v
	join approvals a on a.id = v.approval_id
	join people opener on opener.id = v.opened_by
	left join people closer on closer.id = v.closed_by
	left join people p on p.id = @reader`

// Reviews gives one page of reviews. It needs identity.ReadApprovals. A cursor that cannot be read is Invalid
// (bad_cursor).
func (q *Queue) Reviews(ctx context.Context, who identity.Principal, f ReviewFilter) (ReviewPage, error) {
	if err := who.Can(identity.ReadApprovals, ""); err != nil {
		return ReviewPage{}, err
	}
	after, err := parseCursor(f.After)
	if err != nil {
		return ReviewPage{}, err
	}
	if f.Limit <= 0 || f.Limit > 200 {
		f.Limit = 50
	}
	items, err := reviews(ctx, q.pool, who, f, after)
	return reviewPage(items, f), err
}

// reviews are one more than fit on the page.
func reviews(ctx context.Context, db querier, who identity.Principal, f ReviewFilter, after cursor) ([]Review, error) {
	where, order := `(@after_id = '' or (v.opened_at, v.id) < (@after_at, @after_id))`, `v.opened_at desc, v.id desc`
	if f.Open {
		where, order = `v.closed_at is null and (@after_id = '' or (v.due_at, v.id) > (@after_at, @after_id))`, `v.due_at, v.id`
	}
	rows, _ := db.Query(ctx, `
		select v.id, v.approval_id, a.server_id, a.server_name, a.tool_name, a.agent, a.caller_subject, a.caller_name,
		       coalesce((select c.state from confirmations c where c.approval_id = a.id order by c.issued_at desc, c.id desc limit 1), '') as execution,
		       v.opened_by, coalesce(nullif(opener.name, ''), opener.email) as opened_by_name, v.reason, v.ticket, v.opened_at, v.due_at,
		       v.closed_at is null and v.due_at <= clock_timestamp() as overdue,
		       v.closed_at, coalesce(nullif(closer.name, ''), closer.email, '') as closed_by_name, coalesce(v.finding, '') as finding, v.note,
		       v.closed_at is null and @may_vote and p.id is not null and p.id <> v.opened_by and not `+caller+` and not `+owner+`
		           and (`+asked+` or (@admin and p.disabled_at is null)) as may_close
		from `+reviewTables+`
		where `+where+` and (@approval = '' or v.approval_id = @approval)
		order by `+order+`
		limit @limit`,
		pgx.StrictNamedArgs{
			"reader": who.ID, "may_vote": who.Can(identity.Vote, "") == nil, "admin": who.Has(identity.Admin),
			"approval": f.Approval, "after_at": after.At, "after_id": after.ID, "limit": f.Limit + 1,
		})
	items, err := pgx.CollectRows(rows, pgx.RowToStructByName[Review])
	if err != nil {
		return nil, fmt.Errorf("listing reviews: %w", err)
	}
	return items, nil
}

func reviewPage(items []Review, f ReviewFilter) ReviewPage {
	if len(items) <= f.Limit {
		return ReviewPage{Items: items}
	}
	items = items[:f.Limit]
	last := items[len(items)-1]
	at := last.OpenedAt
	if f.Open {
		at = last.DueAt
	}
	return ReviewPage{Items: items, Next: cursor{At: at, ID: last.ID}.String()}
}

// Finding is how a review ends.
type Finding struct {
	Justified bool
	Note      string // what was looked at, and what follows
}

// CloseReview ends a review. It is for a person in a signed-in session who is an admin, or belongs to a team that was
// asked or that owns the server; never for who broke the glass, and never for the caller.
//
// It needs identity.Vote. Problems: NotFound no_such_review; Forbidden own_emergency, own_call, own_agent,
// not_a_member, not_a_person; Conflict review_closed; Invalid finding_incomplete with the field "note". Refusals but the
// last are recorded as review.refused.
func (q *Queue) CloseReview(ctx context.Context, who identity.Principal, id string, f Finding) error {
	refused := audit.Event{Kind: "review.refused", Who: who, TargetKind: "review", TargetID: id}
	if err := who.Can(identity.Vote, ""); err != nil {
		return q.refuse(ctx, refused, err)
	}
	f.Note = strings.TrimSpace(f.Note)
	if why := told(f.Note, "Say what you found."); why != "" {
		return problem.New(problem.Invalid, "finding_incomplete", "The review is not closed.").Field("note", why)
	}
	err := q.inTx(ctx, func(tx pgx.Tx) (refusal, err error) {
		v, err := lockReview(ctx, tx, who, id)
		if err != nil {
			return nil, err
		}
		if refusal := v.refusal(who); refusal != nil {
			return refusal, nil
		}
		return nil, closeReviewTx(ctx, tx, who, v, f)
	})
	return q.refuse(ctx, refused, err)
}

// openReview is a locked review, as far as who may close it goes.
type openReview struct {
	ID         string
	ApprovalID string
	Name       string
	OpenedBy   string
	Closed     bool
	Known      bool // the reader is a person who is not disabled
	Own        bool // the reader is the caller
	Owner      bool // the reader answers for the agent
	Asked      bool // the reader belongs to a team that was asked, or that owns the server
}

// lockReview locks a review only: nothing about its request is changed.
func lockReview(ctx context.Context, tx pgx.Tx, who identity.Principal, id string) (openReview, error) {
	rows, _ := tx.Query(ctx, `
		select v.id, v.approval_id, a.server_name || ' ' || a.tool_name as name, v.opened_by, v.closed_at is not null as closed,
		       coalesce(p.disabled_at is null and p.issuer = @issuer and p.subject = @subject, false) as known,
		       coalesce(`+caller+`, false) as own, coalesce(`+asked+`, false) as asked,
		       coalesce(`+owner+`, false) as owner
		from `+reviewTables+`
		where v.id = @id
		for no key update of v`,
		pgx.StrictNamedArgs{"id": id, "reader": who.ID, "issuer": who.Issuer, "subject": who.Subject})
	v, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[openReview])
	switch {
	case errors.Is(err, pgx.ErrNoRows), err != nil && badText(id) != "":
		return v, problem.New(problem.NotFound, "no_such_review", "There is no such review.")
	case err != nil:
		return v, fmt.Errorf("reading review %q: %w", id, err)
	}
	return v, nil
}

func (v openReview) refusal(who identity.Principal) error {
	switch {
	case !v.Known:
		return problem.New(problem.Forbidden, "not_a_person", "You are not known here as a person, so you cannot close this review.")
	case v.OpenedBy == who.ID:
		return problem.New(problem.Forbidden, "own_emergency", "You broke the glass. Another person has to look at it.")
	case v.Own:
		return problem.New(problem.Forbidden, "own_call", "This was your own call. Another person has to look at it.")
	case v.Owner:
		return problem.New(problem.Forbidden, "own_agent", "You answer for the agent that called. Another person has to look at it.")
	case !v.Asked && !who.Has(identity.Admin):
		return problem.New(problem.Forbidden, "not_a_member", "Admins, and members of the teams that were asked or that own the server, close this review.")
	case v.Closed:
		return problem.New(problem.Conflict, "review_closed", "Somebody else has closed this review. Yours was not recorded.")
	}
	return nil
}

func closeReviewTx(ctx context.Context, tx pgx.Tx, who identity.Principal, v openReview, f Finding) error {
	finding := "not_justified"
	if f.Justified {
		finding = "justified"
	}
	_, err := tx.Exec(ctx, `
		update reviews set closed_at = clock_timestamp(), closed_by = @by, finding = @finding, note = @note where id = @id and closed_at is null`,
		pgx.StrictNamedArgs{"id": v.ID, "by": who.ID, "finding": finding, "note": f.Note})
	if err != nil {
		return fmt.Errorf("closing review %s: %w", v.ID, err)
	}
	if err := audit.Append(ctx, tx, audit.Event{
		Kind: "review.closed", Who: who, TargetKind: "review", TargetID: v.ID, TargetName: v.Name,
		Detail: map[string]any{"approval": v.ApprovalID, "finding": finding, "note": f.Note},
	}); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `update approvals set changed_at = clock_timestamp() where id = $1`, v.ApprovalID); err != nil {
		return fmt.Errorf("marking approval request %s as changed: %w", v.ApprovalID, err)
	}
	return nil
}

// dueOverdue are the reviews that people are to be told of: overdue, and not told of for a day.
const dueOverdue = `
	select id from reviews
	where closed_at is null and due_at <= clock_timestamp() and coalesce(told_at < clock_timestamp() - interval '1 day', true)
	order by due_at limit $1`

// sweepOverdue tells people once a day that a review is overdue.
func (q *Queue) sweepOverdue(ctx context.Context, id string) (did bool, err error) {
	err = q.inTx(ctx, func(tx pgx.Tx) (_, err error) {
		var approvalID string
		err = tx.QueryRow(ctx, `
			update reviews set told_at = clock_timestamp()
			where id = $1 and closed_at is null and coalesce(told_at < clock_timestamp() - interval '1 day', true)
			returning approval_id`, id).Scan(&approvalID)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("marking review %s as overdue: %w", id, err)
		}
		r, err := load(ctx, tx, approvalID)
		if err != nil {
			return nil, err
		}
		did = true
		if err := audit.Append(ctx, tx, r.event("review.overdue", system, map[string]any{"review": id})); err != nil {
			return nil, err
		}
		return nil, q.announceTx(ctx, tx, &r, "review.overdue", true)
	})
	return did && err == nil, err
}

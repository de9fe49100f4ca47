package approvals

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"countersign/audit"
	"countersign/canonical"
	"countersign/identity"
	"countersign/internal/problem"
)

// Emergency is what somebody says who approves a call alone, because nobody else can be reached. SeenDigest and Version
// are those of the page, as in a Vote.
type Emergency struct {
	Reason     string
	Ticket     string // where the emergency is kept track of
	Version    int64
	SeenDigest canonical.Digest
}

const (
	maxTicket   = 200
	reviewAfter = 24 * time.Hour // where the guardrail does not say
)

// BreakGlass approves a pending request by one person of those whom its guardrails name for emergencies. Everybody is
// told at once, and a review is open until somebody else has closed it. It allows the very call once, like any approval,
// and nothing beside it.
//
// It needs identity.Vote. Who may is read in the transaction, as for a vote: never the caller, who answers for the agent,
// or, where the guardrail says so, who made the grant; and signed in as the guardrail asks.
//
// Problems: Invalid emergency_incomplete with the fields "reason" and "ticket"; NotFound no_such_approval; Forbidden
// own_call, own_agent, own_grant, not_a_breaker, not_a_person, no_break_glass, step_up_required; Conflict with the fields
// "state" and "version": not_pending, version_changed, call_changed, already_voted (to deny it), time_is_up. All but the
// first are recorded as approval.refused.
func (q *Queue) BreakGlass(ctx context.Context, who identity.Principal, id string, e Emergency) (Request, error) {
	refused := audit.Event{Kind: "approval.refused", Who: who, TargetKind: "approval", TargetID: id, Detail: map[string]any{"decision": "emergency"}}
	if err := who.Can(identity.Vote, ""); err != nil {
		return Request{}, q.refuse(ctx, refused, err)
	}
	if err := e.validate(); err != nil {
		return Request{}, err
	}
	var r row
	err := settled(func() (err error) {
		r, err = q.breakGlass(ctx, who, id, e)
		return err
	})
	if err != nil {
		if r.ID != "" {
			refused = r.event(refused.Kind, who, refused.Detail)
		}
		return Request{}, q.refuse(ctx, refused, err)
	}
	return r.view(), nil
}

func (e *Emergency) validate() error {
	e.Reason, e.Ticket = strings.TrimSpace(e.Reason), strings.TrimSpace(e.Ticket)
	p := problem.New(problem.Invalid, "emergency_incomplete", "Nothing was approved.")
	if why := told(e.Reason, "Say what the emergency is."); why != "" {
		p.Field("reason", why)
	}
	why := told(e.Ticket, "Name the ticket or incident.")
	if utf8.RuneCountInString(e.Ticket) > maxTicket || strings.ContainsFunc(e.Ticket, unicode.IsControl) {
		why = fmt.Sprintf("One line of at most %d characters.", maxTicket)
	}
	if why != "" {
		p.Field("ticket", why)
	}
	if len(p.Fields) > 0 {
		return p
	}
	return nil
}

// breakGlass is one attempt, under the policy as it is now.
func (q *Queue) breakGlass(ctx context.Context, who identity.Principal, id string, e Emergency) (row, error) {
	r, err := load(ctx, q.pool, id)
	if err != nil {
		return row{}, err
	}
	var j *judgement
	if r.State == Pending {
		if j, err = q.judgeRow(ctx, &r); err != nil {
			return r, err
		}
	}
	err = q.inTx(ctx, func(tx pgx.Tx) (refusal, err error) {
		if r, err = lock(ctx, tx, id); err != nil {
			return nil, err
		}
		if _, err := q.lapseTx(ctx, tx, &r); err != nil {
			return nil, err
		}
		if r.State == Pending {
			if err := q.followPolicyTx(ctx, tx, &r, j); err != nil {
				return nil, err
			}
		}
		if refusal, err := r.emergencyRefusal(ctx, tx, who, e); refusal != nil || err != nil {
			return refusal, err
		}
		return nil, q.breakGlassTx(ctx, tx, &r, who, e)
	})
	return r, err
}

// emergencyRefusal says why who may not approve a locked request alone.
func (r *row) emergencyRefusal(ctx context.Context, tx pgx.Tx, who identity.Principal, e Emergency) (refusal, err error) {
	s, err := breaker(ctx, tx, who, r)
	switch {
	case err != nil:
		return nil, err
	case !s.May && s.Code != "already_voted":
		return s.refusal(), nil
	case r.State != Pending:
		return r.conflict("not_pending", "This request is %s. Nothing was approved.", r.State), nil
	case !s.May:
		return s.refusal(), nil
	case e.SeenDigest != r.digest():
		return r.conflict("call_changed", "The page showed another call than the one that is asked for. Reload it."), nil
	case e.Version != r.Version:
		return r.conflict("version_changed", "Something happened to this request while you looked. Reload the page and decide again."), nil
	}
	return s.approvalRefusal(), nil
}

// breaker reads, in this very transaction, whether who may approve request r alone in an emergency. It is a Standing as
// for a vote, but of the teams that are named for emergencies, and somebody who has approved already may.
func breaker(ctx context.Context, db querier, who identity.Principal, r *row) (Standing, error) {
	if who.Kind != identity.Person {
		return Standing{Code: "not_a_person"}, nil
	}
	glass := r.Terms.BreakGlass
	if glass == nil {
		return Standing{Code: "no_break_glass"}, nil
	}
	rows, _ := db.Query(ctx, `
		select `+caller+` as own, `+owner+` as owner, `+granter+` as granter,
		       p.disabled_at is null and exists (select from teams t where t.id = any (@teams) and `+inTeam+`) as belongs,
		       exists (select from votes v where v.approval_id = a.id and v.person_id = p.id and v.decision = 'deny') as voted,
		       a.terms, clock_timestamp() as now
		from people p cross join approvals a
		where p.id = @person and p.issuer = @issuer and p.subject = @subject and a.id = @id`,
		pgx.StrictNamedArgs{
			"person": who.ID, "issuer": who.Issuer, "subject": who.Subject, "id": r.ID, "teams": append([]string{}, glass.Teams...),
		})
	s, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[seat])
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return Standing{Code: "not_a_person"}, nil
	case err != nil:
		return Standing{}, fmt.Errorf("reading who may approve %s alone: %w", r.ID, err)
	}
	standing := s.standing(who)
	if standing.Code == "not_a_member" {
		standing.Code = "not_a_breaker"
	}
	return standing, nil
}

// breakGlassTx records the vote and the review, approves the request and has everybody told.
func (q *Queue) breakGlassTx(ctx context.Context, tx pgx.Tx, r *row, who identity.Principal, e Emergency) error {
	if err := insertEmergencyTx(ctx, tx, r, who, e); err != nil {
		return err
	}
	seconds := 0
	if glass := r.Terms.BreakGlass; glass != nil {
		seconds = glass.ReviewSeconds
	}
	due := cmp.Or(time.Duration(seconds)*time.Second, reviewAfter)
	var review string
	err := tx.QueryRow(ctx, `
		with flagged as (update approvals set emergency = true where id = @approval)
		insert into reviews (approval_id, opened_by, reason, ticket, due_at)
		values (@approval, @person, @reason, @ticket, clock_timestamp() + @due::interval)
		returning id`,
		pgx.StrictNamedArgs{"approval": r.ID, "person": who.ID, "reason": e.Reason, "ticket": e.Ticket, "due": due}).Scan(&review)
	if err != nil {
		return fmt.Errorf("opening the review of %s: %w", r.ID, err)
	}
	if err := audit.Append(ctx, tx, r.event("approval.emergency", who, map[string]any{
		"digest": r.digest().String(), "reason": e.Reason, "ticket": e.Ticket, "review": review, "due_in": due.String(),
		"amr": who.AMR, "acr": who.ACR, "auth_time": who.AuthTime,
	})); err != nil {
		return err
	}
	detail := map[string]any{"emergency": true, "review": review}
	if err := q.moveTx(ctx, tx, r, move{to: Approved, reason: e.Reason, who: who, kind: "approval.approved", detail: detail}); err != nil {
		return err
	}
	return q.announceTx(ctx, tx, r, "approval.emergency", true)
}

// insertEmergencyTx records the emergency as the vote that it is; somebody who had approved already has no second one.
func insertEmergencyTx(ctx context.Context, tx pgx.Tx, r *row, who identity.Principal, e Emergency) error {
	_, err := tx.Exec(ctx, `
		insert into votes (approval_id, person_id, decision, reason, seen_digest, session_id, amr, acr, auth_time, ip, emergency, at)
		values (@approval, @person, 'approve', @reason, @digest, @session, @amr, @acr, @auth_time, @ip, true, @at)
		on conflict on constraint votes_one_each do update set emergency = true where votes.decision = 'approve'`,
		pgx.StrictNamedArgs{
			"approval": r.ID, "person": who.ID, "reason": e.Reason, "digest": e.SeenDigest[:], "session": who.SessionID,
			"amr": append([]string{}, who.AMR...), "acr": who.ACR, "auth_time": who.AuthTime, "ip": who.IP, "at": r.Now,
		})
	if err != nil {
		return fmt.Errorf("recording the emergency of %s: %w", r.ID, err)
	}
	return nil
}

package approvals

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"countersign/audit"
	"countersign/canonical"
	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
)

// Decision is what a person votes.
type Decision string

// The decisions.
const (
	Approve Decision = "approve"
	Deny    Decision = "deny"
)

// Vote is one person's decision on what was on their screen: SeenDigest and Version are those of the page.
type Vote struct {
	Decision   Decision
	Reason     string // needed to deny
	Version    int64
	SeenDigest canonical.Digest
	Scope      *Scope // what an approval allows beside the call; nil: nothing
}

// Vote records the vote of a person in a signed-in session and makes the transition that it causes. Who may
// vote is read in the transaction of the vote; votes are counted under a lock of the request; a vote counts
// while its voter may vote. An approving vote on a call that the policy denies by now supersedes the request. Where the
// terms ask for it, one who approves has to have signed in afresh, or with a second factor; who denies never has to.
//
// Refusals: Forbidden (own_call, own_agent, own_grant, not_a_member, not_a_person, interactive_only; step_up_required
// with the fields "max_age", "acr_values" and "mfa", as far as they are asked for), Conflict with the fields "state" and
// "version" (not_pending, version_changed, call_changed, already_voted, time_is_up), Invalid with fields (vote_incomplete;
// scope_too_wide: "scope", "uses", "within", "free"), NotFound. They are recorded as approval.refused.
func (q *Queue) Vote(ctx context.Context, who identity.Principal, id string, v Vote) (Request, error) {
	if err := who.Can(identity.Vote, ""); err != nil {
		return Request{}, q.refuse(ctx, audit.Event{Kind: "approval.refused", Who: who, TargetKind: "approval", TargetID: id}, err)
	}
	v.Reason = strings.TrimSpace(v.Reason)
	if err := v.validate(); err != nil {
		return Request{}, err
	}
	if v.Decision == Deny {
		v.Scope = nil
	}
	var r row
	err := settled(func() (err error) {
		r, err = q.vote(ctx, who, id, v)
		return err
	})
	if err != nil {
		e := audit.Event{Kind: "approval.refused", Who: who, TargetKind: "approval", TargetID: id}
		if r.ID != "" {
			e = r.event("approval.refused", who, map[string]any{"decision": v.Decision})
		}
		return Request{}, q.refuse(ctx, e, err)
	}
	return r.view(), nil
}

func (v Vote) validate() error {
	p := problem.New(problem.Invalid, "vote_incomplete", "The vote is not complete. Nothing was decided.")
	if v.Decision != Approve && v.Decision != Deny {
		p.Field("decision", "Choose to approve or to deny.")
	}
	if v.Decision == Deny && v.Reason == "" {
		p.Field("reason", "Say why you deny the call.")
	}
	if why := badText(v.Reason); why != "" {
		p.Field("reason", why)
	}
	if len(p.Fields) > 0 {
		return p
	}
	return nil
}

func badText(s string) string {
	switch {
	case utf8.RuneCountInString(s) > maxReason:
		return fmt.Sprintf("At most %d characters.", maxReason)
	case !utf8.ValidString(s) || strings.ContainsRune(s, 0):
		return "This is not text."
	}
	return ""
}

// vote is one attempt, under the policy as it is now. The row it returns is for the audit event, too.
func (q *Queue) vote(ctx context.Context, who identity.Principal, id string, v Vote) (row, error) {
	r, err := load(ctx, q.pool, id)
	if err != nil {
		return row{}, err
	}
	var j *judgement
	if v.Decision == Approve && r.State == Pending {
		if j, err = q.judgeRow(ctx, &r); err != nil {
			return r, err
		}
	}
	err = q.inTx(ctx, func(tx pgx.Tx) (refusal, err error) {
		if r, err = lock(ctx, tx, id); err != nil {
			return nil, err
		}
		if refusal, err = q.ballotTx(ctx, tx, &r, who, v, j); refusal != nil || err != nil {
			return refusal, err
		}
		return nil, q.castTx(ctx, tx, &r, who, v)
	})
	return r, err
}

func (q *Queue) judgeRow(ctx context.Context, r *row) (*judgement, error) {
	call, principal, err := q.open(r.Call, r.Principal, r.CallDigest)
	if err != nil {
		return nil, err
	}
	j, err := q.judge(ctx, r.GatewayID, call, principal, r.CreatedAt)
	return &j, err
}

// ballotTx decides whether the vote counts, on the locked request. What it finds out about the request, that
// its time is up or that the policy turned against it, it writes.
func (q *Queue) ballotTx(ctx context.Context, tx pgx.Tx, r *row, who identity.Principal, v Vote, j *judgement) (refusal, err error) {
	if _, err := q.lapseTx(ctx, tx, r); err != nil {
		return nil, err
	}
	if r.State == Pending && j != nil {
		if err := q.followPolicyTx(ctx, tx, r, j); err != nil {
			return nil, err
		}
	}
	s, err := standing(ctx, tx, who, r.ID)
	switch {
	case err != nil:
		return nil, err
	case !s.May && s.Code != "already_voted":
		return s.refusal(), nil
	case r.State != Pending:
		return r.conflict("not_pending", "This request is %s. Your vote was not counted.", r.State), nil
	case !s.May:
		return s.refusal(), nil
	case v.SeenDigest != r.digest():
		return r.conflict("call_changed", "The page showed another call than the one that is asked for. Reload it."), nil
	case v.Version != r.Version:
		return outdatedTx(ctx, tx, r)
	case v.Decision == Approve && s.approvalRefusal() != nil:
		return s.approvalRefusal(), nil
	}
	t := r.terms()
	return t.checkScope(v.Scope), nil
}

// followPolicyTx brings a pending request in line with the policy of now: one that may not run is superseded,
// one whose terms changed takes the new ones, which is a new version.
func (q *Queue) followPolicyTx(ctx context.Context, tx pgx.Tx, r *row, j *judgement) error {
	current, err := j.current(ctx, tx)
	switch why := j.bars(r.Evidence); {
	case err != nil:
		return err
	case !current:
		return errMoved
	case why != "":
		return q.moveTx(ctx, tx, r, move{to: Superseded, reason: why, who: system, kind: "approval.superseded"})
	case j.outcome == policy.Hold && !j.terms.equal(r.terms()):
		return takeTermsTx(ctx, tx, r, j)
	}
	return nil
}

// takeTermsTx gives a pending request the terms of the policy of now. Its fallback stays asked if it is the same still;
// another one is asked when the request has waited as long as that says, counted from the ask.
func takeTermsTx(ctx context.Context, tx pgx.Tx, r *row, j *judgement) error {
	t := j.terms
	same := reflect.DeepEqual(t.demand.Fallback, r.Terms.Fallback)
	t.escalated = r.EscalatedAt != nil && same
	quorum, teams := t.summary()
	moved, err := oneRow(ctx, tx, `
		update approvals a
		   set quorum = @quorum, deny_quorum = @deny_quorum, team_ids = @teams, guardrails = @guardrails, grants = @grants,
		       terms = @terms, granters = @granters,
		       escalated_at = case when @same then escalated_at end,
		       escalate_at = case when @same then escalate_at else created_at + nullif(@escalate_after::interval, '0') end,
		       generation = @generation, version = version + 1, changed_at = clock_timestamp()
		 where id = @id and state = 'pending' and version = @version
		returning `+columns,
		pgx.StrictNamedArgs{
			"id": r.ID, "version": r.Version, "generation": j.generation, "guardrails": j.guardrails, "grants": j.grants,
			"quorum": quorum, "deny_quorum": t.demand.DenyQuorum, "teams": teams, "terms": t.demand, "granters": t.granters,
			"same": same, "escalate_after": t.escalateAfter(),
		})
	if err != nil {
		return fmt.Errorf("giving approval request %s the terms of the new policy: %w", r.ID, err)
	}
	changed := t.changes(r.terms())
	*r = moved
	return audit.Append(ctx, tx, r.event("approval.terms_changed", system, map[string]any{
		"changed": changed,
		"quorum":  r.Quorum, "deny_quorum": r.DenyQuorum, "teams": r.TeamIDs, "terms": r.Terms, "generation": r.Generation,
	}))
}

// castTx writes the vote and makes the transition that it causes. Denial is looked at first.
func (q *Queue) castTx(ctx context.Context, tx pgx.Tx, r *row, who identity.Principal, v Vote) error {
	if err := insertVoteTx(ctx, tx, r, who, v); err != nil {
		return err
	}
	cast, err := ballots(ctx, tx, r.ID)
	if err != nil {
		return err
	}
	t := r.terms()
	switch sum := t.count(cast); {
	case sum.denied:
		return q.moveTx(ctx, tx, r, move{to: Denied, reason: v.Reason, who: who, kind: "approval.denied"})
	case sum.approved:
		return q.approveTx(ctx, tx, r, move{to: Approved, reason: v.Reason, who: who, kind: "approval.approved", scope: sum.scope})
	}
	return countVoteTx(ctx, tx, r)
}

// approveTx approves a pending request, and opens what is allowed beside it.
func (q *Queue) approveTx(ctx context.Context, tx pgx.Tx, r *row, m move) error {
	if m.scope != nil {
		m.detail = map[string]any{"scope": m.scope}
	}
	if err := q.moveTx(ctx, tx, r, m); err != nil {
		return err
	}
	return q.openAllowanceTx(ctx, tx, r)
}

// insertVoteTx records a vote, at the time that was read under the lock: it is what the sign-in was held against.
func insertVoteTx(ctx context.Context, tx pgx.Tx, r *row, who identity.Principal, v Vote) error {
	_, err := tx.Exec(ctx, `
		insert into votes (approval_id, person_id, decision, reason, seen_digest, session_id, amr, acr, auth_time, ip, scope, at)
		values (@approval, @person, @decision, @reason, @digest, @session, @amr, @acr, @auth_time, @ip, @scope, @at)`,
		pgx.StrictNamedArgs{
			"approval": r.ID, "person": who.ID, "decision": v.Decision, "reason": v.Reason, "digest": v.SeenDigest[:],
			"session": who.SessionID, "amr": append([]string{}, who.AMR...), "acr": who.ACR, "auth_time": who.AuthTime, "ip": who.IP,
			"scope": v.Scope, "at": r.Now,
		})
	if err != nil {
		return fmt.Errorf("recording a vote on %s: %w", r.ID, err)
	}
	detail := map[string]any{
		"decision": v.Decision, "reason": v.Reason, "seen_digest": v.SeenDigest.String(),
		"amr": who.AMR, "acr": who.ACR, "auth_time": who.AuthTime,
	}
	if v.Scope != nil {
		detail["scope"] = v.Scope
	}
	return audit.Append(ctx, tx, r.event("approval.voted", who, detail))
}

// countVoteTx makes the vote of an undecided request a new version of it.
func countVoteTx(ctx context.Context, tx pgx.Tx, r *row) error {
	moved, err := oneRow(ctx, tx, `
		update approvals a set version = version + 1, changed_at = clock_timestamp()
		where id = @id and version = @version
		returning `+columns, pgx.StrictNamedArgs{"id": r.ID, "version": r.Version})
	if err != nil {
		return fmt.Errorf("counting a vote on %s: %w", r.ID, err)
	}
	*r = moved
	return nil
}

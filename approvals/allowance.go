package approvals

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/audit"
	"countersign/canonical"
	"countersign/identity"
	"countersign/policy"
)

// An allowance is what an approval with a Scope allows beside the very call: some more calls that are like it.
//
//	approve with a scope ─▶ open ─┬─ all uses made ────────────────▶ used_up
//	                              ├─ time is up ───────────────────▶ expired
//	                              └─ a person, the policy, or the
//	                                 approval itself is taken back ▶ revoked, with what it approved and is not redeemed
//
// An ask that matches an open allowance makes a request of its own which is approved at once: with its own token, its
// own redemption and its own audit events. It matches by a digest over all that the digest of a call covers, but for
// the arguments that are named free; and the policy of now must hold it under terms that the approval meets, and still
// allow as much. So an allowance never lets through what the people who gave it could not have approved.
//
// Locks are taken in the order request, allowance, the requests that it approved.

// patternDomain sets digests of patterns apart from all other digests.
const patternDomain = "countersign/allowance/v1"

// pattern is the digest of a call without the arguments that are free. What is left out of the arguments is something
// else than what is null.
func pattern(call policy.Call, free []string) (canonical.Digest, error) {
	members, err := canonical.Members(call.Arguments)
	if err != nil {
		return canonical.Digest{}, fmt.Errorf("reading the arguments of a call: %w", err)
	}
	pinned := slices.DeleteFunc(members, func(m canonical.Member) bool { return slices.Contains(free, m.Key) })
	call.Arguments = canonical.AppendObject(nil, pinned)
	text, err := call.Canonical()
	if err != nil {
		return canonical.Digest{}, fmt.Errorf("writing the pattern of a call: %w", err)
	}
	return canonical.Sum(patternDomain, text), nil
}

// allowance is a row of allowances, and the database's clock.
type allowance struct {
	ID         string
	ApprovalID string
	Uses       int
	Used       int
	State      AllowanceState
	ExpiresAt  time.Time
	Now        time.Time
}

// openAllowanceTx opens the allowance of a request that was approved a moment ago, if everybody who approved it gave it
// one, as narrow as the narrowest of them and the policy.
func (q *Queue) openAllowanceTx(ctx context.Context, tx pgx.Tx, r *row) error {
	scope, err := grantedTx(ctx, tx, r)
	if err != nil || scope == nil {
		return err
	}
	call, _, err := q.open(r.Call, r.Principal, r.CallDigest)
	if err != nil {
		return err
	}
	digest, err := pattern(call, scope.Free)
	if err != nil {
		return err
	}
	var id string
	err = tx.QueryRow(ctx, `
		with scoped as (update approvals set scope = @scope where id = @approval)
		insert into allowances (approval_id, epoch, generation, gateway_id, server_id, caller_issuer, caller_subject, pattern_digest,
		    free, uses, expires_at)
		values (@approval, @epoch, @generation, @gateway, @server, @issuer, @subject, @pattern, @free, @uses, clock_timestamp() + @within::interval)
		returning id`,
		pgx.StrictNamedArgs{
			"approval": r.ID, "epoch": r.Epoch, "generation": r.Generation, "gateway": r.GatewayID, "server": r.ServerID,
			"issuer": r.CallerIssuer, "subject": r.CallerSubject, "pattern": digest[:], "free": append([]string{}, scope.Free...),
			"uses": scope.Uses, "within": scope.Within, "scope": scope,
		}).Scan(&id)
	if err != nil {
		return fmt.Errorf("opening the allowance of %s: %w", r.ID, err)
	}
	r.Scope = scope
	return audit.Append(ctx, tx, r.event("allowance.opened", system, map[string]any{
		"allowance": id, "pattern": digest.String(), "uses": scope.Uses, "within": scope.Within.String(), "free": scope.Free,
	}))
}

// maxUses is what an allowance may hold at most, whatever a guardrail says.
const maxUses = 1000

// grantedTx is the scope that all who approved the request gave; nil when one of them, or the policy, gave none.
func grantedTx(ctx context.Context, tx pgx.Tx, r *row) (*Scope, error) {
	limit := scopeOf(r.Terms.Scope)
	if limit == nil || r.Emergency {
		return nil, nil //nolint:nilnil // none is an answer here, and no error
	}
	rows, _ := tx.Query(ctx, `
		select v.scope from votes v join people p on p.id = v.person_id join approvals a on a.id = v.approval_id
		where v.approval_id = $1 and v.decision = 'approve' and `+member+` and not `+caller, r.ID)
	votes, err := pgx.CollectRows(rows, pgx.RowTo[*Scope])
	if err != nil {
		return nil, fmt.Errorf("reading what the votes on %s allow: %w", r.ID, err)
	}
	for _, vote := range votes {
		limit = narrowest(limit, vote)
	}
	if len(votes) == 0 || limit == nil || limit.Uses < 1 || limit.Within < time.Second {
		return nil, nil //nolint:nilnil // none is an answer here, and no error
	}
	return limit, nil
}

// scopeOf is what a demand lets approvers allow at most.
func scopeOf(s *policy.Scope) *Scope {
	if s == nil {
		return nil
	}
	return &Scope{Uses: min(s.MaxUses, maxUses), Within: time.Duration(s.MaxSeconds) * time.Second, Free: s.Free}
}

// within reports whether s is no wider than limit.
func (s *Scope) within(limit *Scope) bool {
	return s.Uses <= limit.Uses && s.Within <= limit.Within &&
		!slices.ContainsFunc(s.Free, func(name string) bool { return !slices.Contains(limit.Free, name) })
}

// coversLike reports whether the policy of now, which holds a call like the one that was approved, would be met by that
// approval, and would let it allow as much. Who calls must be proven as well as it was then.
func (r *row) coversLike(s identified, j judgement) bool {
	limit := scopeOf(j.terms.demand.Scope)
	if limit == nil || r.Scope == nil || !r.Scope.within(limit) || r.Evidence == verified && s.evidence != verified {
		return false
	}
	return j.terms.covers(r.terms())
}

// useAllowanceTx makes a request that an open allowance approves at once, or returns nil. Asks of this agent for this
// person wait for each other, so that whoever waits for the lock of the allowance waits for somebody who ends it.
func (q *Queue) useAllowanceTx(ctx context.Context, tx pgx.Tx, who identity.Principal, s identified, j judgement) (*row, error) {
	id, err := matchingAllowance(ctx, tx, s.call)
	if err != nil || id == "" {
		return nil, err
	}
	w, err := lockAllowance(ctx, tx, id)
	if err != nil {
		return nil, err
	}
	origin, err := load(ctx, tx, w.ApprovalID)
	if err != nil {
		return nil, err
	}
	if w.State != AllowanceOpen || !w.ExpiresAt.After(w.Now) || w.Used >= w.Uses || !origin.coversLike(s, j) {
		return nil, nil //nolint:nilnil // none is an answer here, and no error
	}
	if err := useTx(ctx, tx, &w); err != nil {
		return nil, err
	}
	r, err := q.requestTx(ctx, tx, who, s, j)
	if err != nil {
		return nil, err
	}
	return r, q.approveUseTx(ctx, tx, r, w, origin.DecidedBy)
}

// matchingAllowance is the id of the oldest open allowance that the call matches, or "".
func matchingAllowance(ctx context.Context, tx pgx.Tx, call policy.Call) (string, error) {
	rows, _ := tx.Query(ctx, `
		select id, pattern_digest, free from allowances
		where gateway_id = @gateway and server_id = @server and caller_issuer = @issuer and caller_subject = @subject
		  and epoch = @epoch and state = 'open' and expires_at > clock_timestamp()
		order by created_at, id`,
		pgx.StrictNamedArgs{
			"gateway": call.Gateway, "server": call.ServerID, "issuer": call.Principal.Issuer, "subject": call.Principal.Subject, "epoch": call.Epoch,
		})
	type candidate struct {
		ID            string
		PatternDigest []byte
		Free          []string
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByName[candidate])
	if err != nil {
		return "", fmt.Errorf("looking for allowances: %w", err)
	}
	for _, c := range all {
		digest, err := pattern(call, c.Free)
		if err != nil {
			return "", err
		}
		if string(digest[:]) == string(c.PatternDigest) {
			return c.ID, nil
		}
	}
	return "", nil
}

// lockAllowance locks an allowance and then looks at the clock, as lock does with a request.
func lockAllowance(ctx context.Context, tx pgx.Tx, id string) (allowance, error) {
	rows, _ := tx.Query(ctx, `
		select id, approval_id, uses, used, state, expires_at, clock_timestamp() as now
		from allowances where id = @id
		for no key update`, pgx.StrictNamedArgs{"id": id})
	w, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[allowance])
	switch {
	case errors.Is(err, pgx.ErrNoRows), err != nil && badText(id) != "":
		return w, noSuchAllowance()
	case err != nil:
		return w, fmt.Errorf("reading allowance %q: %w", id, err)
	}
	if err := tx.QueryRow(ctx, `select clock_timestamp()`).Scan(&w.Now); err != nil {
		return w, fmt.Errorf("reading the database's clock: %w", err)
	}
	return w, nil
}

// useTx counts a use of a locked allowance; the last one uses it up.
func useTx(ctx context.Context, tx pgx.Tx, w *allowance) error {
	err := tx.QueryRow(ctx, `
		update allowances
		   set used = used + 1,
		       state = case when used + 1 = uses then 'used_up' else state end,
		       ended_at = case when used + 1 = uses then clock_timestamp() end
		 where id = @id and state = 'open' and used = @used and expires_at > clock_timestamp()
		returning used, state`, pgx.StrictNamedArgs{"id": w.ID, "used": w.Used}).Scan(&w.Used, &w.State)
	if errors.Is(err, pgx.ErrNoRows) { // its time ran out between two readings of the clock
		return errMoved
	}
	if err != nil {
		return fmt.Errorf("using allowance %s: %w", w.ID, err)
	}
	return nil
}

// approveUseTx approves a request that the transaction made, by an allowance. It is to be claimed while the allowance
// lasts.
func (q *Queue) approveUseTx(ctx context.Context, tx pgx.Tx, r *row, w allowance, by string) error {
	approved, err := oneRow(ctx, tx, `
		update approvals a
		   set state = 'approved', state_reason = 'allowance', allowance_id = @allowance, version = version + 1, escalate_at = null,
		       decided_at = clock_timestamp(), decided_by = @by, changed_at = clock_timestamp(),
		       claim_by = least(clock_timestamp() + @claim_within::interval, @until)
		 where id = @id and state = 'pending'
		returning `+columns,
		pgx.StrictNamedArgs{"id": r.ID, "allowance": w.ID, "by": by, "claim_within": q.cfg.ClaimWithin, "until": w.ExpiresAt})
	if err != nil {
		return fmt.Errorf("approving %s by allowance %s: %w", r.ID, w.ID, err)
	}
	*r = approved
	return audit.Append(ctx, tx, r.event("approval.approved", system, map[string]any{
		"digest": r.digest().String(), "version": r.Version, "reason": r.StateReason,
		"allowance": w.ID, "origin": w.ApprovalID, "use": w.Used, "uses": w.Uses,
	}))
}

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

// openAllowanceTx opens the allowance of a request that was approved with a scope a moment ago.
func (q *Queue) openAllowanceTx(ctx context.Context, tx pgx.Tx, r *row) error {
	scope := r.Scope
	if scope == nil || scope.Uses < 1 || scope.Within < time.Second {
		return nil
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
		insert into allowances (approval_id, epoch, generation, gateway_id, server_id, caller_issuer, caller_subject, pattern_digest,
		    free, uses, expires_at)
		values (@approval, @epoch, @generation, @gateway, @server, @issuer, @subject, @pattern, @free, @uses, clock_timestamp() + @within::interval)
		returning id`,
		pgx.StrictNamedArgs{
			"approval": r.ID, "epoch": r.Epoch, "generation": r.Generation, "gateway": r.GatewayID, "server": r.ServerID,
			"issuer": r.CallerIssuer, "subject": r.CallerSubject, "pattern": digest[:], "free": append([]string{}, scope.Free...),
			"uses": scope.Uses, "within": scope.Within,
		}).Scan(&id)
	if err != nil {
		return fmt.Errorf("opening the allowance of %s: %w", r.ID, err)
	}
	return audit.Append(ctx, tx, r.event("allowance.opened", system, map[string]any{
		"allowance": id, "pattern": digest.String(), "uses": scope.Uses, "within": scope.Within.String(), "free": scope.Free,
	}))
}

// within reports whether s is no wider than limit.
func (s *Scope) within(limit *Scope) bool {
	return s.Uses <= limit.Uses && s.Within <= limit.Within && within(s.Free, limit.Free)
}

// coversLike reports whether the policy of now, which holds a call like the one that was approved, would be met by that
// approval, and would let it allow as much. Who calls must be proven as well as it was then.
func (r *row) coversLike(s identified, j *judgement) bool {
	limit := j.terms.widest()
	if limit == nil || r.Scope == nil || !r.Scope.within(limit) || r.Evidence == verified && s.evidence != verified {
		return false
	}
	return j.terms.covers(r.terms())
}

// useAllowanceTx makes a request that an open allowance approves at once, or returns nil. Asks of this agent for this
// person wait for each other, so that whoever waits here for the lock of an allowance waits for somebody who ends it.
func (q *Queue) useAllowanceTx(ctx context.Context, tx pgx.Tx, who identity.Principal, s identified, j judgement) (*row, error) {
	ids, err := matchingAllowances(ctx, tx, s.call)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		w, err := lockAllowance(ctx, tx, id)
		if err != nil {
			return nil, err
		}
		origin, err := load(ctx, tx, w.ApprovalID)
		if err != nil {
			return nil, err
		}
		given, err := w.standsTx(ctx, tx, &origin)
		if err != nil {
			return nil, err
		}
		if given && origin.coversLike(s, &j) {
			return q.requestUseTx(ctx, tx, who, s, j, &w, origin.DecidedBy)
		}
	}
	return nil, nil //nolint:nilnil // none is an answer here, and no error
}

// standsTx reports whether a locked allowance has a use left, and whether those who gave it may still give it.
func (w *allowance) standsTx(ctx context.Context, tx pgx.Tx, origin *row) (bool, error) {
	if w.State != AllowanceOpen || w.Used >= w.Uses || !w.ExpiresAt.After(w.Now) {
		return false, nil
	}
	cast, err := ballots(ctx, tx, origin.ID)
	t := origin.terms()
	return t.count(cast).approved, err
}

func (q *Queue) requestUseTx(ctx context.Context, tx pgx.Tx, who identity.Principal, s identified, j judgement, w *allowance, by string) (*row, error) {
	if err := useTx(ctx, tx, w); err != nil {
		return nil, err
	}
	r, err := q.requestTx(ctx, tx, who, s, j)
	if err != nil {
		return nil, err
	}
	return r, q.approveUseTx(ctx, tx, r, w, by)
}

// matchingAllowances are the ids of the open allowances that the call matches, the oldest first.
func matchingAllowances(ctx context.Context, tx pgx.Tx, call policy.Call) (ids []string, err error) {
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
	candidates, err := pgx.CollectRows(rows, pgx.RowToStructByName[candidate])
	if err != nil {
		return nil, fmt.Errorf("looking for allowances: %w", err)
	}
	for _, c := range candidates {
		digest, err := pattern(call, c.Free)
		if err != nil {
			return nil, err
		}
		if string(digest[:]) == string(c.PatternDigest) {
			ids = append(ids, c.ID)
		}
	}
	return ids, nil
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
func (q *Queue) approveUseTx(ctx context.Context, tx pgx.Tx, r *row, w *allowance, by string) error {
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

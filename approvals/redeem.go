package approvals

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"countersign/canonical"
	"countersign/identity"
	"countersign/internal/postgres"
	"countersign/internal/problem"
	"countersign/policy"
)

// Redeem is a gateway's request to execute, now: the token, the exact call again, an id that the gateway
// chose and kept for this one attempt, and the instance that makes it. It has the fields of client.Redeem.
type Redeem struct {
	Token        Token
	Call         policy.Call
	RedemptionID string
	Instance     string
}

// Redemption permits the execution. Replayed says that this redemption id was answered before: only the
// attempt that holds it in memory may then go on.
type Redemption struct {
	Replayed   bool
	ApprovalID string
}

// Redeem uses a token up. Of all who try, at any number of processes, one is told to go on.
//
// The checks, in order: the form and checksum of the token (no query is made for a bad one); the call's
// digest, gateway and issuer; the token is known, this gateway's, for this call, of this epoch, issued, not
// expired; the policy, evaluated again. All but the first are required once more by the one statement that
// redeems (see redeemSQL), by the database's clock after any wait for a lock. A wrong call uses nothing up.
//
// Refusals: Invalid (token_malformed, redemption_incomplete, call_malformed), Forbidden (confirmation_unknown,
// which is also what another gateway is told; foreign_gateway; foreign_issuer; policy_denied), Conflict
// (call_digest_mismatch, redemption_id_used), Gone (confirmation_used, _expired, _revoked, _void), Unavailable
// (busy, policy_changing: the same attempt may be repeated). All but Invalid and Unavailable are recorded as
// confirmation.refused.
func (q *Queue) Redeem(ctx context.Context, who identity.Principal, in Redeem) (Redemption, error) {
	if err := asGateway(who); err != nil {
		return Redemption{}, err
	}
	hash, err := parseToken(in.Token)
	if err != nil {
		return Redemption{}, err
	}
	if err := in.validate(); err != nil {
		return Redemption{}, err
	}
	a := attempt{who: who, hash: hash, id: in.RedemptionID, instance: in.Instance}
	if a.digest, _, err = q.digest(who, in.Call); err != nil {
		return Redemption{}, q.refuse(ctx, a.refused(candidate{}, "call"), err)
	}
	return q.redeem(ctx, a)
}

func (in Redeem) validate() error {
	p := problem.New(problem.Invalid, "redemption_incomplete", "The redemption is not complete. Nothing was used up.")
	for name, value := range map[string]string{"redemption_id": in.RedemptionID, "instance": in.Instance} {
		if value == "" || len(value) > 100 || badText(value) != "" {
			p.Field(name, "Between 1 and 100 characters.")
		}
	}
	if len(p.Fields) > 0 {
		return p
	}
	return nil
}

// attempt is a well-formed Redeem.
type attempt struct {
	who      identity.Principal
	hash     tokenHash
	digest   canonical.Digest
	id       string
	instance string
}

func (q *Queue) redeem(ctx context.Context, a attempt) (Redemption, error) {
	var done Redemption
	err := settled(func() (err error) {
		done, err = q.tryRedeem(ctx, a)
		return err
	})
	if err != nil {
		return Redemption{}, err
	}
	if !done.Replayed {
		q.hub.Wake(ctx, Topic)
	}
	return done, nil
}

// tryRedeem is one attempt under the policy as it is now. The statement judges; what is read before it is for
// the evaluation, and what is read after it explains.
func (q *Queue) tryRedeem(ctx context.Context, a attempt) (Redemption, error) {
	c, err := q.candidate(ctx, a.hash)
	if err != nil {
		return Redemption{}, err
	}
	if why := a.refusal(c); why != "" {
		return q.explain(ctx, a, c, why)
	}
	j, err := q.judgeCandidate(ctx, c)
	if err != nil {
		return Redemption{}, err
	}
	if j.withdraws(c.terms()) != "" {
		return Redemption{}, q.refuse(ctx, a.refused(c, "policy"), q.withdraw(ctx, c.ApprovalID, j))
	}
	redeemed, err := q.spend(ctx, a, j)
	if err != nil || redeemed {
		return Redemption{ApprovalID: c.ApprovalID}, err
	}
	if c, err = q.candidate(ctx, a.hash); err != nil {
		return Redemption{}, err
	}
	why := a.refusal(c)
	if why == "" { // nothing is wrong with the token, so it was the generation
		return Redemption{}, errMoved
	}
	return q.explain(ctx, a, c, why)
}

func (q *Queue) judgeCandidate(ctx context.Context, c candidate) (judgement, error) {
	call, principal, err := q.open(c.Call, c.Principal, c.CallDigest)
	if err != nil {
		return judgement{}, err
	}
	return q.judgeAt(ctx, c.head(), c.GatewayID, call, principal, c.CreatedAt)
}

// withdraw revokes an approval that the policy no longer stands behind.
func (q *Queue) withdraw(ctx context.Context, approvalID string, j judgement) error {
	return q.inTx(ctx, func(tx pgx.Tx) (error, error) {
		r, err := lock(ctx, tx, approvalID)
		if err != nil {
			return nil, err
		}
		if r.State != Approved { // somebody was faster; look again
			return nil, errMoved
		}
		refusal, err := q.withdrawTx(ctx, tx, &r, &j)
		return refusal, err
	})
}

// redeemSQL is the heart: one guarded update, with its audit event, in one statement.
//
// In READ COMMITTED a second updater waits and then has the WHERE judged on the new version of the row, so of
// any number one finds it issued. A WHERE is not judged again, though, after a wait for somebody who only
// locked the row: so the locks are taken first, in materialized CTEs, and the clock and the policy, both
// volatile, are read when they are held. The request is locked before its confirmation, as everywhere; it is
// spent in the same statement. A second index, audit_events_one_redeem, stands behind all this.
const redeemSQL = `
	with request as materialized (
		select id, state
		from approvals
		where id = (select approval_id from confirmations where token_hash = @hash)
		for no key update
	), token as materialized (
		select c.id, c.epoch, c.expires_at, request.state as request_state
		from request join confirmations c on c.approval_id = request.id
		where c.token_hash = @hash
		for update of c
	), redeemed as (
		update confirmations c
		   set state = 'redeemed', redemption_id = @redemption, instance = @instance,
		       redeemed_at = clock_timestamp(), outcome_by = clock_timestamp() + @outcome_within::interval
		  from token
		 where c.id = token.id
		   and c.token_hash = @hash
		   and c.gateway_id = @gateway
		   and c.call_digest = @digest
		   and c.state = 'issued'
		   and token.request_state = 'approved'
		   and token.expires_at > clock_timestamp()
		   and token.epoch = @epoch
		   and policy_is(token.epoch, @generation)
		returning c.id, c.approval_id
	), spent as (
		update approvals a
		   set state = 'closed', state_reason = 'redeemed', version = version + 1, changed_at = clock_timestamp()
		  from redeemed
		 where a.id = redeemed.approval_id
		returning a.id, a.server_name || ' ' || a.tool_name as name
	)
	select audit_append('confirmation.redeemed', @actor_kind, @actor_id, @actor_name, 'confirmation', redeemed.id, spent.name,
		jsonb_build_object('approval', spent.id, 'redemption', @redemption::text, 'instance', @instance::text,
			'digest', @digest_text::text, 'generation', @generation::bigint, 'request', 'closed'),
		@ip, @request_id)
	from redeemed join spent on spent.id = redeemed.approval_id`

// spend runs redeemSQL, durably and without a long wait for a lock, and reports whether the token was
// redeemed. When the answer to the commit is lost, the attempt may be repeated: it is then a replay.
func (q *Queue) spend(ctx context.Context, a attempt, j judgement) (redeemed bool, err error) {
	err = q.pool.AcquireFunc(ctx, func(conn *pgxpool.Conn) error {
		redeemed, err = q.spendOn(ctx, conn, pgx.StrictNamedArgs{
			"hash": a.hash[:], "gateway": a.who.GatewayID, "digest": a.digest[:], "digest_text": a.digest.String(),
			"redemption": a.id, "instance": a.instance, "outcome_within": q.cfg.OutcomeWithin,
			"epoch": j.epoch, "generation": j.generation,
			"actor_kind": string(a.who.Kind), "actor_id": a.who.ID, "actor_name": a.who.Name,
			"ip": a.who.IP, "request_id": a.who.RequestID,
		})
		return err
	})
	switch {
	case err == nil:
		return redeemed, nil
	case postgres.Constraint(err) == "confirmations_redemption":
		return false, q.refuse(ctx, a.refused(candidate{}, "redemption_id"), problem.New(problem.Conflict, "redemption_id_used",
			"This redemption id was used for another token. Choose a new one for each attempt."))
	case postgres.IsLockTimeout(err), postgres.IsSerialization(err):
		return false, busy(err)
	}
	return false, fmt.Errorf("redeeming a confirmation: %w", err)
}

// spendOn sends the whole transaction in one go. Its result counts only when the commit, too, was answered.
func (q *Queue) spendOn(ctx context.Context, conn *pgxpool.Conn, args pgx.StrictNamedArgs) (redeemed bool, err error) {
	batch := &pgx.Batch{}
	batch.Queue(`begin isolation level read committed`)
	batch.Queue(`select set_config('synchronous_commit', 'on', true), set_config('lock_timeout', $1, true)`, q.lockTimeout)
	batch.Queue(redeemSQL, args).QueryRow(func(row pgx.Row) error {
		var event int64
		err := row.Scan(&event)
		redeemed = err == nil
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		return err
	})
	batch.Queue(`commit`).Exec(func(tag pgconn.CommandTag) error {
		if tag.String() != "COMMIT" {
			return fmt.Errorf("the commit was answered with %s", tag)
		}
		return nil
	})
	if err := conn.SendBatch(ctx, batch).Close(); err != nil {
		_, rollback := conn.Exec(ctx, `rollback`) // else the pool closes the connection, which does it too
		if rollback != nil {
			return false, errors.Join(err, rollback)
		}
		return false, err
	}
	return redeemed, nil
}

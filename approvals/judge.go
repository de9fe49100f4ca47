package approvals

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/internal/problem"
	"countersign/policy"
)

// judgement is what the policy says of an exact call now, at one generation of one epoch. It is only worth
// something in a statement that requires both still to be current.
type judgement struct {
	outcome    policy.Outcome
	reason     string
	epoch      int64
	generation int64
	serverName string
	toolID     string
	terms      terms
	guardrails []string
	grants     []string
}

// judge evaluates the policy for a call whose arguments are canonical. A call that waits was asked for at askedAt; it is
// the zero time of one that is asked for now.
func (q *Queue) judge(ctx context.Context, gatewayID string, call policy.Call, principal policy.Principal, askedAt time.Time) (judgement, error) {
	rows, _ := q.pool.Query(ctx, `
		select h.epoch, clock_timestamp() as now,
		       coalesce((select name from servers where id = @server), '') as server_name,
		       exists (select from gateways where id = @gateway and revoked_at is null) as gateway_lives
		from registry_head h`,
		pgx.StrictNamedArgs{"server": call.ServerID, "gateway": gatewayID})
	h, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[head])
	if err != nil {
		return judgement{}, fmt.Errorf("reading the registry's head: %w", err)
	}
	return q.judgeAt(ctx, h, gatewayID, call, principal, askedAt)
}

// head is what the database says beside the policy. A server that it does not know has no name, and no
// policy has one without.
type head struct {
	Epoch        int64
	Now          time.Time
	ServerName   string
	GatewayLives bool
}

// judgeAt is judge where the head was read already. What is called must be exactly what the policy pins: a
// server that moved or a tool that changed is a denial. Conditions see the arguments that people see and that are
// executed: the arguments of the call must be canonical. How long ago the caller had signed in is as it was at the ask:
// nobody signs in again because others take their time.
func (q *Queue) judgeAt(ctx context.Context, h head, gatewayID string, call policy.Call, principal policy.Principal, askedAt time.Time) (judgement, error) {
	if !askedAt.IsZero() && !principal.AuthTime.IsZero() {
		principal.AuthTime = principal.AuthTime.Add(h.Now.Sub(askedAt))
	}
	if !askedAt.IsZero() {
		principal.Taint = shifted(principal.Taint, h.Now.Sub(askedAt))
	}
	e, err := q.cfg.Evaluate(ctx, gatewayID, policy.Request{
		Server: h.ServerName, Kind: call.Kind, Name: call.Tool, Principal: &principal, Arguments: call.Arguments, Now: h.Now,
	})
	if err != nil {
		return judgement{}, fmt.Errorf("evaluating the policy: %w", err)
	}
	j := judgement{
		outcome: e.Verdict.Outcome, reason: string(e.Verdict.Reason),
		epoch: h.Epoch, generation: e.Generation, serverName: h.ServerName,
	}
	switch {
	case !h.GatewayLives:
		j.outcome, j.reason = policy.Deny, "gateway_revoked"
	case call.Epoch != h.Epoch:
		j.outcome, j.reason = policy.Deny, "epoch_changed"
	case j.outcome != policy.Deny && !pinned(call, e.Verdict):
		j.outcome, j.reason = policy.Deny, string(policy.ReasonDrifted)
	}
	if j.outcome != policy.Deny {
		j.toolID = e.Verdict.Tool.ID
		j.guardrails, j.grants = e.matched()
	}
	if j.outcome == policy.Hold {
		j.terms = demanded(e.Verdict)
		if j.terms.demand.NotGranter {
			j.terms.granters, err = granters(ctx, q.pool, j.grants)
		}
	}
	return j, err
}

// granters are the people who made or last changed grants. Each change of a grant moves the generation of the policy in
// its transaction, so what is read here after an evaluation holds wherever the generation of that still does.
func granters(ctx context.Context, db querier, grants []string) ([]string, error) {
	rows, _ := db.Query(ctx, `
		select p.id from people p
		where p.id in (
		  select g.created_by from grants g where g.id = any (@grants)
		  union all
		  select (select e.actor_id from audit_events e
		          where e.target_id = g.id and e.kind in ('grant.created', 'grant.changed')
		          order by e.id desc limit 1)
		  from grants g where g.id = any (@grants))
		order by p.id`, pgx.StrictNamedArgs{"grants": grants})
	people, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("reading who made the grants: %w", err)
	}
	return append([]string{}, people...), nil
}

func pinned(call policy.Call, v policy.Verdict) bool {
	return v.Server != nil && v.Tool != nil && v.Server.ID == call.ServerID &&
		v.Server.Endpoint.Digest == call.EndpointDigest && v.Tool.Definition == call.Definition
}

// matched names the guardrails that hold the call and the grant that would allow it.
func (e *Evaluation) matched() (guardrails, grants []string) {
	guardrails, grants = []string{}, []string{}
	if e.Document == nil {
		return guardrails, grants
	}
	for _, i := range e.Verdict.Guardrails {
		guardrails = append(guardrails, e.Document.Guardrails[i].ID)
	}
	if e.Verdict.Grant >= 0 {
		grants = append(grants, e.Document.Grants[e.Verdict.Grant].ID)
	}
	return guardrails, grants
}

// bars says why the policy does not let a call run, whoever approves it, or "" when it may: it denies the call, or it
// wants the caller proven by a token and a gateway only asserts who calls.
func (j *judgement) bars(evidence string) string {
	switch {
	case j.outcome == policy.Deny:
		return j.reason
	case j.outcome == policy.Hold && j.terms.demand.Evidence && evidence != verified:
		return evidenceRequired
	}
	return ""
}

const evidenceRequired = "evidence_required"

// withdraws says why the policy takes an approval of r back, or "" when it still stands.
func (j *judgement) withdraws(old terms) string {
	switch {
	case j.outcome == policy.Deny:
		return j.reason
	case j.outcome == policy.Hold && !j.terms.covers(old):
		return "terms_changed"
	}
	return ""
}

// current reports whether the policy that was judged is still the policy. Call it in the transaction that
// uses the judgement.
func (j *judgement) current(ctx context.Context, tx pgx.Tx) (bool, error) {
	var is bool
	if err := tx.QueryRow(ctx, `select policy_is($1, $2)`, j.epoch, j.generation).Scan(&is); err != nil {
		return false, fmt.Errorf("comparing the generation of the policy: %w", err)
	}
	return is, nil
}

func deniedByPolicy(reason string) error {
	return problem.New(problem.Forbidden, "policy_denied", "The policy does not allow this call now.").Field("reason", reason)
}

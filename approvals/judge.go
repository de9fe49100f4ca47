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

// judge evaluates the policy for a call whose arguments are canonical.
func (q *Queue) judge(ctx context.Context, gatewayID string, call policy.Call, principal policy.Principal) (judgement, error) {
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
	return q.judgeAt(ctx, h, gatewayID, call, principal)
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
// executed: the arguments of the call must be canonical.
func (q *Queue) judgeAt(ctx context.Context, h head, gatewayID string, call policy.Call, principal policy.Principal) (judgement, error) {
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
	}
	if j.outcome == policy.Hold {
		j.terms = demanded(e.Verdict)
		j.guardrails, j.grants = e.matched()
	}
	return j, nil
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

package approvals

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/audit"
	"countersign/canonical"
	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
)

// Ask is a gateway's question: may this exact call, by this principal, be executed? Evidence is the caller's
// own token; without it everybody is told that the gateway only asserts who calls. It has the fields of
// client.Ask, so that one converts to the other.
type Ask struct {
	Call       policy.Call
	CallDigest canonical.Digest
	Evidence   string
	Principal  policy.Principal
}

const (
	verified = "verified"
	asserted = "asserted"
)

// Ask opens a request, or joins the open one for the same call; created tells which. When the policy by now
// allows the call without a person it answers the state NotRequired, and no request is made.
//
// It is for gateways, about calls through themselves. Refusals are Invalid (call_malformed), Conflict
// (call_digest_mismatch), Forbidden (foreign_gateway, foreign_issuer, evidence_mismatch, evidence_required,
// policy_denied) or RateLimited (too_many_pending, too_many_asks), and are recorded as approval.refused.
func (q *Queue) Ask(ctx context.Context, who identity.Principal, in Ask) (request Request, created bool, err error) {
	if err := asGateway(who); err != nil {
		return Request{}, false, err
	}
	request, created, err = q.ask(ctx, who, in)
	return request, created, q.refuse(ctx, audit.Event{
		Kind: "approval.refused", Who: who, TargetKind: "server", TargetID: in.Call.ServerID, TargetName: in.Call.Tool,
		Detail: map[string]any{"caller": in.Call.Principal.Subject, "agent": in.Call.Principal.Agent},
	}, err)
}

func (q *Queue) ask(ctx context.Context, who identity.Principal, in Ask) (request Request, created bool, err error) {
	asked, err := q.identify(ctx, who, in)
	if err != nil {
		return Request{}, false, err
	}
	err = settled(func() error {
		j, err := q.judge(ctx, who.GatewayID, asked.call, asked.principal, time.Time{})
		if err != nil {
			return err
		}
		switch why := j.bars(asked.evidence); {
		case why == evidenceRequired:
			return problem.New(problem.Forbidden, evidenceRequired,
				"This call needs its caller's own token as evidence. The gateway only asserts who calls.")
		case why != "":
			return deniedByPolicy(why)
		case j.outcome == policy.Allow:
			request, created = Request{State: NotRequired, CallDigest: in.CallDigest}, false
			return nil
		}
		return q.inTx(ctx, func(tx pgx.Tx) (error, error) {
			request, created, err = q.joinOrOpenTx(ctx, tx, who, asked, j)
			return nil, err
		})
	})
	return request, created, err
}

// identified is an ask that is about what it says: digest, gateway, issuer and caller agree.
type identified struct {
	call            policy.Call
	digest          canonical.Digest
	principal       policy.Principal
	evidence        string
	sealedCall      []byte
	sealedPrincipal []byte
}

func (q *Queue) identify(ctx context.Context, who identity.Principal, in Ask) (identified, error) {
	digest, arguments, err := q.digest(who, in.Call)
	if err != nil {
		return identified{}, err
	}
	in.Call.Arguments = arguments
	if digest != in.CallDigest {
		return identified{}, problem.New(problem.Conflict, "call_digest_mismatch",
			"The digest is not that of the call. Nothing was asked; compare the gateway's version with this one's.")
	}
	s := identified{call: in.Call, digest: digest, principal: in.Principal, evidence: asserted}
	if in.Evidence != "" {
		if s.principal, err = q.cfg.Evidence(ctx, who, in.Evidence); err != nil {
			return identified{}, fmt.Errorf("verifying the caller's token: %w", err)
		}
		s.evidence, s.principal.Taint = verified, in.Principal.Taint // which only the gateway knows
		if s.principal.Model == "" && in.Principal.Model != "" {     // a header of the agent's, no claim
			s.principal.Model, s.principal.ModelAssurance = in.Principal.Model, policy.Declared
		}
	}
	s.principal.Name = strings.ReplaceAll(strings.ToValidUTF8(s.principal.Name, "\uFFFD"), "\x00", "\uFFFD")
	if !names(in.Call.Principal, s.principal) {
		return identified{}, problem.New(problem.Forbidden, "evidence_mismatch",
			"The call names another caller than the evidence does. Nothing was asked.")
	}
	if err := q.sealAsk(&s); err != nil {
		return identified{}, err
	}
	return s, nil
}

// digest recomputes the digest of a call, which must be one through the gateway that speaks, to us. The arguments it
// gives are the canonical ones, without a confirmation token.
func (q *Queue) digest(who identity.Principal, call policy.Call) (digest canonical.Digest, arguments json.RawMessage, err error) {
	digest, arguments, err = call.Digest()
	if err == nil {
		err = texts(call.ServerID, call.Tool, call.Principal.Issuer, call.Principal.Subject, call.Principal.Agent, call.Principal.Model)
	}
	switch {
	case err != nil:
		return canonical.Digest{}, nil, problem.New(problem.Invalid, "call_malformed",
			"The call cannot be read in exactly one way, so nobody can approve it.").Because(err)
	case call.Gateway != who.GatewayID:
		return canonical.Digest{}, nil, problem.New(problem.Forbidden, "foreign_gateway", "The call names another gateway.")
	case call.Issuer != q.cfg.Issuer:
		return canonical.Digest{}, nil, problem.New(problem.Forbidden, "foreign_issuer", "The call names another control plane.")
	}
	return digest, arguments, nil
}

// texts refuses what the database cannot keep as text.
func texts(values ...string) error {
	for _, v := range values {
		if why := badText(v); why != "" {
			return errors.New(why)
		}
	}
	return nil
}

// names reports whether the principal that a call is bound to is p.
func names(c policy.CallPrincipal, p policy.Principal) bool {
	return c.Issuer == p.Issuer && c.Subject == p.Subject && c.Agent == p.Agent && c.Model == p.Model &&
		p.Issuer != "" && p.Subject != ""
}

func (q *Queue) sealAsk(s *identified) error {
	plain, err := s.call.Canonical()
	if err != nil {
		return fmt.Errorf("writing the call: %w", err)
	}
	if s.sealedCall, err = q.cfg.Seal.Seal(purposeCall, plain, s.digest[:]); err != nil {
		return err
	}
	if plain, err = json.Marshal(s.principal); err != nil {
		return fmt.Errorf("encoding the caller: %w", err)
	}
	s.sealedPrincipal, err = q.cfg.Seal.Seal(purposePrincipal, plain, s.digest[:])
	return err
}

// joinOrOpenTx joins the open request for the call, or opens one. Asks of one agent for one person wait for
// each other here, so that the cap holds and two identical ones cannot both open a request.
func (q *Queue) joinOrOpenTx(ctx context.Context, tx pgx.Tx, who identity.Principal, s identified, j judgement) (Request, bool, error) {
	if _, err := tx.Exec(ctx, `select pg_advisory_xact_lock(hashtextextended($1, 7253))`, askKey(s.principal)); err != nil {
		return Request{}, false, fmt.Errorf("waiting for other asks of this agent: %w", err)
	}
	r, err := q.openRequestTx(ctx, tx, s.digest)
	if err != nil {
		return Request{}, false, err
	}
	if r != nil {
		if grown, err := q.outgrownTx(ctx, tx, r, s, j); err != nil || !grown {
			return r.view(), false, err
		}
	}
	if r, err = q.useAllowanceTx(ctx, tx, who, s, j); err != nil {
		return Request{}, false, err
	}
	if r != nil {
		return r.view(), true, nil
	}
	if err := q.checkCapTx(ctx, tx, s.principal); err != nil {
		return Request{}, false, err
	}
	if r, err = q.requestTx(ctx, tx, who, s, j); err != nil {
		return Request{}, false, err
	}
	return r.view(), true, q.announceTx(ctx, tx, r, "approval.requested", false)
}

// requestTx makes a pending request, with its audit event.
func (q *Queue) requestTx(ctx context.Context, tx pgx.Tx, who identity.Principal, s identified, j judgement) (*row, error) {
	r, err := q.insertRequestTx(ctx, tx, who, s, j)
	if err != nil {
		return nil, err
	}
	return r, audit.Append(ctx, tx, r.event("approval.requested", who, map[string]any{
		"digest": s.digest.String(), "caller": r.CallerSubject, "caller_issuer": r.CallerIssuer, "agent": r.Agent, "model": r.Model,
		"evidence": r.Evidence, "guardrails": r.Guardrails, "grants": r.Grants, "teams": r.TeamIDs,
		"quorum": r.Quorum, "deny_quorum": r.DenyQuorum, "terms": r.Terms, "generation": r.Generation,
	}))
}

func askKey(p policy.Principal) string {
	return "ask\x1f" + p.Issuer + "\x1f" + p.Subject + "\x1f" + p.Agent
}

// openRequestTx returns the request that an identical call joins, or nil. One whose time is up is ended first.
func (q *Queue) openRequestTx(ctx context.Context, tx pgx.Tx, digest canonical.Digest) (*row, error) {
	var id string
	err := tx.QueryRow(ctx, `
		select id from approvals where call_digest = $1 and state in ('pending', 'approved')`, digest[:]).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil //nolint:nilnil // none is an answer here, and no error
	}
	if err != nil {
		return nil, fmt.Errorf("looking for an open request: %w", err)
	}
	r, err := lock(ctx, tx, id)
	if err != nil {
		return nil, err
	}
	if _, err := q.lapseTx(ctx, tx, &r); err != nil || !r.State.Open() {
		return nil, err
	}
	return &r, nil
}

// checkCapTx keeps one agent from flooding those who decide, for one person: with what waits at one time, and with what
// it asks for in a minute. What joins an open request, or is approved by an earlier decision, bothers nobody.
func (q *Queue) checkCapTx(ctx context.Context, tx pgx.Tx, p policy.Principal) error {
	var pending int
	var busyFor *time.Duration
	err := tx.QueryRow(ctx, `
		select (select count(*) from approvals
		        where state = 'pending' and expires_at > clock_timestamp()
		          and caller_issuer = @issuer and caller_subject = @subject and agent = @agent),
		       (select created_at + interval '1 minute' - clock_timestamp() from approvals
		        where caller_issuer = @issuer and caller_subject = @subject and agent = @agent
		          and allowance_id is null and created_at > clock_timestamp() - interval '1 minute'
		        order by created_at desc offset @rate - 1 limit 1)`,
		pgx.StrictNamedArgs{"issuer": p.Issuer, "subject": p.Subject, "agent": p.Agent, "rate": q.cfg.AskRate}).Scan(&pending, &busyFor)
	switch {
	case err != nil:
		return fmt.Errorf("counting the requests of an agent: %w", err)
	case pending >= q.cfg.PendingCap:
		return &problem.Error{
			Kind: problem.RateLimited, Code: "too_many_pending", RetryAfter: q.cfg.PendingFor / 10,
			Message: fmt.Sprintf("%d calls of this agent for this person wait for approval already. Wait until some are decided.", pending),
		}
	case busyFor != nil:
		return &problem.Error{
			Kind: problem.RateLimited, Code: "too_many_asks", RetryAfter: max(time.Second, *busyFor),
			Message: fmt.Sprintf("This agent asked for %d approvals for this person within a minute. Slow down.", q.cfg.AskRate),
		}
	}
	return nil
}

// insertRequestTx writes the request if the policy that it was judged by is still the policy.
func (q *Queue) insertRequestTx(ctx context.Context, tx pgx.Tx, who identity.Principal, s identified, j judgement) (*row, error) {
	quorum, teams := j.terms.summary()
	r, err := oneRow(ctx, tx, `
		insert into approvals as a (epoch, gateway_id, server_id, server_name, tool_id, tool_name, definition_digest,
		    call_digest, call, principal, caller_issuer, caller_subject, caller_name, agent, model, evidence,
		    guardrails, grants, team_ids, quorum, deny_quorum, terms, granters, generation, expires_at, escalate_at)
		select @epoch, @gateway, @server, @server_name, @tool_id, @tool, @definition,
		    @digest, @call, @principal, @issuer, @subject, @name, @agent, @model, @evidence,
		    @guardrails, @grants, @teams, @quorum, @deny_quorum, @terms, @granters, @generation,
		    clock_timestamp() + @pending_for::interval, clock_timestamp() + nullif(@escalate_after::interval, '0')
		where policy_is(@epoch, @generation)
		returning `+columns,
		pgx.StrictNamedArgs{
			"epoch": j.epoch, "gateway": who.GatewayID, "server": s.call.ServerID, "server_name": j.serverName,
			"tool_id": j.toolID, "tool": s.call.Tool, "definition": s.call.Definition[:],
			"digest": s.digest[:], "call": s.sealedCall, "principal": s.sealedPrincipal,
			"issuer": s.principal.Issuer, "subject": s.principal.Subject, "name": s.principal.Name,
			"agent": s.principal.Agent, "model": s.principal.Model, "evidence": s.evidence,
			"guardrails": j.guardrails, "grants": j.grants, "teams": teams, "quorum": quorum, "deny_quorum": j.terms.demand.DenyQuorum,
			"terms": j.terms.demand, "granters": j.terms.granters, "generation": j.generation,
			"pending_for": j.terms.pendingFor(q.cfg.PendingFor), "escalate_after": j.terms.escalateAfter(),
		})
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, errMoved
	case err != nil:
		return nil, fmt.Errorf("opening an approval request: %w", err)
	}
	return &r, nil
}

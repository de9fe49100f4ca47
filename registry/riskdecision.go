package registry

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"countersign/audit"
	"countersign/identity"
	"countersign/internal/postgres"
	"countersign/internal/problem"
	"countersign/policy"
)

// lockedProposal is a proposal and the tool it is about, both locked.
type lockedProposal struct {
	ID           string
	ToolID       string
	ToolName     string
	DefinitionID string
	From         policy.Risk
	To           policy.Risk
	ProposedBy   string
	State        string
	PinnedID     string
	Risk         policy.Risk // of the tool now
}

var errOwnProposal = errors.New("the proposer cannot decide")

// DecideRisk approves or declines a lower risk that another person proposed. Approving makes the tool count so at
// once. What was proposed for a definition that is not pinned any more, or from a risk that the tool no longer has, is
// superseded, and not approved. It needs identity.PinDefinition for the server's team, in a session of a person who is
// not the proposer; declining needs a reason.
//
// Problems: NotFound no_such_proposal; Invalid invalid_reason with the field reason; Forbidden own_proposal; Conflict
// proposal_over, definition_changed, server_retired.
func (r *Registry) DecideRisk(ctx context.Context, who identity.Principal, id string, approve bool, reason string) (RiskProposal, error) {
	if err := mayRead(who); err != nil {
		return RiskProposal{}, err
	}
	reason, err := cleanReason(reason)
	if err == nil && !approve {
		reason, err = needReason(reason, invalidReason(), "reason")
	}
	if err != nil {
		return RiskProposal{}, err
	}
	proposal, err := r.RiskProposal(ctx, who, id)
	if err != nil {
		return RiskProposal{}, err
	}
	var stale error
	err = postgres.InTx(ctx, r.pool, func(tx pgx.Tx) (err error) {
		stale, err = decideTx(ctx, tx, who, proposal, approve, reason)
		return err
	})
	if errors.Is(err, errOwnProposal) {
		return RiskProposal{}, audit.Refused(ctx, r.pool, audit.Event{
			Kind: "access.refused", Who: who, TargetKind: "tool", TargetID: proposal.ToolID, TargetName: visible(proposal.ToolName, 200),
			Detail: map[string]any{"proposal_id": id},
		}, problem.New(problem.Forbidden, "own_proposal", "Whoever proposes a lower risk does not decide it. Ask another person."))
	}
	if err != nil {
		return RiskProposal{}, err
	}
	if stale != nil {
		return RiskProposal{}, stale
	}
	if approve {
		r.hub.Wake(ctx, TopicPolicy)
	}
	return r.RiskProposal(ctx, system, id)
}

// decideTx decides, or supersedes what is about something else by now: then stale says so, and the transaction is
// committed, so that nobody is asked again.
func decideTx(ctx context.Context, tx pgx.Tx, who identity.Principal, proposal RiskProposal, approve bool, reason string) (stale, err error) {
	server, err := lockDecidedTx(ctx, tx, who, proposal.ServerID)
	if err != nil {
		return nil, err
	}
	p, err := lockProposalTx(ctx, tx, proposal.ID)
	switch {
	case err != nil:
		return nil, err
	case p.ProposedBy == who.ID:
		return nil, errOwnProposal
	case p.stale():
		stale = problem.New(problem.Conflict, "definition_changed", "The tool was pinned anew since this was proposed. Nothing was approved; propose again.")
		return stale, supersedeProposalsTx(ctx, tx, []string{p.ToolID})
	case approve:
		return nil, approveRiskTx(ctx, tx, who, server, p, reason)
	}
	return nil, closeProposalTx(ctx, tx, who, server, p, RiskDeclined, reason)
}

// WithdrawRisk takes back a proposal. It needs to be one's own, and a person's session.
// Problems: NotFound no_such_proposal; Forbidden not_your_proposal; Conflict proposal_over.
func (r *Registry) WithdrawRisk(ctx context.Context, who identity.Principal, id string) error {
	if err := mayRead(who); err != nil {
		return err
	}
	if who.Kind != identity.Person || who.SessionID == "" {
		return personOnly()
	}
	proposal, err := r.RiskProposal(ctx, who, id)
	if err != nil {
		return err
	}
	if proposal.ProposedBy != who.ID {
		return problem.New(problem.Forbidden, "not_your_proposal", "Only who proposed it can withdraw it. You can decline it.")
	}
	return postgres.InTx(ctx, r.pool, func(tx pgx.Tx) error {
		server, err := lockRowTx(ctx, tx, proposal.ServerID)
		if err != nil {
			return err
		}
		p, err := lockProposalTx(ctx, tx, id)
		if err != nil {
			return err
		}
		return closeProposalTx(ctx, tx, who, server, p, RiskWithdrawn, "")
	})
}

// lockProposalTx locks an open proposal and its tool.
func lockProposalTx(ctx context.Context, tx pgx.Tx, id string) (lockedProposal, error) {
	rows, _ := tx.Query(ctx, `
		select x.id, x.tool_id, t.name as tool_name, x.definition_id, x.from_risk as "from", x.to_risk as "to", x.proposed_by,
		       x.state, coalesce(t.pinned_id, '') as pinned_id, coalesce(t.risk, '') as risk
		from risk_proposals x join tools t on t.id = x.tool_id
		where x.id = @id
		for update of t, x`, pgx.StrictNamedArgs{"id": id})
	p, err := one(rows, pgx.RowToStructByName[lockedProposal], "locking risk proposal", noSuchProposal())
	if err == nil && p.State != RiskOpen {
		err = problem.New(problem.Conflict, "proposal_over", "This proposal is %s already. Nothing was changed by you.", p.State)
	}
	return p, err
}

func (p lockedProposal) stale() bool { return p.PinnedID != p.DefinitionID || p.Risk != p.From }

// approveRiskTx gives the tool the lower risk. It moves the policy's generation, last.
func approveRiskTx(ctx context.Context, tx pgx.Tx, who identity.Principal, server lockedServer, p lockedProposal, reason string) error {
	_, err := tx.Exec(ctx, `update tools set risk = @risk, version = version + 1 where id = @id`,
		pgx.StrictNamedArgs{"id": p.ToolID, "risk": string(p.To)})
	if err != nil {
		return fmt.Errorf("lowering risk: %w", err)
	}
	if err := closeProposalTx(ctx, tx, who, server, p, RiskApproved, reason); err != nil {
		return err
	}
	_, err = BumpTx(ctx, tx)
	return err
}

// closeProposalTx ends an open proposal by a person's decision. The events are risk.approved, risk.declined and
// risk.withdrawn.
func closeProposalTx(ctx context.Context, tx pgx.Tx, who identity.Principal, server lockedServer, p lockedProposal, state, reason string) error {
	_, err := tx.Exec(ctx, `
		update risk_proposals
		set state = @state, decided_by = @by, decided_at = clock_timestamp(), decision_reason = @reason
		where id = @id`, pgx.StrictNamedArgs{"id": p.ID, "state": state, "by": who.ID, "reason": reason})
	if err != nil {
		return fmt.Errorf("closing risk proposal: %w", err)
	}
	return audit.Append(ctx, tx, audit.Event{
		Kind: "risk." + state, Who: who, TargetKind: "tool", TargetID: p.ToolID, TargetName: visible(p.ToolName, 200),
		Detail: map[string]any{
			"proposal_id": p.ID, "server_id": server.ID, "server": server.Name, "proposed_by": p.ProposedBy,
			"from": p.From, "to": p.To, "reason": reason,
		},
	})
}

// supersedeProposalsTx ends the open proposals for these tools, because what they were about is not so any more.
func supersedeProposalsTx(ctx context.Context, tx pgx.Tx, tools []string) error {
	_, err := tx.Exec(ctx, `
		update risk_proposals set state = 'superseded', decided_at = clock_timestamp()
		where tool_id = any (@tools) and state = 'open'`, pgx.StrictNamedArgs{"tools": tools})
	if err != nil {
		return fmt.Errorf("superseding risk proposals: %w", err)
	}
	return nil
}

// supersedeServerTx does so for all tools of a server, as part of another change of the server.
func supersedeServerTx(ctx context.Context, tx pgx.Tx, serverID string) error {
	_, err := tx.Exec(ctx, `
		update risk_proposals x set state = 'superseded', decided_at = clock_timestamp()
		from tools t
		where t.server_id = @server and x.tool_id = t.id and x.state = 'open'`, pgx.StrictNamedArgs{"server": serverID})
	if err != nil {
		return fmt.Errorf("superseding risk proposals: %w", err)
	}
	return nil
}

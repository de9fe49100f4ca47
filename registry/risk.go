package registry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/audit"
	"countersign/identity"
	"countersign/internal/postgres"
	"countersign/internal/problem"
	"countersign/policy"
)

// RiskProposal is one person's wish that a tool counts as less risky; another one decides.
//
//	open ──another person──▶ approved | declined
//	  └──the proposer──▶ withdrawn;  another definition is pinned, or the risk raised ──▶ superseded
type RiskProposal struct {
	ID             string
	ToolID         string
	ToolName       string
	ServerID       string
	ServerName     string
	TeamID         string // of the server
	DefinitionID   string // what the proposer had read
	From           policy.Risk
	To             policy.Risk
	Reason         string
	ProposedBy     string
	ProposedByName string
	State          string // RiskOpen and so on
	CreatedAt      time.Time
	DecidedBy      string // "" where nobody decided
	DecidedByName  string
	DecidedAt      *time.Time
	DecisionReason string
}

// The states of a proposal.
const (
	RiskOpen       = "open"
	RiskApproved   = "approved"
	RiskDeclined   = "declined"
	RiskWithdrawn  = "withdrawn"
	RiskSuperseded = "superseded"
)

// maxProposals bounds the list of proposals, of which few are open at a time.
const maxProposals = 500

const selectProposals = `
	select x.id, x.tool_id, t.name as tool_name, t.server_id, s.name as server_name, s.team_id, x.definition_id,
	       x.from_risk as "from", x.to_risk as "to", x.reason, x.proposed_by, b.name as proposed_by_name, x.state, x.created_at,
	       coalesce(x.decided_by, '') as decided_by, coalesce(d.name, '') as decided_by_name, x.decided_at, x.decision_reason
	from risk_proposals x
	join tools t on t.id = x.tool_id
	join servers s on s.id = t.server_id
	join people b on b.id = x.proposed_by
	left join people d on d.id = x.decided_by `

func noSuchProposal() *problem.Error {
	return problem.New(problem.NotFound, "no_such_proposal", "There is no such proposal.")
}

// RiskProposals lists proposals, newest first, at most 500: all, or only open ones; of all servers (""), or of one. It
// needs identity.ReadRegistry.
func (r *Registry) RiskProposals(ctx context.Context, who identity.Principal, onlyOpen bool, serverID string) ([]RiskProposal, error) {
	if err := mayRead(who); err != nil {
		return nil, err
	}
	rows, _ := r.pool.Query(ctx, selectProposals+`
		where (not @open or x.state = 'open') and (@server = '' or t.server_id = @server)
		order by x.created_at desc, x.id
		limit @limit`, pgx.StrictNamedArgs{"open": onlyOpen, "server": serverID, "limit": maxProposals})
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[RiskProposal])
	if err != nil {
		return nil, fmt.Errorf("listing risk proposals: %w", err)
	}
	return found, nil
}

// RiskProposal gives one proposal. It needs identity.ReadRegistry. Problem: NotFound no_such_proposal.
func (r *Registry) RiskProposal(ctx context.Context, who identity.Principal, id string) (RiskProposal, error) {
	if err := mayRead(who); err != nil {
		return RiskProposal{}, err
	}
	rows, _ := r.pool.Query(ctx, selectProposals+`where x.id = @id`, pgx.StrictNamedArgs{"id": id})
	return one(rows, pgx.RowToStructByName[RiskProposal], "reading risk proposal", noSuchProposal())
}

// ProposeRisk proposes a lower risk for the tool whose pinned definition this is. Nothing changes before another
// person approves it. To raise a risk, pin again with the higher one. It needs identity.PinDefinition for the server's
// team, in a person's session.
//
// Problems: NotFound no_such_definition; Invalid invalid_risk with the fields risk, reason; Conflict
// definition_changed (it is not pinned), proposal_open, server_retired.
func (r *Registry) ProposeRisk(ctx context.Context, who identity.Principal, definitionID string, to policy.Risk, reason string) (RiskProposal, error) {
	if err := mayRead(who); err != nil {
		return RiskProposal{}, err
	}
	reason, err := needReason(reason, invalidRisk(), "reason")
	if err != nil {
		return RiskProposal{}, err
	}
	serverID, err := r.serverOfDefinition(ctx, definitionID)
	if err != nil {
		return RiskProposal{}, err
	}
	var id string
	err = postgres.InTx(ctx, r.pool, func(tx pgx.Tx) error {
		server, err := lockDecidedTx(ctx, tx, who, serverID)
		if err != nil {
			return err
		}
		candidates, err := candidatesTx(ctx, tx, server, []Pin{{DefinitionID: definitionID, Risk: to}})
		if err != nil {
			return err
		}
		c := candidates[0]
		if err := c.mayPropose(); err != nil {
			return err
		}
		id, err = proposeRiskTx(ctx, tx, who, server, c, c.Risk, reason)
		return err
	})
	if postgres.Constraint(err) == "risk_proposals_open" {
		return RiskProposal{}, problem.New(problem.Conflict, "proposal_open", "A lower risk for this tool is proposed already. Decide that first, or have it withdrawn.")
	}
	if err != nil {
		return RiskProposal{}, err
	}
	return r.RiskProposal(ctx, system, id)
}

func invalidRisk() *problem.Error {
	return problem.New(problem.Invalid, "invalid_risk", "Nothing was proposed.")
}

func (c candidate) mayPropose() error {
	switch {
	case c.PinnedID != c.ID:
		return problem.New(problem.Conflict, "definition_changed", "Version %d is not the one that is pinned. Nothing was proposed.", c.Number)
	case !c.pin.Risk.Known():
		return invalidRisk().Field("risk", "Choose a risk.")
	case !weaker(c.pin.Risk, c.Risk):
		return invalidRisk().Field("risk", fmt.Sprintf("The tool is %s already. Only a lower risk needs a second person.", c.Risk))
	}
	return nil
}

// proposeRiskTx opens a proposal: from what the tool counts as, to what the candidate's pin says.
func proposeRiskTx(ctx context.Context, tx pgx.Tx, who identity.Principal, server lockedServer, c candidate, from policy.Risk, reason string) (id string, err error) {
	err = tx.QueryRow(ctx, `
		insert into risk_proposals (tool_id, definition_id, from_risk, to_risk, reason, proposed_by)
		values (@tool, @definition, @from, @to, @reason, @by)
		returning id`,
		pgx.StrictNamedArgs{
			"tool": c.ToolID, "definition": c.ID, "from": string(from), "to": string(c.pin.Risk), "reason": reason, "by": who.ID,
		}).Scan(&id)
	if err != nil {
		return "", fmt.Errorf("inserting risk proposal: %w", err)
	}
	return id, audit.Append(ctx, tx, audit.Event{
		Kind: "risk.proposed", Who: who, TargetKind: "tool", TargetID: c.ToolID, TargetName: visible(c.Name, 200),
		Detail: map[string]any{
			"proposal_id": id, "server_id": server.ID, "server": server.Name, "version": c.Number,
			"from": from, "to": c.pin.Risk, "reason": reason,
		},
	})
}

// proposeLowerTx ends the proposals that these pins make void, and opens those that they ask for. A proposal stays open
// only if the definition that it is about is pinned again at the risk that the tool had.
func proposeLowerTx(ctx context.Context, tx pgx.Tx, who identity.Principal, server lockedServer, candidates []candidate, reason string) error {
	var void []string
	for _, c := range candidates {
		if c.PinnedID != c.ID || c.pin.Risk != c.Risk {
			void = append(void, c.ToolID)
		}
	}
	if err := supersedeProposalsTx(ctx, tx, void); err != nil {
		return err
	}
	for _, c := range candidates {
		if !weaker(c.pin.Risk, c.floor()) {
			continue
		}
		if _, err := proposeRiskTx(ctx, tx, who, server, c, c.floor(), reason); err != nil {
			return err
		}
	}
	return nil
}

// serverOfDefinition gives the server of a definition, which never changes.
func (r *Registry) serverOfDefinition(ctx context.Context, id string) (serverID string, err error) {
	err = r.pool.QueryRow(ctx, `select t.server_id from definitions d join tools t on t.id = d.tool_id where d.id = @id`,
		pgx.StrictNamedArgs{"id": id}).Scan(&serverID)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", problem.New(problem.NotFound, "no_such_definition", "There is no such definition.")
	}
	if err != nil {
		return "", fmt.Errorf("reading the server of a definition: %w", err)
	}
	return serverID, nil
}

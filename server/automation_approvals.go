package server

import (
	"time"

	"github.com/labstack/echo/v4"

	"countersign/approvals"
	"countersign/identity"
	"countersign/policy"
	"countersign/registry"
)

// approvalOperations read what people decide. Deeds stay with people, in the console; gateways have /v1/approvals. The
// arguments of a call are for those who decide: here is their digest.
func (s *Server) approvalOperations() []operation {
	read := machine(identity.ReadApprovals)
	return []operation{
		{get, "/v1/approval-requests", read, "Calls that wait for a person, by deadline, or all requests, newest first.", lists(s.listApprovalRequests)},
		{get, "/v1/approval-requests/:id", read, "A request: who asked for what, who decided, and what became of it. Not the arguments, only their digest.", reads(s.readApprovalRequest)},
		{get, "/v1/allowances", read, "What was approved beside the very call.", lists(s.listAllowances)},
		{get, "/v1/reviews", read, "Second looks at what was approved in an emergency.", lists(s.listReviews)},
		{get, "/v1/approval-report", read, "How approving goes: how many, how long it takes, who decides and how.", asks(s.readApprovalReport)},
	}
}

type approvalRequestJSON struct {
	ID            string                      `json:"id"`
	State         approvals.State             `json:"state"`
	StateReason   string                      `json:"state_reason" doc:"A code, or what the person typed who decided."`
	Version       int64                       `json:"version"`
	Server        string                      `json:"server" doc:"The id of the server."`
	ServerName    string                      `json:"server_name"`
	Tool          string                      `json:"tool" doc:"The id of the tool."`
	ToolName      string                      `json:"tool_name"`
	Kind          policy.Kind                 `json:"kind"`
	Risk          policy.Risk                 `json:"risk" doc:"As it is now."`
	Gateway       string                      `json:"gateway"`
	GatewayName   string                      `json:"gateway_name"`
	CallerIssuer  string                      `json:"caller_issuer"`
	Caller        string                      `json:"caller" doc:"The subject."`
	CallerName    string                      `json:"caller_name"`
	Agent         string                      `json:"agent"`
	Model         string                      `json:"model"`
	Evidence      string                      `json:"evidence" enum:"verified,asserted"`
	Quorum        int                         `json:"quorum" doc:"The least number of approvals that is enough."`
	DenyQuorum    int                         `json:"deny_quorum"`
	Approvals     int                         `json:"approvals"`
	Denials       int                         `json:"denials"`
	Teams         []string                    `json:"teams" doc:"Names of the teams that are asked."`
	DecidedByName string                      `json:"decided_by_name,omitempty"`
	CreatedAt     time.Time                   `json:"created_at"`
	ExpiresAt     time.Time                   `json:"expires_at"`
	DecidedAt     *time.Time                  `json:"decided_at,omitempty"`
	ClaimBy       *time.Time                  `json:"claim_by,omitempty"`
	ChangedAt     time.Time                   `json:"changed_at"`
	Execution     approvals.ConfirmationState `json:"execution,omitempty" doc:"What became of the newest token; not there while there is none."`
}

func approvalRequestOf(a approvals.Summary) approvalRequestJSON {
	return approvalRequestJSON{
		ID: a.ID, State: a.State, StateReason: a.StateReason, Version: a.Version, Server: a.ServerID, ServerName: a.ServerName,
		Tool: a.ToolID, ToolName: a.ToolName, Kind: a.Kind, Risk: a.Risk, Gateway: a.GatewayID, GatewayName: a.GatewayName,
		CallerIssuer: a.CallerIssuer, Caller: a.CallerSubject, CallerName: a.CallerName, Agent: a.Agent, Model: a.Model, Evidence: a.Evidence,
		Quorum: a.Quorum, DenyQuorum: a.DenyQuorum, Approvals: a.Approvals, Denials: a.Denials, Teams: orNone(a.Teams),
		DecidedByName: a.DecidedBy, CreatedAt: a.CreatedAt, ExpiresAt: a.ExpiresAt, DecidedAt: a.DecidedAt, ClaimBy: a.ClaimBy,
		ChangedAt: a.ChangedAt, Execution: a.Execution,
	}
}

type approvalRequestQuery struct {
	Waiting bool            `query:"waiting" doc:"true: only what waits for a person, by deadline."`
	State   approvals.State `query:"state"`
	Server  string          `query:"server" doc:"The id of a server."`
	Caller  string          `query:"caller" doc:"A subject, or a name."`
	paging
}

func (s *Server) listApprovalRequests(c echo.Context, who identity.Principal, q approvalRequestQuery) (registry.Page[approvalRequestJSON], error) {
	f := approvals.Filter{Waiting: q.Waiting, ServerID: q.Server, Caller: q.Caller, After: q.After, Limit: q.Limit}
	if q.State != "" {
		f.States = []approvals.State{q.State}
	}
	page, err := s.approvals.List(c.Request().Context(), who, f)
	return each(registry.Page[approvals.Summary]{Items: page.Items, Next: page.Next}, approvalRequestOf), err
}

// approvalDetailJSON is a request with all that is about it, except the arguments.
type approvalDetailJSON struct {
	Request       approvalRequestJSON `json:"request"`
	CallDigest    string              `json:"call_digest"`
	Definition    string              `json:"definition" doc:"The digest of the version of the tool."`
	Guardrails    []string            `json:"guardrails" doc:"Ids: why it is held."`
	Grants        []string            `json:"grants" doc:"Ids: what would allow it."`
	Votes         []approvalVoteJSON  `json:"votes"`
	Confirmations []confirmationJSON  `json:"confirmations" doc:"Tokens, oldest first; never the token itself."`
	Allowance     *allowanceJSON      `json:"allowance,omitempty" doc:"What it opened, or what approved it."`
	Review        *reviewJSON         `json:"review,omitempty" doc:"Of an emergency."`
	PurgedAt      *time.Time          `json:"purged_at,omitempty" doc:"Since then the arguments are gone."`
}

type approvalVoteJSON struct {
	Person   string             `json:"person"`
	Name     string             `json:"name"`
	Decision approvals.Decision `json:"decision"`
	Reason   string             `json:"reason"`
	AMR      []string           `json:"amr" doc:"How the person had signed in."`
	AuthTime time.Time          `json:"auth_time"`
	At       time.Time          `json:"at"`
	Counts   bool               `json:"counts" doc:"The voter may still vote."`
}

type confirmationJSON struct {
	ID           string                      `json:"id"`
	State        approvals.ConfirmationState `json:"state"`
	IssuedAt     time.Time                   `json:"issued_at"`
	ExpiresAt    time.Time                   `json:"expires_at"`
	RedemptionID string                      `json:"redemption_id,omitempty"`
	Instance     string                      `json:"instance,omitempty"`
	RedeemedAt   *time.Time                  `json:"redeemed_at,omitempty"`
	FinishedAt   *time.Time                  `json:"finished_at,omitempty"`
	SettledBy    string                      `json:"settled_by,omitempty" doc:"The id of the person who said how it ended, where no gateway did."`
}

func confirmationOf(c approvals.Confirmation) confirmationJSON {
	by, _ := c.Outcome["settled_by"].(string)
	return confirmationJSON{
		ID: c.ID, State: c.State, IssuedAt: c.IssuedAt, ExpiresAt: c.ExpiresAt, RedemptionID: c.RedemptionID, Instance: c.Instance,
		RedeemedAt: c.RedeemedAt, FinishedAt: c.FinishedAt, SettledBy: by,
	}
}

func (s *Server) readApprovalRequest(c echo.Context, who identity.Principal) (*approvalDetailJSON, error) {
	d, err := s.approvals.Detail(c.Request().Context(), who, c.Param("id"))
	if err != nil {
		return nil, err
	}
	id := func(r approvals.Rule) string { return r.ID }
	out := approvalDetailJSON{
		Request: approvalRequestOf(d.Summary), CallDigest: d.CallDigest.String(), Definition: d.Definition.String(),
		Guardrails: whole(d.Guardrails, id).Items, Grants: whole(d.Grants, id).Items,
		Votes: whole(d.Votes, func(v approvals.CastVote) approvalVoteJSON {
			return approvalVoteJSON{
				Person: v.PersonID, Name: v.Name, Decision: v.Decision, Reason: v.Reason, AMR: orNone(v.AMR), AuthTime: v.AuthTime, At: v.At, Counts: v.Counts,
			}
		}).Items,
		Confirmations: whole(d.Confirmations, confirmationOf).Items, PurgedAt: d.PurgedAt,
	}
	if w := d.Deeds.Allowance; w != nil {
		out.Allowance = new(allowanceOf(*w))
	}
	if v := d.Deeds.Review; v != nil {
		out.Review = new(reviewOf(*v))
	}
	return &out, nil
}

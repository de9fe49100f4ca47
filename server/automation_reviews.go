package server

import (
	"time"

	"github.com/labstack/echo/v4"

	"countersign/approvals"
	"countersign/identity"
	"countersign/registry"
)

type allowanceJSON struct {
	ID          string                   `json:"id"`
	Request     string                   `json:"request" doc:"The id of the request that opened it."`
	Server      string                   `json:"server" doc:"The id of the server."`
	ServerName  string                   `json:"server_name"`
	ToolName    string                   `json:"tool_name"`
	Gateway     string                   `json:"gateway"`
	Caller      string                   `json:"caller" doc:"The subject."`
	CallerName  string                   `json:"caller_name"`
	Agent       string                   `json:"agent"`
	Model       string                   `json:"model"`
	Free        []string                 `json:"free" doc:"Names of the arguments that may differ; all others are as they were approved."`
	Uses        int                      `json:"uses" doc:"Calls, beside the one that was approved itself."`
	Used        int                      `json:"used"`
	State       approvals.AllowanceState `json:"state"`
	StateReason string                   `json:"state_reason" doc:"A code, or what the person typed who ended it."`
	GivenByName string                   `json:"given_by_name" doc:"Who made the deciding vote."`
	CreatedAt   time.Time                `json:"created_at"`
	ExpiresAt   time.Time                `json:"expires_at"`
	EndedAt     *time.Time               `json:"ended_at,omitempty"`
	EndedByName string                   `json:"ended_by_name,omitempty"`
}

func allowanceOf(w approvals.Allowance) allowanceJSON {
	return allowanceJSON{
		ID: w.ID, Request: w.ApprovalID, Server: w.ServerID, ServerName: w.ServerName, ToolName: w.ToolName, Gateway: w.GatewayID,
		Caller: w.CallerSubject, CallerName: w.CallerName, Agent: w.Agent, Model: w.Model, Free: orNone(w.Free), Uses: w.Uses, Used: w.Used,
		State: w.State, StateReason: w.StateReason, GivenByName: w.GivenBy, CreatedAt: w.CreatedAt, ExpiresAt: w.ExpiresAt,
		EndedAt: w.EndedAt, EndedByName: w.EndedBy,
	}
}

type allowanceQuery struct {
	Open    bool   `query:"open" doc:"true: only those that may still be used, by the time they end; otherwise the newest first."`
	Request string `query:"request" doc:"The id of the request that opened it, or that it approved."`
	paging
}

func (s *Server) listAllowances(c echo.Context, who identity.Principal, q allowanceQuery) (registry.Page[allowanceJSON], error) {
	f := approvals.AllowanceFilter{Open: q.Open, Approval: q.Request, After: q.After, Limit: q.Limit}
	page, err := s.approvals.Allowances(c.Request().Context(), who, f)
	return each(registry.Page[approvals.Allowance]{Items: page.Items, Next: page.Next}, allowanceOf), err
}

type reviewJSON struct {
	ID           string                      `json:"id"`
	Request      string                      `json:"request" doc:"The id of the request that was approved in an emergency."`
	Server       string                      `json:"server" doc:"The id of the server."`
	ServerName   string                      `json:"server_name"`
	ToolName     string                      `json:"tool_name"`
	Agent        string                      `json:"agent"`
	Caller       string                      `json:"caller" doc:"The subject."`
	CallerName   string                      `json:"caller_name"`
	Execution    approvals.ConfirmationState `json:"execution,omitempty"`
	OpenedBy     string                      `json:"opened_by" doc:"The id of the person who approved alone."`
	OpenedByName string                      `json:"opened_by_name"`
	Reason       string                      `json:"reason"`
	Ticket       string                      `json:"ticket"`
	OpenedAt     time.Time                   `json:"opened_at"`
	DueAt        time.Time                   `json:"due_at"`
	Overdue      bool                        `json:"overdue"`
	ClosedAt     *time.Time                  `json:"closed_at,omitempty"`
	ClosedByName string                      `json:"closed_by_name,omitempty"`
	Finding      string                      `json:"finding,omitempty" enum:"justified,not_justified"`
	Note         string                      `json:"note,omitempty"`
}

func reviewOf(v approvals.Review) reviewJSON {
	return reviewJSON{
		ID: v.ID, Request: v.ApprovalID, Server: v.ServerID, ServerName: v.ServerName, ToolName: v.ToolName, Agent: v.Agent,
		Caller: v.CallerSubject, CallerName: v.CallerName, Execution: v.Execution, OpenedBy: v.OpenedBy, OpenedByName: v.OpenedByName,
		Reason: v.Reason, Ticket: v.Ticket, OpenedAt: v.OpenedAt, DueAt: v.DueAt, Overdue: v.Overdue, ClosedAt: v.ClosedAt,
		ClosedByName: v.ClosedByName, Finding: v.Finding, Note: v.Note,
	}
}

type reviewQuery struct {
	Open    bool   `query:"open" doc:"true: only those that nobody has closed, by the time they are due; otherwise the newest first."`
	Request string `query:"request" doc:"The id of a request."`
	paging
}

func (s *Server) listReviews(c echo.Context, who identity.Principal, q reviewQuery) (registry.Page[reviewJSON], error) {
	f := approvals.ReviewFilter{Open: q.Open, Approval: q.Request, After: q.After, Limit: q.Limit}
	page, err := s.approvals.Reviews(c.Request().Context(), who, f)
	return each(registry.Page[approvals.Review]{Items: page.Items, Next: page.Next}, reviewOf), err
}

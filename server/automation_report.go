package server

import (
	"cmp"
	"time"

	"github.com/labstack/echo/v4"

	"countersign/approvals"
	"countersign/identity"
)

// approvalReportJSON is how approving goes, over a window that ends now.
type approvalReportJSON struct {
	From        time.Time           `json:"from"`
	To          time.Time           `json:"to"`
	Asked       int                 `json:"asked"`
	Approved    int                 `json:"approved" doc:"By people."`
	Denied      int                 `json:"denied"`
	Expired     int                 `json:"expired"`
	Withdrawn   int                 `json:"withdrawn" doc:"Cancelled by the caller, or superseded by the policy."`
	Pending     int                 `json:"pending"`
	Allowed     int                 `json:"allowed" doc:"By an allowance; these are not counted as asked."`
	Emergencies int                 `json:"emergencies"`
	Mismatches  int                 `json:"mismatches" doc:"Tokens that were refused."`
	Unknown     int                 `json:"unknown" doc:"Executions of which nobody knows the end."`
	ReviewsOpen int                 `json:"reviews_open"`
	FirstView   spanJSON            `json:"first_view" doc:"From the ask until somebody who may decide saw it."`
	Decision    spanJSON            `json:"decision" doc:"From the ask until people decided."`
	Approvers   []approverCountJSON `json:"approvers" doc:"Who decides most first."`
}

type spanJSON struct {
	N             int   `json:"n" doc:"Of how many; without any the times are 0."`
	MedianSeconds int64 `json:"median_seconds"`
	P95Seconds    int64 `json:"p95_seconds"`
}

func spanOf(s approvals.Span) spanJSON {
	return spanJSON{N: s.N, MedianSeconds: int64(s.Median / time.Second), P95Seconds: int64(s.P95 / time.Second)}
}

type approverCountJSON struct {
	Person       string `json:"person"`
	Name         string `json:"name"`
	Decisions    int    `json:"decisions"`
	Approved     int    `json:"approved"`
	ThinkSeconds int64  `json:"think_seconds" doc:"Median, from their first view until their vote."`
	Fatigued     bool   `json:"fatigued" doc:"Nearly all are approvals, within seconds: perhaps nobody looks any more."`
}

type approvalReportQuery struct {
	Days int `query:"days" max:"366" doc:"How far to look back; otherwise 30."`
}

func (s *Server) readApprovalReport(c echo.Context, who identity.Principal, q approvalReportQuery) (*approvalReportJSON, error) {
	r, err := s.approvals.Report(c.Request().Context(), who, time.Duration(cmp.Or(q.Days, 30))*24*time.Hour)
	if err != nil {
		return nil, err
	}
	return &approvalReportJSON{
		From: r.From, To: r.To, Asked: r.Asked, Approved: r.Approved, Denied: r.Denied, Expired: r.Expired, Withdrawn: r.Withdrawn,
		Pending: r.Pending, Allowed: r.Allowed, Emergencies: r.Emergencies, Mismatches: r.Mismatches, Unknown: r.Unknown,
		ReviewsOpen: r.ReviewsOpen, FirstView: spanOf(r.FirstView), Decision: spanOf(r.Decision),
		Approvers: whole(r.Approvers, func(a approvals.ApproverReport) approverCountJSON {
			return approverCountJSON{
				Person: a.PersonID, Name: a.Name, Decisions: a.Decisions, Approved: a.Approved, ThinkSeconds: int64(a.Think / time.Second), Fatigued: a.Fatigued(),
			}
		}).Items,
	}, nil
}

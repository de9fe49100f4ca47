package server

import (
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"countersign/approvals"
	"countersign/client"
	"countersign/identity"
)

// maxApprovalWait keeps a gateway's wait shorter than the time-out of the MCP client behind it.
const maxApprovalWait = 45 * time.Second

func (s *Server) postApproval(c echo.Context, who identity.Principal, in client.Ask) (*client.Approval, int, error) {
	request, created, err := s.approvals.Ask(c.Request().Context(), who, approvals.Ask(in))
	if err != nil {
		return nil, 0, err
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
	}
	return s.approval(request), status, nil
}

func (s *Server) getApproval(c echo.Context, who identity.Principal, _ none) (*client.Approval, int, error) {
	seconds, _ := strconv.Atoi(c.QueryParam("wait"))
	wait := min(max(0, time.Duration(seconds)*time.Second), maxApprovalWait)
	ctx, cancel := s.parked(c.Request().Context())
	defer cancel()
	request, err := s.approvals.Wait(ctx, who, c.Param("id"), wait)
	if err != nil {
		return nil, 0, err
	}
	return s.approval(request), http.StatusOK, nil
}

func (s *Server) cancelApproval(c echo.Context, who identity.Principal, _ none) (*client.Approval, int, error) {
	request, err := s.approvals.Cancel(c.Request().Context(), who, c.Param("id"))
	if err != nil {
		return nil, 0, err
	}
	return s.approval(request), http.StatusOK, nil
}

func (s *Server) approval(r approvals.Request) *client.Approval {
	return &client.Approval{
		ID: r.ID, State: client.ApprovalState(r.State), URL: s.approvalURL(r.ID),
		CallDigest: r.CallDigest, ExpiresIn: int(r.ExpiresIn / time.Second), Reason: r.Reason,
	}
}

// approvalURL carries an id and nothing else: whoever opens it signs in first.
func (s *Server) approvalURL(id string) string {
	if id == "" {
		return ""
	}
	return s.cfg.PublicURL + "/approvals/" + id
}

func (s *Server) claimToken(c echo.Context, who identity.Principal, _ none) (*client.Claim, int, error) {
	claimed, err := s.approvals.Claim(c.Request().Context(), who, c.Param("id"))
	if err != nil {
		return nil, 0, err
	}
	return &client.Claim{Token: string(claimed.Token), ExpiresIn: int(claimed.ExpiresIn / time.Second)}, http.StatusOK, nil
}

func (s *Server) redeem(c echo.Context, who identity.Principal, in client.Redeem) (*client.Redemption, int, error) {
	redemption, err := s.approvals.Redeem(c.Request().Context(), who, approvals.Redeem{
		Token: approvals.Token(in.Token), Call: in.Call, RedemptionID: in.RedemptionID, Instance: in.Instance,
	})
	if err != nil {
		return nil, 0, err
	}
	return &client.Redemption{Replayed: redemption.Replayed, ApprovalID: redemption.ApprovalID}, http.StatusOK, nil
}

func (s *Server) outcome(c echo.Context, who identity.Principal, in client.Outcome) (*none, int, error) {
	return nil, 0, s.approvals.Outcome(c.Request().Context(), who, c.Param("id"), approvals.Outcome{
		Status: approvals.ConfirmationState(in.Status), Error: in.Error, ResponseBytes: in.ResponseBytes, DurationMS: in.DurationMS,
	})
}

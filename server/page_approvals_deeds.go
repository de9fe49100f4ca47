package server

import (
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"

	"countersign/approvals"
	"countersign/canonical"
	"countersign/identity"
	"countersign/internal/problem"
	"countersign/web"
)

// deedRoutes are what people do about a request beside voting on it. All of them are POST: nothing that is opened, fetched
// ahead or previewed does any of it.
func (s *Server) deedRoutes() []route {
	return []route{
		{post, "/approvals/:id/emergency", person(identity.Vote), s.breakGlass},
		{post, "/approvals/:id/reveal", person(identity.ReadApprovals), s.revealToken},
		{post, "/approvals/:id/cancel", person(identity.ReadApprovals), s.cancelOwn},
		{post, "/approvals/:id/settle", person(identity.Vote), s.settleCall},
		{post, "/reviews/:id/close", person(identity.Vote), s.closeReview},
		{post, "/allowances/:id/revoke", person(identity.Vote), s.revokeAllowance},
	}
}

// seenOn reads what the page of a request showed: the version, and the digest of the call.
func seenOn(c echo.Context) (version int64, seen canonical.Digest, err error) {
	version, _ = strconv.ParseInt(c.FormValue("version"), 10, 64) // 0 matches no request
	if seen, err = canonical.ParseDigest(c.FormValue("seen_digest")); err != nil {
		return 0, seen, problem.New(problem.Invalid, "vote_incomplete",
			"The form came without the digest of the call it shows. Reload the page; nothing was decided.")
	}
	return version, seen, nil
}

// breakGlass approves a call alone, in an emergency.
func (s *Server) breakGlass(c echo.Context, who identity.Principal) error {
	id := c.Param("id")
	version, seen, err := seenOn(c)
	if err != nil {
		return err
	}
	_, err = s.approvals.BreakGlass(c.Request().Context(), who, id, approvals.Emergency{
		Reason: c.FormValue("reason"), Ticket: c.FormValue("ticket"), Version: version, SeenDigest: seen,
	})
	if err != nil {
		return s.retryApproval(c, who, id, err)
	}
	return s.done(c, "/approvals/"+id, "Approved in an emergency. Everybody is told, and another person has to review it.")
}

// revealToken shows its caller the token of an approved call, once. What it answers with is kept nowhere: it is no
// redirect, and no cache may have it.
func (s *Server) revealToken(c echo.Context, who identity.Principal) error {
	id := c.Param("id")
	revealed, err := s.approvals.Reveal(c.Request().Context(), who, id)
	if err != nil {
		return s.retryApproval(c, who, id, err)
	}
	c.Response().Header().Set("Cache-Control", "no-store")
	return render(c, http.StatusOK, web.RevealedPage(s.page(c, who, "Confirmation token", "/approvals"), web.Revealed{
		ID: id, Token: string(revealed.Token), ExpiresIn: revealed.ExpiresIn,
	}))
}

// cancelOwn ends a request of the caller's own.
func (s *Server) cancelOwn(c echo.Context, who identity.Principal) error {
	id := c.Param("id")
	if _, err := s.approvals.Cancel(c.Request().Context(), who, id); err != nil {
		return s.retryApproval(c, who, id, err)
	}
	return s.done(c, "/approvals/"+id, "Your request is cancelled. The call is not executed.")
}

// settleCall records what a person found out about a call that nobody knows the end of.
func (s *Server) settleCall(c echo.Context, who identity.Principal) error {
	id, ran := c.Param("id"), c.FormValue("ran")
	if ran != "yes" && ran != "no" {
		return s.retryApproval(c, who, id, problem.New(problem.Invalid, "settlement_incomplete", "The call was not settled.").
			Field("ran", "Say whether it ran."))
	}
	_, err := s.approvals.Settle(c.Request().Context(), who, id, approvals.Settlement{Ran: ran == "yes", Reason: c.FormValue("reason")})
	if err != nil {
		return s.retryApproval(c, who, id, err)
	}
	return s.done(c, "/approvals/"+id, "Settled: "+map[string]string{"yes": "it ran.", "no": "it did not run. The agent may ask again."}[ran])
}

// closeReview records what somebody else thinks of an emergency.
func (s *Server) closeReview(c echo.Context, who identity.Principal) error {
	finding := c.FormValue("finding")
	err := error(problem.New(problem.Invalid, "finding_incomplete", "The review is not closed.").Field("finding", "Say whether it was justified."))
	if finding == "justified" || finding == "not_justified" {
		err = s.approvals.CloseReview(c.Request().Context(), who, c.Param("id"), approvals.Finding{Justified: finding == "justified", Note: c.FormValue("note")})
	}
	if err != nil {
		return s.showReviews(c, who, err)
	}
	return s.done(c, "/reviews", "The review is closed.")
}

// revokeAllowance ends what an approval allows beside the very call.
func (s *Server) revokeAllowance(c echo.Context, who identity.Principal) error {
	origin, err := s.approvals.RevokeAllowance(c.Request().Context(), who, c.Param("id"), c.FormValue("reason"))
	switch {
	case err != nil && origin != "":
		return s.retryApproval(c, who, origin, err)
	case err != nil:
		return err
	}
	return s.done(c, "/approvals/"+origin, "The allowance is ended. What it approved and nobody has executed is taken back.")
}

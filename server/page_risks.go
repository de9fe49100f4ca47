package server

import (
	"context"

	"github.com/labstack/echo/v4"

	"countersign/identity"
	"countersign/internal/problem"
	"countersign/registry"
	"countersign/web"
)

// proposals are the lower risks that wait for a second person. mistaken is the one whose form was sent.
func (s *Server) proposals(ctx context.Context, who identity.Principal, mistaken *web.RiskProposal) ([]web.RiskProposal, error) {
	list, err := s.registry.RiskProposals(ctx, who, true, "")
	if err != nil {
		return nil, err
	}
	var views []web.RiskProposal
	for _, p := range list {
		view := proposalView(who, p)
		if mistaken != nil && mistaken.ID == p.ID {
			view.Typed, view.Errors = mistaken.Typed, mistaken.Errors
		}
		views = append(views, view)
	}
	return views, nil
}

func proposalView(who identity.Principal, p registry.RiskProposal) web.RiskProposal {
	view := web.RiskProposal{
		ID: p.ID, ToolID: p.ToolID, Tool: p.ToolName, ServerID: p.ServerID, Server: p.ServerName, From: string(p.From), To: string(p.To),
		Reason: p.Reason, By: p.ProposedByName, State: p.State, At: p.CreatedAt,
	}
	own, may := p.ProposedBy == who.ID, who.Can(identity.PinDefinition, p.TeamID) == nil
	view.MayDecide, view.MayWithdraw = may && !own, own
	switch {
	case own:
		view.Standing = "You proposed it, so another person decides."
	case !may:
		view.Standing = "Members of the owning team and admins decide."
	}
	return view
}

// decideRisk approves, declines or takes back a proposal. The form stands on more than one page; a mistake is shown
// on the one that lists them all.
func (s *Server) decideRisk(c echo.Context, who identity.Principal) error {
	ctx, id := c.Request().Context(), c.Param("id")
	field := "reason-" + id
	var err error
	flash := ""
	switch c.FormValue("decision") {
	case "approve":
		_, err = s.registry.DecideRisk(ctx, who, id, true, c.FormValue(field))
		flash = "Approved. Gateways have the lower risk in a moment."
	case "decline":
		_, err = s.registry.DecideRisk(ctx, who, id, false, c.FormValue(field))
		flash = "Declined. The risk stays as it was."
	case "withdraw":
		err = s.registry.WithdrawRisk(ctx, who, id)
		flash = "Taken back. The risk stays as it was."
	default:
		err = problem.New(problem.Invalid, "invalid_decision", "Choose whether to approve or to decline.")
	}
	if err == nil {
		return s.done(c, "/drift", flash)
	}
	errs, status, ok := formErrors(err, map[string]string{"reason": field})
	if !ok || !problem.Is(err, problem.Invalid) {
		return err
	}
	return s.showDrift(c, who, status, &web.RiskProposal{ID: id, Typed: c.FormValue(field), Errors: errs})
}

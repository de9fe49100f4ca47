package server

import (
	"fmt"
	"net/http"

	"github.com/labstack/echo/v4"

	"countersign/identity"
	"countersign/internal/problem"
	"countersign/registry"
	"countersign/web"
)

// rollbackPage shows what it would change if the rules became what they were in a revision.
func (s *Server) rollbackPage(c echo.Context, who identity.Principal) error {
	return s.showRollback(c, who, http.StatusOK, nil)
}

func (s *Server) showRollback(c echo.Context, who identity.Principal, status int, errs web.Errors) error {
	id, err := revisionOf(c)
	if err != nil {
		return err
	}
	plan, err := s.registry.PlanRollback(c.Request().Context(), who, id.Revision)
	if err != nil {
		return err
	}
	audience := c.QueryParam("audience")
	if audience == "" {
		audience = c.FormValue("audience")
	}
	view := web.Rollback{
		ID: id.String(), Audience: audience, Number: id.Revision, Rules: plannedChanges(plan), Reason: c.FormValue("reason"), Errors: errs,
		Foresight: web.Foresight{Foreseen: true, Seen: plan.Digest},
	}
	view.Sentences, view.More = sentenceViews(plan.Effects, 0)
	return render(c, status, web.RollbackPage(s.page(c, who, fmt.Sprintf("Go back to revision %d", id.Revision), "/policy"), view))
}

func plannedChanges(plan registry.Plan) []web.RuleChange {
	var changes []web.RuleChange
	for _, p := range plan.Changes {
		changes = append(changes, web.RuleChange{Kind: p.What, Name: p.Name, Tone: changeTone(p.Kind), Note: p.Consequence, Fields: fieldChanges(p.Fields)})
	}
	return changes
}

// rollBack makes the rules what they were, if that is still what the reader saw.
func (s *Server) rollBack(c echo.Context, who identity.Principal) error {
	id, err := revisionOf(c)
	if err != nil {
		return err
	}
	if c.FormValue("sure") == "" {
		return s.showRollback(c, who, http.StatusBadRequest, web.Errors{"sure": "Tick this when you have read what changes."})
	}
	plan, err := s.registry.Rollback(c.Request().Context(), who, id.Revision, c.FormValue("seen"), c.FormValue("reason"))
	if p := problem.From(err); err != nil && p.Kind == problem.Precondition {
		return s.showRollback(c, who, p.Kind.Status(), web.Errors{"": p.Message})
	}
	if err != nil {
		errs, status, ok := formErrors(err, nil)
		if !ok || problem.Is(err, problem.Forbidden) {
			return err
		}
		return s.showRollback(c, who, status, errs)
	}
	flash := fmt.Sprintf("The rules are what they were in revision %d.", id.Revision)
	if plan.Empty() {
		return s.done(c, "/policy/revisions", "The rules were as they were then already. Nothing was changed.")
	}
	if who.Can(identity.ReadGateways, "") == nil {
		return s.done(c, fmt.Sprintf("/policy/rollout/%d", plan.Generation), flash+" Below is which gateway runs them.")
	}
	return s.done(c, "/policy", flash)
}

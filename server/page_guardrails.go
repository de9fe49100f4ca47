package server

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
	"countersign/registry"
	"countersign/web"
)

func (s *Server) guardrailRoutes() []route {
	return []route{
		{get, "/guardrails", person(identity.ReadPolicy), s.guardrailsPage},
		{get, "/guardrails/new", person(identity.ChangeGrant), s.newGuardrailPage},
		{post, "/guardrails", person(identity.ChangeGrant), s.createGuardrail},
		{post, "/guardrails/:id/end", person(identity.ChangeGrant), s.endGuardrail},
	}
}

func (s *Server) guardrailsPage(c echo.Context, who identity.Principal) error {
	return s.showGuardrails(c, who, http.StatusOK, nil)
}

func (s *Server) showGuardrails(c echo.Context, who identity.Principal, status int, errs web.Errors) error {
	list, err := s.registry.Guardrails(c.Request().Context(), who, false)
	if err != nil {
		return err
	}
	teams, err := s.registry.Teams(c.Request().Context(), who)
	if err != nil {
		return err
	}
	view := web.Guardrails{May: who.Can(identity.ChangeGrant, "") == nil, Reason: c.FormValue("reason"), Errors: errs}
	for _, g := range list {
		line := guardrailLine(g, teams)
		line.Asked = len(errs) > 0 && g.ID == c.Param("id")
		view.Guardrails = append(view.Guardrails, line)
	}
	return render(c, status, web.GuardrailsPage(s.page(c, who, "Guardrails", "/guardrails"), view))
}

func guardrailLine(g registry.Guardrail, teams []registry.Team) web.GuardrailLine {
	line := web.GuardrailLine{
		ID: g.ID, Name: g.Name, Who: subjectWords(g.Subject), What: resourceWords(g.Resource), Effect: effectWords(g.Effect, teams),
		Reason: g.Reason, By: g.CreatedByName, Version: g.Version, CreatedAt: g.CreatedAt,
	}
	if except := subjectWords(g.Except); except != "nobody" {
		line.Except = except
	}
	return line
}

func effectWords(e policy.Effect, teams []registry.Team) string {
	switch {
	case e.Deny:
		return "Denied"
	case e.MFA:
		return "A sign-in with a second factor"
	case e.RateLimit != nil:
		return "At most " + e.RateLimit.Words() + " each"
	case e.Approval == nil:
		return "No effect"
	}
	var from []string
	if e.Approval.OwningTeam {
		from = append(from, "the owning team")
	}
	for _, id := range e.Approval.Teams {
		for _, team := range teams {
			if team.ID == id {
				from = append(from, team.Name)
			}
		}
	}
	count := "one person"
	if e.Approval.Quorum > 1 {
		count = strconv.Itoa(e.Approval.Quorum) + " people"
	}
	return "Approval by " + count + " of " + strings.Join(from, " or ") + ", never the caller,"
}

func (s *Server) endGuardrail(c echo.Context, who identity.Principal) error {
	rail, err := s.registry.EndGuardrail(c.Request().Context(), who, c.Param("id"), version(c), c.FormValue("reason"))
	if err != nil {
		errs, status, ok := formErrors(err, nil)
		if !ok {
			return err
		}
		return s.showGuardrails(c, who, status, errs)
	}
	return s.done(c, "/guardrails", "“"+brief(rail.Name)+"” is ended. Gateways stop holding calls to it in a moment.")
}

func (s *Server) newGuardrailPage(c echo.Context, who identity.Principal) error {
	return s.showNewGuardrail(c, who, http.StatusOK, guardrailForm{Values: map[string][]string{
		"effect": {"approval"}, "quorum": {"1"}, "owning_team": {"yes"}, "per": {"60"},
	}}, nil)
}

// createGuardrail makes a guardrail, or shows what it would hold for when asked for a preview.
func (s *Server) createGuardrail(c echo.Context, who identity.Principal) error {
	form := guardrailForm{c.Request().PostForm}
	if form.Get("do") == "preview" {
		return s.showNewGuardrail(c, who, http.StatusOK, form, nil)
	}
	teams, err := s.registry.Teams(c.Request().Context(), who)
	if err != nil {
		return err
	}
	err = form.knows(teams)
	var rail registry.Guardrail
	if err == nil {
		rail, err = s.registry.CreateGuardrail(c.Request().Context(), who, form.guardrail())
	}
	if err != nil {
		errs, status, ok := guardrailErrors(err)
		if !ok {
			return err
		}
		return s.showNewGuardrail(c, who, status, form, errs)
	}
	return s.done(c, "/guardrails", "“"+brief(rail.Name)+"” holds. Gateways have it in a moment.")
}

func (s *Server) showNewGuardrail(c echo.Context, who identity.Principal, status int, form guardrailForm, errs web.Errors) error {
	teams, err := s.registry.Teams(c.Request().Context(), who)
	if err != nil {
		return err
	}
	view := form.view(teams)
	view.Errors = errs
	if resource := form.resource(); len(resource.Servers)+len(resource.Labels) > 0 {
		view.Preview, err = s.reach(c, who, resource)
		view.Previewed = err == nil
		if problem.Is(err, problem.Invalid) && errs == nil {
			view.Errors, _, _ = guardrailErrors(err)
		} else if err != nil && !problem.Is(err, problem.Invalid) {
			return err
		}
	} else if form.Get("do") == "preview" {
		view.Errors = web.Errors{"servers": "Name servers or labels to see what it would hold for; * is all."}
	}
	return render(c, status, web.NewGuardrailPage(s.page(c, who, "New guardrail", "/guardrails"), view))
}

// brief is a name that people chose, short enough for what was just done.
func brief(name string) string {
	if letters := []rune(name); len(letters) > 40 {
		return string(letters[:40]) + "…"
	}
	return name
}

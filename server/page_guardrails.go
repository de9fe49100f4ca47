package server

import (
	"net/http"
	"net/url"
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
		{get, "/guardrails/:id/edit", person(identity.ChangeGrant), s.editGuardrailPage},
		{post, "/guardrails", person(identity.ChangeGrant), s.saveGuardrail},
		{post, "/guardrails/:id/end", person(identity.ChangeGrant), s.endGuardrail},
	}
}

func (s *Server) guardrailsPage(c echo.Context, who identity.Principal) error {
	return s.showGuardrails(c, who, http.StatusOK, nil)
}

func (s *Server) showGuardrails(c echo.Context, who identity.Principal, status int, errs web.Errors) error {
	ended := c.QueryParam("ended") != ""
	list, err := s.registry.Guardrails(c.Request().Context(), who, ended)
	if err != nil {
		return err
	}
	teams, err := s.registry.Teams(c.Request().Context(), who)
	if err != nil {
		return err
	}
	view := web.Guardrails{
		Ended: ended, May: who.Can(identity.ChangeGrant, "") == nil, Reason: c.FormValue("reason"), Errors: errs,
		Chips: []web.Chip{{Name: "In force", Address: "/guardrails", Count: -1, On: !ended}, {Name: "Ended", Address: "/guardrails?ended=yes", Count: -1, On: ended}},
	}
	for _, g := range list {
		if ended != (g.EndedAt != nil) {
			continue
		}
		line := guardrailLine(g, teams)
		line.Asked = len(errs) > 0 && g.ID == c.Param("id")
		view.Guardrails = append(view.Guardrails, line)
	}
	return render(c, status, web.GuardrailsPage(s.page(c, who, "Guardrails", "/guardrails"), view))
}

func guardrailLine(g registry.Guardrail, teams []registry.Team) web.GuardrailLine {
	line := web.GuardrailLine{
		ID: g.ID, Name: g.Name, Who: subjectWords(g.Subject), What: resourceWords(g.Resource), Effect: effectWords(g.Effect, teams),
		Condition: g.Condition, Require: g.Effect.Require, Emergency: g.Emergency,
		Reason: g.Reason, By: g.CreatedByName, Version: g.Version, CreatedAt: g.CreatedAt, EndedAt: g.EndedAt, EndedBy: g.EndedByName,
	}
	if except := subjectWords(g.Except); except != "nobody" {
		line.Except = except
	}
	return line
}

func effectWords(e policy.Effect, teams []registry.Team) string {
	if t := e.Tainted; t != nil {
		e.Tainted = nil
		return effectWords(e, teams) + " " + t.Words()
	}
	switch {
	case e.Deny:
		return "Denied"
	case e.MFA:
		return "A sign-in with a second factor"
	case e.StepUp != nil:
		return "A sign-in: " + e.StepUp.Words()
	case e.RateLimit != nil:
		return "At most " + e.RateLimit.Words() + " each"
	case e.TokenBudget != nil:
		calls := policy.RateLimit{Calls: e.TokenBudget.Tokens, Seconds: e.TokenBudget.Seconds}.Words()
		return "At most " + strings.Replace(calls, "call", "token", 1) + " each"
	case e.MaxResponseBytes > 0:
		return "A result of at most " + bytesWords(e.MaxResponseBytes)
	case e.Require != "":
		return "Denied unless something is true"
	case e.Approval == nil:
		return "No effect"
	}
	names := policy.Wording{Teams: map[string]string{}}
	for _, team := range teams {
		names.Teams[team.ID] = team.Name
	}
	return "Approval by " + e.Approval.Words(names) + ", never the caller,"
}

func bytesWords(n int64) string {
	switch {
	case n%(1<<20) == 0:
		return strconv.FormatInt(n>>20, 10) + " MB"
	case n%(1<<10) == 0:
		return strconv.FormatInt(n>>10, 10) + " KB"
	}
	return strconv.FormatInt(n, 10) + " bytes"
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
	return s.ruleSaved(c, who, "/guardrails", rail.ID, "“"+brief(rail.Name)+"” is ended. Gateways stop holding calls to it in a moment.")
}

func (s *Server) newGuardrailPage(c echo.Context, who identity.Principal) error {
	form := guardrailForm{ruleForm{url.Values{"effect": {"approval"}, "quorum": {"1"}, "owning_team": {"yes"}, "per": {"60"}, "tokens_per": {"3600"}}}}
	return s.showGuardrailForm(c, who, http.StatusOK, form, nil, false)
}

func (s *Server) editGuardrailPage(c echo.Context, who identity.Principal) error {
	rail, err := s.registry.Guardrail(c.Request().Context(), who, c.Param("id"))
	switch {
	case err != nil:
		return err
	case rail.EndedAt != nil:
		return problem.New(problem.Gone, "guardrail_ended", "This guardrail is ended, for good. Make a new one instead.")
	}
	return s.showGuardrailForm(c, who, http.StatusOK, formOfGuardrail(rail), nil, false)
}

// saveGuardrail makes or changes a guardrail, or shows what that would change when asked to.
func (s *Server) saveGuardrail(c echo.Context, who identity.Principal) error {
	form := guardrailForm{ruleForm{c.Request().PostForm}}
	if form.Get("do") != "create" || form.stale() {
		return s.showGuardrailForm(c, who, http.StatusOK, form, nil, true)
	}
	rail, err := s.keepGuardrail(c, who, form)
	if err != nil {
		errs, status, ok := ruleErrors(err)
		if !ok {
			return err
		}
		return s.showGuardrailForm(c, who, status, form, errs, false)
	}
	words := "” holds. Gateways have it in a moment."
	if form.Get("id") != "" {
		words = "” is changed. Gateways have it in a moment."
	}
	return s.ruleSaved(c, who, "/guardrails", rail.ID, "“"+brief(rail.Name)+words)
}

func (s *Server) keepGuardrail(c echo.Context, who identity.Principal, form guardrailForm) (registry.Guardrail, error) {
	n, err := s.guardrailOf(c, who, form)
	switch {
	case err != nil:
		return registry.Guardrail{}, err
	case form.Get("id") != "":
		return s.registry.ChangeGuardrail(c.Request().Context(), who, form.Get("id"), version(c), n)
	}
	return s.registry.CreateGuardrail(c.Request().Context(), who, n)
}

// guardrailOf is what the form says. Where it changes a guardrail and its effect was not touched, that stays exactly as
// it is, in seconds and bytes that the form does not show.
func (s *Server) guardrailOf(c echo.Context, who identity.Principal, form guardrailForm) (registry.NewGuardrail, error) {
	teams, err := s.registry.Teams(c.Request().Context(), who)
	if err != nil {
		return registry.NewGuardrail{}, err
	}
	if err := form.complete(teams); err != nil {
		return registry.NewGuardrail{}, err
	}
	n := form.guardrail()
	if form.Get("id") == "" {
		return n, nil
	}
	was, err := s.registry.Guardrail(c.Request().Context(), who, form.Get("id"))
	if err == nil && formOfGuardrail(was).sameEffect(form) {
		n.Effect = was.Effect
	}
	return n, err
}

// showGuardrailForm shows the form, with what it would change when somebody asks for that.
func (s *Server) showGuardrailForm(c echo.Context, who identity.Principal, status int, form guardrailForm, errs web.Errors, foresee bool) error {
	teams, err := s.registry.Teams(c.Request().Context(), who)
	if err != nil {
		return err
	}
	view := form.view(teams)
	if foresee {
		n, err := s.guardrailOf(c, who, form)
		if err != nil {
			var ok bool
			if errs, _, ok = ruleErrors(err); !ok {
				return err
			}
		} else if view.Foresight, errs, err = s.foresee(c, who, form.ruleForm, form.draft(n)); err != nil {
			return err
		}
	}
	view.Errors = errs
	return render(c, status, web.NewGuardrailPage(s.page(c, who, "Guardrail", "/guardrails"), view))
}

// brief is a name that people chose, short enough for what was just done.
func brief(name string) string {
	if letters := []rune(name); len(letters) > 40 {
		return string(letters[:40]) + "…"
	}
	return name
}

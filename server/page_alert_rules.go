package server

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"

	"github.com/labstack/echo/v4"

	"countersign/identity"
	"countersign/internal/problem"
	"countersign/usage"
	"countersign/web"
)

func (s *Server) alertRulesPage(c echo.Context, who identity.Principal) error {
	return s.showAlertRules(c, who, http.StatusOK, nil)
}

func (s *Server) showAlertRules(c echo.Context, who identity.Principal, status int, errs web.Errors) error {
	ctx := c.Request().Context()
	rules, err := s.usage.Rules(ctx, who)
	if err != nil {
		return err
	}
	view := web.AlertRules{May: who.Can(identity.ChangeAlertRule, "") == nil, Errors: errs}
	for _, r := range rules {
		view.Rules = append(view.Rules, web.AlertRuleLine{
			ID: r.ID, Name: r.Name, Kind: kindOfAlert(r.Kind).Label, Means: alertRuleWords(r.Kind, r.Params), By: r.CreatedByName, Urgent: r.Urgent, Off: r.Off,
			BuiltIn: r.BuiltIn, Open: r.Open, Alerts: "/alerts?" + url.Values{"rule": {r.ID}}.Encode(), FiredAt: r.LastFiredAt, Version: r.Version,
		})
	}
	view.Ideas = alertIdeas(rules)
	if view.Told, err = s.alertChannels(ctx, who); err != nil {
		return err
	}
	return render(c, status, web.AlertRulesPage(s.page(c, who, "Rules of alerts", "/alerts"), view))
}

// alertIdeas are the suggested rules of whose kind there is none yet.
func alertIdeas(rules []usage.Rule) []web.AlertIdea {
	var ideas []web.AlertIdea
	for _, n := range usage.Suggested() {
		if !slices.ContainsFunc(rules, func(r usage.Rule) bool { return r.Kind == n.Kind }) {
			ideas = append(ideas, web.AlertIdea{Name: n.Name, Means: alertRuleWords(n.Kind, n.Params), Address: newRuleAddress(n.Kind)})
		}
	}
	return ideas
}

func newRuleAddress(kind usage.Kind) string {
	return "/alerts/rules/new?" + url.Values{"kind": {string(kind)}}.Encode()
}

// kindOfAlert is what is known of a kind; only its name, if that is nothing.
func kindOfAlert(kind usage.Kind) usage.KindInfo {
	if k, known := usage.KindNamed(kind); known {
		return k
	}
	return usage.KindInfo{Kind: kind, Label: string(kind)}
}

// newAlertRulePage asks for a kind first, then for what that kind needs, beginning with what is suggested.
func (s *Server) newAlertRulePage(c echo.Context, who identity.Principal) error {
	kind := kindOfAlert(usage.Kind(c.QueryParam("kind")))
	if c.QueryParam("kind") == "" || len(kind.Params) == 0 {
		view := web.AlertRuleForm{}
		for _, k := range usage.Kinds() {
			view.Kinds = append(view.Kinds, web.RoleOption{Option: web.Option{Value: newRuleAddress(k.Kind), Label: k.Label}, Means: k.Means})
		}
		return render(c, http.StatusOK, web.AlertRulePage(s.page(c, who, "New rule", "/alerts"), view))
	}
	form := alertFormNew(kind)
	for _, n := range usage.Suggested() {
		if n.Kind == kind.Kind {
			form = alertFormOf(n)
		}
	}
	return s.showAlertRule(c, who, http.StatusOK, form, nil)
}

func (s *Server) editAlertRulePage(c echo.Context, who identity.Principal) error {
	rule, err := s.usage.Rule(c.Request().Context(), who, c.Param("id"))
	switch {
	case err != nil:
		return err
	case rule.EndedAt != nil:
		return problem.New(problem.Gone, "alert_rule_ended", "This rule was removed, for good. Make a new one instead.")
	}
	form := alertFormOf(usage.NewRule{Name: rule.Name, Kind: rule.Kind, Params: rule.Params, Urgent: rule.Urgent})
	form.id, form.version = rule.ID, rule.Version
	return s.showAlertRule(c, who, http.StatusOK, form, nil)
}

func (s *Server) createAlertRule(c echo.Context, who identity.Principal) error {
	return s.saveAlertRule(c, who, func(n usage.NewRule) (usage.Rule, error) {
		return s.usage.CreateRule(c.Request().Context(), who, n)
	})
}

func (s *Server) changeAlertRule(c echo.Context, who identity.Principal) error {
	return s.saveAlertRule(c, who, func(n usage.NewRule) (usage.Rule, error) {
		return s.usage.ChangeRule(c.Request().Context(), who, c.Param("id"), version(c), n)
	})
}

// saveAlertRule keeps what the form says, or reads it back to whoever asks for that.
func (s *Server) saveAlertRule(c echo.Context, who identity.Principal, save func(usage.NewRule) (usage.Rule, error)) error {
	form := alertFormTyped(c)
	n, errs := form.rule()
	if len(errs) > 0 {
		return s.showAlertRule(c, who, http.StatusBadRequest, form, errs)
	}
	if c.FormValue("do") == "read" {
		return s.showAlertRule(c, who, http.StatusOK, form, nil)
	}
	rule, err := save(n)
	if err != nil {
		errs, status, ok := formErrors(err, nil)
		if !ok {
			return err
		}
		return s.showAlertRule(c, who, status, form, errs)
	}
	return s.done(c, "/alerts/rules", "“"+brief(rule.Name)+"” is looked for from now on.")
}

func (s *Server) switchAlertRule(c echo.Context, who identity.Principal) error {
	on := c.FormValue("on") == "yes"
	rule, err := s.usage.SwitchRule(c.Request().Context(), who, c.Param("id"), version(c), on)
	words := "” is off. Nothing fires for it until somebody switches it on."
	if on {
		words = "” is on."
	}
	return s.alertRuleHandled(c, who, err, "“"+brief(rule.Name)+words)
}

func (s *Server) endAlertRule(c echo.Context, who identity.Principal) error {
	rule, err := s.usage.EndRule(c.Request().Context(), who, c.Param("id"), version(c))
	return s.alertRuleHandled(c, who, err, "“"+brief(rule.Name)+"” is removed.")
}

func (s *Server) alertRuleHandled(c echo.Context, who identity.Principal, err error, words string) error {
	if err == nil {
		return s.done(c, "/alerts/rules", words)
	}
	errs, status, ok := formErrors(err, nil)
	if !ok {
		return err
	}
	return s.showAlertRules(c, who, status, errs)
}

// showAlertRule shows a form with what stands in it, and reads it back where it means something.
func (s *Server) showAlertRule(c echo.Context, who identity.Principal, status int, form alertForm, errs web.Errors) error {
	view := form.view()
	view.Errors = errs
	if n, wrong := form.rule(); len(wrong)+len(errs) == 0 && form.complete() {
		view.ReadsBack = alertRuleWords(n.Kind, n.Params)
	}
	var err error
	if view.Told, err = s.alertChannels(c.Request().Context(), who); err != nil {
		return err
	}
	title := "New rule"
	if form.version > 0 {
		title = cmp.Or(brief(form.name), "Rule")
	}
	return render(c, status, web.AlertRulePage(s.page(c, who, title, "/alerts"), view))
}

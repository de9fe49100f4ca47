package server

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
	"countersign/registry"
	"countersign/web"
)

func (s *Server) grantsPage(c echo.Context, who identity.Principal) error {
	filter := registry.GrantFilter{Ended: c.QueryParam("ended"), After: c.QueryParam("after")}
	list, err := s.registry.Grants(c.Request().Context(), who, filter)
	if err != nil {
		return err
	}
	view := web.Grants{Ended: filter.Ended, May: who.Can(identity.ChangeGrant, "") == nil}
	for _, g := range list.Items {
		view.Grants = append(view.Grants, grantLine(g))
	}
	if list.Next != "" {
		view.Next = "/grants?" + url.Values{"ended": {filter.Ended}, "after": {list.Next}}.Encode()
	}
	return render(c, http.StatusOK, web.GrantsPage(s.page(c, who, "Grants", "/grants"), view))
}

func grantLine(g registry.Grant) web.GrantLine {
	return web.GrantLine{
		ID: g.ID, Name: g.Name, Who: subjectWords(g.Subject), What: resourceWords(g.Resource), State: string(g.State),
		Reason: g.Reason, By: g.CreatedByName, Version: g.Version, NotAfter: g.NotAfter, CreatedAt: g.CreatedAt,
	}
}

func (s *Server) newGrantPage(c echo.Context, who identity.Principal) error {
	form := url.Values{}
	if id := c.QueryParam("server"); id != "" {
		if server, err := s.registry.Server(c.Request().Context(), who, id); err == nil {
			form.Set("servers", server.Name)
		}
	}
	return s.showNewGrant(c, who, http.StatusOK, form, nil)
}

// createGrant makes a grant, or shows what it would reach when asked for a preview.
func (s *Server) createGrant(c echo.Context, who identity.Principal) error {
	form := c.Request().PostForm
	if form.Get("do") == "preview" {
		return s.showNewGrant(c, who, http.StatusOK, form, nil)
	}
	n := registry.NewGrant{
		Name: form.Get("name"), Subject: subjectOf(form), Resource: resourceOf(form), Reason: form.Get("reason"),
	}
	if length, err := time.ParseDuration(form.Get("until")); err == nil {
		end := s.cfg.Now().Add(length) // what a person chose from a list, "for a day"
		n.NotAfter = &end
	}
	grant, err := s.registry.CreateGrant(c.Request().Context(), who, n)
	if err != nil {
		errs, status, ok := formErrors(err, grantFields)
		if !ok || problem.Is(err, problem.Forbidden) {
			return err
		}
		return s.showNewGrant(c, who, status, form, errs)
	}
	return s.done(c, "/grants", "“"+grant.Name+"” is given. Gateways have it in a moment.")
}

// grantFields says under which field of the form an error of the policy belongs.
var grantFields = map[string]string{
	"subject.users": "users", "subject.groups": "groups", "subject.agents": "agents", "subject.models": "models",
	"resource": "servers", "resource.servers": "servers", "resource.names": "names", "resource.kinds": "kinds", "resource.risks": "risks",
	"not_after": "until",
}

func subjectOf(form url.Values) policy.Subject {
	return policy.Subject{
		Everyone: form.Get("everyone") != "", Users: lines(form.Get("users")), Groups: lines(form.Get("groups")),
		Agents: lines(form.Get("agents")), Models: lines(form.Get("models")), AllowDeclared: form.Get("allow_declared") != "",
	}
}

func resourceOf(form url.Values) policy.Resource {
	r := policy.Resource{Servers: lines(form.Get("servers")), Names: lines(form.Get("names"))}
	for _, kind := range form["kinds"] {
		r.Kinds = append(r.Kinds, policy.Kind(kind))
	}
	for _, risk := range form["risks"] {
		r.Risks = append(r.Risks, policy.Risk(risk))
	}
	return r
}

func (s *Server) showNewGrant(c echo.Context, who identity.Principal, status int, form url.Values, errs web.Errors) error {
	view := web.NewGrant{
		Name: form.Get("name"), Users: form.Get("users"), Groups: form.Get("groups"), Agents: form.Get("agents"), Models: form.Get("models"),
		Servers: form.Get("servers"), Names: form.Get("names"), Until: form.Get("until"), Reason: form.Get("reason"),
		Everyone: form.Get("everyone") != "", AllowDeclared: form.Get("allow_declared") != "", Errors: errs,
		Risks: riskTicks(form), Kinds: kindTicks(form),
	}
	if resource := resourceOf(form); len(resource.Servers) > 0 {
		reached, err := s.reach(c, who, resource)
		if problem.Is(err, problem.Invalid) && view.Errors == nil {
			view.Errors, _, _ = formErrors(err, grantFields)
		} else if err != nil && !problem.Is(err, problem.Invalid) {
			return err
		}
		view.Preview, view.Previewed = reached, err == nil
	}
	return render(c, status, web.NewGrantPage(s.page(c, who, "New grant", "/grants"), view))
}

// reach says which pinned tools a resource reaches today.
func (s *Server) reach(c echo.Context, who identity.Principal, resource policy.Resource) ([]web.Reached, error) {
	tools, err := s.registry.Preview(c.Request().Context(), who, resource)
	if err != nil {
		return nil, err
	}
	reached := make([]web.Reached, 0, len(tools))
	for _, t := range tools {
		reached = append(reached, web.Reached{Server: t.ServerName, Name: t.Name, Kind: string(t.Kind), Risk: string(t.Risk), Held: t.Held})
	}
	return reached, nil
}

func riskTicks(form url.Values) []web.Option {
	return ticked(form["risks"], web.Option{Value: "read_only", Label: "Read-only"}, web.Option{Value: "write", Label: "Write"},
		web.Option{Value: "destructive", Label: "Destructive"})
}

func kindTicks(form url.Values) []web.Option {
	return ticked(form["kinds"], web.Option{Value: "tool", Label: "Tools"}, web.Option{Value: "prompt", Label: "Prompts"},
		web.Option{Value: "resource", Label: "Resources"})
}

func ticked(values []string, options ...web.Option) []web.Option {
	for i := range options {
		options[i].Selected = slices.Contains(values, options[i].Value)
	}
	return options
}

func (s *Server) endGrant(c echo.Context, who identity.Principal) error {
	version, _ := strconv.ParseInt(c.FormValue("version"), 10, 64) // 0 matches no grant
	grant, err := s.registry.EndGrant(c.Request().Context(), who, c.Param("id"), version, c.FormValue("reason"))
	if err != nil {
		return err
	}
	return s.done(c, "/grants", "“"+grant.Name+"” is ended. Gateways stop allowing it in a moment.")
}

// subjectWords says a subject in a sentence: AND between kinds, OR within one.
func subjectWords(s policy.Subject) string {
	var parts []string
	add := func(what string, values []string) {
		if len(values) > 0 {
			parts = append(parts, what+strings.Join(values, " or "))
		}
	}
	if s.Everyone {
		parts = append(parts, "everyone")
	}
	add("", s.Users)
	add("members of ", s.Groups)
	add("through ", s.Agents)
	add("with the model ", s.Models)
	if len(parts) == 0 {
		return "nobody"
	}
	return strings.Join(parts, ", ")
}

func resourceWords(r policy.Resource) string {
	what := "every tool"
	if len(r.Kinds) > 0 {
		var kinds []string
		for _, k := range r.Kinds {
			kinds = append(kinds, string(k)+"s")
		}
		what = "every one of the " + strings.Join(kinds, " and ")
	}
	if len(r.Names) > 0 {
		what = strings.Join(r.Names, " or ")
	}
	if len(r.Risks) > 0 {
		var risks []string
		for _, risk := range r.Risks {
			risks = append(risks, strings.ReplaceAll(string(risk), "_", "-"))
		}
		what += " that is " + strings.Join(risks, " or ")
	}
	where := strings.Join(r.Servers, " or ")
	if where == "*" || where == "" && len(r.Labels) > 0 {
		where = "any server"
	}
	if len(r.Labels) > 0 {
		where += " labelled " + strings.Join(r.Labels, " or ")
	}
	return what + " on " + where
}

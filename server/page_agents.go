package server

import (
	"cmp"
	"net/http"
	"net/url"
	"strings"

	"github.com/labstack/echo/v4"

	"countersign/identity"
	"countersign/internal/problem"
	"countersign/registry"
	"countersign/web"
)

func (s *Server) agentRoutes() []route {
	return []route{
		{get, "/agents", person(identity.ReadRegistry), s.agentsPage},
		{get, "/agents/new", person(identity.ChangeAgent), s.newAgentPage},
		{post, "/agents", person(identity.ChangeAgent), s.saveAgent},
		{get, "/agents/:id/edit", person(identity.ChangeAgent), s.editAgentPage},
		{post, "/agents/:id", person(identity.ChangeAgent), s.saveAgent},
		{post, "/agents/:id/end", person(identity.ChangeAgent), s.endAgent},
		{get, "/agents/:id", person(identity.ReadRegistry), s.agentPage},
		{post, "/agents/:id/keys", person(identity.IssueKey), s.makeAgentKey},
		{post, "/agents/:id/keys/:key/end", person(identity.ChangeAgent), s.endAgentKey},
	}
}

func (s *Server) agentsPage(c echo.Context, who identity.Principal) error {
	return s.showAgents(c, who, http.StatusOK, nil)
}

// showAgents shows who answers for which agent, with what is wrong with the end of one of them. Agents that nobody answers
// for are on top of the first page.
func (s *Server) showAgents(c echo.Context, who identity.Principal, status int, errs web.Errors) error {
	ctx := c.Request().Context()
	view := web.Agents{
		Query: c.QueryParam("q"), Ended: c.QueryParam("ended") == "1", May: who.Can(identity.ChangeAgent, "") == nil,
		Reason: c.FormValue("reason"), Errors: errs,
	}
	filter := registry.AgentFilter{Query: view.Query, After: c.QueryParam("after")}
	shown := url.Values{"q": {view.Query}}
	if view.Ended {
		filter.Ended = "only"
		shown.Set("ended", "1")
	}
	found, err := s.registry.Agents(ctx, who, filter)
	if err != nil {
		return err
	}
	for _, a := range found.Items {
		line := agentLine(a)
		line.Asked = len(errs) > 0 && a.ID == c.Param("id")
		view.Agents = append(view.Agents, line)
	}
	if filter.After == "" && !view.Ended && view.Query == "" {
		seen, err := s.registry.SeenAgents(ctx, who)
		if err != nil {
			return err
		}
		for _, a := range seen {
			view.Seen = append(view.Seen, web.SeenAgent{Agent: a.Agent, Calls: a.Calls, Asked: a.Asked, LastAt: a.LastAt})
		}
	}
	view.First, view.Next = turn("/agents", shown, filter.After, found.Next)
	return render(c, status, web.AgentsPage(s.page(c, who, "Agents", "/agents"), view))
}

func agentLine(a registry.Agent) web.AgentLine {
	return web.AgentLine{
		ID: a.ID, Agent: a.Agent, Name: a.Name, Owner: a.OwnerName, OwnerGone: a.OwnerGone, Note: a.Note, Models: a.Models, Open: a.Keys,
		Version: a.Version, ChangedAt: a.ChangedAt, EndedAt: a.EndedAt,
	}
}

func (s *Server) newAgentPage(c echo.Context, who identity.Principal) error {
	return s.showAgent(c, who, http.StatusOK, web.AgentForm{Agent: c.QueryParam("agent")}, "")
}

func (s *Server) editAgentPage(c echo.Context, who identity.Principal) error {
	a, err := s.registry.Agent(c.Request().Context(), who, c.Param("id"))
	if err != nil {
		return err
	}
	if a.EndedAt != nil {
		return c.Redirect(http.StatusSeeOther, "/agents?ended=1")
	}
	form := web.AgentForm{ID: a.ID, Version: a.Version, Agent: a.Agent, Name: a.Name, Note: a.Note, Models: strings.Join(a.Models, "\n")}
	return s.showAgent(c, who, http.StatusOK, form, a.OwnerID)
}

func (s *Server) showAgent(c echo.Context, who identity.Principal, status int, form web.AgentForm, owner string) error {
	owners, err := s.registry.Owners(c.Request().Context(), who)
	if err != nil {
		return err
	}
	form.Owners = []web.Option{{Label: "Choose somebody"}}
	for _, o := range owners {
		label := o.Name
		if o.Email != "" {
			label += ", " + o.Email
		}
		form.Owners = append(form.Owners, web.Option{Value: o.ID, Label: label, Selected: o.ID == owner})
	}
	title := "New agent"
	if form.ID != "" {
		title = "Change an agent"
	}
	return render(c, status, web.AgentFormPage(s.page(c, who, title, "/agents"), form))
}

// saveAgent registers an agent, or changes that of the address.
func (s *Server) saveAgent(c echo.Context, who identity.Principal) error {
	ctx, id := c.Request().Context(), c.Param("id")
	n := registry.NewAgent{Agent: c.FormValue("agent"), Name: c.FormValue("name"), OwnerID: c.FormValue("owner"), Note: c.FormValue("note"), Models: lines(c.FormValue("models"))}
	var saved registry.Agent
	var err error
	if id == "" {
		saved, err = s.registry.RegisterAgent(ctx, who, n)
	} else {
		saved, err = s.registry.ChangeAgent(ctx, who, id, version(c), n)
	}
	if err != nil {
		errs, status, ok := formErrors(err, nil)
		if !ok || problem.Is(err, problem.Forbidden) {
			return err
		}
		form := web.AgentForm{ID: id, Version: version(c), Agent: n.Agent, Name: n.Name, Note: n.Note, Models: c.FormValue("models"), Errors: errs}
		return s.showAgent(c, who, status, form, n.OwnerID)
	}
	return s.done(c, "/agents", saved.OwnerName+" answers for “"+cmp.Or(brief(saved.Name), saved.Agent)+"” and cannot approve its calls.")
}

func (s *Server) endAgent(c echo.Context, who identity.Principal) error {
	ended, err := s.registry.EndAgent(c.Request().Context(), who, c.Param("id"), version(c), c.FormValue("reason"))
	if err != nil {
		errs, status, ok := formErrors(err, nil)
		if !ok || problem.Is(err, problem.Forbidden) {
			return err
		}
		return s.showAgents(c, who, status, errs)
	}
	return s.done(c, "/agents", "Nobody answers for “"+brief(ended.Name)+"” any more.")
}

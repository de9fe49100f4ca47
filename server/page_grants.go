package server

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/labstack/echo/v4"

	"countersign/identity"
	"countersign/policy"
	"countersign/registry"
	"countersign/web"
)

func (s *Server) grantRoutes() []route {
	return []route{
		{get, "/grants", person(identity.ReadPolicy), s.grantsPage},
		{get, "/grants/new", person(identity.ChangeGrant), s.newGrantPage},
		{get, "/grants/:id/edit", person(identity.ChangeGrant), s.editGrantPage},
		{post, "/grants", person(identity.ChangeGrant), s.saveGrant},
		{post, "/grants/:id/end", person(identity.ChangeGrant), s.endGrant},
	}
}

func (s *Server) grantsPage(c echo.Context, who identity.Principal) error {
	return s.showGrants(c, who, http.StatusOK, nil)
}

// grantShows are the filters of the list.
var grantShows = []struct{ show, name string }{
	{"", "In force"}, {"expiring", "End soon"}, {"unused", "Unused for 90 days"}, {"never", "Never used"}, {"ended", "Ended"}, {"all", "All"},
}

// showGrants shows the list, with what is wrong with the end of one of them.
func (s *Server) showGrants(c echo.Context, who identity.Principal, status int, errs web.Errors) error {
	view := web.Grants{
		Show: c.QueryParam("show"), May: who.Can(identity.ChangeGrant, "") == nil, Reason: c.FormValue("reason"), Errors: errs,
	}
	if old := c.QueryParam("ended"); old != "" { // as links said it before
		view.Show = map[string]string{"only": "ended"}[old]
		if old == "all" {
			view.Show = old
		}
	}
	list, next, err := s.grantsShown(c, who, view.Show)
	if err != nil {
		return err
	}
	uses, err := s.delivery.GrantUses(c.Request().Context(), who)
	if err != nil {
		return err
	}
	for _, g := range list {
		line := grantLine(g)
		tellUse(&line, uses, s.cfg.Now())
		line.Asked = len(errs) > 0 && g.ID == c.Param("id")
		view.Grants = append(view.Grants, line)
	}
	for _, f := range grantShows {
		at := "/grants"
		if f.show != "" {
			at += "?show=" + f.show
		}
		view.Chips = append(view.Chips, web.Chip{Name: f.name, Address: at, Count: -1, On: view.Show == f.show})
	}
	view.First, view.Next = turn("/grants", url.Values{"show": {view.Show}}, c.QueryParam("after"), next)
	return render(c, status, web.GrantsPage(s.page(c, who, "Grants", "/grants"), view))
}

// grantsShown gives a page of the grants that a filter shows.
func (s *Server) grantsShown(c echo.Context, who identity.Principal, show string) ([]registry.Grant, string, error) {
	ctx := c.Request().Context()
	switch show {
	case "expiring", "unused", "never":
		return s.idleGrants(c, who, show)
	}
	filter := registry.GrantFilter{Ended: map[string]string{"ended": "only", "all": "all"}[show], After: c.QueryParam("after")}
	list, err := s.registry.Grants(ctx, who, filter)
	return list.Items, list.Next, err
}

func grantLine(g registry.Grant) web.GrantLine {
	return web.GrantLine{
		ID: g.ID, Name: g.Name, Who: subjectWords(g.Subject), What: resourceWords(g.Resource), State: string(g.State), Condition: g.Condition,
		Reason: g.Reason, By: g.CreatedByName, Version: g.Version, NotBefore: g.NotBefore, NotAfter: g.NotAfter, CreatedAt: g.CreatedAt,
	}
}

func (s *Server) endGrant(c echo.Context, who identity.Principal) error {
	grant, err := s.registry.EndGrant(c.Request().Context(), who, c.Param("id"), version(c), c.FormValue("reason"))
	if err != nil {
		errs, status, again := refused(err)
		if !again {
			return err
		}
		return s.showGrants(c, who, status, errs)
	}
	return s.ruleSaved(c, who, "/grants", grant.ID, "“"+brief(grant.Name)+"” is ended. Gateways stop allowing it in a moment.")
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
	if len(r.ToolLabels) > 0 {
		what += " labelled " + strings.Join(r.ToolLabels, " or ")
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

package server

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"countersign/identity"
	"countersign/internal/problem"
	"countersign/registry"
	"countersign/web"
)

func (s *Server) teamsPage(c echo.Context, who identity.Principal) error {
	return s.showTeams(c, who, http.StatusOK, registry.NewTeam{}, "", nil)
}

func (s *Server) createTeam(c echo.Context, who identity.Principal) error {
	n := registry.NewTeam{Name: c.FormValue("name"), IDPGroups: lines(c.FormValue("groups"))}
	team, err := s.registry.CreateTeam(c.Request().Context(), who, n)
	if err != nil {
		errs, status, ok := formErrors(err, nil)
		if !ok || problem.Is(err, problem.Forbidden) {
			return err
		}
		return s.showTeams(c, who, status, n, c.FormValue("groups"), errs)
	}
	return s.done(c, "/teams", "“"+team.Name+"” can own servers now.")
}

func (s *Server) showTeams(c echo.Context, who identity.Principal, status int, n registry.NewTeam, groups string, errs web.Errors) error {
	teams, err := s.registry.Teams(c.Request().Context(), who)
	if err != nil {
		return err
	}
	view := web.Teams{May: who.Can(identity.ChangeGrant, "") == nil, Name: n.Name, Groups: groups, Errors: errs}
	for _, team := range teams {
		view.Teams = append(view.Teams, web.TeamLine{ID: team.ID, Name: team.Name, Groups: team.IDPGroups, Members: team.Members, Servers: team.Servers})
	}
	return render(c, status, web.TeamsPage(s.page(c, who, "Teams", "/teams"), view))
}

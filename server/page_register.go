package server

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"countersign/identity"
	"countersign/internal/problem"
	"countersign/registry"
	"countersign/web"
)

func (s *Server) newServerPage(c echo.Context, who identity.Principal) error {
	n := registry.Registration{Name: c.QueryParam("name")}
	command := c.QueryParam("command")
	if command != "" {
		n.Transport = registry.Stdio
	}
	return s.showNewServer(c, who, http.StatusOK, n, command, nil)
}

func (s *Server) registerServer(c echo.Context, who identity.Principal) error {
	n := registry.Registration{
		Name: c.FormValue("name"), Title: c.FormValue("title"), Description: c.FormValue("description"), TeamID: c.FormValue("team"),
		Location: locationOf(c),
	}
	server, discovery, err := s.registry.Register(c.Request().Context(), who, n)
	if err != nil {
		errs, status, ok := formErrors(err, nil)
		if !ok {
			return err
		}
		n.URL = c.FormValue("url")
		return s.showNewServer(c, who, status, n, c.FormValue("command"), errs)
	}
	return s.done(c, "/servers/"+server.ID+"/discovery/"+discovery.ID, "")
}

func (s *Server) showNewServer(c echo.Context, who identity.Principal, status int, n registry.Registration, command string, errs web.Errors) error {
	ctx := c.Request().Context()
	teams, err := s.registry.Teams(ctx, who)
	if err != nil {
		return err
	}
	commands, err := s.commandOptions(c, who, command)
	if err != nil {
		return err
	}
	view := web.NewServer{
		Name: n.Name, Title: n.Title, Description: n.Description, Team: n.TeamID, Transport: string(n.Transport), URL: n.URL, Errors: errs,
		Teams: teamOptions(teams, n.TeamID), Commands: commands,
	}
	if s.cfg.Sample != nil {
		if _, err := s.registry.ServerNamed(ctx, who, s.cfg.Sample.Name); problem.Is(err, problem.NotFound) {
			view.Sample = &web.Sample{Name: s.cfg.Sample.Name, Title: s.cfg.Sample.Title, Description: s.cfg.Sample.Description}
		}
	}
	return render(c, status, web.NewServerPage(s.page(c, who, "Register a server", "/servers"), view))
}

// registerSample adds the sample server with one click, owned by the first team.
func (s *Server) registerSample(c echo.Context, who identity.Principal) error {
	ctx := c.Request().Context()
	if s.cfg.Sample == nil {
		return problem.New(problem.NotFound, "no_sample", "There is no sample server here.")
	}
	teams, err := s.registry.Teams(ctx, who)
	if err != nil {
		return err
	}
	if len(teams) == 0 {
		return problem.New(problem.Conflict, "no_team", "There is no team to own the sample server. Make one first.")
	}
	server, discovery, err := s.registry.Register(ctx, who, registry.Registration{
		Name: s.cfg.Sample.Name, Title: s.cfg.Sample.Title, Description: s.cfg.Sample.Description, TeamID: teams[0].ID,
		Location: registry.Location{Transport: registry.StreamableHTTP, URL: s.cfg.Sample.URL},
	})
	if err != nil {
		return err
	}
	return s.done(c, "/servers/"+server.ID+"/discovery/"+discovery.ID, "")
}

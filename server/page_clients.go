package server

import (
	"fmt"
	"net/http"
	"slices"

	"github.com/labstack/echo/v4"

	"countersign/auth"
	"countersign/identity"
	"countersign/web"
)

func (s *Server) clientRoutes() []route {
	return []route{
		{get, "/clients", person(identity.ReadGateways), s.clientsPage},
		{get, "/clients/new", person(identity.EnrolGateway), s.newClientPage},
		{post, "/clients", person(identity.EnrolGateway), s.createClient},
		{post, "/clients/:id/revoke", person(identity.EnrolGateway), s.revokeClient},
	}
}

func (s *Server) clientsPage(c echo.Context, who identity.Principal) error {
	return s.showClients(c, who, http.StatusOK, nil)
}

// showClients shows the automation clients. Those of gateways are on the pages of the gateways.
func (s *Server) showClients(c echo.Context, who identity.Principal, status int, errs web.Errors) error {
	clients, err := s.auth.Clients(c.Request().Context(), who)
	if err != nil {
		return err
	}
	view := web.Clients{May: who.Can(identity.EnrolGateway, "") == nil, Reason: c.FormValue("reason"), Errors: errs}
	for _, client := range clients {
		if client.Kind != auth.AutomationClient {
			continue
		}
		line := web.ClientLine{
			ID: client.ID, Name: client.Name, Team: client.TeamName, By: client.CreatedByName, CreatedAt: client.CreatedAt, RevokedAt: client.RevokedAt,
			Asked: len(errs) > 0 && client.ID == c.Param("id"),
		}
		for _, role := range clientRoles(client.Roles) {
			if role.Selected {
				line.Roles = append(line.Roles, role.Label)
			}
		}
		view.Clients = append(view.Clients, line)
	}
	return render(c, status, web.ClientsPage(s.page(c, who, "Clients", "/clients"), view))
}

// clientRoles are the roles that a machine may hold, from the least, and what each is for.
func clientRoles(held []identity.Role) []web.RoleOption {
	options := []web.RoleOption{
		{Option: web.Option{Value: string(identity.Viewer), Label: "Viewer"}, Means: "Reads servers, tools, rules and gateways. Enough for countersign plan and export."},
		{Option: web.Option{Value: string(identity.Auditor), Label: "Auditor"}, Means: "Reads the audit log as well."},
		{Option: web.Option{Value: string(identity.Admin), Label: "Admin"}, Means: "Changes teams, grants and every server, and makes guardrails. For countersign apply."},
	}
	for i := range options {
		options[i].Selected = slices.Contains(held, identity.Role(options[i].Value))
	}
	return options
}

func (s *Server) newClientPage(c echo.Context, who identity.Principal) error {
	return s.showNewClient(c, who, http.StatusOK, auth.NewClient{}, nil)
}

func (s *Server) showNewClient(c echo.Context, who identity.Principal, status int, n auth.NewClient, errs web.Errors) error {
	teams, err := s.registry.Teams(c.Request().Context(), who)
	if err != nil {
		return err
	}
	view := web.NewClient{
		Name: n.Name, Roles: clientRoles(n.Roles), Teams: append([]web.Option{{Label: "No team"}}, teamOptions(teams, n.TeamID)...), Errors: errs,
	}
	return render(c, status, web.NewClientPage(s.page(c, who, "New client", "/clients"), view))
}

// createClient answers with the secret itself rather than a redirect: it exists in this answer only.
func (s *Server) createClient(c echo.Context, who identity.Principal) error {
	n := auth.NewClient{Name: c.FormValue("name"), Kind: auth.AutomationClient, TeamID: c.FormValue("team")}
	for _, role := range c.Request().PostForm["roles"] {
		n.Roles = append(n.Roles, identity.Role(role))
	}
	issued, err := s.auth.CreateClient(c.Request().Context(), who, n)
	if err != nil {
		errs, status, ok := formErrors(err, nil)
		if !ok {
			return err
		}
		return s.showNewClient(c, who, status, n, errs)
	}
	s.refreshClients(c)
	view := web.IssuedClient{ID: issued.ID, Name: n.Name, Secret: issued.Secret, Config: s.clientConfig(issued)}
	return render(c, http.StatusCreated, web.IssuedClientPage(s.page(c, who, "New client", "/clients"), view))
}

// clientConfig is the environment in which countersign plan, apply, export and import run.
func (s *Server) clientConfig(issued auth.Issued) string {
	return fmt.Sprintf("COUNTERSIGN_URL=%s\nCOUNTERSIGN_CLIENT_ID=%s\nCOUNTERSIGN_CLIENT_SECRET=%s\n", s.cfg.PublicURL, issued.ID, issued.Secret)
}

func (s *Server) revokeClient(c echo.Context, who identity.Principal) error {
	if err := s.auth.RevokeAutomation(c.Request().Context(), who, c.Param("id"), c.FormValue("reason")); err != nil {
		errs, status, ok := formErrors(err, nil)
		if !ok {
			return err
		}
		return s.showClients(c, who, status, errs)
	}
	s.refreshClients(c)
	return s.done(c, "/clients", "Revoked. Its tokens are refused at once.")
}

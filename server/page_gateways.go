package server

import (
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"countersign/audit"
	"countersign/delivery"
	"countersign/identity"
	"countersign/internal/problem"
	"countersign/web"
)

func (s *Server) gatewaysPage(c echo.Context, who identity.Principal) error {
	gateways, err := s.delivery.Gateways(c.Request().Context(), who, true)
	if err != nil {
		return err
	}
	view := web.Gateways{May: who.Can(identity.EnrolGateway, "") == nil}
	for _, g := range gateways {
		view.Gateways = append(view.Gateways, gatewayRows(g)...)
	}
	ahead, err := s.delivery.Ahead(c.Request().Context(), who)
	if err != nil {
		return err
	}
	for _, a := range ahead {
		view.Ahead = append(view.Ahead, web.GatewayRow{ID: a.GatewayID, Name: a.GatewayName, Instance: a.Instance, Active: a.Revision})
	}
	return render(c, http.StatusOK, web.GatewaysPage(s.page(c, who, "Gateways", "/gateways"), view))
}

// gatewayRow is a gateway as a whole; gatewayRows has a row for each of its instances, or one when it has none.
func gatewayRow(g delivery.Gateway) web.GatewayRow {
	row := web.GatewayRow{
		ID: g.ID, Name: g.Name, Kind: g.Kind, Audience: g.AudienceName, State: string(g.State), Wanted: g.Revision, Revoked: g.RevokedAt != nil,
	}
	if row.Revoked {
		row.State = "revoked"
	}
	return row
}

func gatewayRows(g delivery.Gateway) []web.GatewayRow {
	row := gatewayRow(g)
	if len(g.Instances) == 0 {
		return []web.GatewayRow{row}
	}
	var rows []web.GatewayRow
	for _, in := range g.Instances {
		row := row
		row.Instance, row.Version, row.Active, row.Why = in.Instance, in.Version, in.ActiveRevision, in.RejectedReason
		seen := in.LastSeenAt
		row.SeenAt = &seen
		if !row.Revoked {
			row.State = string(in.State)
		}
		rows = append(rows, row)
	}
	return rows
}

func (s *Server) newGatewayPage(c echo.Context, who identity.Principal) error {
	view := web.NewGateway{Servers: "*"}
	return render(c, http.StatusOK, web.NewGatewayPage(s.page(c, who, "Enrol a gateway", "/gateways"), view))
}

// enrolGateway answers with the credential itself rather than a redirect: it exists in this answer only.
func (s *Server) enrolGateway(c echo.Context, who identity.Principal) error {
	n := delivery.NewGateway{
		Name: strings.TrimSpace(c.FormValue("name")), Kind: c.FormValue("kind"), Servers: lines(c.FormValue("servers")),
		Resource: strings.TrimSuffix(strings.TrimSpace(c.FormValue("resource")), "/"),
	}
	enrolled, err := s.enrol(c, who, n)
	if err != nil {
		errs, status, ok := formErrors(err, nil)
		if !ok {
			return err
		}
		view := web.NewGateway{Name: n.Name, Kind: n.Kind, Servers: c.FormValue("servers"), Resource: c.FormValue("resource"), Errors: errs}
		return render(c, status, web.NewGatewayPage(s.page(c, who, "Enrol a gateway", "/gateways"), view))
	}
	s.refreshClients(c)
	view := web.Enrolled{
		ID: enrolled.ID, Name: enrolled.Name, ClientID: enrolled.ClientID, Secret: enrolled.Secret, Config: s.gatewayConfig(enrolled.Gateway),
	}
	return render(c, http.StatusCreated, web.EnrolledPage(s.page(c, who, enrolled.Name, "/gateways"), view))
}

// enrol needs an address, which the credential alone does not: without one no agent could get a token for the gateway.
func (s *Server) enrol(c echo.Context, who identity.Principal, n delivery.NewGateway) (delivery.Enrolled, error) {
	if n.Resource == "" {
		return delivery.Enrolled{}, problem.New(problem.Invalid, "invalid_gateway", "The gateway needs an address. Nothing was changed.").
			Field("resource", "Write the address that agents call, as https://mcp.example.com.")
	}
	return s.delivery.Enrol(c.Request().Context(), who, n)
}

// gatewayConfig is a configuration that starts; the secret is in a file of its own.
func (s *Server) gatewayConfig(g delivery.Gateway) string {
	return fmt.Sprintf(`control_plane: %s
client_id: %s
client_secret_file: /etc/countersign/gateway-secret
listen: 127.0.0.1:8081
resource: %s
state_dir: /var/lib/countersign-gateway
root_key: %s
issuers:
  - issuer: %s
    algorithms: [RS256, ES256, EdDSA]
`, s.cfg.PublicURL, g.ClientID, g.Resource, s.auth.RootKey(), s.cfg.OIDCIssuer)
}

func (s *Server) gatewayPage(c echo.Context, who identity.Principal) error {
	ctx := c.Request().Context()
	g, err := s.delivery.Gateway(ctx, who, c.Param("id"))
	if err != nil {
		return err
	}
	timeline, err := audit.Timeline(ctx, s.pool, g.ID, 50)
	if err != nil {
		return err
	}
	view := web.Gateway{
		GatewayRow: gatewayRow(g), ClientID: g.ClientID, Resource: g.Resource, By: g.CreatedByName, CreatedAt: g.CreatedAt,
		Servers: g.Servers, May: who.Can(identity.EnrolGateway, "") == nil,
	}
	if len(g.Instances) > 0 {
		view.Instances = gatewayRows(g)
		for _, command := range g.Instances[0].Commands {
			view.Commands = append(view.Commands, web.KV{Name: command.Name, Value: command.Digest.String()})
		}
	}
	for _, e := range timeline {
		view.Timeline = append(view.Timeline, eventView(e))
	}
	return render(c, http.StatusOK, web.GatewayPage(s.page(c, who, g.Name, "/gateways"), view))
}

func (s *Server) revokeGateway(c echo.Context, who identity.Principal) error {
	g, err := s.delivery.Revoke(c.Request().Context(), who, c.Param("id"), c.FormValue("reason"))
	if err != nil {
		return err
	}
	s.refreshClients(c)
	return s.done(c, "/gateways/"+g.ID, g.Name+" is revoked. It is refused at once.")
}

// refreshClients makes this replica know a change of credentials before it answers; the others are woken.
func (s *Server) refreshClients(c echo.Context) {
	if err := s.auth.Refresh(c.Request().Context()); err != nil {
		s.log.WarnContext(c.Request().Context(), "the credential is known here a moment later", slog.Any("error", err))
	}
}

package server

import (
	"net/http"
	"net/url"

	"github.com/labstack/echo/v4"

	"countersign/identity"
	"countersign/registry"
	"countersign/web"
)

// unknownServersPage is what was asked for that nobody registered, and the commands of gateways that no server is.
func (s *Server) unknownServersPage(c echo.Context, who identity.Principal) error {
	ctx := c.Request().Context()
	unknown, err := s.usage.UnknownServers(ctx, who)
	if err != nil {
		return err
	}
	view := web.UnknownServers{MayRegister: who.Can(identity.RegisterServer, "") == nil}
	for _, u := range unknown {
		view.Names = append(view.Names, web.UnknownServer{
			Name: u.Name, Gateway: u.GatewayName, GatewayID: u.GatewayID, Subject: u.Subject, Agent: u.Agent, Calls: int(u.Calls), FirstAt: u.FirstAt,
			LastAt: u.LastAt, Register: "/servers/new?" + url.Values{"name": {u.Name}}.Encode(),
		})
	}
	if view.Commands, err = s.unusedCommands(c, who); err != nil {
		return err
	}
	return render(c, http.StatusOK, web.UnknownServersPage(s.page(c, who, "Unknown servers", "/usage"), view))
}

// unusedCommands are those that gateways offer and that no server runs.
func (s *Server) unusedCommands(c echo.Context, who identity.Principal) ([]web.OfferedCommand, error) {
	offered, err := s.delivery.OfferedCommands(c.Request().Context(), who)
	if err != nil || len(offered) == 0 {
		return nil, err
	}
	used := map[string]bool{}
	filter := registry.ServerFilter{Limit: 200}
	for {
		page, err := s.registry.Servers(c.Request().Context(), who, filter)
		if err != nil {
			return nil, err
		}
		for _, server := range page.Items {
			if server.State != registry.Retired {
				used[server.Endpoint.Command+" "+server.Endpoint.CommandDigest] = true
			}
		}
		if filter.After = page.Next; page.Next == "" {
			break
		}
	}
	var out []web.OfferedCommand
	for _, o := range offered {
		if value := o.Name + " " + o.Digest; !used[value] {
			out = append(out, web.OfferedCommand{Command: o.Name, Gateways: o.Gateways, Register: "/servers/new?" + url.Values{"command": {value}}.Encode()})
		}
	}
	return out, nil
}

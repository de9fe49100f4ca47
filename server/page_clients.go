package server

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"countersign/auth"
	"countersign/identity"
	"countersign/web"
)

func (s *Server) clientRoutes() []route {
	return []route{
		{get, "/clients", person(identity.ReadGateways), s.clientsPage},
	}
}

func (s *Server) clientsPage(c echo.Context, who identity.Principal) error {
	clients, err := s.auth.Clients(c.Request().Context(), who)
	if err != nil {
		return err
	}
	view := web.Clients{May: who.Can(identity.EnrolGateway, "") == nil}
	for _, client := range clients {
		if client.Kind == auth.AutomationClient {
			view.Clients = append(view.Clients, web.ClientLine{ID: client.ID, Name: client.Name})
		}
	}
	return render(c, http.StatusOK, web.ClientsPage(s.page(c, who, "Clients", "/clients"), view))
}

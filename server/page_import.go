package server

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"countersign/identity"
	"countersign/web"
)

func (s *Server) importRoutes() []route {
	return []route{
		{get, "/servers/import", person(identity.RegisterServer), s.importPage},
		{post, "/servers/import", person(identity.RegisterServer), s.importServers},
	}
}

func (s *Server) importPage(c echo.Context, who identity.Principal) error {
	return s.showImport(c, who, http.StatusOK, web.Import{})
}

func (s *Server) importServers(c echo.Context, who identity.Principal) error {
	return s.showImport(c, who, http.StatusOK, web.Import{Text: c.FormValue("text")})
}

func (s *Server) showImport(c echo.Context, who identity.Principal, status int, view web.Import) error {
	return render(c, status, web.ImportPage(s.page(c, who, "Import servers", "/servers"), view))
}

package server

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"countersign/identity"
	"countersign/registry"
	"countersign/web"
)

func (s *Server) guardrailRoutes() []route {
	return []route{
		{get, "/guardrails/new", person(identity.ChangeGrant), s.newGuardrailPage},
		{post, "/guardrails", person(identity.ChangeGrant), s.createGuardrail},
	}
}

func (s *Server) newGuardrailPage(c echo.Context, who identity.Principal) error {
	return s.showNewGuardrail(c, who, http.StatusOK, nil)
}

func (s *Server) createGuardrail(c echo.Context, who identity.Principal) error {
	rail, err := s.registry.CreateGuardrail(c.Request().Context(), who, registry.NewGuardrail{Name: c.FormValue("name")})
	if err != nil {
		errs, status, ok := formErrors(err, nil)
		if !ok {
			return err
		}
		return s.showNewGuardrail(c, who, status, errs)
	}
	return s.done(c, "/guardrails", "“"+rail.Name+"” holds. Gateways have it in a moment.")
}

func (s *Server) showNewGuardrail(c echo.Context, who identity.Principal, status int, errs web.Errors) error {
	view := web.NewGuardrail{Name: c.FormValue("name"), Errors: errs}
	return render(c, status, web.NewGuardrailPage(s.page(c, who, "New guardrail", "/guardrails"), view))
}

package server

import (
	"errors"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"countersign/client"
	"countersign/identity"
	"countersign/internal/problem"
)

// postToken is the token endpoint (RFC 6749 section 4.4): a machine's id and secret, in the Authorization header or the
// form, become a short access token.
func (s *Server) postToken(c echo.Context, _ identity.Principal) error {
	form := c.Request().PostForm
	if form.Get("grant_type") != "client_credentials" {
		return tokenError(c, http.StatusBadRequest, "unsupported_grant_type", "Only client_credentials is served here.")
	}
	id, secret, ok := c.Request().BasicAuth()
	if !ok {
		id, secret = form.Get("client_id"), form.Get("client_secret")
	}
	token, err := s.auth.Token(c.Request().Context(), id, secret)
	p := (*problem.Error)(nil)
	switch {
	case errors.As(err, &p) && p.Kind == problem.Unauthenticated:
		c.Response().Header().Set("WWW-Authenticate", `Basic realm="countersign"`)
		return tokenError(c, http.StatusUnauthorized, "invalid_client", p.Message)
	case errors.As(err, &p) && p.Kind == problem.Forbidden:
		return tokenError(c, http.StatusForbidden, p.Code, p.Message)
	case err != nil:
		return err
	}
	return c.JSON(http.StatusOK, client.TokenReply{
		AccessToken: token.Token, TokenType: "Bearer", ExpiresIn: int(token.ExpiresIn / time.Second),
	})
}

func tokenError(c echo.Context, status int, code, description string) error {
	return c.JSON(status, client.TokenError{Error: code, Description: description})
}

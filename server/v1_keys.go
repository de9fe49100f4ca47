package server

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"countersign/identity"
	"countersign/internal/problem"
)

const jwksType = "application/json"

// getKeys publishes the keys that policies and bundles are verified by: as a plain JWKS, or, when the caller prefers
// application/jose+json, as the root key vouches for them, each with its purpose.
func (s *Server) getKeys(c echo.Context, _ identity.Principal) error {
	h := c.Response().Header()
	h.Set("Cache-Control", "public, max-age=60")
	h.Set("Vary", "Accept")
	switch negotiate(c.Request().Header.Values("Accept"), jwksType, "application/jwk-set+json", joseType) {
	case jwksType, "application/jwk-set+json":
		return c.JSON(http.StatusOK, s.auth.JWKS())
	case joseType:
		signed, _ := s.auth.SignedKeys()
		h.Set("Cache-Control", "no-cache") // whoever asks has met a key that is not in the last one
		return c.Blob(http.StatusOK, joseType, []byte(signed))
	}
	return problem.New(problem.NotAcceptable, "not_acceptable", "Keys are given as application/json or as application/jose+json.")
}

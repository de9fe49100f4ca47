package server

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"countersign/canonical"
	"countersign/identity"
	"countersign/policy"
)

// policySchema serves the JSON Schema of the policy document. It changes only with the program, so it may be kept for
// a day, and whoever has it pays nothing to ask again.
func (s *Server) policySchema() deed {
	etag := `"` + canonical.Sum("countersign/policy-schema/v1", policy.Schema()).Hex() + `"`
	return deed{
		handler: func(c echo.Context, _ identity.Principal) error {
			h := c.Response().Header()
			h.Set("Cache-Control", "public, max-age=86400")
			h.Set("ETag", etag)
			if c.Request().Header.Get("If-None-Match") == etag {
				return c.NoContent(http.StatusNotModified)
			}
			return c.Blob(http.StatusOK, policy.SchemaMediaType, policy.Schema())
		},
		headers: []header{{"If-None-Match", "The ETag of the schema that the client holds."}},
		replies: []reply{
			{status: http.StatusOK, contents: []content{{media: policy.SchemaMediaType}}, headers: []header{{"ETag", "Changes with the schema."}}},
			{status: http.StatusNotModified},
		},
	}
}

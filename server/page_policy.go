package server

import (
	"bytes"
	"encoding/json"
	"net/http"

	"github.com/labstack/echo/v4"

	"countersign/identity"
	"countersign/web"
)

// policyPage shows the document in force for one audience, as this replica serves it.
func (s *Server) policyPage(c echo.Context, who identity.Principal) error {
	audiences, err := s.delivery.Audiences(c.Request().Context(), who)
	if err != nil {
		return err
	}
	var view web.Policy
	chosen := c.QueryParam("audience")
	for i, a := range audiences {
		selected := a.ID == chosen || chosen == "" && i == 0
		view.Audiences = append(view.Audiences, web.Option{Value: a.ID, Label: a.Name, Selected: selected})
		if !selected {
			continue
		}
		view.Audience, view.Error = a.ID, a.CompileError
		for _, w := range a.Warnings {
			view.Warnings = append(view.Warnings, w.Message)
		}
	}
	if snap := s.delivery.Current(view.Audience); snap != nil {
		document := snap.Index.Document()
		view.Revision, view.Epoch, view.ETag, view.KeyID, view.Digest = snap.Revision, snap.Epoch, snap.ETag, snap.Kid, snap.Digest.String()
		view.Bytes, view.Compressed, view.IssuedAt = len(snap.Document), len(snap.Gzip), document.IssuedAt
		view.Servers, view.Grants, view.Guardrails = len(document.Servers), len(document.Grants), len(document.Guardrails)
		for _, server := range document.Servers {
			view.Tools += len(server.Tools)
		}
		var pretty bytes.Buffer
		if err := json.Indent(&pretty, snap.Document, "", "  "); err != nil {
			return err
		}
		view.Document = pretty.Bytes()
	}
	return render(c, http.StatusOK, web.PolicyPage(s.page(c, who, "Policy", "/policy"), view))
}

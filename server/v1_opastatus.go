package server

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"countersign/client"
	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
)

// opaStatus is what we read of the status that OPA reports. The rest, such as its metrics, is dropped.
type opaStatus struct {
	Labels  map[string]string          `json:"labels"`
	Bundles map[string]opaBundleStatus `json:"bundles"`
}

type opaBundleStatus struct {
	ActiveRevision string      `json:"active_revision"` // "" before the first
	Code           string      `json:"code"`            // "" if nothing is wrong
	Message        string      `json:"message"`
	HTTPCode       json.Number `json:"http_code"` // of an answer that was no bundle
}

// postOPAStatus is putStatus for OPA, whose status plugin sends it. So gateways that use OPA are in the rollout as the
// others are. Other bundles than ours are nobody's business here.
func (s *Server) postOPAStatus(c echo.Context, who identity.Principal) error {
	text, err := io.ReadAll(http.MaxBytesReader(c.Response().Writer, c.Request().Body, bodyLimit))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return problem.New(problem.TooLarge, "too_large", "The body is larger than %d bytes. Nothing was changed.", bodyLimit)
	}
	if err != nil {
		return problem.New(problem.Invalid, "unreadable_body", "The body could not be read to its end.").Because(err)
	}
	var status opaStatus
	if err := json.Unmarshal(text, &status); err != nil {
		return problem.New(problem.Invalid, "invalid_json", "The body is no status of OPA: %v.", err)
	}
	report, ok := s.reportOf(status, who)
	if !ok {
		return c.NoContent(http.StatusNoContent)
	}
	if _, err := s.delivery.ReportStatus(c.Request().Context(), who, report); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

// reportOf is what OPA says, as a gateway would say it; ok is false if it says nothing of a bundle of ours.
func (s *Server) reportOf(status opaStatus, who identity.Principal) (report client.Status, ok bool) {
	for _, b := range status.Bundles {
		tag, ours := policy.ParseETag(`"` + b.ActiveRevision + `"`)
		if !ours && b.ActiveRevision != "" {
			continue
		}
		report = client.Status{
			Instance: status.Labels["id"], Version: strings.TrimSpace("opa " + status.Labels["version"]),
			Epoch: tag.Epoch, ActiveRevision: tag.Revision, ReceivedRevision: tag.Revision,
		}
		if snap := s.delivery.Current(who.AudienceID); snap != nil && b.refuses() {
			report.ReceivedRevision = snap.Revision
			report.Rejected = &client.Rejection{Revision: snap.Revision, Reason: b.Message}
		}
		if ours {
			return report, true
		}
		ok = true
	}
	return report, ok
}

// refuses reports whether OPA got a bundle and did not take it. Which one it does not say; it is the last that we gave.
func (b opaBundleStatus) refuses() bool {
	return b.Code != "" && b.HTTPCode == "" && !strings.HasPrefix(b.Message, "request failed")
}

package server

import (
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"countersign/delivery"
	"countersign/identity"
	"countersign/policy"
	"countersign/web"
)

// policyPage shows what is in force for each audience, what keeps the next change from being so, and the document of
// one audience as this replica serves it.
func (s *Server) policyPage(c echo.Context, who identity.Principal) error {
	ctx := c.Request().Context()
	audiences, err := s.delivery.Audiences(ctx, who)
	if err != nil {
		return err
	}
	suspended, err := s.registry.Suspensions(ctx, who)
	if err != nil {
		return err
	}
	view := web.Policy{Suspended: len(suspended)}
	chosen := c.QueryParam("audience")
	for i, a := range audiences {
		line := audienceLine(a)
		line.Shown = a.ID == chosen || chosen == "" && i == 0
		view.Lines = append(view.Lines, line)
		if line.Shown {
			view.Audience, view.Name, view.Error, view.Behind, view.Generation = a.ID, a.Name, a.CompileError, a.Behind(), a.Generation
			view.Warnings = warningGroups(who, a.Warnings)
		}
	}
	if refutedByTests(view.Error) {
		if view.Failing, err = s.failing(c, who); err != nil {
			return err
		}
	}
	s.showDocument(&view)
	return render(c, http.StatusOK, web.PolicyPage(s.page(c, who, "Policy", "/policy"), view))
}

func audienceLine(a delivery.Audience) web.AudienceLine {
	line := web.AudienceLine{
		ID: a.ID, Name: a.Name, State: "in_force", Revision: a.Revision, Gateways: a.Gateways, Warnings: len(a.Warnings), PublishedAt: a.PublishedAt,
	}
	if a.Revision > 0 {
		line.Address = revisionAddress(a.ID, delivery.RevisionID{Epoch: a.Epoch, Revision: a.Revision})
	}
	switch {
	case a.CompileError != "":
		line.State = "failed"
	case a.Behind():
		line.State = "compiling"
	case a.Revision == 0:
		line.State = "none"
	}
	return line
}

// refutedByTests says whether an error of the compiler is that a policy test fails.
func refutedByTests(compileError string) bool { return strings.HasPrefix(compileError, "policy test ") }

// failing are the tests that keep the rules, as they are now, from being published.
func (s *Server) failing(c echo.Context, who identity.Principal) ([]web.TestLine, error) {
	results, err := s.delivery.RunPolicyTests(c.Request().Context(), who, nil)
	if err != nil {
		return nil, err
	}
	var lines []web.TestLine
	for _, r := range results {
		if !r.Passed {
			lines = append(lines, web.TestLine{ID: r.ID, Name: r.Name, Why: r.Fault, State: "failed"})
		}
	}
	return lines, nil
}

// warningWords are what groups of warnings are called, in their order.
var warningWords = []struct{ code, words string }{
	{policy.WarnUnapprovable, "Calls that nobody can approve"}, {policy.WarnReachesNothing, "Rules that reach nothing"}, {policy.WarnGrantOver, "Grants that are over"},
}

// warningGroups sorts warnings by what is odd; what has no words of its own comes last.
func warningGroups(who identity.Principal, warnings []policy.Warning) []web.WarningGroup {
	const most = 20
	var groups []web.WarningGroup
	places := map[string]int{}
	at := func(code, words string) {
		places[code] = len(groups)
		groups = append(groups, web.WarningGroup{Words: words})
	}
	for _, w := range warningWords {
		at(w.code, w.words)
	}
	for _, w := range warnings {
		if _, known := places[w.Code]; !known {
			at(w.Code, sentence(strings.ReplaceAll(w.Code, "_", " ")))
		}
		group := &groups[places[w.Code]]
		if len(group.Warnings) == most {
			group.More++
			continue
		}
		group.Warnings = append(group.Warnings, warningView(who, w))
	}
	var some []web.WarningGroup
	for _, g := range groups {
		if len(g.Warnings) > 0 {
			some = append(some, g)
		}
	}
	return some
}

// showDocument fills in what this replica serves.
func (s *Server) showDocument(view *web.Policy) {
	snap := s.delivery.Current(view.Audience)
	if snap == nil {
		return
	}
	document := snap.Index.Document()
	view.Revision, view.Epoch, view.ETag, view.KeyID, view.Digest = snap.Revision, snap.Epoch, snap.ETag, snap.Kid, snap.Digest.String()
	view.Bytes, view.Compressed, view.IssuedAt = len(snap.Document), len(snap.Gzip), document.IssuedAt
	view.Servers, view.Grants, view.Guardrails = len(document.Servers), len(document.Grants), len(document.Guardrails)
	for _, server := range document.Servers {
		view.Tools += len(server.Tools)
	}
	view.Document = web.Indent(snap.Document)
}

package server

import (
	"context"
	"net/http"
	"net/url"
	"slices"

	"github.com/labstack/echo/v4"

	"countersign/audit"
	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
	"countersign/registry"
	"countersign/web"
)

func (s *Server) driftPage(c echo.Context, who identity.Principal) error {
	return s.showDrift(c, who, http.StatusOK, nil)
}

// showDrift shows the queue. mistaken is the proposal whose form was sent, as it was filled in.
func (s *Server) showDrift(c echo.Context, who identity.Principal, status int, mistaken *web.RiskProposal) error {
	ctx := c.Request().Context()
	filter := registry.DriftFilter{
		Query: c.QueryParam("q"), Severity: registry.Severity(c.QueryParam("severity")), TeamID: c.QueryParam("team"), ServerID: c.QueryParam("server"), After: c.QueryParam("after"),
	}
	drifts, err := s.registry.Drifts(ctx, who, filter)
	if err != nil {
		return err
	}
	view := web.Drift{
		Query: filter.Query, Filtered: filter.Query+string(filter.Severity)+filter.TeamID+filter.ServerID != "",
		Severities: chosen(string(filter.Severity), web.Option{Label: "Every severity"}, web.Option{Value: "critical", Label: "Critical"}, web.Option{Value: "high", Label: "High"},
			web.Option{Value: "medium", Label: "Medium"}, web.Option{Value: "low", Label: "Low"}),
	}
	for _, d := range drifts.Items {
		view.Lines = append(view.Lines, driftLine(d))
	}
	view.First, view.Next = turn("/drift", url.Values{"q": {filter.Query}, "severity": {string(filter.Severity)}, "team": {filter.TeamID}, "server": {filter.ServerID}}, filter.After, drifts.Next)
	if err := s.driftChoices(ctx, who, filter, &view); err != nil {
		return err
	}
	if view.Proposals, err = s.proposals(ctx, who, mistaken); err != nil {
		return err
	}
	return render(c, status, web.DriftPage(s.page(c, who, "Drift", "/drift"), view))
}

// driftChoices fills in what the filter offers, and when a gateway last looked.
func (s *Server) driftChoices(ctx context.Context, who identity.Principal, filter registry.DriftFilter, view *web.Drift) error {
	teams, err := s.registry.Teams(ctx, who)
	if err != nil {
		return err
	}
	view.Teams = append([]web.Option{{Label: "Every team"}}, teamOptions(teams, filter.TeamID)...)
	view.Servers = []web.Option{{Label: "Every server"}}
	changed, err := s.registry.Servers(ctx, who, registry.ServerFilter{Limit: 200, Held: true})
	if err != nil {
		return err
	}
	for _, server := range changed.Items {
		view.Servers = append(view.Servers, web.Option{Value: server.ID, Label: server.Name, Selected: server.ID == filter.ServerID})
	}
	if named := func(o web.Option) bool { return o.Selected }; filter.ServerID != "" && !slices.ContainsFunc(view.Servers, named) {
		server, err := s.registry.Server(ctx, who, filter.ServerID)
		switch {
		case err == nil:
			view.Servers = append(view.Servers, web.Option{Value: server.ID, Label: server.Name, Selected: true})
		case !problem.Is(err, problem.NotFound): // of a server that is none, nothing is held
			return err
		}
	}
	view.LookedAt, err = s.registry.LastLook(ctx, who)
	return err
}

func driftLine(d registry.Drifted) web.DriftLine {
	line := web.DriftLine{
		ToolID: d.ID, Kind: string(d.Kind), Name: d.Name, Risk: string(d.Risk), Severity: string(d.Severity), ServerID: d.ServerID, Server: d.ServerName, Team: d.TeamName,
		Gone: !d.Offered, Note: d.HeldNote, NoteBy: d.HeldNoteByName,
	}
	if d.HeldAt != nil {
		line.HeldAt = *d.HeldAt
	}
	if d.Pinned != nil {
		line.Was = d.Pinned.Number
	}
	if d.Served != nil {
		line.Now = d.Served.Number
	}
	return line
}

func (s *Server) driftReviewPage(c echo.Context, who identity.Principal) error {
	return s.showDriftReview(c, who, http.StatusOK, nil)
}

// decideDrift accepts, keeps or blocks what was on the screen. If that is not what is served any more, nothing is
// decided, and the page comes back with what is.
func (s *Server) decideDrift(c echo.Context, who identity.Principal) error {
	ctx := c.Request().Context()
	tool, definition, reason := c.Param("tool"), c.FormValue("definition"), c.FormValue("reason")
	drifted, _, err := s.registry.Drift(ctx, who, tool)
	if err != nil {
		return err
	}
	name, flash := cut(drifted.Name, 80), ""
	switch c.FormValue("decision") {
	case "accept":
		err = s.registry.Pin(ctx, who, drifted.ServerID, []registry.Pin{{DefinitionID: definition, Risk: policy.Risk(c.FormValue("risk"))}}, reason)
		flash = name + " is accepted, and callable again by whom grants allow."
	case "hold":
		err = s.registry.KeepHeld(ctx, who, tool, definition, reason)
		flash = name + " stays held. Your note is with it."
	case "block":
		err = s.registry.Reject(ctx, who, drifted.ServerID, definition, reason)
		flash = "Blocked. " + name + " stays held."
	default:
		err = problem.New(problem.Invalid, "invalid_decision", "Choose whether to accept, to keep held or to block.")
	}
	if err != nil {
		return s.driftAgain(c, who, err)
	}
	return s.done(c, "/drift", flash)
}

// driftAgain shows the review once more, with what was typed, and with what is served by now.
func (s *Server) driftAgain(c echo.Context, who identity.Principal, err error) error {
	definition := c.FormValue("definition")
	errs, status, ok := formErrors(err, map[string]string{definition: "risk", "note": "reason"})
	if !ok || problem.Is(err, problem.Forbidden) {
		return err
	}
	if text := errs["risk"]; text != "" && c.FormValue("reason") == "" && policy.Risk(c.FormValue("risk")).Known() && status == http.StatusBadRequest {
		delete(errs, "risk")
		errs["reason"] = text
	}
	return s.showDriftReview(c, who, status, errs)
}

func (s *Server) showDriftReview(c echo.Context, who identity.Principal, status int, errs web.Errors) error {
	ctx := c.Request().Context()
	d, differences, err := s.registry.Drift(ctx, who, c.Param("tool"))
	if err != nil {
		return err
	}
	view := web.DriftReview{
		ToolID: d.ID, Kind: string(d.Kind), Name: d.Name, Risk: string(d.Risk), ServerID: d.ServerID, Server: serverName(d.ServerTitle, d.ServerName), Team: d.TeamName,
		Severity: string(d.Severity), HeldAt: d.HeldAt, Note: d.HeldNote, NoteBy: d.HeldNoteByName, NoteAt: d.HeldNoteAt,
		MayDecide: who.Can(identity.PinDefinition, d.TeamID) == nil, NewRisk: string(d.Risk), Errors: errs,
	}
	if d.Served != nil {
		view.Claimed = claimed(d.Served.Text().Annotations, d.Kind)
		view.Blocked = d.Served.Blocked()
		view.Findings = findingViews(d.Served.Findings)
		if weaker(d.Risk, d.Served.ProposedRisk) {
			view.NewRisk = string(d.Served.ProposedRisk)
		}
	}
	if errs != nil {
		view.Reason = c.FormValue("reason")
		if risk := c.FormValue("risk"); risk != "" {
			view.NewRisk = risk
		}
		served := ""
		if d.Served != nil {
			served = d.Served.ID
		}
		view.Newer = status == http.StatusConflict && served != c.FormValue("definition")
	}
	if d.Pinned != nil && d.Served != nil && d.Held() {
		view.Comparison = comparison(*d.Pinned, *d.Served, differences, "Reviewed", "Offered now")
	}
	if err := s.driftEvidence(ctx, who, d, &view); err != nil {
		return err
	}
	return render(c, status, web.DriftReviewPage(s.page(c, who, d.Name, "/drift"), view))
}

// driftEvidence adds the versions, who saw the change, and whom it concerns.
func (s *Server) driftEvidence(ctx context.Context, who identity.Principal, d registry.Drifted, view *web.DriftReview) error {
	versions, err := s.registry.Definitions(ctx, who, d.ID)
	if err != nil {
		return err
	}
	for i, v := range versions {
		line := toolVersion(d.Tool, v)
		if line.Pinned {
			view.Pinned = &line
		}
		if line.Served {
			view.Served = &line
		}
		if i < railVersions || line.Pinned {
			view.Versions = append(view.Versions, line)
		}
	}
	slices.Reverse(view.Versions)
	events, err := audit.Timeline(ctx, s.pool, d.ID, 50)
	if err != nil {
		return err
	}
	for _, e := range events {
		if e.Kind == "tool.held" {
			view.SeenBy = e.ActorName
			break
		}
	}
	view.Callers, view.Grants, err = s.concerned(ctx, who, d.Tool, d.ServerName)
	return err
}

// railVersions is how many of a tool's last versions are shown in a row.
const railVersions = 5

// toolVersion is one definition of a tool, with what it is to the tool now.
func toolVersion(t registry.Tool, d registry.Definition) web.VersionLine {
	line := versionLine(d)
	line.Tool, line.Kind = t.Name, string(t.Kind)
	line.Pinned = t.Pinned != nil && t.Pinned.ID == d.ID
	line.Served = t.Served != nil && t.Served.ID == d.ID
	return line
}

// concerned is who called the tool lately, and which grants reach it.
func (s *Server) concerned(ctx context.Context, who identity.Principal, t registry.Tool, server string) ([]web.Caller, []web.GrantLine, error) {
	callers, err := s.usage.CallersOf(ctx, who, server, t.Name, s.cfg.Now().Add(-trafficSpan))
	if err != nil {
		return nil, nil, err
	}
	reaching, err := s.registry.GrantsReaching(ctx, who, t.ID)
	if err != nil {
		return nil, nil, err
	}
	var grants []web.GrantLine
	for _, g := range reaching {
		grants = append(grants, grantLine(g))
	}
	return callerViews(callers.Items), grants, nil
}

func serverName(title, name string) string {
	if title != "" {
		return title
	}
	return name
}

func findingViews(findings []registry.Finding) []web.Finding {
	var out []web.Finding
	for _, f := range findings {
		out = append(out, web.Finding{Message: f.Message, Where: f.Where, Blocks: f.Blocks})
	}
	return out
}

// weaker says whether a is a lesser risk than b.
func weaker(a, b policy.Risk) bool {
	order := []policy.Risk{"", policy.ReadOnly, policy.Write, policy.Destructive}
	return slices.Index(order, a) < slices.Index(order, b)
}

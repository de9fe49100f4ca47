package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
	"countersign/registry"
	"countersign/web"
)

func (s *Server) toolPage(c echo.Context, who identity.Principal) error {
	return s.showTool(c, who, http.StatusOK, nil)
}

// toolOf reads a tool and its server, which both stand in the address.
func (s *Server) toolOf(c echo.Context, who identity.Principal) (registry.Drifted, error) {
	d, _, err := s.registry.Drift(c.Request().Context(), who, c.Param("tool"))
	if err == nil && d.ServerID != c.Param("id") {
		return d, problem.New(problem.NotFound, "no_such_tool", "There is no such tool on this server.")
	}
	return d, err
}

func (s *Server) showTool(c echo.Context, who identity.Principal, status int, errs web.Errors) error {
	ctx := c.Request().Context()
	d, err := s.toolOf(c, who)
	if err != nil {
		return err
	}
	definitions, err := s.registry.Definitions(ctx, who, d.ID)
	if err != nil {
		return err
	}
	view := web.Tool{
		ServerID: d.ServerID, Server: serverName(d.ServerTitle, d.ServerName), Team: d.TeamName, ID: d.ID, Kind: string(d.Kind), Name: d.Name, Risk: string(d.Risk),
		State: toolState(d.Tool), Severity: string(d.Severity), Errors: errs, NewRisk: string(d.Risk), Labels: d.Labels, NewLabels: strings.Join(d.Labels, "\n"), MayLabel: who.Can(identity.PinDefinition, d.TeamID) == nil,
		MayChange: d.Pinned != nil && !d.Held() && d.Offered && who.Can(identity.PinDefinition, d.TeamID) == nil,
	}
	if errs != nil {
		view.NewRisk, view.Reason = c.FormValue("risk"), c.FormValue("reason")
		if c.Request().Form.Has("labels") {
			view.NewLabels = c.FormValue("labels")
		}
	}
	for _, v := range definitions {
		view.Versions = append(view.Versions, toolVersion(d.Tool, v))
	}
	if shown := firstOf(d.Pinned, d.Served); shown != nil {
		showText(&view, d.Tool, *shown)
	} else if len(definitions) > 0 {
		showText(&view, d.Tool, definitions[0])
	}
	compareVersions(c, d.Kind, definitions, &view)
	if view.Callers, view.Grants, err = s.concerned(ctx, who, d.Tool, d.ServerName); err != nil {
		return err
	}
	if view.Proposal, err = s.openProposal(ctx, who, d); err != nil {
		return err
	}
	view.MayStop = d.Pinned != nil && who.Can(identity.ChangeServer, d.TeamID) == nil
	if view.Stopped, err = s.suspensionOf(c, who, d); err != nil {
		return err
	}
	return render(c, status, web.ToolPage(s.page(c, who, d.Name, "/servers"), view))
}

func firstOf(a, b *registry.Definition) *registry.Definition {
	if a != nil {
		return a
	}
	return b
}

// showText takes a definition apart for the page.
func showText(view *web.Tool, t registry.Tool, d registry.Definition) {
	text := d.Text()
	view.Shown, view.Title, view.Description, view.Raw = toolVersion(t, d), text.Title, text.Description, d.Raw
	view.Claimed = claimed(text.Annotations, t.Kind)
	if t.Kind == policy.KindTool {
		view.Arguments, view.ArgumentsMore = web.Arguments(text.InputSchema)
		view.Hints = hints(text.Annotations)
	}
}

// hints are what the server claims of its tool, with what the protocol takes for granted where nothing is claimed.
func hints(annotations json.RawMessage) []web.Hint {
	var said map[string]json.RawMessage
	_ = json.Unmarshal(annotations, &said) // absent or broken: nothing is said
	var out []web.Hint
	for _, h := range []struct{ name, otherwise string }{
		{"readOnlyHint", "false"}, {"destructiveHint", "true"}, {"idempotentHint", "false"}, {"openWorldHint", "true"},
	} {
		hint := web.Hint{Name: h.name, Value: h.otherwise}
		if value, ok := said[h.name]; ok {
			hint.Value, hint.Said = cut(string(value), 40), true
		}
		out = append(out, hint)
	}
	return out
}

// compareVersions compares the versions that the address names; a number that is none leads to the nearest there is.
func compareVersions(c echo.Context, kind policy.Kind, definitions []registry.Definition, view *web.Tool) {
	if len(definitions) < 2 {
		return
	}
	a, b := nearest(definitions, c.QueryParam("a"), definitions[1].Number), nearest(definitions, c.QueryParam("b"), definitions[0].Number)
	for _, d := range slices.Backward(definitions) {
		value := fmt.Sprint(d.Number)
		view.A = append(view.A, web.Option{Value: value, Label: "v" + value, Selected: d.Number == a.Number})
		view.B = append(view.B, web.Option{Value: value, Label: "v" + value, Selected: d.Number == b.Number})
	}
	if c.QueryParam("a") != "" || c.QueryParam("b") != "" {
		differences, _ := registry.Differences(kind, a.Raw, b.Raw)
		view.Comparison = comparison(a, b, differences, "Version", "Version")
	}
}

// nearest is the definition with the number, or the one that comes closest.
func nearest(definitions []registry.Definition, number string, otherwise int) registry.Definition {
	wanted := otherwise
	if n := 0; number != "" {
		if _, err := fmt.Sscanf(number, "%d", &n); err == nil {
			wanted = n
		}
	}
	best := definitions[0]
	for _, d := range definitions {
		if distance(d.Number, wanted) < distance(best.Number, wanted) {
			best = d
		}
	}
	return best
}

func distance(a, b int) int { return max(a-b, b-a) }

// comparison shows two definitions beside each other. What is shown as a text, side by side, is not said again in the
// table.
func comparison(a, b registry.Definition, differences []registry.Difference, first, second string) *web.Comparison {
	view := &web.Comparison{A: fmt.Sprintf("%s v%d", first, a.Number), B: fmt.Sprintf("%s v%d", second, b.Number)}
	was, is := a.Text(), b.Text()
	beside := map[string]bool{}
	for _, t := range []struct{ where, name, before, after string }{
		{"/title", "Title", was.Title, is.Title}, {"/description", "Description", was.Description, is.Description},
	} {
		if t.before != t.after {
			view.Texts = append(view.Texts, web.TextChange{Name: t.name, Before: t.before, After: t.after})
			beside[t.where] = true
		}
	}
	for _, d := range differences {
		if !beside[d.Where] {
			view.Differences = append(view.Differences, web.Difference{Where: d.Where, Kind: string(d.Kind), Meaning: d.Meaning, Before: d.Before, After: d.After})
		}
	}
	return view
}

// changeRisk raises the risk of a tool at once, or proposes a lower one to another person.
func (s *Server) changeRisk(c echo.Context, who identity.Principal) error {
	ctx := c.Request().Context()
	d, err := s.toolOf(c, who)
	if err != nil {
		return err
	}
	to, definition, reason := policy.Risk(c.FormValue("risk")), c.FormValue("definition"), c.FormValue("reason")
	flash := ""
	switch {
	case weaker(to, d.Risk) && to.Known():
		_, err = s.registry.ProposeRisk(ctx, who, definition, to, reason)
		flash = "Proposed. Another person of the team, or an admin, decides."
	case to == d.Risk:
		err = problem.New(problem.Invalid, "invalid_risk", "Nothing was changed.").Field("risk", "It counts as that already.")
	default:
		err = s.registry.Pin(ctx, who, d.ServerID, []registry.Pin{{DefinitionID: definition, Risk: to}}, reason)
		flash = "It counts as more risky now. Gateways have it in a moment."
	}
	if err == nil {
		return s.done(c, "/servers/"+d.ServerID+"/tools/"+d.ID, flash)
	}
	errs, status, ok := formErrors(err, map[string]string{definition: "risk"})
	if !ok || problem.Is(err, problem.Forbidden) {
		return err
	}
	return s.showTool(c, who, status, errs)
}

// labelTool gives a tool its labels.
func (s *Server) labelTool(c echo.Context, who identity.Principal) error {
	d, err := s.toolOf(c, who)
	if err != nil {
		return err
	}
	if err = s.registry.LabelTool(c.Request().Context(), who, d.ID, lines(c.FormValue("labels"))); err == nil {
		return s.done(c, "/servers/"+d.ServerID+"/tools/"+d.ID, "Labelled. Gateways have it in a moment.")
	}
	errs, status, ok := formErrors(err, nil)
	if !ok || problem.Is(err, problem.Forbidden) {
		return err
	}
	return s.showTool(c, who, status, errs)
}

// openProposal is what somebody proposes for the tool now; nil when nobody does.
func (s *Server) openProposal(ctx context.Context, who identity.Principal, d registry.Drifted) (*web.RiskProposal, error) {
	list, err := s.registry.RiskProposals(ctx, who, true, d.ServerID)
	if err != nil {
		return nil, err
	}
	for _, p := range list {
		if p.ToolID == d.ID {
			view := proposalView(who, p)
			return &view, nil
		}
	}
	return nil, nil //nolint:nilnil // that nobody proposes anything is no error
}

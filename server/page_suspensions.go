package server

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"countersign/identity"
	"countersign/internal/problem"
	"countersign/registry"
	"countersign/web"
)

func (s *Server) suspensionsPage(c echo.Context, who identity.Principal) error {
	form := web.Suspensions{Kind: c.QueryParam("kind"), Which: c.QueryParam("which")}
	if tool := c.QueryParam("tool"); tool != "" {
		found, err := s.toolToSuspend(c, who, tool)
		if err != nil {
			return err
		}
		form.Tool = found
	}
	return s.showSuspensions(c, who, http.StatusOK, form)
}

// toolToSuspend is the tool that the form stops.
func (s *Server) toolToSuspend(c echo.Context, who identity.Principal, id string) (*web.SuspendTool, error) {
	tool, err := s.registry.Tool(c.Request().Context(), who, id)
	if err != nil {
		return nil, err
	}
	server, err := s.registry.Server(c.Request().Context(), who, tool.ServerID)
	if err != nil {
		return nil, err
	}
	if err := who.Can(identity.ChangeServer, server.TeamID); err != nil {
		return nil, err
	}
	return &web.SuspendTool{ServerID: server.ID, Server: server.Name, ID: tool.ID, Name: tool.Name}, nil
}

// showSuspensions shows what is stopped now, beside a form as it was typed.
func (s *Server) showSuspensions(c echo.Context, who identity.Principal, status int, view web.Suspensions) error {
	lines, err := s.suspended(c, who)
	if err != nil {
		return err
	}
	view.Lines = lines
	view.MayLift = who.Can(identity.ChangeGrant, "") == nil
	view.May = view.MayLift || view.Tool != nil
	return render(c, status, web.SuspensionsPage(s.page(c, who, "Suspensions", "/policy"), view))
}

// suspended is everything whose calls somebody stopped: by a guardrail, or a server by its state.
func (s *Server) suspended(c echo.Context, who identity.Principal) ([]web.Suspension, error) {
	lines, err := s.stoppedByRule(c, who)
	if err != nil {
		return nil, err
	}
	servers, err := s.registry.Servers(c.Request().Context(), who, registry.ServerFilter{State: registry.Suspended, Limit: 200})
	if err != nil {
		return nil, err
	}
	for _, server := range servers.Items {
		lines = append(lines, web.Suspension{ID: server.ID, Kind: "server", Name: server.Name, Servers: true, Address: "/servers/" + server.ID})
	}
	return lines, nil
}

// stoppedByRule is what emergency guardrails stop.
func (s *Server) stoppedByRule(c echo.Context, who identity.Principal) ([]web.Suspension, error) {
	list, err := s.registry.Suspensions(c.Request().Context(), who)
	if err != nil {
		return nil, err
	}
	var lines []web.Suspension
	for _, g := range list {
		kind, server, name := g.Suspended()
		line := web.Suspension{
			ID: g.ID, Kind: string(kind), Name: name, Reason: g.Reason, By: g.CreatedByName, Version: g.Version, At: g.CreatedAt,
			Rollout: "/policy/rollout/" + strconv.FormatInt(g.Generation, 10),
		}
		if server != "" {
			line.Name = toolOnServer(name, server)
		}
		if issuer, subject, both := strings.Cut(name, "|"); kind == registry.SuspendedPerson && both {
			line.Name = subject + " of " + issuer
		}
		lines = append(lines, line)
	}
	return lines, nil
}

// suspend stops the calls of a tool, an agent or a person, and leads to the proof.
func (s *Server) suspend(c echo.Context, who identity.Principal) error {
	form := web.Suspensions{Kind: c.FormValue("kind"), Which: strings.TrimSpace(c.FormValue("which")), Reason: c.FormValue("reason")}
	var err error
	if form.Kind == string(registry.SuspendedTool) {
		if form.Tool, err = s.toolToSuspend(c, who, c.FormValue("tool")); err != nil {
			return err
		}
	}
	generation, err := s.stop(c, who, form)
	if err != nil {
		errs, status, ok := formErrors(err, map[string]string{"agent": "which", "person": "which", "subject": "which", "issuer": "which"})
		if !ok || problem.Is(err, problem.Forbidden) {
			return err
		}
		form.Errors = errs
		return s.showSuspensions(c, who, status, form)
	}
	to := "/policy/suspensions"
	if who.Can(identity.ReadGateways, "") == nil {
		to = "/policy/rollout/" + strconv.FormatInt(generation, 10)
	}
	return s.done(c, to, "Suspended. Below is which gateway denies its calls already.")
}

func (s *Server) stop(c echo.Context, who identity.Principal, form web.Suspensions) (generation int64, err error) {
	ctx := c.Request().Context()
	if strings.TrimSpace(form.Reason) == "" {
		return 0, problem.New(problem.Invalid, "invalid_reason", "Nothing was suspended.").Field("reason", "Say why, for the one who asks later.")
	}
	switch {
	case form.Tool != nil:
		_, generation, err = s.registry.SuspendTool(ctx, who, form.Tool.ID, form.Reason)
	case form.Kind == string(registry.SuspendedAgent):
		_, generation, err = s.registry.SuspendAgent(ctx, who, form.Which, form.Reason)
	case form.Kind == string(registry.SuspendedPerson):
		issuer, subject, both := strings.Cut(form.Which, "|")
		if !both {
			issuer, subject = s.cfg.OIDCIssuer, form.Which
		}
		_, generation, err = s.registry.SuspendPerson(ctx, who, issuer, subject, form.Reason)
	default:
		err = problem.New(problem.Invalid, "invalid_suspension", "Nothing was suspended.").Field("kind", "Choose what to stop.")
	}
	return generation, err
}

// liftSuspension lets the calls through again that one suspension stopped. Another guardrail is ended where it stands.
func (s *Server) liftSuspension(c echo.Context, who identity.Principal) error {
	ctx := c.Request().Context()
	rail, err := s.registry.Guardrail(ctx, who, c.Param("id"))
	if err != nil {
		return err
	}
	if !rail.Emergency {
		return problem.New(problem.NotFound, "no_such_suspension", "There is no such suspension.")
	}
	ended, err := s.registry.EndGuardrail(ctx, who, rail.ID, version(c), c.FormValue("reason"))
	if err != nil {
		errs, status, ok := formErrors(err, map[string]string{"reason": "lift"})
		if !ok || problem.Is(err, problem.Forbidden) {
			return err
		}
		return s.showSuspensions(c, who, status, web.Suspensions{Asked: rail.ID, LiftReason: c.FormValue("reason"), Errors: errs})
	}
	return s.ruleSaved(c, who, "/policy/suspensions", ended.ID, "Lifted. Its calls go through again wherever a grant allows them.")
}

// suspensionOf is what stops the calls of a tool; nil when nothing does but its server's state.
func (s *Server) suspensionOf(c echo.Context, who identity.Principal, d registry.Drifted) (*web.Suspension, error) {
	lines, err := s.stoppedByRule(c, who)
	if err != nil {
		return nil, err
	}
	for _, line := range lines {
		if line.Kind == string(registry.SuspendedTool) && line.Name == toolOnServer(d.Name, d.ServerName) {
			return &line, nil
		}
	}
	return nil, nil //nolint:nilnil // that nothing stops it is no error
}

func toolOnServer(tool, server string) string { return tool + " on " + server }

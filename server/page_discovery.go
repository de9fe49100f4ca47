package server

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"countersign/client"
	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
	"countersign/registry"
	"countersign/web"
)

// discoverySteps are shown from the beginning, so that what is still to come is seen, too.
var discoverySteps = []string{
	client.StepResolve, client.StepConnect, client.StepInitialize, client.StepListTools, client.StepListPrompts, client.StepListResources,
}

func (s *Server) discover(c echo.Context, who identity.Principal) error {
	id := c.Param("id")
	discovery, err := s.registry.RequestDiscovery(c.Request().Context(), who, id)
	if err != nil {
		return err
	}
	return s.done(c, "/servers/"+id+"/discovery/"+discovery.ID, "")
}

func (s *Server) cancelDiscovery(c echo.Context, who identity.Principal) error {
	if _, err := s.registry.CancelDiscovery(c.Request().Context(), who, c.Param("job")); err != nil {
		return err
	}
	return s.done(c, "/servers/"+c.Param("id")+"/discovery/"+c.Param("job"), "Cancelled. Nothing was changed.")
}

func (s *Server) discoveryPage(c echo.Context, who identity.Principal) error {
	return s.showDiscovery(c, who, c.Param("job"), http.StatusOK, "", nil)
}

// pin accepts what is ticked, all or none. What was not accepted is shown again, beside the reason.
func (s *Server) pin(c echo.Context, who identity.Principal) error {
	form := c.Request().PostForm
	var pins []registry.Pin
	for _, id := range form["pin"] {
		pins = append(pins, registry.Pin{DefinitionID: id, Risk: policy.Risk(form.Get("risk-" + id))})
	}
	id := c.Param("id")
	err := s.registry.Pin(c.Request().Context(), who, id, pins, form.Get("reason"))
	if err != nil {
		errs, status, ok := formErrors(err, nil)
		if !ok || problem.Is(err, problem.Forbidden) {
			return err
		}
		return s.showDiscovery(c, who, "", status, form.Get("reason"), errs)
	}
	flash := "Pinned. Who may call is decided by grants."
	if proposed, err := s.registry.RiskProposals(c.Request().Context(), who, true, id); err == nil && len(proposed) > 0 {
		flash += " A lower risk than before, or than the server suggests, waits for another person under Drift."
	}
	return s.done(c, "/servers/"+id, flash)
}

// showDiscovery shows one discovery, or the server's last one, and the review of what is not pinned yet.
func (s *Server) showDiscovery(c echo.Context, who identity.Principal, id string, status int, reason string, errs web.Errors) error {
	ctx := c.Request().Context()
	server, err := s.registry.Server(ctx, who, c.Param("id"))
	if err != nil {
		return err
	}
	if id == "" {
		last, err := s.registry.Discoveries(ctx, who, server.ID)
		if err != nil {
			return err
		}
		if len(last) == 0 {
			return problem.New(problem.NotFound, "no_such_discovery", "Nobody has looked at this server yet.")
		}
		id = last[0].ID
	}
	d, err := s.registry.Discovery(ctx, who, id)
	if err != nil {
		return err
	}
	if d.ServerID != server.ID {
		return problem.New(problem.NotFound, "no_such_discovery", "There is no such discovery of this server.")
	}
	view := web.Discovery{
		ID: d.ID, Server: server.Name, ServerID: server.ID, Where: where(server.Endpoint), State: string(d.State), Error: d.Error,
		Gateway: d.GatewayName, BeganAt: d.CreatedAt, FinishedAt: d.FinishedAt, InReach: d.InReach,
		MayChange: who.Can(identity.ChangeServer, server.TeamID) == nil, Steps: steps(d),
	}
	if d.State == registry.Done {
		if view.Review, err = s.review(ctx, who, server, errs); err != nil {
			return err
		}
		if view.Review != nil {
			view.Review.Reason = reason
		}
	}
	page := s.page(c, who, server.Name, "/servers")
	page.Focus = d.State.Open()
	return render(c, status, web.DiscoveryPage(page, view))
}

func steps(d registry.Discovery) []web.DiscoveryStep {
	var out []web.DiscoveryStep
	known := map[string]client.Step{}
	for _, step := range d.Steps {
		known[step.Name] = step
	}
	for _, name := range discoverySteps {
		step := web.DiscoveryStep{Name: name, State: "waiting"}
		if k, ok := known[name]; ok {
			step.State, step.Detail, step.MS = string(k.State), k.Detail, k.MS
		} else if !d.State.Open() {
			step.State = "skipped"
		}
		out = append(out, step)
	}
	return out
}

package server

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"countersign/audit"
	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
	"countersign/registry"
	"countersign/web"
)

func (s *Server) serverSettingsPage(c echo.Context, who identity.Principal) error {
	return s.showSettings(c, who, http.StatusOK, "", nil)
}

// version is the Version that the reader saw, from a form; 0 matches nothing.
func version(c echo.Context) int64 {
	n, _ := strconv.ParseInt(c.FormValue("version"), 10, 64)
	return n
}

func (s *Server) saveServer(c echo.Context, who identity.Principal) error {
	title, description, labels := c.FormValue("title"), c.FormValue("description"), lines(c.FormValue("labels"))
	requests := requestsTicked(c)
	edit := registry.Edit{Title: &title, Description: &description, Labels: &labels, Requests: &requests}
	if _, err := s.registry.Edit(c.Request().Context(), who, c.Param("id"), version(c), edit, ""); err != nil {
		return s.settingsAgain(c, who, "edit", err, nil)
	}
	return s.done(c, "/servers/"+c.Param("id")+"/settings", "Saved.")
}

// requestsTicked is what the form lets the server ask of clients.
func requestsTicked(c echo.Context) []policy.ClientRequest {
	ticked := []policy.ClientRequest{}
	for _, value := range c.Request().Form["requests"] { // parsed by FormValue
		ticked = append(ticked, policy.ClientRequest(value))
	}
	return ticked
}

// requestOptions says in plain words what each of them lets a server do.
func requestOptions(allowed []policy.ClientRequest) []web.Option {
	var options []web.Option
	for _, r := range policy.ClientRequests() {
		label := map[policy.ClientRequest]string{
			policy.Elicitation: "Elicitation: have the user fill in a form that the server words, or open an address that it names",
			policy.Roots:       "Roots: learn which folders of the user's machine the client works on",
			policy.Sampling:    "Sampling: have the client's model answer what the server writes, at the client's cost and with what it knows",
		}[r]
		options = append(options, web.Option{Value: string(r), Label: label, Selected: slices.Contains(allowed, r)})
	}
	return options
}

// transferServer gives the server to another team. Only its reason can be wrong: the team is chosen.
func (s *Server) transferServer(c echo.Context, who identity.Principal) error {
	team := c.FormValue("team")
	server, err := s.registry.Edit(c.Request().Context(), who, c.Param("id"), version(c), registry.Edit{TeamID: &team}, c.FormValue("transfer-reason"))
	if err != nil {
		return s.settingsAgain(c, who, "transfer", err, map[string]string{"reason": "transfer-reason"})
	}
	return s.done(c, "/servers/"+server.ID+"/settings", server.TeamName+" owns it now.")
}

// relocateServer gives the server another endpoint. What was pinned is not any more, so the next page is the look there.
func (s *Server) relocateServer(c echo.Context, who identity.Principal) error {
	server, discovery, err := s.registry.Move(c.Request().Context(), who, c.Param("id"), version(c), locationOf(c))
	if err != nil {
		return s.settingsAgain(c, who, "move", err, nil)
	}
	return s.done(c, "/servers/"+server.ID+"/discovery/"+discovery.ID, "Moved. Nothing is callable before you pin it again.")
}

// locationOf is where a server is, as the form says.
func locationOf(c echo.Context) registry.Location {
	to := registry.Location{Transport: registry.Transport(c.FormValue("transport"))}
	if to.Transport == registry.Stdio {
		to.Command, to.CommandDigest, _ = strings.Cut(c.FormValue("command"), " ")
	} else {
		to.URL = strings.TrimSpace(c.FormValue("url"))
	}
	return to
}

func (s *Server) setServerState(c echo.Context, who identity.Principal) error {
	id, state := c.Param("id"), registry.State(c.FormValue("state"))
	if _, err := s.registry.SetState(c.Request().Context(), who, id, version(c), state, c.FormValue("state-reason")); err != nil {
		return s.settingsAgain(c, who, "state", err, map[string]string{"reason": "state-reason"})
	}
	flash := map[registry.State]string{
		registry.Suspended: "Suspended. Below is which gateway denies its calls already.",
		registry.Active:    "Active again.", registry.Retired: "Retired for good.",
	}[state]
	return s.done(c, "/servers/"+id, flash)
}

// settingsAgain shows the forms once more, with what is wrong in the one that was sent and all that was typed in it.
func (s *Server) settingsAgain(c echo.Context, who identity.Principal, form string, err error, rename map[string]string) error {
	errs, status, ok := formErrors(err, rename)
	if !ok || problem.Is(err, problem.Forbidden) {
		return err
	}
	return s.showSettings(c, who, status, form, errs)
}

func (s *Server) showSettings(c echo.Context, who identity.Principal, status int, form string, errs web.Errors) error {
	ctx := c.Request().Context()
	server, err := s.registry.Server(ctx, who, c.Param("id"))
	if err != nil {
		return err
	}
	view := web.ServerSettings{
		Server: serverHead(who, server, "settings"), Form: form, Errors: errs, CreatedBy: server.CreatedByName, CreatedAt: server.CreatedAt,
		Typed: web.ServerForm{
			Title: server.Title, Description: server.Description, Labels: strings.Join(server.Labels, ", "), Transport: string(server.Endpoint.Transport),
			Requests: requestOptions(server.Requests),
		},
	}
	team := server.TeamID
	switch form {
	case "edit":
		view.Typed.Title, view.Typed.Description, view.Typed.Labels = c.FormValue("title"), c.FormValue("description"), c.FormValue("labels")
		view.Typed.Requests = requestOptions(requestsTicked(c))
	case "transfer":
		team, view.Typed.TransferReason = c.FormValue("team"), c.FormValue("transfer-reason")
	case "move":
		view.Typed.Transport, view.Typed.URL = c.FormValue("transport"), c.FormValue("url")
	case "state":
		view.Typed.StateReason = c.FormValue("state-reason")
	}
	if err := s.settingsChoices(c, who, &view, team); err != nil {
		return err
	}
	endpoints, err := s.registry.Endpoints(ctx, who, server.ID)
	if err != nil {
		return err
	}
	for _, e := range endpoints {
		view.Endpoints = append(view.Endpoints, web.EndpointLine{Transport: string(e.Transport), Where: where(e), Digest: e.Digest.String(), Since: e.CreatedAt, Until: e.EndedAt})
	}
	timeline, err := audit.Timeline(ctx, s.pool, server.ID, 50)
	if err != nil {
		return err
	}
	for _, e := range timeline {
		view.Timeline = append(view.Timeline, eventView(e))
	}
	return render(c, status, web.ServerSettingsPage(s.serverTitle(c, who, view.Server), view))
}

// settingsChoices fills in what the forms offer to choose from.
func (s *Server) settingsChoices(c echo.Context, who identity.Principal, view *web.ServerSettings, team string) (err error) {
	if !view.MayChange {
		return nil
	}
	teams, err := s.registry.Teams(c.Request().Context(), who)
	if err != nil {
		return err
	}
	view.Teams = teamOptions(teams, team)
	command := ""
	if view.Form == "move" {
		command = c.FormValue("command")
	}
	view.Commands, err = s.commandOptions(c, who, command)
	return err
}

func teamOptions(teams []registry.Team, chosen string) []web.Option {
	var options []web.Option
	for _, team := range teams {
		options = append(options, web.Option{Value: team.ID, Label: team.Name, Selected: team.ID == chosen})
	}
	return options
}

// commandOptions are the stdio servers that gateways say they can start.
func (s *Server) commandOptions(c echo.Context, who identity.Principal, chosen string) ([]web.Option, error) {
	offered, err := s.delivery.OfferedCommands(c.Request().Context(), who)
	if err != nil {
		return nil, err
	}
	options := []web.Option{{Label: "None"}}
	for _, o := range offered {
		value := o.Name + " " + o.Digest
		options = append(options, web.Option{Value: value, Label: o.Name + ", by " + strings.Join(o.Gateways, ", "), Selected: value == chosen})
	}
	return options, nil
}

package server

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"countersign/audit"
	"countersign/delivery"
	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
	"countersign/registry"
	"countersign/web"
)

func (s *Server) serversPage(c echo.Context, who identity.Principal) error {
	filter := registry.ServerFilter{Query: c.QueryParam("q"), State: registry.State(c.QueryParam("state")), After: c.QueryParam("after")}
	list, err := s.registry.Servers(c.Request().Context(), who, filter)
	if err != nil {
		return err
	}
	view := web.Servers{Query: filter.Query, MayRegister: who.Can(identity.RegisterServer, "") == nil}
	for _, server := range list.Items {
		view.Servers = append(view.Servers, serverLine(server))
	}
	for _, o := range []web.Option{
		{Label: "Every state"},
		{Value: "proposed", Label: "Proposed"},
		{Value: "active", Label: "Active"},
		{Value: "suspended", Label: "Suspended"},
		{Value: "retired", Label: "Retired"},
	} {
		o.Selected = o.Value == string(filter.State)
		view.States = append(view.States, o)
	}
	if list.Next != "" {
		view.Next = "/servers?" + url.Values{"q": {filter.Query}, "state": {string(filter.State)}, "after": {list.Next}}.Encode()
	}
	return render(c, http.StatusOK, web.ServersPage(s.page(c, who, "Servers", "/servers"), view))
}

func serverLine(server registry.Server) web.ServerLine {
	title := server.Title
	if title == "" {
		title = server.Name
	}
	return web.ServerLine{
		ID: server.ID, Name: server.Name, Title: title, State: string(server.State), Team: server.TeamName, Transport: transportWords(server.Endpoint.Transport),
		ReadOnly: server.ReadOnly, Write: server.Write, Destructive: server.Destructive, Held: server.Held, Pending: server.Pending, CheckedAt: server.CheckedAt,
	}
}

func transportWords(t registry.Transport) string {
	if t == registry.Stdio {
		return "Command (stdio)"
	}
	return "Streamable HTTP"
}

func where(e registry.Endpoint) string {
	if e.Transport == registry.Stdio {
		return e.Command
	}
	return e.URL
}

func (s *Server) newServerPage(c echo.Context, who identity.Principal) error {
	return s.showNewServer(c, who, http.StatusOK, registry.Registration{}, "", nil)
}

func (s *Server) registerServer(c echo.Context, who identity.Principal) error {
	name, digest, _ := strings.Cut(c.FormValue("command"), " ")
	n := registry.Registration{
		Name: c.FormValue("name"), Title: c.FormValue("title"), Description: c.FormValue("description"), TeamID: c.FormValue("team"),
		Location: registry.Location{Transport: registry.Transport(c.FormValue("transport"))},
	}
	if n.Transport == registry.Stdio {
		n.Command, n.CommandDigest = name, digest
	} else {
		n.URL = strings.TrimSpace(c.FormValue("url"))
	}
	server, discovery, err := s.registry.Register(c.Request().Context(), who, n)
	if err != nil {
		errs, status, ok := formErrors(err, nil)
		if !ok {
			return err
		}
		n.URL = c.FormValue("url")
		return s.showNewServer(c, who, status, n, c.FormValue("command"), errs)
	}
	return s.done(c, "/servers/"+server.ID+"/discovery/"+discovery.ID, "")
}

func (s *Server) showNewServer(c echo.Context, who identity.Principal, status int, n registry.Registration, command string, errs web.Errors) error {
	ctx := c.Request().Context()
	teams, err := s.registry.Teams(ctx, who)
	if err != nil {
		return err
	}
	offered, err := s.delivery.OfferedCommands(ctx, who)
	if err != nil {
		return err
	}
	view := web.NewServer{
		Name: n.Name, Title: n.Title, Description: n.Description, Team: n.TeamID, Transport: string(n.Transport), URL: n.URL, Errors: errs,
		Commands: []web.Option{{Label: "None"}},
	}
	for _, team := range teams {
		view.Teams = append(view.Teams, web.Option{Value: team.ID, Label: team.Name, Selected: team.ID == n.TeamID})
	}
	for _, o := range offered {
		value := o.Name + " " + o.Digest
		view.Commands = append(view.Commands, web.Option{
			Value: value, Label: o.Name + ", by " + strings.Join(o.Gateways, ", "), Selected: value == command,
		})
	}
	if s.cfg.Sample != nil {
		if _, err := s.registry.ServerNamed(ctx, who, s.cfg.Sample.Name); problem.Is(err, problem.NotFound) {
			view.Sample = &web.Sample{Name: s.cfg.Sample.Name, Title: s.cfg.Sample.Title, Description: s.cfg.Sample.Description}
		}
	}
	return render(c, status, web.NewServerPage(s.page(c, who, "Register a server", "/servers"), view))
}

// registerSample adds the sample server with one click, owned by the first team.
func (s *Server) registerSample(c echo.Context, who identity.Principal) error {
	ctx := c.Request().Context()
	if s.cfg.Sample == nil {
		return problem.New(problem.NotFound, "no_sample", "There is no sample server here.")
	}
	teams, err := s.registry.Teams(ctx, who)
	if err != nil {
		return err
	}
	if len(teams) == 0 {
		return problem.New(problem.Conflict, "no_team", "There is no team to own the sample server. Make one first.")
	}
	server, discovery, err := s.registry.Register(ctx, who, registry.Registration{
		Name: s.cfg.Sample.Name, Title: s.cfg.Sample.Title, Description: s.cfg.Sample.Description, TeamID: teams[0].ID,
		Location: registry.Location{Transport: registry.StreamableHTTP, URL: s.cfg.Sample.URL},
	})
	if err != nil {
		return err
	}
	return s.done(c, "/servers/"+server.ID+"/discovery/"+discovery.ID, "")
}

func (s *Server) setServerState(c echo.Context, who identity.Principal) error {
	id, state := c.Param("id"), registry.State(c.FormValue("state"))
	version, _ := strconv.ParseInt(c.FormValue("version"), 10, 64) // 0 matches no server
	if _, err := s.registry.SetState(c.Request().Context(), who, id, version, state, c.FormValue("state-reason")); err != nil {
		return err
	}
	flash := map[registry.State]string{
		registry.Suspended: "Suspended. Every gateway denies its calls as soon as it has the new revision.",
		registry.Active:    "Active again.", registry.Retired: "Retired for good.",
	}[state]
	return s.done(c, "/servers/"+id, flash)
}

func (s *Server) serverPage(c echo.Context, who identity.Principal) error {
	view, err := s.serverView(c, who)
	if err != nil {
		return err
	}
	return render(c, http.StatusOK, web.ServerPage(s.page(c, who, view.Title, "/servers"), view))
}

func (s *Server) serverView(c echo.Context, who identity.Principal) (web.Server, error) {
	ctx := c.Request().Context()
	server, err := s.registry.Server(ctx, who, c.Param("id"))
	if err != nil {
		return web.Server{}, err
	}
	tools, err := s.registry.Tools(ctx, who, registry.ToolFilter{ServerID: server.ID, Limit: 500})
	if err != nil {
		return web.Server{}, err
	}
	grants, err := s.registry.Grants(ctx, who, registry.GrantFilter{Limit: 200})
	if err != nil {
		return web.Server{}, err
	}
	discoveries, err := s.registry.Discoveries(ctx, who, server.ID)
	if err != nil {
		return web.Server{}, err
	}
	timeline, err := audit.Timeline(ctx, s.pool, server.ID, 50)
	if err != nil {
		return web.Server{}, err
	}
	view := web.Server{
		ServerLine: serverLine(server), Description: server.Description, Where: where(server.Endpoint), Endpoint: server.Endpoint.Digest.String(),
		Version: server.Version, CreatedBy: server.CreatedByName, CreatedAt: server.CreatedAt, Labels: server.Labels,
		MayChange: who.Can(identity.ChangeServer, server.TeamID) == nil, MayGrant: who.Can(identity.ChangeGrant, "") == nil,
		Review: s.review(who, server, tools.Items, nil), GatewayURL: s.agentAddress(c, who, server.Name),
	}
	for _, tool := range tools.Items {
		view.Items = append(view.Items, serverItem(tool))
	}
	for _, g := range grants.Items {
		if reaches(g.Resource, server) {
			view.Grants = append(view.Grants, grantLine(g))
		}
	}
	for i, d := range discoveries {
		if i == 5 {
			break
		}
		view.Discoveries = append(view.Discoveries, web.DiscoveryLine{ID: d.ID, State: string(d.State), By: d.RequestedByName, Gateway: d.GatewayName, At: d.CreatedAt})
	}
	for _, e := range timeline {
		view.Timeline = append(view.Timeline, eventView(e))
	}
	return view, nil
}

// agentAddress is where agents call the server: at the first gateway that may see it.
func (s *Server) agentAddress(c echo.Context, who identity.Principal, name string) string {
	gateways, err := s.delivery.Gateways(c.Request().Context(), who, false)
	if err != nil {
		return ""
	}
	for _, g := range gateways {
		audience := policy.Resource{Servers: g.Servers}
		if g.Kind == delivery.Proxy && g.Resource != "" && audience.ReachesServer(name, nil) {
			return g.Resource + "/mcp/" + name
		}
	}
	return "no gateway that may see it is enrolled"
}

// reaches says whether a grant names the server; whether it reaches one of its tools is the compiler's to say.
func reaches(r policy.Resource, server registry.Server) bool {
	return r.ReachesServer(server.Name, server.Labels)
}

func serverItem(t registry.Tool) web.ServerItem {
	item := web.ServerItem{Kind: string(t.Kind), Name: t.Name, Risk: string(t.Risk), State: toolState(t)}
	shown := t.Pinned
	if shown == nil {
		shown = t.Served
	}
	if shown != nil {
		text := shown.Text()
		item.Description, item.Number, item.Digest, item.Raw = text.Description, shown.Number, shown.Digest.String(), shown.Raw
	}
	return item
}

func toolState(t registry.Tool) string {
	switch {
	case t.Held():
		return "held"
	case t.Pinned != nil && !t.Offered:
		return "gone"
	case t.Pinned != nil:
		return "pinned"
	case t.Served != nil && t.Served.State == registry.Rejected:
		return "rejected"
	}
	return "pending"
}

// review is the form for what the owner has not accepted yet; nil when there is nothing.
func (s *Server) review(who identity.Principal, server registry.Server, tools []registry.Tool, errs web.Errors) *web.Review {
	review := &web.Review{ServerID: server.ID, Server: server.Name, MayPin: who.Can(identity.PinDefinition, server.TeamID) == nil, Errors: errs}
	for _, t := range tools {
		if t.Served == nil || t.Pinned != nil && !t.Held() || t.Served.State == registry.Rejected {
			continue
		}
		text := t.Served.Text()
		item := web.ReviewItem{
			DefinitionID: t.Served.ID, Kind: string(t.Kind), Name: t.Name, Description: text.Description, Risk: string(t.Served.ProposedRisk),
			Claimed: claimed(text.Annotations, t.Kind), Number: t.Served.Number, Held: t.Held(), Blocked: t.Served.Blocked(), Raw: t.Served.Raw,
			Checked: !t.Held(), // what changed is ticked by a person who has looked
		}
		if t.Risk != "" {
			item.Risk = string(t.Risk)
		}
		for _, f := range t.Served.Findings {
			item.Findings = append(item.Findings, web.Finding{Message: f.Message, Where: f.Where, Blocks: f.Blocks})
		}
		review.Items = append(review.Items, item)
	}
	if len(review.Items) == 0 {
		return nil
	}
	return review
}

// claimed is what the server says about its own tool.
func claimed(annotations json.RawMessage, kind policy.Kind) string {
	if kind != policy.KindTool {
		return "Prompts and resources are read"
	}
	var hints struct {
		ReadOnly    *bool `json:"readOnlyHint"`
		Destructive *bool `json:"destructiveHint"`
	}
	_ = json.Unmarshal(annotations, &hints) // absent or broken: no hints
	switch {
	case hints.ReadOnly != nil && *hints.ReadOnly:
		return "Server says read-only"
	case hints.Destructive != nil && !*hints.Destructive:
		return "Server says not destructive"
	case hints.Destructive != nil:
		return "Server says destructive"
	}
	return "No hints, so destructive"
}

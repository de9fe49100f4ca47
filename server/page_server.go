package server

import (
	"context"
	"net/http"
	"net/url"

	"github.com/labstack/echo/v4"

	"countersign/delivery"
	"countersign/identity"
	"countersign/policy"
	"countersign/registry"
	"countersign/web"
)

// Of what a server offers, so much is shown at once: a server may have thousands of tools.
const (
	toolsOfPage   = 100
	toolsToPin    = 50 // in one form, each with its text
	blockedToShow = 10 // of those that cannot be pinned
	versionsPage  = 50
)

// serverHead is what every page of a server begins with.
func serverHead(who identity.Principal, server registry.Server, tab string) web.Server {
	return web.Server{
		ServerLine: serverLine(server), Tab: tab, Description: server.Description, Where: where(server.Endpoint), Version: server.Version,
		Items: server.Offered, MayChange: who.Can(identity.ChangeServer, server.TeamID) == nil,
	}
}

// serverTitle is a page about one server, named as that is.
func (s *Server) serverTitle(c echo.Context, who identity.Principal, head web.Server) web.Page {
	return s.page(c, who, head.Title, "/servers")
}

func (s *Server) serverPage(c echo.Context, who identity.Principal) error {
	ctx := c.Request().Context()
	server, err := s.registry.Server(ctx, who, c.Param("id"))
	if err != nil {
		return err
	}
	filter := registry.ToolFilter{ServerID: server.ID, Query: c.QueryParam("q"), Only: c.QueryParam("only"), After: c.QueryParam("after"), Limit: toolsOfPage}
	tools, err := s.registry.Tools(ctx, who, filter)
	if err != nil {
		return err
	}
	view := web.ServerTools{
		Server: serverHead(who, server, "tools"), Query: filter.Query, Filtered: filter.Query+filter.Only != "",
		Only: chosen(filter.Only, web.Option{Label: "Every state"}, web.Option{Value: "held", Label: "Changed"}, web.Option{Value: "pending", Label: "To review"},
			web.Option{Value: "pinned", Label: "Pinned"}, web.Option{Value: "gone", Label: "Not offered any more"}),
		GatewayURL: s.agentAddress(c, who, server.Name),
	}
	for _, tool := range tools.Items {
		view.Tools = append(view.Tools, toolLine(tool))
	}
	at := "/servers/" + server.ID
	view.First, view.Next = turn(at, url.Values{"q": {filter.Query}, "only": {filter.Only}}, filter.After, tools.Next)
	if !view.Filtered && filter.After == "" {
		if view.Review, err = s.review(ctx, who, server, nil); err != nil {
			return err
		}
	}
	page := s.serverTitle(c, who, view.Server)
	if server.State == registry.Suspended {
		if view.Effects, err = s.effects(ctx, who, server.ID); err != nil {
			return err
		}
		page.Focus = !view.Effects.Done()
	}
	return render(c, http.StatusOK, web.ServerPage(page, view))
}

// chosen marks the option that has the value.
func chosen(value string, options ...web.Option) []web.Option {
	for i := range options {
		options[i].Selected = options[i].Value == value
	}
	return options
}

// turn gives the addresses of the first page, unless this is it, and of the next, if there is one.
func turn(at string, filter url.Values, after, next string) (first, following string) {
	for name, values := range filter {
		if len(values) == 0 || values[0] == "" {
			delete(filter, name)
		}
	}
	query := func() string {
		if len(filter) == 0 {
			return at
		}
		return at + "?" + filter.Encode()
	}
	if after != "" {
		first = query()
	}
	if next != "" {
		filter.Set("after", next)
		following = query()
	}
	return first, following
}

func toolLine(t registry.Tool) web.ToolLine {
	line := web.ToolLine{ID: t.ID, Kind: string(t.Kind), Name: t.Name, Risk: string(t.Risk), State: toolState(t)}
	shown := t.Pinned
	if shown == nil {
		shown = t.Served
	}
	if shown != nil {
		line.Description, line.Number, line.Tokens = shown.Text().Description, shown.Number, shown.Tokens
	}
	return line
}

func (s *Server) effects(ctx context.Context, who identity.Principal, serverID string) (*web.Effects, error) {
	effects, err := s.delivery.Effects(ctx, who, serverID)
	if err != nil {
		return nil, err
	}
	view := &web.Effects{ServerID: serverID, Words: "Suspended", At: effects.Since}
	view.Lines = effectLines(effects)
	return view, nil
}

func (s *Server) serverVersionsPage(c echo.Context, who identity.Principal) error {
	ctx := c.Request().Context()
	server, err := s.registry.Server(ctx, who, c.Param("id"))
	if err != nil {
		return err
	}
	filter := registry.HistoryFilter{ServerID: server.ID, Query: c.QueryParam("q"), After: c.QueryParam("after"), Limit: versionsPage}
	history, err := s.registry.History(ctx, who, filter)
	if err != nil {
		return err
	}
	looks, err := s.registry.Discoveries(ctx, who, server.ID)
	if err != nil {
		return err
	}
	view := web.ServerVersions{Server: serverHead(who, server, "versions"), Query: filter.Query}
	for _, v := range history.Items {
		line := versionLine(v.Definition)
		line.Tool, line.Kind, line.Pinned, line.Served = v.ToolName, string(v.ToolKind), v.Pinned, v.Served
		view.Versions = append(view.Versions, line)
	}
	for _, d := range looks {
		view.Looks = append(view.Looks, web.DiscoveryLine{ID: d.ID, State: string(d.State), By: d.RequestedByName, Gateway: d.GatewayName, At: d.CreatedAt})
	}
	view.First, view.Next = turn("/servers/"+server.ID+"/versions", url.Values{"q": {filter.Query}}, filter.After, history.Next)
	return render(c, http.StatusOK, web.ServerVersionsPage(s.serverTitle(c, who, view.Server), view))
}

func versionLine(d registry.Definition) web.VersionLine {
	line := web.VersionLine{
		ID: d.ID, ToolID: d.ToolID, Digest: d.Digest.String(), State: string(d.State), Number: d.Number, FirstSeenAt: d.FirstSeenAt,
		DecidedAt: d.DecidedAt, DecidedBy: d.DecidedByName, Reason: d.Reason, Tokens: d.Tokens,
	}
	for _, f := range d.Findings {
		line.Findings = append(line.Findings, web.Finding{Message: f.Message, Where: f.Where, Blocks: f.Blocks})
	}
	return line
}

func (s *Server) serverAccessPage(c echo.Context, who identity.Principal) error {
	ctx := c.Request().Context()
	server, err := s.registry.Server(ctx, who, c.Param("id"))
	if err != nil {
		return err
	}
	view := web.ServerAccess{Server: serverHead(who, server, "access"), MayGrant: who.Can(identity.ChangeGrant, "") == nil, GatewayURL: s.agentAddress(c, who, server.Name)}
	for filter := (registry.GrantFilter{Limit: 200}); ; {
		grants, err := s.registry.Grants(ctx, who, filter)
		if err != nil {
			return err
		}
		for _, g := range grants.Items {
			if reaches(g.Resource, server) {
				view.Grants = append(view.Grants, grantLine(g))
			}
		}
		if filter.After = grants.Next; filter.After == "" {
			break
		}
	}
	guardrails, err := s.registry.Guardrails(ctx, who, false)
	if err != nil {
		return err
	}
	teams, err := s.registry.Teams(ctx, who)
	if err != nil {
		return err
	}
	for _, g := range guardrails {
		if reaches(g.Resource, server) {
			view.Guardrails = append(view.Guardrails, guardrailLine(g, teams))
		}
	}
	return render(c, http.StatusOK, web.ServerAccessPage(s.serverTitle(c, who, view.Server), view))
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

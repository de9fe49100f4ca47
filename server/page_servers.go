package server

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"countersign/identity"
	"countersign/registry"
	"countersign/web"
)

func (s *Server) serversPage(c echo.Context, who identity.Principal) error {
	ctx := c.Request().Context()
	filter := serverFilter(c)
	list, err := s.registry.Servers(ctx, who, filter)
	if err != nil {
		return err
	}
	teams, err := s.registry.Teams(ctx, who)
	if err != nil {
		return err
	}
	query := serversAddress(filter)
	view := web.Servers{
		Query: filter.Query, Label: filter.Label, Changed: filter.Held, Filtered: len(query) > 0, MayRegister: who.Can(identity.RegisterServer, "") == nil,
		States: chosen(string(filter.State), web.Option{Label: "Every state"}, web.Option{Value: "proposed", Label: "Proposed"},
			web.Option{Value: "active", Label: "Active"}, web.Option{Value: "suspended", Label: "Suspended"}, web.Option{Value: "retired", Label: "Retired"}),
		Teams: append([]web.Option{{Label: "Every team"}}, teamOptions(teams, filter.TeamID)...), CSV: "/servers.csv",
	}
	if len(query) > 0 {
		view.CSV += "?" + query.Encode()
	}
	for _, server := range list.Items {
		view.Servers = append(view.Servers, serverLine(server))
	}
	view.First, view.Next = turn("/servers", query, filter.After, list.Next)
	return render(c, http.StatusOK, web.ServersPage(s.page(c, who, "Servers", "/servers"), view))
}

// serverFilter is what the address asks for.
func serverFilter(c echo.Context) registry.ServerFilter {
	return registry.ServerFilter{
		Query: c.QueryParam("q"), State: registry.State(c.QueryParam("state")), TeamID: c.QueryParam("team"), Label: c.QueryParam("label"),
		Held: c.QueryParam("changed") != "", After: c.QueryParam("after"),
	}
}

// serversAddress is the address of a filter, without what it does not say.
func serversAddress(f registry.ServerFilter) url.Values {
	query := url.Values{"q": {f.Query}, "state": {string(f.State)}, "team": {f.TeamID}, "label": {f.Label}}
	if f.Held {
		query.Set("changed", "1")
	}
	for name, values := range query {
		if values[0] == "" {
			delete(query, name)
		}
	}
	return query
}

// serversCSV is the whole list as a file, as it is filtered.
func (s *Server) serversCSV(c echo.Context, who identity.Principal) error {
	filter := serverFilter(c)
	filter.After, filter.Limit = "", 200
	first, err := s.registry.Servers(c.Request().Context(), who, filter)
	if err != nil {
		return err
	}
	out := newCSV(c, "servers", "name", "title", "state", "owner", "labels", "transport", "address", "read_only", "write", "destructive", "changed", "to_review", "last_look")
	for page := first; ; {
		for _, v := range page.Items {
			looked := ""
			if v.CheckedAt != nil {
				looked = v.CheckedAt.UTC().Format(time.RFC3339)
			}
			out.row(v.Name, v.Title, string(v.State), v.TeamName, strings.Join(v.Labels, " "), string(v.Endpoint.Transport), where(v.Endpoint),
				strconv.Itoa(v.ReadOnly), strconv.Itoa(v.Write), strconv.Itoa(v.Destructive), strconv.Itoa(v.Held), strconv.Itoa(v.Pending), looked)
		}
		if filter.After = page.Next; filter.After == "" {
			return out.done()
		}
		if page, err = s.registry.Servers(c.Request().Context(), who, filter); err != nil {
			return out.broken(err)
		}
	}
}

func serverLine(server registry.Server) web.ServerLine {
	title := server.Title
	if title == "" {
		title = server.Name
	}
	return web.ServerLine{
		ID: server.ID, Name: server.Name, Title: title, State: string(server.State), Team: server.TeamName, Transport: transportWords(server.Endpoint.Transport),
		ReadOnly: server.ReadOnly, Write: server.Write, Destructive: server.Destructive, Held: server.Held, Pending: server.Pending,
		Labels: server.Labels, CheckedAt: server.CheckedAt,
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

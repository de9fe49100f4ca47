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
	"countersign/usage"
	"countersign/web"
)

// trafficSpan is how far back the pages about single tools look: thirty days, today included.
const trafficSpan = 29 * 24 * time.Hour

// recentCalls is how many calls the page of a server lists.
const recentCalls = 20

// serverTrafficPage is how calls to one server went in a span of time.
func (s *Server) serverTrafficPage(c echo.Context, who identity.Principal) error {
	ctx := c.Request().Context()
	server, err := s.registry.Server(ctx, who, c.Param("id"))
	if err != nil {
		return err
	}
	q := usageQuery{view: web.UsageFilter{Path: c.Request().URL.Path, Errors: web.Errors{}, MayName: who.Can(identity.ReadCallers, server.TeamID) == nil}}
	q.setSpan(c, s.cfg.Now().UTC())
	q.filter.Server = server.Name
	view := web.ServerTraffic{Server: serverHead(who, server, "traffic"), UsageFilter: q.view}
	for _, read := range []func(echo.Context, identity.Principal, usage.Filter, *web.ServerTraffic) error{s.readTotals, s.readTools, s.readCallers, s.readRecent} {
		if err := read(c, who, q.filter, &view); err != nil {
			return err
		}
	}
	if view.Asks, err = s.askedWords(c, who, server, q.filter.Since); err != nil {
		return err
	}
	narrowed := "?" + url.Values{"server": {server.Name}, "span": {c.QueryParam("span")}}.Encode()
	view.Usage, view.Calls = "/usage"+narrowed, "/usage/calls"+narrowed
	return render(c, http.StatusOK, web.ServerTrafficPage(s.serverTitle(c, who, view.Server), view))
}

func (s *Server) readTotals(c echo.Context, who identity.Principal, f usage.Filter, view *web.ServerTraffic) error {
	summary, err := s.usage.Summary(c.Request().Context(), who, f)
	if err != nil {
		return err
	}
	view.Totals = totalsView(summary.Now)
	if summary.BeforeKnown {
		before := totalsView(summary.Before)
		view.Before = &before
	}
	series, err := s.usage.Series(c.Request().Context(), who, f)
	view.Points = pointViews(series)
	return err
}

func (s *Server) readTools(c echo.Context, who identity.Principal, f usage.Filter, view *web.ServerTraffic) error {
	tools, err := s.usage.Breakdown(c.Request().Context(), who, f, usage.ByTool, mostUsageRows)
	for _, t := range tools.Rows {
		view.Tools = append(view.Tools, web.ToolTraffic{
			Name: t.Key, Calls: int(t.Calls), Denied: int(t.Denied), Held: int(t.Held), Failed: int(t.Failed), Errors: int(t.Errors), P50: t.TookP50, P95: t.TookP95,
			Last: &t.LastAt,
		})
	}
	return err
}

func (s *Server) readCallers(c echo.Context, who identity.Principal, f usage.Filter, view *web.ServerTraffic) error {
	callers, err := s.usage.CallersOf(c.Request().Context(), who, f.Server, "", f.Since)
	view.Callers = callerViews(callers.Items)
	return err
}

// readRecent lists the last calls to those who may see who made them.
func (s *Server) readRecent(c echo.Context, who identity.Principal, f usage.Filter, view *web.ServerTraffic) error {
	if !view.MayName {
		return nil
	}
	page, err := s.usage.Records(c.Request().Context(), who, usage.RecordFilter{Filter: f}, "", recentCalls)
	if err != nil {
		return err
	}
	for _, r := range page.Items {
		if r.Filtered > 0 {
			view.MadeSafe++
		}
	}
	view.Recent, err = s.callLines(c, who, page.Items)
	return err
}

// askedWords is what the server may ask of clients, and how many calls ended because it asked for more.
func (s *Server) askedWords(c echo.Context, who identity.Principal, server registry.Server, since time.Time) (string, error) {
	asks := []string{"nothing"}
	if len(server.Requests) > 0 {
		asks = nil
	}
	for _, r := range server.Requests {
		asks = append(asks, string(r))
	}
	words := "It may ask clients for " + strings.Join(asks, ", ")
	over, err := s.usage.Overasked(c.Request().Context(), who, server.Name, since)
	switch {
	case err != nil:
		return "", err
	case over == 0:
		return words + ", and no call ended because it asked for more.", nil
	case over == 1:
		return words + ". One call ended without its result, because it asked for more.", nil
	}
	return words + ". " + strconv.FormatInt(over, 10) + " calls ended without their results, because it asked for more.", nil
}

func callerViews(callers []usage.Caller) []web.Caller {
	var out []web.Caller
	for _, c := range callers {
		out = append(out, web.Caller{Subject: c.Subject, Agent: c.Agent, Model: c.Model, Calls: c.Calls, Last: c.Last})
	}
	return out
}

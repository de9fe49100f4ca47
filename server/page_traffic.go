package server

import (
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"countersign/identity"
	"countersign/usage"
	"countersign/web"
)

// trafficSpan is how far back the pages about calls look: thirty days, today included.
const trafficSpan = 29 * 24 * time.Hour

func (s *Server) serverTrafficPage(c echo.Context, who identity.Principal) error {
	ctx := c.Request().Context()
	server, err := s.registry.Server(ctx, who, c.Param("id"))
	if err != nil {
		return err
	}
	since := s.cfg.Now().Add(-trafficSpan)
	traffic, err := s.usage.ServerTraffic(ctx, who, server.Name, since)
	if err != nil {
		return err
	}
	callers, err := s.usage.CallersOf(ctx, who, server.Name, "", since)
	if err != nil {
		return err
	}
	view := web.ServerTraffic{
		Server: serverHead(who, server, "traffic"), UsageFilter: web.UsageFilter{SpanWords: "the last 30 days"}, Callers: callerViews(callers.Items),
	}
	for _, d := range traffic.Days {
		view.Points = append(view.Points, web.UsageTotals{
			Day: web.Day{At: d.Day, Allowed: int(d.Allowed), Denied: int(d.Denied), Held: int(d.Held), Failed: int(d.Failed)}, TookP50: d.P50, TookP95: d.P95,
		})
	}
	for _, t := range traffic.Tools {
		view.Tools = append(view.Tools, web.ToolTraffic{
			Name: t.Tool, Calls: int(t.Calls), Denied: int(t.Denied), Held: int(t.Held), Failed: int(t.Failed), P50: t.P50, P95: t.P95, Last: &t.Last,
		})
	}
	return render(c, http.StatusOK, web.ServerTrafficPage(s.serverTitle(c, who, view.Server), view))
}

func callerViews(callers []usage.Caller) []web.Caller {
	var out []web.Caller
	for _, c := range callers {
		out = append(out, web.Caller{Subject: c.Subject, Agent: c.Agent, Model: c.Model, Calls: c.Calls, Last: c.Last})
	}
	return out
}

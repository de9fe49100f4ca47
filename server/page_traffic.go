package server

import (
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"countersign/delivery"
	"countersign/identity"
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
	traffic, err := delivery.ServerTraffic(ctx, s.pool, server.Name, since)
	if err != nil {
		return err
	}
	callers, err := delivery.CallersOf(ctx, s.pool, server.Name, "", since)
	if err != nil {
		return err
	}
	view := web.ServerTraffic{
		Server: serverHead(who, server, "traffic"), UsageFilter: web.UsageFilter{SpanWords: "the last 30 days"}, Callers: callerViews(callers),
	}
	for _, d := range traffic.Days {
		view.Points = append(view.Points, web.UsageTotals{
			Day: web.Day{At: d.Day, Allowed: d.Allowed, Denied: d.Denied, Held: d.Held, Failed: d.Failed}, TookP50: d.P50, TookP95: d.P95,
		})
	}
	for _, t := range traffic.Tools {
		view.Tools = append(view.Tools, web.ToolTraffic{
			Name: t.Tool, Calls: t.Calls, Denied: t.Denied, Held: t.Held, Failed: t.Failed, P50: t.P50, P95: t.P95, Last: &t.Last,
		})
	}
	return render(c, http.StatusOK, web.ServerTrafficPage(s.serverTitle(c, who, view.Server), view))
}

func callerViews(callers []delivery.Caller) []web.Caller {
	var out []web.Caller
	for _, c := range callers {
		out = append(out, web.Caller{Subject: c.Subject, Agent: c.Agent, Model: c.Model, Calls: c.Calls, Last: c.Last})
	}
	return out
}

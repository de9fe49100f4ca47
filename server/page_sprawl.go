package server

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"countersign/delivery"
	"countersign/identity"
	"countersign/web"
)

func (s *Server) sprawlPage(c echo.Context, who identity.Principal) error {
	filter := sprawlFilter(c)
	report, err := s.delivery.Sprawl(c.Request().Context(), who, filter)
	if err != nil {
		return err
	}
	here := func(path, after string) string {
		return path + "?" + url.Values{"q": {filter.Query}, "show": {filter.Show}, "after": {after}}.Encode()
	}
	view := web.Sprawl{Since: report.Since, Query: filter.Query, Show: filter.Show, CSV: here("/sprawl.csv", "")}
	if filter.After == "" {
		view.Facts = sprawlFacts(report.Totals)
	} else {
		view.First = here("/sprawl", "")
	}
	if report.Tools.Next != "" {
		view.Next = here("/sprawl", report.Tools.Next)
	}
	for _, server := range report.Servers {
		view.Servers = append(view.Servers, web.SprawlServer{
			ID: server.ID, Name: server.Name, Team: server.TeamName, Owned: server.Owned, Pinned: server.Pinned, Tokens: server.Tokens,
			NeverCalled: server.NeverCalled, Unused: server.Unused, LastCall: server.LastCall, Of: report.Servers[0].Tokens,
		})
	}
	for _, t := range report.Tools.Items {
		view.Tools = append(view.Tools, web.SprawlTool{
			ServerID: t.ServerID, Server: t.ServerName, ID: t.ToolID, Kind: string(t.Kind), Name: t.Name, Risk: string(t.Risk), Pinned: t.Pinned,
			Tokens: t.Tokens, Calls: t.Calls90, LastCall: t.LastCall, Duplicates: t.Duplicates,
		})
	}
	return render(c, http.StatusOK, web.SprawlPage(s.page(c, who, "Tool sprawl", "/sprawl"), view))
}

func sprawlFilter(c echo.Context) delivery.SprawlFilter {
	return delivery.SprawlFilter{Query: c.QueryParam("q"), Show: c.QueryParam("show"), After: c.QueryParam("after")}
}

func sprawlFacts(t delivery.SprawlTotals) []web.Fact {
	return []web.Fact{
		{Name: "Servers", Value: strconv.Itoa(t.Servers), Note: strconv.Itoa(t.NoOwner) + " whose team has nobody"},
		{Name: "Tools", Value: strconv.Itoa(t.Tools), Note: strconv.Itoa(t.Duplicates) + " on several servers"},
		{Name: "Never called", Value: strconv.Itoa(t.NeverCalled), Note: strconv.Itoa(t.Unused) + " unused for 90 days"},
		{Name: "Tokens of all lists", Value: fmt.Sprintf("≈ %.1fk", float64(t.Tokens)/1000), Note: "estimated, o200k"},
	}
}

// sprawlCSV is the list of tools as a file, all of it.
func (s *Server) sprawlCSV(c echo.Context, who identity.Principal) error {
	filter := sprawlFilter(c)
	filter.After, filter.Limit = "", 5_000
	report, err := s.delivery.Sprawl(c.Request().Context(), who, filter)
	if err != nil {
		return err
	}
	file := newCSV(c, "sprawl", "server", "owner", "kind", "tool", "risk", "pinned", "tokens_estimated", "calls_90_days", "last_call", "also_on")
	for {
		for _, t := range report.Tools.Items {
			last := ""
			if t.LastCall != nil {
				last = t.LastCall.UTC().Format(time.RFC3339)
			}
			file.row(t.ServerName, t.TeamName, string(t.Kind), t.Name, string(t.Risk), strconv.FormatBool(t.Pinned), strconv.Itoa(t.Tokens),
				strconv.Itoa(t.Calls90), last, strings.Join(t.Duplicates, " "))
		}
		if filter.After = report.Tools.Next; filter.After == "" {
			return file.done()
		}
		if report, err = s.delivery.Sprawl(c.Request().Context(), who, filter); err != nil {
			return file.broken(err)
		}
	}
}

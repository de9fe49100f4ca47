package server

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"countersign/identity"
	"countersign/internal/problem"
	"countersign/usage"
	"countersign/web"
)

// callDecisions are what a list of calls may be narrowed to.
var callDecisions = []struct{ value, label string }{{"", "Any"}, {"allowed", "Allowed"}, {"held", "Held"}, {"denied", "Denied"}, {"failed", "Failed"}}

func recordFilter(c echo.Context, q usageQuery) usage.RecordFilter {
	f := usage.RecordFilter{Filter: q.filter, Session: strings.TrimSpace(c.QueryParam("session")), TraceID: strings.TrimSpace(c.QueryParam("trace"))}
	for _, d := range callDecisions {
		if d.value == c.QueryParam("decision") {
			f.Decision = d.value
		}
	}
	return f
}

func (s *Server) callsPage(c echo.Context, who identity.Principal) error {
	q := s.usageQueryOf(c, who, "/usage/calls")
	if !q.view.MayName && q.filter.Server == "" {
		return render(c, http.StatusOK, web.CallsPage(s.page(c, who, "Calls", "/usage"), web.Calls{UsageFilter: q.view, Closed: true}))
	}
	f := recordFilter(c, q)
	page, err := s.usage.Records(c.Request().Context(), who, f, c.QueryParam("after"), 0)
	if err != nil {
		return err
	}
	view := web.Calls{UsageFilter: q.view, Session: f.Session, CSV: here(c, "/usage/calls.csv"), Usage: here(c, "/usage")}
	for _, d := range callDecisions {
		view.Decisions = append(view.Decisions, web.Option{Value: here(c, "/usage/calls", "decision", d.value), Label: d.label, Selected: d.value == f.Decision})
	}
	if view.Lines, err = s.callLines(c, who, page.Items); err != nil {
		return err
	}
	if page.Next != "" {
		view.Next = here(c, "/usage/calls", "after", page.Next)
	}
	if c.QueryParam("after") != "" {
		view.First = here(c, "/usage/calls")
	}
	return render(c, http.StatusOK, web.CallsPage(s.page(c, who, "Calls", "/usage"), view))
}

// callLines shows records. Servers that are registered are linked.
func (s *Server) callLines(c echo.Context, who identity.Principal, records []usage.Record) ([]web.CallLine, error) {
	names := make([]string, len(records))
	for i, r := range records {
		names[i] = r.Server
	}
	links, err := s.serverLinks(c, who, names)
	if err != nil {
		return nil, err
	}
	lines := make([]web.CallLine, len(records))
	for i, r := range records {
		lines[i] = web.CallLine{
			ID: r.CallID, At: r.At, Server: r.Server, ServerLink: links[r.Server], Tool: r.Tool, Kind: r.Kind, Subject: r.Subject, Agent: r.Agent,
			Model: r.Model, Attested: r.ModelAssurance == "attested", Decision: r.Decision, Reason: r.Reason, ToolError: r.ToolError, Filtered: r.Filtered,
			Took: r.Duration, Added: addedOf(r), RequestBytes: r.RequestBytes, ResponseBytes: r.ResponseBytes, TokensWritten: r.RequestTokens,
			TokensRead: r.ResponseTokens, Gateway: r.GatewayName, Instance: r.Instance, Revision: r.Revision, Session: r.Session, TraceID: r.TraceID,
		}
		if r.Session != "" {
			lines[i].SessionLink = sessionAddress(r, c.QueryParam("server"))
		}
	}
	return lines, nil
}

// sessionAddress lists all calls of the session of a record; of one server only where the list was of that.
func sessionAddress(r usage.Record, server string) string {
	query := url.Values{"session": {r.Session}, "span": {"30d"}}
	if server != "" {
		query.Set("server", server)
	}
	return "/usage/calls?" + query.Encode()
}

// addedOf is how long the gateway itself took; 0 where that was not measured.
func addedOf(r usage.Record) time.Duration {
	if r.Upstream == 0 {
		return 0
	}
	return max(0, r.Duration-r.Upstream)
}

// mostCallsInFile bounds a file of calls. Who needs more asks for a shorter span at a time.
const mostCallsInFile = 100_000

// callsCSV is the list as a file, all of it, read page by page.
func (s *Server) callsCSV(c echo.Context, who identity.Principal) error {
	ctx := c.Request().Context()
	q := s.usageQueryOf(c, who, "/usage/calls")
	if len(q.view.Errors) > 0 {
		return problem.New(problem.Invalid, "invalid_span", "The days of this address cannot be read. Go back and write them as 2026-11-22.")
	}
	if !q.view.MayName && q.filter.Server == "" {
		return c.Redirect(http.StatusSeeOther, here(c, "/usage/calls")) // which says of what they may have one
	}
	f := recordFilter(c, q)
	if f.Until.IsZero() {
		f.Until = s.cfg.Now() // what comes meanwhile is in no page twice
	}
	page, err := s.usage.Records(ctx, who, f, "", 1000)
	if err != nil {
		return err
	}
	file := newCSV(c, "calls", "at", "call", "server", "kind", "tool", "decision", "reason", "person", "agent", "model", "model_assurance", "session",
		"trace", "gateway", "instance", "policy_revision", "took_us", "server_us", "request_bytes", "response_bytes", "tokens_written_estimated",
		"tokens_read_estimated", "server_error", "texts_made_safe")
	for written := 0; ; {
		for _, r := range page.Items {
			file.row(callCells(r)...)
		}
		if written += len(page.Items); page.Next == "" {
			return file.done()
		}
		if written >= mostCallsInFile {
			file.row("THERE IS MORE: ask for a shorter span.")
			return file.done()
		}
		if page, err = s.usage.Records(ctx, who, f, page.Next, 1000); err != nil {
			return file.broken(err)
		}
	}
}

func callCells(r usage.Record) []string {
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	return []string{
		r.At.UTC().Format(time.RFC3339Nano), r.CallID, r.Server, r.Kind, r.Tool, r.Decision, r.Reason, r.Subject, r.Agent, r.Model, r.ModelAssurance,
		r.Session, r.TraceID, r.GatewayName, r.Instance, number(r.Revision), number(r.Duration.Microseconds()), number(r.Upstream.Microseconds()),
		number(r.RequestBytes), number(r.ResponseBytes), number(r.RequestTokens), number(r.ResponseTokens), strconv.FormatBool(r.ToolError), strconv.Itoa(r.Filtered),
	}
}

package server

import (
	"net/http"
	"reflect"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
	"countersign/registry"
	"countersign/usage"
)

// usageOperations are what calls add up to, single records of them, prices and alerts. Who may see who called is decided by
// the domain, as it depends on the server.
func (s *Server) usageOperations() []operation {
	read, prices := machine(identity.ReadUsage), machine(identity.ChangePrice)
	alerts, handle, rules := machine(identity.ReadAlerts), machine(identity.HandleAlert), machine(identity.ChangeAlertRule)
	return []operation{
		{get, "/v1/usage", read, "What calls add up to in a span, beside the span before it; with by told apart.", asks(s.readUsage)},
		{get, "/v1/usage/series", read, "What calls add up to, by hour up to three days, else by day.", asks(s.readSeries)},
		{get, "/v1/call-records", read, "Records of calls, newest first. They name callers: for auditors, admins, and the team of the server that is asked for.", lists(s.listRecords)},
		{get, "/v1/call-records.csv", read, "The same as a file for spreadsheets; at most 100,000 records.", s.recordsFile()},
		{get, "/v1/unknown-servers", read, "Servers that callers asked for and that nobody registered, the last asked for first.", lists(s.listUnknownServers)},

		{get, "/v1/model-prices", read, "What models cost, by name.", lists(s.listPrices)},
		{post, "/v1/model-prices", prices, "Say what models cost, from a day on or always.", makes(s, s.makePrice)},
		{get, "/v1/model-prices/:id", read, "A price.", reads(s.readPrice)},
		{put, "/v1/model-prices/:id", prices, "Make a price what is said: for as long as it counts, the past as well.", changes(s, s.editPrice)},
		{post, "/v1/model-prices/:id/end", prices, "End a price, for the past as well: what its models cost is then not known, or what the price before it says.", changes(s, s.stopPrice)},

		{get, "/v1/alerts", alerts, "Alerts, the last fired first.", lists(s.listAlerts)},
		{get, "/v1/alerts/:id", alerts, "An alert.", reads(s.readAlert)},
		{post, "/v1/alerts/:id/acknowledge", handle, "Say that somebody looks at an alert.", acts(s, s.noticeAlert)},
		{post, "/v1/alerts/:id/close", handle, "Close an alert. If it happens again it fires again.", acts(s, s.endAlert)},
		{get, "/v1/alert-rules", alerts, "The rules by which alerts fire, by name.", lists(s.listAlertRules)},
		{post, "/v1/alert-rules", rules, "Make an alert rule.", makes(s, s.makeAlertRule)},
		{get, "/v1/alert-rules/:id", alerts, "An alert rule.", reads(s.readAlertRule)},
		{put, "/v1/alert-rules/:id", rules, "Make an alert rule what is said. Its kind stays, and its open alerts are closed.", changes(s, s.editAlertRule)},
		{post, "/v1/alert-rules/:id/switch", rules, "Switch an alert rule on or off; its open alerts are closed.", changes(s, s.turnAlertRule)},
		{post, "/v1/alert-rules/:id/end", rules, "End an alert rule. One that every installation has is switched off instead.", changes(s, s.stopAlertRule)},
	}
}

// usageFilter is the part of a query that selects calls.
type usageFilter struct {
	Since   string      `query:"since" doc:"RFC 3339; otherwise 30 days ago."`
	Until   string      `query:"until" doc:"RFC 3339; otherwise now."`
	Server  string      `query:"server" doc:"The name of a server."`
	Tool    string      `query:"tool"`
	Kind    policy.Kind `query:"kind"`
	Agent   string      `query:"agent"`
	Subject string      `query:"subject" doc:"Only for those who may see who called."`
	Model   string      `query:"model"`
}

func (q usageFilter) filter() (usage.Filter, error) {
	f := usage.Filter{Server: q.Server, Tool: q.Tool, Kind: q.Kind, Agent: q.Agent, Subject: q.Subject, Model: q.Model}
	invalid := problem.New(problem.Invalid, "invalid_parameter", "The address has a parameter that is not understood.")
	for _, t := range []struct {
		name, text string
		into       *time.Time
	}{{"since", q.Since, &f.Since}, {"until", q.Until, &f.Until}} {
		if t.text == "" {
			continue
		}
		at, err := time.Parse(time.RFC3339, t.text)
		if err != nil {
			invalid.Field(t.name, "It is a time as 2026-11-22T08:20:00Z.")
		}
		*t.into = at
	}
	if len(invalid.Fields) > 0 {
		return f, invalid
	}
	return f, nil
}

type usageReportQuery struct {
	usageFilter
	By    string `query:"by" enum:"server,tool,agent,subject,model" doc:"What to tell calls apart by."`
	Limit int    `query:"limit" max:"200" doc:"How many rows; the rest is added up."`
}

func (s *Server) readUsage(c echo.Context, who identity.Principal, q usageReportQuery) (*usageJSON, error) {
	f, err := q.filter()
	if err != nil {
		return nil, err
	}
	sum, err := s.usage.Summary(c.Request().Context(), who, f)
	if err != nil {
		return nil, err
	}
	out := &usageJSON{From: sum.From, To: sum.To, Totals: totalsOf(sum.Now)}
	if sum.BeforeKnown {
		before := totalsOf(sum.Before)
		out.Before = &before
	}
	if q.By == "" {
		return out, nil
	}
	broken, err := s.usage.Breakdown(c.Request().Context(), who, f, usage.By(q.By), q.Limit)
	if err != nil {
		return nil, err
	}
	out.By, out.RestNames = q.By, broken.RestKeys
	if broken.RestKeys > 0 {
		rest := totalsOf(broken.Rest)
		out.Rest = &rest
	}
	for _, r := range broken.Rows {
		out.Rows = append(out.Rows, usageRowJSON{Name: r.Key, Server: r.Server, LastAt: r.LastAt, totalsJSON: totalsOf(r.Totals)})
	}
	return out, nil
}

func (s *Server) readSeries(c echo.Context, who identity.Principal, q usageFilter) (*seriesJSON, error) {
	f, err := q.filter()
	if err != nil {
		return nil, err
	}
	found, err := s.usage.Series(c.Request().Context(), who, f)
	if err != nil {
		return nil, err
	}
	out := &seriesJSON{StepSeconds: int64(found.Step / time.Second), Items: []pointJSON{}}
	for _, p := range found.Points {
		out.Items = append(out.Items, pointJSON{At: p.At, totalsJSON: totalsOf(p.Totals)})
	}
	return out, nil
}

type recordQuery struct {
	usageFilter
	Gateway  string `query:"gateway" doc:"The id of a gateway."`
	Decision string `query:"decision" enum:"allowed,denied,held,failed"`
	Reason   string `query:"reason"`
	Session  string `query:"session" doc:"As a record has it."`
	Trace    string `query:"trace" doc:"The id of a trace."`
}

func (q recordQuery) records() (usage.RecordFilter, error) {
	f, err := q.filter()
	return usage.RecordFilter{Filter: f, GatewayID: q.Gateway, Decision: q.Decision, Reason: q.Reason, Session: q.Session, TraceID: q.Trace}, err
}

type recordPageQuery struct {
	recordQuery
	paging
}

func (s *Server) listRecords(c echo.Context, who identity.Principal, q recordPageQuery) (registry.Page[recordJSON], error) {
	f, err := q.records()
	if err != nil {
		return registry.Page[recordJSON]{}, err
	}
	if err := namesServer(who, f); err != nil {
		return registry.Page[recordJSON]{}, err
	}
	found, err := s.usage.Records(c.Request().Context(), who, f, q.After, q.Limit)
	return each(found, recordOf), err
}

// namesServer asks whoever may not see all callers for the server whose they mean.
func namesServer(who identity.Principal, f usage.RecordFilter) error {
	if f.Server != "" || who.Can(identity.ReadCallers, "") == nil {
		return nil
	}
	return problem.New(problem.Invalid, "server_needed", "Records name callers. Nothing was read.").
		Field("server", "Name a server that your team owns; auditors and admins read all.")
}

// maxRecordsFile bounds a file of records.
const maxRecordsFile = 100_000

var recordColumns = []string{
	"call_id", "at", "gateway", "instance", "server", "tool", "kind", "decision", "reason", "subject", "agent", "model", "model_assurance",
	"session", "trace_id", "revision", "request_bytes", "response_bytes", "request_tokens", "response_tokens", "duration_us", "upstream_us",
	"tool_error", "filtered", "received_at",
}

// recordsFile gives records as a file, page by page, so that none of it is held in memory.
func (s *Server) recordsFile() deed {
	h := func(c echo.Context, who identity.Principal) error {
		var q recordQuery
		if err := readQuery(c.QueryParams(), &q); err != nil {
			return err
		}
		f, err := q.records()
		if err != nil {
			return err
		}
		return s.writeRecords(c, who, f)
	}
	return deed{handler: h, query: reflect.TypeFor[recordQuery](), replies: []reply{{status: http.StatusOK, contents: []content{{media: "text/csv"}}}}}
}

func (s *Server) writeRecords(c echo.Context, who identity.Principal, f usage.RecordFilter) error {
	if err := namesServer(who, f); err != nil {
		return err
	}
	page, err := s.usage.Records(c.Request().Context(), who, f, "", 1000)
	if err != nil {
		return err
	}
	file := newCSV(c, "calls", recordColumns...)
	for n := 0; ; {
		for _, r := range page.Items {
			file.row(recordCells(r)...)
		}
		if n += len(page.Items); page.Next == "" || n >= maxRecordsFile {
			return file.done()
		}
		if page, err = s.usage.Records(c.Request().Context(), who, f, page.Next, 1000); err != nil {
			return file.broken(err)
		}
	}
}

func recordCells(r usage.Record) []string {
	n := func(v int64) string { return strconv.FormatInt(v, 10) }
	return []string{
		r.CallID, r.At.UTC().Format(time.RFC3339Nano), r.GatewayName, r.Instance, r.Server, r.Tool, r.Kind, r.Decision, r.Reason, r.Subject, r.Agent,
		r.Model, r.ModelAssurance, r.Session, r.TraceID, n(r.Revision), n(r.RequestBytes), n(r.ResponseBytes), n(r.RequestTokens), n(r.ResponseTokens),
		n(r.Duration.Microseconds()), n(r.Upstream.Microseconds()), strconv.FormatBool(r.ToolError), strconv.Itoa(r.Filtered), r.ReceivedAt.UTC().Format(time.RFC3339Nano),
	}
}

func (s *Server) listUnknownServers(c echo.Context, who identity.Principal, _ everything) (registry.Page[unknownServerJSON], error) {
	found, err := s.usage.UnknownServers(c.Request().Context(), who)
	return whole(found, unknownServerOf), err
}

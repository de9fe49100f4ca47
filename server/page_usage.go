package server

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"golang.org/x/sync/errgroup"

	"countersign/identity"
	"countersign/internal/problem"
	"countersign/usage"
	"countersign/web"
)

func (s *Server) usageRoutes() []route {
	read, price := person(identity.ReadUsage), person(identity.ChangePrice)
	return []route{
		{get, "/usage", read, s.usagePage},
		{get, "/usage.csv", read, s.usageCSV},
		{get, "/usage/calls", read, s.callsPage},
		{get, "/usage/calls.csv", read, s.callsCSV},
		{get, "/usage/prices", read, s.pricesPage},
		{post, "/usage/prices", price, s.setPrice},
		{post, "/usage/prices/:id", price, s.changePrice},
		{post, "/usage/prices/:id/end", price, s.endPrice},
		{get, "/unknown-servers", read, s.unknownServersPage},
	}
}

// usageRows is how many lines a page of a breakdown has, and mostUsageRows how many there are in all.
const (
	usageRows     = 50
	mostUsageRows = 200
)

func (s *Server) usagePage(c echo.Context, who identity.Principal) error {
	q := s.usageQueryOf(c, who, "/usage")
	by := usageBy(c, q.view.MayName)
	sums, err := s.sumUsage(c, who, q.filter, by.by)
	if err != nil {
		return err
	}
	summary, parts := sums.summary, sums.parts
	view := web.Usage{
		UsageFilter: q.view, Totals: totalsView(summary.Now), Points: pointViews(sums.series), CSV: here(c, "/usage.csv", "by", by.name),
		Columns: usageColumns(c, by), MayCall: who.Can(identity.ChangeGrant, "") == nil, Rest: restWords(parts, by),
	}
	if summary.BeforeKnown {
		before := totalsView(summary.Before)
		view.Before = &before
	}
	if q.view.MayName {
		view.Calls = here(c, "/usage/calls", "by", "", "sort", "", "order", "")
	}
	view.Tabs = usageTabs(c, by, q.view.MayName)
	if summary.Now.Cost.Unpriced > 0 {
		view.NoPrice = sums.unpriced
	}
	if err := s.usageLines(c, who, parts.Rows, by, &view); err != nil {
		return err
	}
	return render(c, http.StatusOK, web.UsagePage(s.page(c, who, "Usage", "/usage"), view))
}

// usageTabs are what calls may be told apart by.
func usageTabs(c echo.Context, by usageByOption, mayName bool) []web.Option {
	var tabs []web.Option
	for _, o := range usageBys {
		if o.by != usage.BySubject || mayName {
			tabs = append(tabs, web.Option{Value: here(c, "/usage", "by", o.name, "sort", "", "order", ""), Label: o.label, Selected: o.name == by.name})
		}
	}
	return tabs
}

// usageLines fills in the page of the table that the address names, sorted as it says.
func (s *Server) usageLines(c echo.Context, who identity.Principal, rows []usage.Row, by usageByOption, view *web.Usage) error {
	sortRows(rows, c.QueryParam("sort"), c.QueryParam("order") == "ascending")
	page, next := rowsOfPage(c, len(rows))
	shown := rows[page:min(page+usageRows, len(rows))]
	var servers []string
	for _, row := range shown {
		servers = append(servers, cmp.Or(row.Server, row.Key))
	}
	links, err := s.serverLinks(c, who, servers)
	if err != nil {
		return err
	}
	for _, row := range shown {
		view.Lines = append(view.Lines, usageLine(c, row, by, links))
	}
	view.Next = next
	if page > 0 {
		view.First = here(c, "/usage")
	}
	return nil
}

// usageSums is what the page of usage is made of.
type usageSums struct {
	summary  usage.Summary
	series   usage.Series
	parts    usage.Breakdown
	unpriced []string
}

// sumUsage reads all of it side by side: each adds up the same rows in its own way.
func (s *Server) sumUsage(c echo.Context, who identity.Principal, f usage.Filter, by usage.By) (sums usageSums, err error) {
	g, ctx := errgroup.WithContext(c.Request().Context())
	g.Go(func() (err error) {
		sums.summary, err = s.usage.Summary(ctx, who, f)
		return err
	})
	g.Go(func() (err error) {
		sums.series, err = s.usage.Series(ctx, who, f)
		return err
	})
	g.Go(func() (err error) {
		sums.parts, err = s.usage.Breakdown(ctx, who, f, by, mostUsageRows)
		return err
	})
	g.Go(func() (err error) {
		sums.unpriced, err = s.usage.UnpricedModels(ctx, who)
		return err
	})
	err = g.Wait()
	return sums, err
}

// usageByOption is what calls are told apart by. Its name stands in addresses.
type usageByOption struct {
	name, label string
	many        string
	by          usage.By
}

var usageBys = []usageByOption{
	{"server", "Server", "servers", usage.ByServer},
	{"tool", "Tool", "tools", usage.ByTool},
	{"model", "Model", "models", usage.ByModel},
	{"agent", "Agent", "agents", usage.ByAgent},
	{"person", "Person", "people", usage.BySubject},
}

// usageBy is what the reader asks for; by server where they may not see what they ask for.
func usageBy(c echo.Context, mayName bool) usageByOption {
	for _, o := range usageBys {
		if o.name == c.QueryParam("by") && (mayName || o.by != usage.BySubject) {
			return o
		}
	}
	return usageBys[0]
}

func totalsView(t usage.Totals) web.UsageTotals {
	view := web.UsageTotals{
		Day:    web.Day{Allowed: int(t.Allowed), Denied: int(t.Denied), Held: int(t.Held), Failed: int(t.Failed)},
		Errors: int(t.Errors), TokensRead: t.ResponseTokens, TokensWritten: t.RequestTokens, Cost: costWords(t.Cost), Unpriced: t.Cost.Unpriced,
		AddedP50: t.AddedP50, AddedP95: t.AddedP95, TookP50: t.TookP50, TookP95: t.TookP95,
	}
	return view
}

func pointViews(series usage.Series) []web.UsageTotals {
	out := make([]web.UsageTotals, len(series.Points))
	for i, p := range series.Points {
		out[i] = totalsView(p.Totals)
		out[i].At = p.At
	}
	return out
}

// costWords is "" where nothing is priced.
func costWords(cost usage.Cost) string {
	var parts []string
	for _, m := range cost.Amounts {
		parts = append(parts, web.Money(m.Micros, m.Currency))
	}
	return strings.Join(parts, " + ")
}

// restWords says what is in no line.
func restWords(parts usage.Breakdown, by usageByOption) string {
	if parts.RestKeys == 0 {
		return ""
	}
	return "Another " + web.NumberWords(int64(parts.RestKeys)) + " " + by.many + " with " + web.NumberWords(parts.Rest.Calls) + " calls are not listed. Narrow it down to see them."
}

// usageOrders are the columns of a breakdown, in their order, and how each sorts, the least first.
var usageOrders = []struct {
	name, label string
	compare     func(a, b usage.Row) int
}{
	{"name", "", func(a, b usage.Row) int {
		return cmp.Or(strings.Compare(strings.ToLower(a.Key), strings.ToLower(b.Key)), strings.Compare(a.Server, b.Server))
	}},
	{"calls", "Calls", func(a, b usage.Row) int { return cmp.Compare(a.Calls, b.Calls) }},
	{"denied", "Denied", func(a, b usage.Row) int { return cmp.Compare(a.Denied, b.Denied) }},
	{"errors", "Errors", func(a, b usage.Row) int { return cmp.Compare(a.Errors, b.Errors) }},
	{"read", "Tokens read", func(a, b usage.Row) int { return cmp.Compare(a.ResponseTokens, b.ResponseTokens) }},
	{"written", "Written", func(a, b usage.Row) int { return cmp.Compare(a.RequestTokens, b.RequestTokens) }},
	{"cost", "Cost", func(a, b usage.Row) int { return cmp.Compare(amount(a.Cost), amount(b.Cost)) }},
	{"half", "Added, half", func(a, b usage.Row) int { return cmp.Compare(a.AddedP50, b.AddedP50) }},
	{"most", "95 of 100", func(a, b usage.Row) int { return cmp.Compare(a.AddedP95, b.AddedP95) }},
	{"last", "Last", func(a, b usage.Row) int { return a.LastAt.Compare(b.LastAt) }},
}

// amount is what sorts a cost: what is not known is less than nothing.
func amount(cost usage.Cost) int64 {
	if !cost.Priced() {
		return -1
	}
	var sum int64
	for _, m := range cost.Amounts {
		sum += m.Micros
	}
	return sum
}

func sortRows(rows []usage.Row, by string, ascending bool) {
	for _, o := range usageOrders {
		if o.name != by {
			continue
		}
		slices.SortStableFunc(rows, func(a, b usage.Row) int {
			if ascending {
				return o.compare(a, b)
			}
			return o.compare(b, a)
		})
	}
}

// usageColumns are the heads of the columns. One that sorts already sorts the other way round.
func usageColumns(c echo.Context, by usageByOption) []web.SortColumn {
	sorted := cmp.Or(c.QueryParam("sort"), "calls")
	ascending := c.QueryParam("order") == "ascending"
	var out []web.SortColumn
	for _, o := range usageOrders {
		column := web.SortColumn{Name: cmp.Or(o.label, by.label), Number: o.name != "name" && o.name != "last"}
		order := ""
		if o.name == "name" {
			order = "ascending"
		}
		if o.name == sorted {
			column.Order, order = "descending", "ascending"
			if ascending {
				column.Order, order = "ascending", ""
			}
		}
		column.Address = here(c, "/usage", "sort", o.name, "order", order)
		out = append(out, column)
	}
	return out
}

// rowsOfPage says at which row the page that the address names begins, and where the next one is.
func rowsOfPage(c echo.Context, rows int) (from int, next string) {
	number, err := strconv.Atoi(cmp.Or(c.QueryParam("page"), "1"))
	if err != nil || number < 1 || (number-1)*usageRows >= rows {
		number = 1
	}
	if number*usageRows < rows {
		next = here(c, "/usage", "page", strconv.Itoa(number+1))
	}
	return (number - 1) * usageRows, next
}

// serverLinks are the pages of those of the servers that are registered, by name.
func (s *Server) serverLinks(c echo.Context, who identity.Principal, names []string) (map[string]string, error) {
	ids, err := s.registry.ServerIDs(c.Request().Context(), who, names)
	for name, id := range ids {
		ids[name] = "/servers/" + id
	}
	return ids, err
}

func usageLine(c echo.Context, row usage.Row, by usageByOption, links map[string]string) web.UsageLine {
	line := web.UsageLine{
		Name: row.Key, Calls: int(row.Calls), Denied: int(row.Denied), Held: int(row.Held), Errors: int(row.Errors), TokensRead: row.ResponseTokens,
		TokensWritten: row.RequestTokens, Cost: costWords(row.Cost), Partly: row.Cost.Unpriced > 0, AddedP50: row.AddedP50, AddedP95: row.AddedP95,
		LastAt: row.LastAt,
	}
	if row.Key == "" {
		return line
	}
	line.Narrow = here(c, "/usage", by.name, row.Key)
	switch by.by {
	case usage.ByServer:
		if at, known := links[row.Key]; known {
			line.Link = at + "/traffic"
		}
	case usage.ByTool:
		line.Under, line.Narrow = row.Server, here(c, "/usage", "server", row.Server, "tool", row.Key)
		if at, known := links[row.Server]; known {
			line.Link = at + "?" + url.Values{"q": {row.Key}}.Encode()
		}
	case usage.ByAgent:
		line.Link = "/agents?" + url.Values{"q": {row.Key}}.Encode()
	case usage.ByModel, usage.BySubject:
	}
	return line
}

// usageCSV is the breakdown as a file: all that the page would list, page by page.
func (s *Server) usageCSV(c echo.Context, who identity.Principal) error {
	q := s.usageQueryOf(c, who, "/usage")
	if len(q.view.Errors) > 0 {
		return problem.New(problem.Invalid, "invalid_span", "The days of this address cannot be read. Go back and write them as 2026-11-22.")
	}
	by := usageBy(c, q.view.MayName)
	parts, err := s.usage.Breakdown(c.Request().Context(), who, q.filter, by.by, mostUsageRows)
	if err != nil {
		return err
	}
	sortRows(parts.Rows, c.QueryParam("sort"), c.QueryParam("order") == "ascending")
	file := newCSV(c, "usage-by-"+by.name, by.name, "server", "calls", "allowed", "held", "denied", "failed", "errors", "tokens_read_estimated",
		"tokens_written_estimated", "cost", "tokens_not_priced", "added_half_us", "added_95_us", "took_half_us", "took_95_us", "last_call")
	for _, r := range parts.Rows {
		file.row(usageCells(r.Key, r.Server, r.Totals, r.LastAt.UTC().Format(time.RFC3339))...)
	}
	if parts.RestKeys > 0 {
		file.row(usageCells(strconv.Itoa(parts.RestKeys)+" others", "", parts.Rest, "")...)
	}
	return file.done()
}

func usageCells(key, server string, t usage.Totals, last string) []string {
	cost := ""
	if t.Cost.Unpriced > 0 {
		cost = "not priced"
	}
	if t.Cost.Priced() {
		var amounts []string
		for _, m := range t.Cost.Amounts {
			amounts = append(amounts, m.String())
		}
		cost = strings.Join(amounts, " + ")
	}
	cells := []string{key, server}
	for _, n := range []int64{t.Calls, t.Allowed, t.Held, t.Denied, t.Failed, t.Errors, t.ResponseTokens, t.RequestTokens} {
		cells = append(cells, strconv.FormatInt(n, 10))
	}
	cells = append(cells, cost, strconv.FormatInt(t.Cost.Unpriced, 10))
	for _, d := range []time.Duration{t.AddedP50, t.AddedP95, t.TookP50, t.TookP95} {
		cells = append(cells, strconv.FormatInt(d.Microseconds(), 10))
	}
	return append(cells, last)
}

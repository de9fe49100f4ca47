package server

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"countersign/identity"
	"countersign/usage"
	"countersign/web"
)

// usageQuery is what the address of a page about calls says.
type usageQuery struct {
	filter usage.Filter
	view   web.UsageFilter
}

// spans are those that the pages offer; what is before its first day is in none.
var spans = []struct {
	value, label, words string
	days                int // 0: hours of one day
}{
	{"24h", "24 hours", "the last 24 hours", 0},
	{"7d", "7 days", "the last 7 days", 7},
	{"30d", "30 days", "the last 30 days", 30},
	{"90d", "90 days", "the last 90 days", 90},
}

// narrowing are the names in an address that narrow what is shown, in the order of the form.
var narrowing = []string{"server", "tool", "agent", "model", "person", "session", "trace", "decision"}

// usageQueryOf reads the address of the page at path. What cannot be read is said beside its field, and not used.
func (s *Server) usageQueryOf(c echo.Context, who identity.Principal, path string) usageQuery {
	ask := func(name string) string { return strings.TrimSpace(c.QueryParam(name)) }
	q := usageQuery{view: web.UsageFilter{
		Path: path, Server: ask("server"), Tool: ask("tool"), Agent: ask("agent"), Model: ask("model"), Person: ask("person"),
		From: ask("from"), To: ask("to"), Errors: web.Errors{},
	}}
	q.filter = usage.Filter{Server: q.view.Server, Tool: q.view.Tool, Agent: q.view.Agent, Model: q.view.Model, Subject: q.view.Person}
	q.view.MayName = s.mayName(c, who, q.view.Server)
	q.setSpan(c, s.cfg.Now().UTC())
	q.view.Chips = usageChips(c, path)
	return q
}

// mayName says whether the reader may see who called the server, or any when it is "".
func (s *Server) mayName(c echo.Context, who identity.Principal, name string) bool {
	if who.Can(identity.ReadCallers, "") == nil {
		return true
	}
	if name == "" {
		return false
	}
	server, err := s.registry.ServerNamed(c.Request().Context(), who, name)
	return err == nil && who.Can(identity.ReadCallers, server.TeamID) == nil
}

// setSpan takes days of the reader's own, or else one of the spans, of which the first is meant when none is named.
func (q *usageQuery) setSpan(c echo.Context, now time.Time) {
	from, to := day(q.view.From, "from", q.view.Errors), day(q.view.To, "to", q.view.Errors)
	own := len(q.view.Errors) == 0 && q.view.From+q.view.To != ""
	if own && !to.IsZero() && to.Before(from) {
		q.view.Errors["to"], own = "It ends before it begins.", false
	}
	chosen := spans[0]
	for _, o := range spans {
		if o.value == c.QueryParam("span") {
			chosen = o
		}
	}
	for _, o := range spans {
		q.view.Spans = append(q.view.Spans, web.Option{Value: here(c, q.view.Path, "span", o.value, "from", "", "to", ""), Label: o.label, Selected: !own && o.value == chosen.value})
	}
	for _, name := range []string{"span", "by", "sort", "order", "session", "decision"} {
		if value := c.QueryParam(name); value != "" {
			q.view.Keep = append(q.view.Keep, web.NameValue{Name: name, Value: value})
		}
	}
	switch {
	case own:
		q.ownSpan(from, to, now)
	case chosen.days == 0:
		q.filter.Since, q.view.SpanWords = now.Truncate(time.Hour).Add(-23*time.Hour), chosen.words
	default:
		q.filter.Since, q.view.SpanWords = now.Truncate(dayLong).AddDate(0, 0, 1-chosen.days), chosen.words
	}
}

// ownSpan is one of whole days. Without an end it goes on until now, without a beginning it has thirty days.
func (q *usageQuery) ownSpan(from, to, now time.Time) {
	last := now
	if !to.IsZero() && to.AddDate(0, 0, 1).Before(now) {
		q.filter.Until, last = to.AddDate(0, 0, 1), to
	}
	if from.IsZero() {
		from = last.Truncate(dayLong).AddDate(0, 0, -29)
	}
	if !from.Before(now) {
		q.view.Errors["from"] = "That day has not come yet."
		from = now.Truncate(dayLong)
	}
	q.filter.Since = from
	q.view.SpanWords = "the days from " + from.Format("2 Jan 2006") + " to " + last.Format("2 Jan 2006")
}

// usageChips are the conditions that are on, each with the address of the page without it.
func usageChips(c echo.Context, path string) []web.Chip {
	var chips []web.Chip
	for _, name := range append(slices.Clone(narrowing), "from", "to") {
		if value := strings.TrimSpace(c.QueryParam(name)); value != "" {
			chips = append(chips, web.Chip{Name: name + ": " + value, Address: here(c, path, name, ""), Count: -1, On: true})
		}
	}
	return chips
}

// here is the address of a page with what this one's says, and some of it changed: names and values by turns. It begins at
// the first page again.
func here(c echo.Context, path string, changes ...string) string {
	query := url.Values{}
	for name, values := range c.QueryParams() {
		if name != "after" && name != "page" && len(values) > 0 && values[0] != "" {
			query.Set(name, values[0])
		}
	}
	for i := 0; i+1 < len(changes); i += 2 {
		if query.Del(changes[i]); changes[i+1] != "" {
			query.Set(changes[i], changes[i+1])
		}
	}
	if len(query) == 0 {
		return path
	}
	return path + "?" + query.Encode()
}

package server

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"countersign/approvals"
	"countersign/identity"
	"countersign/web"
)

// outcomes are what the history may be narrowed to.
var outcomes = []struct {
	value, label string
	states       []approvals.State
}{
	{"", "Any", []approvals.State{
		approvals.Approved, approvals.Denied, approvals.Expired, approvals.Cancelled, approvals.Superseded, approvals.Revoked, approvals.Closed,
	}},
	{"approved", "Approved", []approvals.State{approvals.Approved, approvals.Closed}},
	{"denied", "Denied", []approvals.State{approvals.Denied}},
	{"expired", "Expired", []approvals.State{approvals.Expired}},
	{"revoked", "Revoked", []approvals.State{approvals.Revoked}},
	{"superseded", "Superseded", []approvals.State{approvals.Superseded}},
	{"cancelled", "Cancelled", []approvals.State{approvals.Cancelled}},
}

// historyFilter reads the filter from the address, which is all there is of it.
func historyFilter(c echo.Context) (approvals.Filter, web.ApprovalFilter) {
	ask := func(name string) string { return strings.TrimSpace(c.QueryParam(name)) }
	f := approvals.Filter{Waiting: c.QueryParam("state") != "decided", After: c.QueryParam("after"), Limit: 50}
	form := web.ApprovalFilter{
		Server: ask("server"), Tool: ask("tool"), Caller: ask("caller"), Agent: ask("agent"), By: ask("by"), From: ask("from"), To: ask("to"),
		Mine: ask("mine") == "1", Emergency: ask("emergency") == "1", Errors: web.Errors{},
	}
	if f.Waiting {
		return f, form
	}
	f.States = outcomes[0].states
	for _, o := range outcomes {
		if ask("outcome") == o.value {
			f.States = o.states
		}
		form.States = append(form.States, web.Option{Value: o.value, Label: o.label, Selected: ask("outcome") == o.value})
	}
	f.ServerID, f.Tool, f.Caller, f.Agent, f.DecidedBy, f.Mine, f.Emergency = form.Server, form.Tool, form.Caller, form.Agent, form.By, form.Mine, form.Emergency
	f.From, f.To = day(form.From, "from", form.Errors), day(form.To, "to", form.Errors)
	if !f.To.IsZero() {
		f.To = f.To.AddDate(0, 0, 1)
	}
	return f, form
}

// historyChips are the conditions that are on, each with the address of the page without it.
func historyChips(c echo.Context) []web.Chip {
	var chips []web.Chip
	for _, name := range []string{"outcome", "server", "tool", "caller", "agent", "by", "from", "to", "emergency", "mine"} {
		value := strings.TrimSpace(c.QueryParam(name))
		if value == "" || c.QueryParam("state") != "decided" {
			continue
		}
		query := url.Values{}
		for other, values := range c.QueryParams() {
			if other != name && other != "after" {
				query[other] = values
			}
		}
		words := name + ": " + value
		if name == "emergency" || name == "mine" {
			words = map[string]string{"emergency": "emergencies", "mine": "mine"}[name]
		}
		chips = append(chips, web.Chip{Name: words, Address: "/approvals?" + query.Encode(), Count: -1, On: true})
	}
	return chips
}

// requestsPage is what the reader asked for.
func (s *Server) requestsPage(c echo.Context, who identity.Principal) error {
	list, err := s.approvals.List(c.Request().Context(), who, approvals.Filter{Mine: true, After: c.QueryParam("after"), Limit: 50})
	if err != nil {
		return err
	}
	view := web.Requests{Next: nextPage(c, list.Next)}
	for _, item := range list.Items {
		line := approvalLine(item)
		line.MayCancel = item.State.Open()
		view.Lines = append(view.Lines, line)
	}
	return render(c, http.StatusOK, web.RequestsPage(s.page(c, who, "My requests", "/approvals"), view))
}

// reviewsPage is what was approved in emergencies.
func (s *Server) reviewsPage(c echo.Context, who identity.Principal) error {
	return s.showReviews(c, who, nil)
}

// showReviews shows what is open, or everything. A review that was not closed shows what was typed, if it is still there to
// be closed.
func (s *Server) showReviews(c echo.Context, who identity.Principal, failure error) error {
	errs, status, again := formErrors(failure, nil)
	if failure != nil && !again {
		return failure
	}
	all := c.QueryParam("all") == "1"
	list, err := s.approvals.Reviews(c.Request().Context(), who, approvals.ReviewFilter{Open: !all, After: c.QueryParam("after")})
	if err != nil {
		return err
	}
	view := web.Reviews{All: all, Next: nextPage(c, list.Next)}
	shown := failure == nil
	for _, r := range list.Items {
		item := reviewView(r)
		if failure != nil && r.ID == c.Param("id") && item.MayClose {
			item.Finding, item.Note, item.Errors, shown = c.FormValue("finding"), c.FormValue("note"), errs, true
		}
		view.Items = append(view.Items, item)
	}
	if !shown {
		return failure
	}
	return render(c, cmp.Or(status, http.StatusOK), web.ReviewsPage(s.page(c, who, "Reviews", "/approvals"), view))
}

// alarm says why people may not be told of what waits; "" when they are told.
func (s *Server) alarm(ctx context.Context) string {
	h, err := s.notify.Health(ctx)
	switch {
	case err != nil || h.Channels == 0:
		return ""
	case h.Stalled:
		return "No notifier has looked since " + h.BeatAt.UTC().Format("15:04:05 UTC") + ". Look here by yourself until it is mended."
	case len(h.Failing) > 0:
		return fmt.Sprintf("Channels that fail: %s.", strings.Join(h.Failing, ", "))
	}
	return ""
}

const dayLong = 24 * time.Hour

// approvalReportPage measures a window of 7, 30 or 90 days.
func (s *Server) approvalReportPage(c echo.Context, who identity.Principal) error {
	days, _ := strconv.Atoi(c.QueryParam("days"))
	if days != 7 && days != 90 {
		days = 30
	}
	r, err := s.approvals.Report(c.Request().Context(), who, time.Duration(days)*dayLong)
	if err != nil {
		return err
	}
	view := web.Report{Days: days, Facts: reportFacts(r)}
	for _, n := range []int{7, 30, 90} {
		view.Windows = append(view.Windows, web.Option{Value: fmt.Sprintf("/approvals/report?days=%d", n), Label: fmt.Sprintf("%d days", n), Selected: n == days})
	}
	for _, d := range r.Days {
		view.Daily = append(view.Daily, web.Day{At: d.Day, Allowed: d.Approved, Denied: d.Denied, Held: d.Expired})
	}
	for _, a := range r.Approvers {
		line := web.ApproverLine{Name: a.Name, Decisions: a.Decisions, Rate: fmt.Sprintf("%d %%", a.Approved*100/max(1, a.Decisions)), Think: "not known", Fatigued: a.Fatigued()}
		if a.Measured > 0 {
			line.Think = spanWords(a.Think)
		}
		view.Approvers = append(view.Approvers, line)
	}
	return render(c, http.StatusOK, web.ReportPage(s.page(c, who, "How approving goes", "/approvals"), view))
}

func reportFacts(r approvals.Report) []web.Fact {
	number := func(name string, n int, note string) web.Fact {
		return web.Fact{Name: name, Value: strconv.Itoa(n), Note: note}
	}
	return []web.Fact{
		number("Asked", r.Asked, fmt.Sprintf("%d approved, %d denied, %d still wait", r.Approved, r.Denied, r.Pending)),
		spanFact("Until somebody looked", r.FirstView), spanFact("Until it was decided", r.Decision),
		number("Expired", r.Expired, fmt.Sprintf("%d withdrawn", r.Withdrawn)),
		number("By an earlier decision", r.Allowed, "asked nobody again"),
		number("Tokens refused", r.Mismatches, "another call, gateway, or a second time"),
		number("Nobody knows the end", r.Unknown, "to be settled by a person"),
		number("Emergencies", r.Emergencies, openReviews(r.ReviewsOpen)),
	}
}

func spanFact(name string, s approvals.Span) web.Fact {
	if s.N == 0 {
		return web.Fact{Name: name, Value: "–", Note: "nothing to measure"}
	}
	return web.Fact{Name: name, Value: spanWords(s.Median), Note: fmt.Sprintf("median of %d; 95 %% within %s", s.N, spanWords(s.P95))}
}

// spanWords says how long something takes, as exactly as matters.
func spanWords(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", d.Seconds()), ".0") + " s"
	case d < time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < time.Hour:
		return strings.TrimSuffix(fmt.Sprintf("%d min %d s", d/time.Minute, d%time.Minute/time.Second), " 0 s")
	}
	return strings.TrimSuffix(fmt.Sprintf("%d h %d min", d/time.Hour, d%time.Hour/time.Minute), " 0 min")
}

func openReviews(n int) string {
	if n == 1 {
		return "1 review is open"
	}
	return fmt.Sprintf("%d reviews are open", n)
}

package server

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"countersign/identity"
	"countersign/usage"
	"countersign/web"
)

func (s *Server) alertRoutes() []route {
	read, handle, change := person(identity.ReadAlerts), person(identity.HandleAlert), person(identity.ChangeAlertRule)
	return []route{
		{get, "/alerts", read, s.alertsPage},
		{post, "/alerts/:id/acknowledge", handle, s.acknowledgeAlert},
		{post, "/alerts/:id/close", handle, s.closeAlert},
		{get, "/alerts/rules", read, s.alertRulesPage},
		{get, "/alerts/rules/new", change, s.newAlertRulePage},
		{post, "/alerts/rules", change, s.createAlertRule},
		{get, "/alerts/rules/:id/edit", change, s.editAlertRulePage},
		{post, "/alerts/rules/:id", change, s.changeAlertRule},
		{post, "/alerts/rules/:id/switch", change, s.switchAlertRule},
		{post, "/alerts/rules/:id/end", change, s.endAlertRule},
	}
}

func (s *Server) alertsPage(c echo.Context, who identity.Principal) error {
	return s.showAlerts(c, who, http.StatusOK, nil)
}

// showAlerts shows what is open, then what was, page by page.
func (s *Server) showAlerts(c echo.Context, who identity.Principal, status int, errs web.Errors) error {
	ctx := c.Request().Context()
	rule, after := c.QueryParam("rule"), c.QueryParam("after")
	view := web.Alerts{MayHandle: who.Can(identity.HandleAlert, "") == nil, Errors: errs}
	open, err := s.usage.Alerts(ctx, who, usage.AlertFilter{RuleID: rule, Limit: 200})
	if err != nil {
		return err
	}
	closed, err := s.usage.Alerts(ctx, who, usage.AlertFilter{State: "closed", RuleID: rule, After: after, Limit: 50})
	if err != nil {
		return err
	}
	var about []string
	for _, a := range slices.Concat(open.Items, closed.Items) {
		about = append(about, a.About)
	}
	links, err := s.serverLinks(c, who, about)
	if err != nil {
		return err
	}
	for _, a := range open.Items {
		view.Open = append(view.Open, alertLine(a, links))
		view.Rule = a.RuleName
	}
	slices.SortStableFunc(view.Open, func(a, b web.AlertLine) int { return cmp.Compare(btoi(b.Urgent), btoi(a.Urgent)) })
	for _, a := range closed.Items {
		view.Closed = append(view.Closed, alertLine(a, links))
		view.Rule = a.RuleName
	}
	if rule == "" {
		view.Rule = ""
	}
	if closed.Next != "" {
		view.Next = here(c, "/alerts", "after", closed.Next)
	}
	if after != "" {
		view.First = here(c, "/alerts")
	}
	if view.Told, err = s.alertChannels(ctx, who); err != nil {
		return err
	}
	return render(c, status, web.AlertsPage(s.page(c, who, "Alerts", "/alerts"), view))
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func alertLine(a usage.Alert, links map[string]string) web.AlertLine {
	return web.AlertLine{
		ID: a.ID, Rule: a.RuleName, RuleLink: "/alerts?" + url.Values{"rule": {a.RuleID}}.Encode(), Kind: string(a.Kind), Summary: a.Summary, State: a.State,
		About: a.AboutName, AboutLink: alertAbout(a, links), Urgent: a.Urgent, Times: a.Times, FiredAt: a.FiredAt, LastAt: a.LastAt,
		Calls: alertCalls(a), TakenBy: a.AcknowledgedByName, TakenAt: a.AcknowledgedAt, ClosedBy: a.ClosedByName, ClosedAt: a.ClosedAt,
	}
}

// alertAbout is the page of what an alert is about; "" where it has none.
func alertAbout(a usage.Alert, links map[string]string) string {
	switch kindOfAlert(a.Kind).About {
	case "gateway":
		return "/gateways/" + url.PathEscape(a.About)
	case "channel":
		return "/channels/" + url.PathEscape(a.About)
	case "server":
		return links[a.About]
	}
	return ""
}

// alertCalls is where the calls are listed that caused an alert, of the days on which it happened.
func alertCalls(a usage.Alert) string {
	query := url.Values{"from": {a.FiredAt.UTC().Format(time.DateOnly)}, "to": {a.LastAt.UTC().Format(time.DateOnly)}}
	switch about := kindOfAlert(a.Kind).About; {
	case a.About == "" || about == "gateway" || about == "channel":
		return ""
	case about == "agent" && a.About == "all":
	case about == "caller":
		query.Set("person", a.About)
	default:
		query.Set(about, a.About) // a session, a server, an agent
	}
	if a.Kind == usage.Denials || a.Kind == usage.UnknownAsked {
		query.Set("decision", "denied")
	}
	return "/usage/calls?" + query.Encode()
}

func (s *Server) acknowledgeAlert(c echo.Context, who identity.Principal) error {
	_, err := s.usage.Acknowledge(c.Request().Context(), who, c.Param("id"))
	return s.alertHandled(c, who, err, "Everybody sees that you look into it.")
}

func (s *Server) closeAlert(c echo.Context, who identity.Principal) error {
	_, err := s.usage.Close(c.Request().Context(), who, c.Param("id"))
	return s.alertHandled(c, who, err, "The alert is closed. If it happens again it is a new one.")
}

func (s *Server) alertHandled(c echo.Context, who identity.Principal, err error, words string) error {
	if err == nil {
		return s.done(c, "/alerts", words)
	}
	errs, status, ok := formErrors(err, nil)
	if !ok {
		return err
	}
	return s.showAlerts(c, who, status, errs)
}

// alertFired is the topic that channels listen to.
const alertFired = "alert.fired"

// alertChannels are the channels that are told of alerts, for those who may see channels.
func (s *Server) alertChannels(ctx context.Context, who identity.Principal) (web.AlertChannels, error) {
	if mayRead := who.Can(identity.ReadChannels, "") == nil; !mayRead {
		return web.AlertChannels{}, nil
	}
	channels, err := s.notify.Channels(ctx, who)
	if err != nil {
		return web.AlertChannels{}, err
	}
	told := web.AlertChannels{Known: true, MayTest: who.Can(identity.TestChannel, "") == nil, MayMake: who.Can(identity.ChangeChannel, "") == nil}
	for _, channel := range channels {
		if slices.Contains(channel.Topics, alertFired) && channel.EndedAt == nil {
			told.Channels = append(told.Channels, web.ListeningChannel{
				ID: channel.ID, Name: channel.Name, Kind: channelKinds[channel.Kind], State: string(channel.State()),
			})
		}
	}
	return told, nil
}

// alertTasks are the open alerts, for the first page. Where they cannot be read nothing is said: it is no reason to fail.
func (s *Server) alertTasks(ctx context.Context, who identity.Principal) []web.Task {
	if who.Can(identity.ReadAlerts, "") != nil {
		return nil
	}
	page, err := s.usage.Alerts(ctx, who, usage.AlertFilter{Limit: 200})
	if err != nil || len(page.Items) == 0 {
		return nil
	}
	first := page.Items[0]
	for _, a := range page.Items {
		if a.Urgent && !first.Urgent {
			first = a
		}
	}
	task := web.Task{
		Icon: "bell", Tone: "write", Title: count(len(page.Items), "alert is open", "alerts are open"), Text: strings.TrimSuffix(first.Summary, ".") + ".",
		Due: "Since " + first.FiredAt.UTC().Format("2 Jan 15:04 UTC"), Link: "/alerts", Act: "Open alerts",
	}
	if first.Urgent {
		task.Tone = "destr"
	}
	return []web.Task{task}
}

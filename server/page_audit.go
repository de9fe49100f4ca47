package server

import (
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"countersign/audit"
	"countersign/identity"
	"countersign/internal/problem"
	"countersign/web"
)

const auditPageSize = 50

func (s *Server) auditPage(c echo.Context, who identity.Principal) error {
	return s.showAudit(c, who, nil)
}

func (s *Server) auditEntryPage(c echo.Context, who identity.Principal) error {
	id, err := strconv.ParseInt(c.Param("id"), 10, 64)
	if err != nil {
		return problem.New(problem.NotFound, "no_such_event", "There is no such audit event.")
	}
	entry, err := audit.Get(c.Request().Context(), s.pool, who, id)
	if err != nil {
		return err
	}
	return s.showAudit(c, who, &entry)
}

// showAudit shows the log as the address filters it. A date that cannot be read is said beside its field.
func (s *Server) showAudit(c echo.Context, who identity.Principal, chosen *audit.Entry) error {
	q := c.QueryParams()
	view := web.Audit{Kind: q.Get("kind"), Actor: q.Get("actor"), Target: q.Get("target"), From: q.Get("from"), To: q.Get("to"), Errors: web.Errors{}}
	filter := audit.Filter{Kind: view.Kind, Actor: view.Actor, Target: view.Target, Limit: auditPageSize}
	filter.From = day(view.From, "from", view.Errors)
	if filter.To = day(view.To, "to", view.Errors); !filter.To.IsZero() {
		filter.To = filter.To.AddDate(0, 0, 1) // the day itself is meant, too
	}
	filter.Before, _ = strconv.ParseInt(q.Get("before"), 10, 64) // the newest when it is no number
	entries, err := audit.List(c.Request().Context(), s.pool, who, filter)
	if err != nil {
		return err
	}
	for _, e := range entries {
		view.Events = append(view.Events, eventView(e))
	}
	if len(entries) == auditPageSize {
		next := url.Values{}
		for name := range q {
			next.Set(name, q.Get(name))
		}
		next.Set("before", strconv.FormatInt(entries[len(entries)-1].ID, 10))
		view.Next = "/audit?" + next.Encode()
	}
	if chosen != nil {
		event := eventView(*chosen)
		view.Chosen = &event
	}
	return render(c, http.StatusOK, web.AuditPage(s.page(c, who, "Audit log", "/audit"), view))
}

func day(text, field string, errs web.Errors) time.Time {
	if text == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.DateOnly, text)
	if err != nil {
		errs[field] = "Write a date as 2026-11-22."
	}
	return t
}

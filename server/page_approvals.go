package server

import (
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"countersign/approvals"
	"countersign/audit"
	"countersign/canonical"
	"countersign/identity"
	"countersign/internal/problem"
	"countersign/web"
)

// approvalPageRoutes are what people read about approvals; what they do is in consoleRoutes and deedRoutes.
func (s *Server) approvalPageRoutes() []route {
	return []route{
		{get, "/requests", person(identity.ReadApprovals), s.requestsPage},
		{get, "/reviews", person(identity.ReadApprovals), s.reviewsPage},
		{get, "/approvals/report", person(identity.ReadApprovals), s.approvalReportPage},
	}
}

func (s *Server) approvalsPage(c echo.Context, who identity.Principal) error {
	return s.showApprovals(c, who, http.StatusOK, nil)
}

func (s *Server) approvalPage(c echo.Context, who identity.Principal) error {
	ctx, id := c.Request().Context(), c.Param("id")
	detail, err := s.approvals.Detail(ctx, who, id)
	if err != nil {
		return err
	}
	if detail.State == approvals.Pending {
		if err := s.approvals.View(ctx, who, id); err != nil { // a measure is no reason to show nothing
			s.log.WarnContext(ctx, "a view of an approval request was not recorded", slog.Any("error", err))
		}
	}
	view := approvalView(detail)
	return s.showApprovals(c, who, http.StatusOK, &view)
}

// decide is the vote. A vote that was not taken shows the request as it is now, with what was typed.
func (s *Server) decide(c echo.Context, who identity.Principal) error {
	id := c.Param("id")
	version, _ := strconv.ParseInt(c.FormValue("version"), 10, 64) // 0 matches no request
	seen, err := canonical.ParseDigest(c.FormValue("seen_digest"))
	if err != nil {
		return problem.New(problem.Invalid, "vote_incomplete", "The form came without the digest of the call it shows. Reload the page; nothing was decided.")
	}
	vote := approvals.Vote{Decision: approvals.Decision(c.FormValue("decision")), Reason: c.FormValue("reason"), Version: version, SeenDigest: seen}
	if vote.Decision == approvals.Approve {
		if vote.Scope, err = scopeOf(c); err != nil {
			return s.retryApproval(c, who, id, err)
		}
	}
	request, err := s.approvals.Vote(c.Request().Context(), who, id, vote)
	if err != nil {
		return s.retryApproval(c, who, id, err)
	}
	flash := map[approvals.State]string{
		approvals.Approved: "Approved. The identical call goes through once.",
		approvals.Denied:   "Denied. The agent is told why.",
		approvals.Pending:  "Your vote counts. More are needed.",
	}[request.State]
	if request.State == approvals.Approved && vote.Scope != nil {
		flash = "Approved, with more calls like it as far as everybody who approved allows."
	}
	return s.done(c, "/approvals/"+id, flash)
}

// mostMinutes fit into a time.
const mostMinutes = 366 * 24 * 60

// scopeOf reads what is to be approved beside the very call; nil is nothing.
func scopeOf(c echo.Context) (*approvals.Scope, error) {
	if c.FormValue("scope") != "more" {
		return nil, nil //nolint:nilnil // no scope is an answer, and the usual one
	}
	p := problem.New(problem.Invalid, "scope_incomplete", "Nothing was decided.")
	uses, err := strconv.Atoi(strings.TrimSpace(c.FormValue("scope_uses")))
	if err != nil {
		p.Field("scope_uses", "A number of calls.")
	}
	minutes, err := strconv.Atoi(strings.TrimSpace(c.FormValue("scope_minutes")))
	if err != nil || minutes < 1 || minutes > mostMinutes {
		p.Field("scope_minutes", "A number of minutes.")
	}
	if len(p.Fields) > 0 {
		return nil, p
	}
	form, err := c.FormParams()
	if err != nil {
		return nil, problem.New(problem.Invalid, "form_unreadable", "The form cannot be read. Nothing was decided.").Because(err)
	}
	free := slices.Sorted(slices.Values(form["scope_free"]))
	return &approvals.Scope{Uses: uses, Within: time.Duration(minutes) * time.Minute, Free: slices.Compact(free)}, nil
}

func (s *Server) revokeApproval(c echo.Context, who identity.Principal) error {
	id := c.Param("id")
	if _, err := s.approvals.Revoke(c.Request().Context(), who, id, c.FormValue("reason")); err != nil {
		return s.retryApproval(c, who, id, err)
	}
	return s.done(c, "/approvals/"+id, "The approval is taken back. The call is not executed.")
}

// scopeFields are the fields of the form of a vote whose names in the domain are others.
var scopeFields = map[string]string{"uses": "scope_uses", "within": "scope_minutes", "free": "scope_free", "scope": ""}

// retryApproval shows a request as it is now after something that was not done to it: why, what happened meanwhile, and
// what was typed.
func (s *Server) retryApproval(c echo.Context, who identity.Principal, id string, failure error) error {
	errs, status, ok := formErrors(failure, scopeFields)
	if !ok {
		return failure
	}
	detail, err := s.approvals.Detail(c.Request().Context(), who, id)
	if err != nil {
		return failure
	}
	view := approvalView(detail)
	form, _ := c.FormParams() // it was read before
	view.Errors, view.Typed, view.Ticket = errs, c.FormValue("reason"), c.FormValue("ticket")
	view.Scoped = web.ScopeTyped{
		More: c.FormValue("scope") == "more", Uses: c.FormValue("scope_uses"), Minutes: c.FormValue("scope_minutes"), Free: form["scope_free"],
	}
	switch { // its form, if it is on the page
	case strings.HasSuffix(c.Path(), "/emergency") && view.MayAlone && view.Alone == "":
		view.Form = "emergency"
	case strings.HasSuffix(c.Path(), "/settle") && view.MaySettle:
		view.Form = "settle"
	}
	if last, err := strconv.ParseInt(c.FormValue("seen_event"), 10, 64); err == nil && status == http.StatusConflict {
		for _, e := range view.Timeline {
			if e.ID > last {
				view.Since = append(view.Since, e)
			}
		}
	}
	return s.showApprovals(c, who, status, &view)
}

func (s *Server) showApprovals(c echo.Context, who identity.Principal, status int, chosen *web.Approval) error {
	ctx := c.Request().Context()
	filter, form := historyFilter(c)
	view := web.Approvals{Decided: !filter.Waiting, Chosen: chosen, Filter: form}
	if len(form.Errors) == 0 {
		list, err := s.approvals.List(ctx, who, filter)
		if err != nil {
			return err
		}
		for _, item := range list.Items {
			line := approvalLine(item)
			line.Chosen = chosen != nil && chosen.ID == item.ID
			view.Waiting = append(view.Waiting, line)
		}
		view.Next = nextPage(c, list.Next)
	}
	counts, err := s.counts(c, who)
	if err != nil {
		return err
	}
	view.DayCount, view.Chips, view.Alarm = counts.DecidedLastDay, historyChips(c), s.alarm(ctx)
	page := s.page(c, who, "Approvals", "/approvals")
	page.Focus = true
	return render(c, status, web.ApprovalsPage(page, view))
}

// nextPage is the address of the page after this one.
func nextPage(c echo.Context, after string) string {
	if after == "" {
		return ""
	}
	query := maps.Clone(c.QueryParams())
	query.Set("after", after)
	return c.Request().URL.Path + "?" + query.Encode()
}

func eventView(e audit.Entry) web.Event {
	view := web.Event{
		ID: e.ID, At: e.At, Kind: e.Kind, Actor: e.ActorName, ActorKind: e.ActorKind, ActorID: e.ActorID, Target: e.TargetName,
		TargetKind: e.TargetKind, TargetID: e.TargetID, IP: e.IP, Request: e.RequestID,
	}
	if view.Actor == "" {
		view.Actor = e.ActorID
	}
	if view.Actor == "" {
		view.Actor = e.ActorKind
	}
	if view.Target == "" {
		view.Target = e.TargetID
	}
	for name, value := range e.Detail {
		view.Detail = append(view.Detail, web.KV{Name: name, Value: detailText(value)})
	}
	slices.SortFunc(view.Detail, func(a, b web.KV) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return view
}

func detailText(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case nil:
		return ""
	}
	return fmt.Sprint(value)
}

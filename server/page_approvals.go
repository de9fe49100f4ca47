package server

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/labstack/echo/v4"

	"countersign/approvals"
	"countersign/audit"
	"countersign/canonical"
	"countersign/identity"
	"countersign/internal/problem"
	"countersign/web"
)

// decidedStates is the history: everything that waits for nobody.
var decidedStates = []approvals.State{
	approvals.Approved, approvals.Denied, approvals.Expired, approvals.Cancelled, approvals.Superseded, approvals.Revoked, approvals.Closed,
}

func (s *Server) approvalsPage(c echo.Context, who identity.Principal) error {
	return s.showApprovals(c, who, http.StatusOK, nil)
}

func (s *Server) approvalPage(c echo.Context, who identity.Principal) error {
	detail, err := s.approvals.Detail(c.Request().Context(), who, c.Param("id"))
	if err != nil {
		return err
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
	request, err := s.approvals.Vote(c.Request().Context(), who, id, vote)
	if err != nil {
		return s.retryApproval(c, who, id, err)
	}
	flash := map[approvals.State]string{
		approvals.Approved: "Approved. The identical call goes through once.",
		approvals.Denied:   "Denied. The agent is told why.",
		approvals.Pending:  "Your vote counts. More are needed.",
	}[request.State]
	return s.done(c, "/approvals/"+id, flash)
}

func (s *Server) revokeApproval(c echo.Context, who identity.Principal) error {
	id := c.Param("id")
	if _, err := s.approvals.Revoke(c.Request().Context(), who, id, c.FormValue("reason")); err != nil {
		return s.retryApproval(c, who, id, err)
	}
	return s.done(c, "/approvals/"+id, "The approval is taken back. The call is not executed.")
}

func (s *Server) retryApproval(c echo.Context, who identity.Principal, id string, failure error) error {
	errs, status, ok := formErrors(failure, nil)
	if !ok {
		return failure
	}
	detail, err := s.approvals.Detail(c.Request().Context(), who, id)
	if err != nil {
		return failure
	}
	view := approvalView(detail)
	view.Typed, view.Errors = c.FormValue("reason"), errs
	if !view.MayDecide && !view.MayRevoke { // no form to show it in
		return failure
	}
	return s.showApprovals(c, who, status, &view)
}

func (s *Server) showApprovals(c echo.Context, who identity.Principal, status int, chosen *web.Approval) error {
	ctx := c.Request().Context()
	decided := c.QueryParam("state") == "decided"
	filter := approvals.Filter{Waiting: !decided, After: c.QueryParam("after"), Limit: 50}
	if decided {
		filter.States = decidedStates
	}
	list, err := s.approvals.List(ctx, who, filter)
	if err != nil {
		return err
	}
	counts, err := s.approvals.Counts(ctx, who)
	if err != nil {
		return err
	}
	view := web.Approvals{Decided: decided, Chosen: chosen, DayCount: counts.DecidedLastDay}
	for _, item := range list.Items {
		line := approvalLine(item)
		line.Chosen = chosen != nil && chosen.ID == item.ID
		view.Waiting = append(view.Waiting, line)
	}
	if list.Next != "" {
		view.Next = c.Request().URL.Path + "?" + url.Values{"state": {c.QueryParam("state")}, "after": {list.Next}}.Encode()
	}
	page := s.page(c, who, "Approvals", "/approvals")
	page.Focus = true
	return render(c, status, web.ApprovalsPage(page, view))
}

func approvalLine(a approvals.Summary) web.ApprovalLine {
	return web.ApprovalLine{
		ID: a.ID, Server: a.ServerName, Tool: a.ToolName, Risk: string(a.Risk), Agent: a.Agent, Caller: callerName(a),
		State: string(a.State), ExpiresAt: a.ExpiresAt, CreatedAt: a.CreatedAt, Left: max(0, a.ExpiresAt.Sub(a.Now)),
	}
}

func callerName(a approvals.Summary) string {
	if a.CallerName != "" {
		return a.CallerName
	}
	return a.CallerSubject
}

func approvalView(d approvals.Detail) web.Approval {
	view := web.Approval{
		ApprovalLine: approvalLine(d.Summary), CallerID: d.CallerSubject + " at " + d.CallerIssuer, ServerID: d.ServerID, Kind: string(d.Kind), Total: d.ExpiresAt.Sub(d.CreatedAt),
		Arguments: d.Arguments, Digest: d.CallDigest.String(), Version: d.Version, Gateway: d.GatewayName, Model: d.Model,
		Evidence: d.Evidence, Definition: d.Definition.String(), DefinitionNo: d.DefinitionNumber, Teams: d.Teams,
		Quorum: d.Quorum, Approvals: d.Approvals, MayDecide: d.Standing.May && d.State == approvals.Pending, MayRevoke: d.MayRevoke,
		Standing: d.Standing.Sentence(), Reason: d.StateReason, DecidedBy: d.DecidedBy, DecidedAt: d.DecidedAt, Execution: string(d.Execution),
		Cues: cues(d),
	}
	for _, rule := range d.Guardrails {
		view.Guardrails = append(view.Guardrails, rule.Name)
	}
	for _, rule := range d.Grants {
		view.Grants = append(view.Grants, rule.Name)
	}
	for _, v := range d.Votes {
		view.Votes = append(view.Votes, web.Vote{Name: v.Name, Decision: string(v.Decision), Reason: v.Reason, At: v.At, Counts: v.Counts})
	}
	for _, e := range d.Timeline {
		view.Timeline = append(view.Timeline, eventView(e))
	}
	return view
}

// cues are what an approver should notice first.
func cues(d approvals.Detail) []web.Cue {
	var out []web.Cue
	if d.Risk == "destructive" {
		out = append(out, web.Cue{Tone: "destr", Icon: "octagon-alert", Strong: "Cannot be undone.", Text: "This tool is classified as destructive."})
	}
	if d.Evidence == "asserted" {
		out = append(out, web.Cue{Tone: "write", Icon: "triangle-alert", Strong: "Only asserted.", Text: "The gateway says who calls; it sent no token that proves it."})
	}
	if len(d.Arguments) > 4<<10 {
		out = append(out, web.Cue{Tone: "write", Icon: "search", Strong: "Large call.", Text: fmt.Sprintf("The arguments are %d bytes; read them to the end.", len(d.Arguments))})
	}
	return out
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

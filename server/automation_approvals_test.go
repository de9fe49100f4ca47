package server

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"countersign/approvals"
)

// Programs read what people decide, and decide nothing.
func TestAutomationReadsApprovals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.hold(w.enrol("edge", "*"))
	robot := w.automation("", "viewer")
	at := "/v1/approval-requests"
	waiting := into[listOf[approvalRequestJSON]](t, robot.get(at+"?waiting=true").want(t, http.StatusOK))
	if len(waiting.Items) != 1 || waiting.Items[0].ID != h.approval.ID || waiting.Items[0].State != approvals.Pending || waiting.Items[0].ToolName != "delete_orders" {
		t.Fatalf("what waits: %+v", waiting)
	}
	h.vote(t, w, approvals.Deny)
	h.again(t)
	first := into[listOf[approvalRequestJSON]](t, robot.get(at+"?limit=1").want(t, http.StatusOK))
	second := into[listOf[approvalRequestJSON]](t, robot.get(at+"?limit=1&after="+first.Next).want(t, http.StatusOK))
	if len(first.Items) != 1 || len(second.Items) != 1 || second.Next != "" || second.Items[0].State != approvals.Denied || second.Items[0].DecidedByName == "" {
		t.Errorf("pages: %+v, then %+v", first, second)
	}
	denied := into[listOf[approvalRequestJSON]](t, robot.get(at+"?state=denied&server="+h.server.ID).want(t, http.StatusOK))
	if len(denied.Items) != 1 {
		t.Errorf("denied: %+v", denied)
	}
	answer := robot.get(at+"/"+denied.Items[0].ID).want(t, http.StatusOK)
	one := into[approvalDetailJSON](t, answer)
	if len(one.Votes) != 1 || one.Votes[0].Decision != approvals.Deny || one.CallDigest != h.ask.CallDigest.String() || len(one.Guardrails) != 1 || len(one.Grants) != 1 {
		t.Errorf("the request: %+v", one)
	}
	if strings.Contains(answer.body, `"order"`) {
		t.Errorf("the arguments are in %s", answer.body)
	}
	robot.get(at+"/apr_none").wantProblem(t, http.StatusNotFound, "no_such_approval")
	robot.get(at+"?state=maybe").wantProblem(t, http.StatusBadRequest, "invalid_parameter")
	robot.get(at+"?after=x").wantProblem(t, http.StatusBadRequest, "invalid_parameter")
	h.g.get(at).wantProblem(t, http.StatusForbidden, "not_for_gateways")

	w.exec(`insert into reviews (approval_id, opened_by, reason, ticket, due_at) select $1, max(id), 'fire', 'INC-1', clock_timestamp() from people`, denied.Items[0].ID)
	w.exec(`update approvals set emergency = true, scope = '{"uses":2,"seconds":60,"free":["order"]}' where id = $1`, denied.Items[0].ID)
	w.exec(`insert into allowances (approval_id, epoch, generation, gateway_id, server_id, caller_issuer, caller_subject, pattern_digest, free, uses, expires_at)
		select id, epoch, generation, gateway_id, server_id, caller_issuer, caller_subject, call_digest, '{order}', 2, clock_timestamp() + interval '1 minute'
		from approvals where id = $1`, denied.Items[0].ID)
	reviews := into[listOf[reviewJSON]](t, robot.get("/v1/reviews?open=true").want(t, http.StatusOK))
	allowances := into[listOf[allowanceJSON]](t, robot.get("/v1/allowances?open=true&request="+denied.Items[0].ID).want(t, http.StatusOK))
	if len(reviews.Items) != 1 || !reviews.Items[0].Overdue || reviews.Items[0].Ticket != "INC-1" {
		t.Errorf("reviews: %+v", reviews)
	}
	if len(allowances.Items) != 1 || allowances.Items[0].Uses != 2 || allowances.Items[0].Request != denied.Items[0].ID {
		t.Errorf("allowances: %+v", allowances)
	}
	one = into[approvalDetailJSON](t, robot.get(at+"/"+denied.Items[0].ID).want(t, http.StatusOK))
	if one.Review == nil || one.Allowance == nil {
		t.Errorf("the request: %+v", one)
	}

	report := into[approvalReportJSON](t, robot.get("/v1/approval-report?days=7").want(t, http.StatusOK))
	if report.Asked == 0 || report.Denied == 0 || report.ReviewsOpen != 1 || len(report.Approvers) == 0 || report.To.Sub(report.From) != 7*24*time.Hour {
		t.Errorf("the report: %+v", report)
	}
	robot.get("/v1/approval-report?days=400").wantProblem(t, http.StatusBadRequest, "invalid_parameter")
}

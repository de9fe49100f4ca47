package server

import (
	"net/http"
	"net/url"
	"regexp"
	"testing"

	"countersign/approvals"
	"countersign/client"
)

// again asks for the same call once more, now that the request before has ended.
func (h *held) again(t *testing.T) {
	t.Helper()
	h.approval = into[client.Approval](t, h.g.call(http.MethodPost, client.PathApprovals, h.ask).want(t, http.StatusCreated))
}

func TestDeedsOfPeople(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.hold(w.enrol("edge", "*"))
	w.exec(`update gateways set kind = 'embedded' where id = $1`, h.g.ID)
	vera, tessa := w.signIn("vera"), w.signIn("tessa")
	page := func() string { return "/approvals/" + h.approval.ID }

	// The caller is shown the token once.
	vera.post(page()+"/reveal", url.Values{}).want(t, http.StatusConflict)
	h.vote(t, w, approvals.Approve)
	tessa.post(page()+"/reveal", url.Values{}).want(t, http.StatusForbidden)
	shown := vera.post(page()+"/reveal", url.Values{}).want(t, http.StatusOK, "Nobody can show it again")
	token := regexp.MustCompile(`cst_[0-9A-Za-z]{49}`).FindString(shown.body)
	if token == "" || shown.header.Get("Cache-Control") != "no-store" {
		t.Fatalf("the page shows %q, Cache-Control %q", token, shown.header.Get("Cache-Control"))
	}
	vera.post(page()+"/reveal", url.Values{}).want(t, http.StatusConflict, "was shown the token")
	h.g.call(http.MethodPost, client.PathRedeem, client.Redeem{Token: token, Call: h.call, RedemptionID: "red_1", Instance: "i1"}).want(t, http.StatusOK)

	// Nobody knows what became of the call, until somebody says so.
	h.g.call(http.MethodPost, client.PathConfirmation+"red_1/outcome", client.Outcome{Status: client.Indeterminate}).want(t, http.StatusNoContent)
	tessa.post(page()+"/settle", url.Values{"reason": {"I looked"}}).want(t, http.StatusBadRequest)
	vera.post(page()+"/settle", url.Values{"ran": {"yes"}, "reason": {"I looked"}}).want(t, http.StatusForbidden)
	tessa.post(page()+"/settle", url.Values{"ran": {"yes"}, "reason": {"I looked"}}).want(t, http.StatusSeeOther)
	h.g.call(http.MethodPost, client.PathConfirmation+"red_1/outcome", client.Outcome{Status: client.Failed}).wantProblem(t, http.StatusConflict, "outcome_differs")

	// The caller takes a request back.
	h.again(t)
	tessa.post(page()+"/cancel", url.Values{}).want(t, http.StatusForbidden)
	vera.post(page()+"/cancel", url.Values{}).want(t, http.StatusSeeOther)
	tessa.get(page()).want(t, http.StatusOK, "cancelled")

	// An emergency that no guardrail provides for, and things that there are not.
	h.again(t)
	form := url.Values{"reason": {"fire"}, "ticket": {"INC-1"}, "version": {"1"}, "seen_digest": {h.ask.CallDigest.String()}}
	tessa.post(page()+"/emergency", form).want(t, http.StatusForbidden, "lets one person approve")
	form.Del("seen_digest")
	tessa.post(page()+"/emergency", form).want(t, http.StatusBadRequest)
	tessa.post("/reviews/rvw_none/close", url.Values{"finding": {"justified"}, "note": {"fine"}}).want(t, http.StatusNotFound)
	tessa.post("/reviews/rvw_none/close", url.Values{"note": {"fine"}}).want(t, http.StatusBadRequest)
	tessa.post("/allowances/alw_none/revoke", url.Values{"reason": {"enough"}}).want(t, http.StatusNotFound)
}

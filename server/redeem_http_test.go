package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"countersign/approvals"
	"countersign/client"
	"countersign/policy"
	"countersign/registry"
)

// mistype changes one character of a token.
func mistype(token string, at int) string {
	other := "x"
	if token[at] == 'x' {
		other = "y"
	}
	return token[:at] + other + token[at+1:]
}

// TestRedeemingBadly puts every wrong token to POST /v1/confirmations/redeem. None uses the right one up, and one that is
// only mistyped costs no query.
func TestRedeemingBadly(t *testing.T) { //nolint:tparallel // its parts follow each other
	t.Parallel()
	a := newAsker(t)
	ask, approval, token := a.claimed(t)
	foreign := ask.Call
	foreign.Gateway = a.other.ID
	wrong := ask.Call
	wrong.Arguments = json.RawMessage(`{"order":8}`)
	elsewhere := ask.Call
	elsewhere.Issuer = "https://elsewhere.example"
	unreadable := ask.Call
	unreadable.Arguments = json.RawMessage(`{"n":9007199254740993}`)

	before := a.queries.n.Load()
	for name, bad := range map[string]string{
		"none": "", "its prefix": "cst_", "another form": "tok_" + token[4:], "short": token[:len(token)-1], "long": token + "0", "blanks": " " + token,
		"mistyped at the start": mistype(token, 4), "mistyped in the middle": mistype(token, 25), "mistyped in the checksum": mistype(token, 52),
		"an umlaut": token[:10] + "ä" + token[12:], "NUL": token[:10] + "\x00" + token[11:], "upper case": strings.ToUpper(token), "very long": strings.Repeat("cst_", 10_000),
	} {
		t.Run(name, func(t *testing.T) {
			a.g.call(http.MethodPost, client.PathRedeem, redemption(bad, ask.Call, "r", "i")).wantProblem(t, 400, "token_malformed")
		})
	}
	if n := a.queries.n.Load() - before; n != 0 {
		t.Errorf("mistyped tokens cost %d queries", n)
	}

	for name, c := range map[string]struct {
		by     *edge
		body   any
		status int
		code   string
	}{
		"well formed, and nobody's":   {body: redemption("cst_000000000000000000000000000000000000000000000000x", ask.Call, "r", "i"), status: 400, code: "token_malformed"},
		"other arguments":             {body: redemption(token, wrong, "r", "i"), status: 409, code: client.CodeMismatch},
		"by another gateway":          {by: a.other, body: redemption(token, foreign, "r", "i"), status: 403, code: "confirmation_unknown"},
		"another gateway's call":      {by: a.other, body: redemption(token, ask.Call, "r", "i"), status: 403, code: "foreign_gateway"},
		"for another control plane":   {body: redemption(token, elsewhere, "r", "i"), status: 403, code: "foreign_issuer"},
		"a call that cannot be read":  {body: redemption(token, unreadable, "r", "i"), status: 400, code: "call_malformed"},
		"no redemption":               {body: redemption(token, ask.Call, "", "i"), status: 400, code: "redemption_incomplete"},
		"a long redemption":           {body: redemption(token, ask.Call, strings.Repeat("r", 101), "i"), status: 400, code: "redemption_incomplete"},
		"a redemption with NUL":       {body: redemption(token, ask.Call, "r\x00", "i"), status: 400, code: "redemption_incomplete"},
		"no instance":                 {body: redemption(token, ask.Call, "r", ""), status: 400, code: "redemption_incomplete"},
		"a number":                    {body: `{"token":7}`, status: 400, code: "invalid_json"},
		"an unknown member":           {body: `{"token":"cst_","force":true}`, status: 400, code: "invalid_json"},
		"the token twice":             {body: `{"token":"` + token + `","Token":"` + token + `"}`, status: 400, code: "invalid_json"},
		"nothing":                     {body: ``, status: 400, code: "invalid_json"},
		"a batch":                     {body: []any{redemption(token, ask.Call, "r", "i")}, status: 400, code: "invalid_json"},
		"nobody's, well formed as it": {body: redemption(rotated(t, a), ask.Call, "r", "i"), status: 409, code: client.CodeMismatch},
	} {
		t.Run(name, func(t *testing.T) {
			by := c.by
			if by == nil {
				by = a.g
			}
			by.call(http.MethodPost, client.PathRedeem, c.body).wantProblem(t, c.status, c.code)
		})
	}
	done := into[client.Redemption](t, a.g.call(http.MethodPost, client.PathRedeem, redemption(token, ask.Call, "r", "i")).want(t, http.StatusOK))
	if done.Replayed || done.ApprovalID != approval.ID {
		t.Errorf("after all that it is redeemed as %+v", done)
	}
	if a.queries.n.Load() == before {
		t.Error("the queries of requests are not counted at all")
	}
}

// rotated gives the live token of another call, after a token before it died.
func rotated(t *testing.T, a *asker) (live string) {
	t.Helper()
	ask, approval, dead := a.claimed(t)
	live = a.claim(t, approval)
	a.g.call(http.MethodPost, client.PathRedeem, redemption(dead, ask.Call, "r", "i")).wantProblem(t, 403, "confirmation_unknown")
	return live
}

// TestRedeemingTwice replays redemptions, by the same instance and by others, and redeems what is over.
func TestRedeemingTwice(t *testing.T) { //nolint:tparallel // its parts follow each other
	t.Parallel()
	a := newAsker(t)
	redeem := func(token string, call policy.Call, id, instance string) answer {
		return a.g.call(http.MethodPost, client.PathRedeem, redemption(token, call, id, instance))
	}
	ask, approval, token := a.claimed(t)
	at := client.PathApprovals + "/" + approval.ID
	redeem(token, ask.Call, "r1", "i1").want(t, http.StatusOK, `"replayed":false`)
	redeem(token, ask.Call, "r1", "i1").want(t, http.StatusOK, `"replayed":true`) // the answer was lost, and the same attempt asks again
	redeem(token, ask.Call, "r1", "i2").wantProblem(t, http.StatusGone, "confirmation_used")
	redeem(token, ask.Call, "r2", "i1").wantProblem(t, http.StatusGone, "confirmation_used")
	other := ask.Call
	other.Arguments = json.RawMessage(`{"order":8}`)
	redeem(token, other, "r1", "i1").wantProblem(t, http.StatusConflict, client.CodeMismatch)
	a.g.call(http.MethodPost, at+"/token", "").wantProblem(t, http.StatusConflict, "not_approved")
	a.g.call(http.MethodPost, at+"/cancel", "").wantProblem(t, http.StatusConflict, "not_open")

	second, secondApproval, secondToken := a.claimed(t)
	redeem(secondToken, second.Call, "r1", "i1").wantProblem(t, http.StatusConflict, "redemption_id_used")
	a.w.exec(`update confirmations set expires_at = clock_timestamp() where approval_id = $1`, secondApproval.ID)
	redeem(secondToken, second.Call, "r3", "i1").wantProblem(t, http.StatusGone, "confirmation_expired")

	third, thirdApproval, thirdToken := a.claimed(t)
	a.w.signIn("tessa").post("/approvals/"+thirdApproval.ID+"/revoke", url.Values{"reason": {"not now"}}).want(t, http.StatusSeeOther)
	redeem(thirdToken, third.Call, "r4", "i1").wantProblem(t, http.StatusGone, "confirmation_revoked")

	outcome := client.PathConfirmation + "r1/outcome"
	for name, c := range map[string]struct {
		by     *edge
		path   string
		body   any
		status int
		code   string
	}{
		"of another gateway":   {by: a.other, path: outcome, body: client.Outcome{Status: client.Succeeded}, status: 404, code: "no_such_redemption"},
		"of nothing":           {path: client.PathConfirmation + "none/outcome", body: client.Outcome{Status: client.Succeeded}, status: 404, code: "no_such_redemption"},
		"of NUL":               {path: client.PathConfirmation + "%00/outcome", body: client.Outcome{Status: client.Succeeded}, status: 400, code: "invalid_text"},
		"no status":            {path: outcome, body: `{}`, status: 400, code: "outcome_incomplete"},
		"another status":       {path: outcome, body: `{"status":"redeemed"}`, status: 400, code: "outcome_incomplete"},
		"an unknown member":    {path: outcome, body: `{"status":"succeeded","result":"o-1"}`, status: 400, code: "invalid_json"},
		"a size that is text":  {path: outcome, body: `{"status":"succeeded","response_bytes":"1"}`, status: 400, code: "invalid_json"},
		"a size that is large": {path: outcome, body: `{"status":"succeeded","response_bytes":1e30}`, status: 400, code: "invalid_json"},
	} {
		t.Run(name, func(t *testing.T) {
			by := c.by
			if by == nil {
				by = a.g
			}
			by.call(http.MethodPost, c.path, c.body).wantProblem(t, c.status, c.code)
		})
	}
	a.g.call(http.MethodPost, outcome, client.Outcome{Status: client.Failed, Error: "no\x00\xff" + strings.Repeat("o", 5000)}).want(t, http.StatusNoContent)
	a.g.call(http.MethodPost, outcome, client.Outcome{Status: client.Failed}).want(t, http.StatusNoContent)
	a.g.call(http.MethodPost, outcome, client.Outcome{Status: client.Succeeded}).wantProblem(t, http.StatusConflict, "outcome_differs")
}

// TestOtherPeoplesRequests: to who did not ask, a request is not there; a person and a script are no gateway.
func TestOtherPeoplesRequests(t *testing.T) {
	t.Parallel()
	a := newAsker(t)
	robot := a.w.automation(a.w.team.ID)
	_, approved := a.approved(t)
	for _, c := range []struct{ method, of, path string }{
		{http.MethodGet, a.approval.ID, ""},
		{http.MethodPost, a.approval.ID, "/cancel"},
		{http.MethodPost, a.approval.ID, "/token"},
		{http.MethodPost, approved.ID, "/token"},
		{http.MethodPost, approved.ID, "/cancel"},
	} {
		at := client.PathApprovals + "/" + c.of + c.path
		a.other.call(c.method, at, "").wantProblem(t, http.StatusNotFound, "no_such_approval")
		robot.call(c.method, at, "").wantProblem(t, http.StatusForbidden, "gateway_only")
		a.w.signIn("tessa").call(c.method, at, "").wantProblem(t, http.StatusUnauthorized, "token_required")
	}
	for _, id := range []string{"none", "apr_00000000000000000000", "%2e%2e", strings.Repeat("x", 300)} {
		a.g.get(client.PathApprovals+"/"+id).wantProblem(t, http.StatusNotFound, "no_such_approval")
	}
	for _, wait := range []string{"-1", "x", "", "1e9", "0"} { // no wait at all, rather than an error or a long one
		a.g.get(client.PathApprovals+"/"+approved.ID+"?wait="+wait).want(t, http.StatusOK, `"approved"`)
	}
	claim := a.g.call(http.MethodPost, client.PathApprovals+"/"+a.approval.ID+"/token", "").wantProblem(t, http.StatusConflict, "not_approved")
	if claim.Fields["state"] != "pending" {
		t.Errorf("why there is nothing to claim: %v", claim.Fields)
	}
}

// TestAPageLeftOpenOverAPolicyChange: an approver's page is good for what it shows, and for nothing else.
func TestAPageLeftOpenOverAPolicyChange(t *testing.T) {
	t.Parallel()
	a := newAsker(t)
	tessa := a.w.signIn("tessa")
	form := decision(a.held, approvals.Approve, "looks right")
	at := "/approvals/" + a.approval.ID

	_, err := a.w.registry.CreateGuardrail(t.Context(), installer, registry.NewGuardrail{
		Name: "Two people", Subject: policy.Subject{Everyone: true}, Resource: policy.Resource{Servers: []string{orders}},
		Effect: policy.Effect{Approval: &policy.Approval{Quorum: 2, OwningTeam: true}},
	})
	must(t, err)
	tessa.post(at+"/decision", form).want(t, http.StatusConflict, "the policy changed: 2 approvals are needed instead of 1") // as it is now, to decide on again
	if votes := read[int](a.w, `select count(*) from votes`); votes != 0 {
		t.Errorf("%d votes count", votes)
	}
	version := read[int](a.w, `select version from approvals where id = $1`, a.approval.ID)
	form.Set("version", fmt.Sprint(version))
	tessa.post(at+"/decision", form).want(t, http.StatusSeeOther)

	forged := decision(a.held, approvals.Approve, "")
	forged.Set("version", fmt.Sprint(version+1))
	forged.Set("seen_digest", "sha256:"+strings.Repeat("0", 63)+"1")
	a.w.signIn("ada").post(at+"/decision", forged).want(t, http.StatusForbidden)

	_, err = a.w.registry.CreateGuardrail(t.Context(), installer, registry.NewGuardrail{
		Name: "Nobody", Subject: policy.Subject{Everyone: true}, Resource: policy.Resource{Servers: []string{orders}}, Effect: policy.Effect{Deny: true},
	})
	must(t, err)
	form.Set("version", fmt.Sprint(version+1))
	tessa.post(at+"/decision", form).want(t, http.StatusConflict, "superseded")
}

package server

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"countersign/delivery"
	"countersign/identity"
	"countersign/policy"
)

// asked is a call of the held world, as JSON.
func asked(who, tool, more string) string {
	return fmt.Sprintf(`{"principal":%s,"server":"com.example/orders","name":%q%s}`, who, tool, more)
}

const tomas = `{"user":"tomas","issuer":"https://idp.example","groups":["support"]}`

func TestAutomationExplains(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.enrol("edge", "*")
	h := w.hold(g)
	viewer := w.automation("", identity.Viewer)
	explain := func(body string) explanationJSON {
		t.Helper()
		return into[explanationJSON](t, viewer.call(post, "/v1/policy/explain", body).want(t, http.StatusOK))
	}
	held := explain(asked(tomas, "delete_orders", `,"arguments":{"ids":["o-1"]},"gateway":"`+g.ID+`"`))
	if held.Outcome != delivery.ExpectHold || held.Against != delivery.AgainstRevision || held.Approval == nil || held.AudienceName != "edge" ||
		!strings.HasPrefix(held.Sentence, "Held until it has the approval of one person of the owning team") {
		t.Errorf("explained %+v", held)
	}
	deciding := 0
	for _, s := range held.Steps {
		if s.Decides {
			deciding++
		}
		if s.Text == "" || s.Stage == "" {
			t.Errorf("the step %+v says nothing", s)
		}
	}
	if deciding != 1 || len(held.Steps) < 5 {
		t.Errorf("%d of %d steps decide", deciding, len(held.Steps))
	}
	if now := explain(asked(tomas, "list_orders", "")); now.Outcome != delivery.ExpectAllow || now.Against != delivery.AgainstRegistry {
		t.Errorf("explained %+v", now)
	}
	draft := `,"draft":{"end_grants":["` + h.grant.ID + `"],"grants":[{"name":"Billing","subject":{"groups":["billing"]},"resource":{"servers":["*"]}}]}`
	denied := explain(asked(tomas, "list_orders", draft))
	if denied.Reason != policy.ReasonNoGrant || denied.Against != delivery.AgainstDraft || len(denied.Nearest) != 1 || denied.Nearest[0].Text != "be in group billing" {
		t.Errorf("explained %+v", denied)
	}
	viewer.call(post, "/v1/policy/explain", `{"principal":{},"server":"","name":"x"}`).wantProblem(t, http.StatusBadRequest, "invalid_question")
	viewer.call(post, "/v1/policy/explain", asked(tomas, "x", `,"gateway":"gtw_none"`)).wantProblem(t, http.StatusNotFound, "no_such_gateway")
	g.call(post, "/v1/policy/explain", asked(tomas, "x", "")).wantProblem(t, http.StatusForbidden, "not_for_gateways")

	preview := into[foresightJSON](t, viewer.call(post, "/v1/policy/preview", `{"draft":{"end_grants":["`+h.grant.ID+`"]}}`).want(t, http.StatusOK))
	if preview.Nothing || len(preview.Sentences) != 1 || preview.Sentences[0].Kind != policy.ChangeLose || len(preview.Changes.Loses) != 1 {
		t.Errorf("foreseen %+v", preview)
	}
	viewer.call(post, "/v1/policy/preview", `{"draft":{}}`).want(t, http.StatusOK, `"nothing":true`)
	viewer.call(post, "/v1/policy/preview", `{"draft":{"grants":[{"subject":{},"resource":{}}]}}`).wantProblem(t, http.StatusBadRequest, "invalid_draft")
}

func TestAutomationKeepsPolicyTests(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.hold(w.enrol("edge", "*"))
	admin, viewer := w.automation("", identity.Admin), w.automation("", identity.Viewer)
	body := func(name, outcome string) string {
		return `{"name":"` + name + `","given":` + asked(tomas, "delete_orders", "") + `,"expect":{"outcome":"` + outcome + `"}}`
	}
	viewer.call(post, "/v1/policy/tests", body("Deletes wait", "hold")).wantProblem(t, http.StatusForbidden, "not_allowed")
	made := admin.call(post, "/v1/policy/tests", body("Deletes wait", "hold")).want(t, http.StatusCreated)
	test, at := into[policyTestJSON](t, made), made.header.Get("Location")
	if test.Version != 1 || test.Given.Kind != policy.KindTool || at != "/v1/policy/tests/"+test.ID {
		t.Errorf("made %+v at %s", test, at)
	}
	admin.call(post, "/v1/policy/tests", body("deletes WAIT", "deny")).wantProblem(t, http.StatusConflict, "policy_test_taken")
	admin.call(post, "/v1/policy/tests", body("Else", "maybe")).wantProblem(t, http.StatusBadRequest, "invalid_policy_test")
	viewer.get(at).want(t, http.StatusOK, `"Deletes wait"`)
	viewer.get("/v1/policy/tests").want(t, http.StatusOK, test.ID)
	viewer.call(post, "/v1/policy/tests/run", `{}`).want(t, http.StatusOK, `"passed":2,"failed":0`)
	viewer.call(post, "/v1/policy/tests/run", `{"draft":{"end_grants":["`+h.grant.ID+`"]}}`).want(t, http.StatusOK, `"passed":1,"failed":1`, `expected hold, got deny (no_grant)`)
	viewer.call(post, "/v1/policy/tests/run", `{"tests":[`+body("Deleting is free", "allow")+`]}`).want(t, http.StatusOK, `"failed":1`, "expected allow, got hold (approval_required)")
	viewer.call(post, "/v1/policy/tests/run", `{"tests":[`+body("", "allow")+`]}`).wantProblem(t, http.StatusBadRequest, "invalid_policy_test")
	admin.call(put, at, body("Deletes are denied", "deny")).wantProblem(t, http.StatusPreconditionRequired, "if_match_required")
	changed := admin.call(put, at, body("Deletes are denied", "deny"), "If-Match", `"v1"`).want(t, http.StatusOK, `"version":2`)
	admin.call(put, at, body("Deletes wait", "hold"), "If-Match", `"v1"`).wantProblem(t, http.StatusPreconditionFailed, "policy_test_changed")
	admin.call(post, at+"/end", "", "If-Match", changed.header.Get("ETag")).want(t, http.StatusOK, test.ID)
	viewer.get(at).wantProblem(t, http.StatusNotFound, "no_such_policy_test")
}

func TestAutomationShowsAccess(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.hold(w.enrol("edge", "*"))
	viewer := w.automation("", identity.Viewer)
	rows := into[listOf[accessRowJSON]](t, viewer.get("/v1/policy/access?tools=true&server=orders&limit=5").want(t, http.StatusOK))
	if len(rows.Items) != 1 || rows.Items[0].Grants[0].ID != h.grant.ID || rows.Items[0].Servers[0].Hold != 1 || len(rows.Items[0].Servers[0].Tools) != 2 {
		t.Fatalf("access %+v", rows)
	}
	viewer.get("/v1/policy/access?risk=some").wantProblem(t, http.StatusBadRequest, "invalid_parameter")
	caller := `{"principal":` + tomas + `,"risk":"destructive"}`
	mine := into[callerAccessJSON](t, viewer.call(post, "/v1/policy/access", caller).want(t, http.StatusOK))
	if len(mine.Servers) != 1 || len(mine.Servers[0].Tools) != 1 || mine.Servers[0].Tools[0].Outcome != delivery.ExpectHold {
		t.Errorf("access %+v", mine)
	}
	viewer.call(post, "/v1/policy/access", `{"principal":{"user":"nobody"},"server":"com.acme"}`).want(t, http.StatusOK, `"servers":[]`)
	table := viewer.get("/v1/policy/access.csv?risk=destructive").want(t, http.StatusOK, "subject,server,kind", ",com.example/orders,tool,delete_orders,destructive,hold,approval_required,false,")
	if lines := strings.Count(table.body, "\r\n"); lines != 2 {
		t.Errorf("%d lines: %s", lines, table.body)
	}
	viewer.get("/v1/policy/access.csv?limit=5").wantProblem(t, http.StatusBadRequest, "invalid_parameter")

	w.exec(`update grants set created_at = clock_timestamp() - interval '100 days'`)
	idle := into[listOf[idleGrantJSON]](t, viewer.get("/v1/grants/idle?idle=never").want(t, http.StatusOK))
	if len(idle.Items) != 1 || idle.Items[0].ID != h.grant.ID || idle.Items[0].LastUsed != nil {
		t.Errorf("idle %+v", idle)
	}
	viewer.get("/v1/grants/idle?idle=expiring").want(t, http.StatusOK, `"items":[]`)
}

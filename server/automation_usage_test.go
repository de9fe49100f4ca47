package server

import (
	"encoding/csv"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"countersign/client"
	"countersign/identity"
)

// audited fails the test when these are not the kinds of the events that were written since the last one called before,
// and gives the last one now.
func (w *world) audited(t *testing.T, before int64, kinds ...string) (last int64) {
	t.Helper()
	got := read[string](w, `select coalesce(string_agg(kind, ' ' order by id), '') from audit_events where id > $1 and kind not like '%refused'`, before)
	if want := strings.Join(kinds, " "); got != want {
		t.Errorf("audited %q, want %q", got, want)
	}
	return read[int64](w, `select max(id) from audit_events`)
}

func TestAutomationReadsUsage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.enrol("edge", "*")
	w.register()
	admin, viewer, auditor, member := w.automation("", identity.Admin), w.automation("", identity.Viewer), w.automation("", identity.Auditor), w.automation(w.team.ID)
	g.report(t, asItIs, asItIs, asItIs, deniedCall, func(r *client.CallRecord) {
		r.Server, r.Decision, r.Reason, r.Model = "com.example/nobody", client.DeniedCall, "unknown_server", ""
	})
	since, ofOrders := "since="+url.QueryEscape(time.Now().Add(-48*time.Hour).UTC().Format(time.RFC3339)), "server="+url.QueryEscape(orders)

	t.Run("sums", func(t *testing.T) {
		t.Parallel()
		all := into[usageJSON](t, viewer.get("/v1/usage?by=tool&limit=1&"+since).want(t, http.StatusOK))
		if all.Totals.Calls != 4 || len(all.Rows) != 1 || all.Rows[0].Name != "list_orders" || all.Rows[0].Server != orders || all.RestNames != 1 || all.Rest.Denied != 1 {
			t.Errorf("%+v", all)
		}
		for query, calls := range map[string]int64{
			ofOrders: 4, ofOrders + "&tool=delete_order": 1, "agent=release-bot": 3, "model=llama-%3Clocal%3E": 4, "kind=prompt": 0, "kind=tool": 4, "tool=none": 0,
			"until=2020-01-01T00:00:00Z": 0,
		} {
			if got := into[usageJSON](t, viewer.get("/v1/usage?"+query).want(t, http.StatusOK)); got.Totals.Calls != calls {
				t.Errorf("%s: %d calls, want %d", query, got.Totals.Calls, calls)
			}
		}
		series := into[seriesJSON](t, viewer.get("/v1/usage/series?"+since).want(t, http.StatusOK))
		if n := len(series.Items); series.StepSeconds != 3600 || n < 48 || n > 49 {
			t.Errorf("%d points of %d s", n, series.StepSeconds)
		}
		asked := into[listOf[unknownServerJSON]](t, viewer.get("/v1/unknown-servers").want(t, http.StatusOK))
		if len(asked.Items) != 1 || asked.Items[0].Name != "com.example/nobody" || asked.Items[0].Subject != "" {
			t.Errorf("%+v", asked)
		}
		auditor.get("/v1/unknown-servers").want(t, http.StatusOK, `"subject":"tomas"`)
	})
	t.Run("records", func(t *testing.T) {
		t.Parallel()
		var ids []string
		for after := ""; ; {
			page := into[listOf[recordJSON]](t, auditor.get("/v1/call-records?limit=2&after="+url.QueryEscape(after)).want(t, http.StatusOK))
			for _, r := range page.Items {
				ids = append(ids, r.CallID)
			}
			if after = page.Next; after == "" {
				break
			}
		}
		if len(ids) != 5 || ids[0] != "TestAutomationReadsUsage-0" || ids[4] != "TestAutomationReadsUsage-4" {
			t.Errorf("page by page: %q", ids)
		}
		for query, n := range map[string]int{
			ofOrders: 4, "decision=denied": 2, "reason=rate_limited": 1, "session=session-one": 4, "subject=tomas": 5, "gateway=gtw_none": 0,
			"trace=4bf92f3577b34da6a3ce929d0e0e4736": 5, since: 5,
		} {
			if got := into[listOf[recordJSON]](t, admin.get("/v1/call-records?"+query).want(t, http.StatusOK)); len(got.Items) != n {
				t.Errorf("%s: %d records, want %d", query, len(got.Items), n)
			}
		}
		member.get("/v1/call-records?"+ofOrders).want(t, http.StatusOK, "tomas")
		rows, err := csv.NewReader(strings.NewReader(auditor.get("/v1/call-records.csv?decision=allowed").want(t, http.StatusOK).body)).ReadAll()
		if err != nil || len(rows) != 4 || rows[1][0] != "TestAutomationReadsUsage-0" || rows[1][9] != "tomas" {
			t.Errorf("%q, %v", rows, err)
		}
	})
	t.Run("what is refused", func(t *testing.T) {
		t.Parallel()
		for _, c := range []struct {
			who    *caller
			path   string
			status int
			code   string
		}{
			{viewer, "/v1/usage?by=day", http.StatusBadRequest, "invalid_parameter"},
			{viewer, "/v1/usage?limit=9999", http.StatusBadRequest, "invalid_parameter"},
			{viewer, "/v1/usage?since=yesterday", http.StatusBadRequest, "invalid_parameter"},
			{viewer, "/v1/usage?sinec=x", http.StatusBadRequest, "invalid_parameter"},
			{viewer, "/v1/usage?since=2026-01-02T00:00:00Z&until=2026-01-01T00:00:00Z", http.StatusBadRequest, "invalid_span"},
			{viewer, "/v1/usage/series?since=0001-01-02T00:00:00Z", http.StatusBadRequest, "invalid_span"},
			{viewer, "/v1/usage?by=subject", http.StatusForbidden, "not_allowed"},
			{viewer, "/v1/usage?subject=tomas", http.StatusForbidden, "not_allowed"},
			{viewer, "/v1/call-records", http.StatusBadRequest, "server_needed"},
			{viewer, "/v1/call-records?" + ofOrders, http.StatusForbidden, "not_allowed"},
			{member, "/v1/call-records.csv?server=com.example%2Fother", http.StatusForbidden, "not_allowed"},
			{member, "/v1/call-records.csv", http.StatusBadRequest, "server_needed"},
			{auditor, "/v1/call-records?after=rubbish", http.StatusBadRequest, "invalid_parameter"},
			{auditor, "/v1/call-records?after=2026-01-01T00:00:00Z%20" + strings.Repeat("x", 100), http.StatusBadRequest, "invalid_parameter"},
			{auditor, "/v1/call-records?decision=perhaps", http.StatusBadRequest, "invalid_parameter"},
			{auditor, "/v1/call-records?tool=a%00b", http.StatusBadRequest, "invalid_text"},
		} {
			c.who.get(c.path).wantProblem(t, c.status, c.code)
		}
	})
}

func TestAutomationSetsPrices(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	admin, viewer := w.automation("", identity.Admin), w.automation("", identity.Viewer)
	since := read[int64](w, `select max(id) from audit_events`)
	body := `{"model":"llama-*","currency":"eur","input":"3","output":"15"}`
	for _, c := range []*caller{viewer, w.automation("", identity.Auditor), w.automation(w.team.ID)} {
		c.call(post, "/v1/model-prices", body).wantProblem(t, http.StatusForbidden, "not_allowed")
	}
	since = w.audited(t, since, "client.created", "client.created")
	made := admin.call(post, "/v1/model-prices", body).want(t, http.StatusCreated, `"currency":"EUR"`, `"version":1`)
	at := made.header.Get("Location")
	admin.call(post, "/v1/model-prices", body).wantProblem(t, http.StatusConflict, "price_exists")
	admin.call(post, "/v1/model-prices", strings.Replace(body, `"3"`, `"3","from":"2026-01-01"`, 1)).want(t, http.StatusCreated, `"from":"2026-01-01"`)
	for _, wrong := range []string{
		`{}`, `{"model":"a b","currency":"EUR","input":"1","output":"1"}`, `{"model":"a","currency":"EUR","input":"-1","output":"1"}`,
		`{"model":"a","currency":"EUR","input":"1e9","output":"1"}`, `{"model":"a","currency":"EUR","input":"1","output":"1","from":"soon"}`,
	} {
		admin.call(post, "/v1/model-prices", wrong).wantProblem(t, http.StatusBadRequest, "invalid_price")
	}
	if list := into[listOf[priceJSON]](t, viewer.get("/v1/model-prices").want(t, http.StatusOK)); len(list.Items) != 2 || list.Items[0].From != "" || list.Items[1].From != "2026-01-01" {
		t.Errorf("%+v", list)
	}
	viewer.get(at).want(t, http.StatusOK, `"input":"3.00"`)
	viewer.get("/v1/model-prices/prc_none").wantProblem(t, http.StatusNotFound, "no_such_price")
	changed := strings.Replace(body, `"3"`, `"4.5"`, 1)
	viewer.call(put, at, changed, "If-Match", `"v1"`).wantProblem(t, http.StatusForbidden, "not_allowed")
	admin.call(put, at, changed, "If-Match", `"v9"`).want(t, http.StatusPreconditionFailed)
	admin.call(put, at, changed, "If-Match", `"v1"`).want(t, http.StatusOK, `"input":"4.50"`, `"version":2`)
	viewer.call(post, at+"/end", `{}`, "If-Match", `"v2"`).wantProblem(t, http.StatusForbidden, "not_allowed")
	admin.call(post, at+"/end", `{}`, "If-Match", `"v2"`).want(t, http.StatusOK, `"ended_at"`)
	w.audited(t, since, "price.set", "price.set", "price.changed", "price.ended")
}

func TestAutomationChangesAlertRules(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	admin, auditor, viewer, member := w.automation("", identity.Admin), w.automation("", identity.Auditor), w.automation("", identity.Viewer), w.automation(w.team.ID)
	since := read[int64](w, `select max(id) from audit_events`)
	body := `{"name":"Errors of orders","kind":"error_rate","params":{"percent":30,"calls":20,"seconds":300,"server":"` + orders + `"},"urgent":true}`
	for _, c := range []*caller{auditor, viewer, member} {
		c.call(post, "/v1/alert-rules", body).wantProblem(t, http.StatusForbidden, "not_allowed")
	}
	at := admin.call(post, "/v1/alert-rules", body).want(t, http.StatusCreated, `"percent":30`, `"urgent":true`).header.Get("Location")
	admin.call(post, "/v1/alert-rules", body).wantProblem(t, http.StatusConflict, "alert_rule_exists")
	for _, wrong := range []string{
		`{}`, `{"name":"x","kind":"weather","params":{}}`, `{"name":"x","kind":"session_rate","params":{"calls":0,"seconds":60}}`,
		`{"name":"x","kind":"gateway_silent","params":{"seconds":1}}`, `{"name":"` + strings.Repeat("x", 300) + `","kind":"gateway_silent","params":{"seconds":60}}`,
	} {
		admin.call(post, "/v1/alert-rules", wrong).wantProblem(t, http.StatusBadRequest, "invalid_alert_rule")
	}
	auditor.get("/v1/alert-rules").want(t, http.StatusOK, `"alr_session"`, "Errors of orders")
	auditor.get(at).want(t, http.StatusOK)
	auditor.get("/v1/alert-rules/alr_none").wantProblem(t, http.StatusNotFound, "no_such_alert_rule")
	viewer.get("/v1/alert-rules").wantProblem(t, http.StatusForbidden, "not_allowed")
	admin.call(put, at, strings.Replace(body, "300", "600", 1), "If-Match", `"v1"`).want(t, http.StatusOK, `"seconds":600`, `"version":2`)
	admin.call(put, at, body, "If-Match", `"v1"`).want(t, http.StatusPreconditionFailed)
	auditor.call(post, at+"/switch", `{"on":false}`, "If-Match", `"v2"`).wantProblem(t, http.StatusForbidden, "not_allowed")
	admin.call(post, at+"/switch", `{"on":false}`, "If-Match", `"v2"`).want(t, http.StatusOK, `"off":true`)
	admin.call(post, at+"/end", `{}`, "If-Match", `"v3"`).want(t, http.StatusOK, `"ended_at"`)
	admin.call(post, "/v1/alert-rules/alr_session/end", `{}`, "If-Match", `"v1"`).wantProblem(t, http.StatusConflict, "alert_rule_built_in")
	since = w.audited(t, since, "alert_rule.created", "alert_rule.changed", "alert_rule.switched_off", "alert_rule.ended")

	w.exec(`insert into alerts (id, rule_id, about, summary) select 'alt_' || n, 'alr_session', 'session-' || n, 'many calls' from generate_series(1, 3) n`)
	first := into[listOf[alertJSON]](t, auditor.get("/v1/alerts?limit=2").want(t, http.StatusOK))
	if len(first.Items) != 2 || first.Next == "" {
		t.Errorf("%+v", first)
	}
	if rest := into[listOf[alertJSON]](t, member.get("/v1/alerts?limit=2&rule=alr_session&after="+first.Next).want(t, http.StatusOK)); len(rest.Items) != 1 || rest.Next != "" {
		t.Errorf("%+v", rest)
	}
	viewer.get("/v1/alerts").wantProblem(t, http.StatusForbidden, "not_allowed")
	auditor.get("/v1/alerts?state=open").wantProblem(t, http.StatusBadRequest, "invalid_parameter")
	auditor.get("/v1/alerts/alt_none").wantProblem(t, http.StatusNotFound, "no_such_alert")
	auditor.call(post, "/v1/alerts/alt_1/acknowledge", `{}`).wantProblem(t, http.StatusForbidden, "not_allowed")
	member.call(post, "/v1/alerts/alt_1/acknowledge", `{}`).want(t, http.StatusOK, `"state":"acknowledged"`)
	member.call(post, "/v1/alerts/alt_1/close", `{}`).want(t, http.StatusOK, `"state":"closed"`)
	member.call(post, "/v1/alerts/alt_1/close", `{}`).wantProblem(t, http.StatusConflict, "alert_closed")
	auditor.get("/v1/alerts?state=closed").want(t, http.StatusOK, `"alt_1"`)
	w.audited(t, since, "alert.acknowledged", "alert.closed")
}

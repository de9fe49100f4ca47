package server

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"countersign/client"
	"countersign/identity"
	"countersign/usage"
)

func TestRulesOfAlerts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada, vera, audra := w.signIn("ada"), w.signIn("vera"), w.signIn("audra")
	ada.get("/alerts/rules").want(t, http.StatusOK, "Fires when one session makes more than 100 calls within one minute.", "Nobody is told of alerts.", "Not looked for yet")
	vera.get("/alerts/rules").want(t, http.StatusForbidden)
	if page := audra.get("/alerts/rules").want(t, http.StatusOK); strings.Contains(page.body, "<form method=\"post\" action=\"/alerts") {
		t.Errorf("an auditor may change rules: %s", page.shown())
	}
	ada.get("/alerts/rules/new").want(t, http.StatusOK, "What is looked for?", "kind=gateway_silent")
	for _, k := range usage.Kinds() {
		ada.get("/alerts/rules/new?kind="+string(k.Kind)).want(t, http.StatusOK, k.Label, "Make the rule")
	}
	rule := url.Values{"kind": {"error_rate"}, "name": {"Errors <of> orders"}, "percent": {"2O"}, "calls": {"20"}, "seconds": {"300"}, "server": {orders}, "do": {"save"}}
	audra.post("/alerts/rules", rule).want(t, http.StatusForbidden)
	ada.post("/alerts/rules", rule).want(t, http.StatusBadRequest, "Nothing was changed.").wantInvalid(t, "percent", "2O")
	rule.Set("percent", "400")
	ada.post("/alerts/rules", rule).want(t, http.StatusBadRequest, "Nothing was changed.").wantInvalid(t, "percent", "400")
	rule.Set("percent", "30")
	rule.Set("do", "read")
	ada.post("/alerts/rules", rule).want(t, http.StatusOK, "within five minutes, 30 % or more of the calls of "+orders+" fail", "Errors &lt;of&gt; orders")
	if n := read[int](w, `select count(*) from alert_rules`); n != 1 {
		t.Fatalf("reading it back made a rule: there are %d", n)
	}
	rule.Set("do", "save")
	ada.post("/alerts/rules", rule).want(t, http.StatusSeeOther)
	ada.post("/alerts/rules", rule).want(t, http.StatusConflict).wantInvalid(t, "name", "Errors <of> orders")
	at := "/alerts/rules/" + read[string](w, `select id from alert_rules where kind = 'error_rate'`)
	ada.get(at+"/edit").want(t, http.StatusOK, `value="30"`, "Change the rule")
	rule.Set("version", "1")
	rule.Set("calls", "50")
	ada.post(at, rule).want(t, http.StatusSeeOther)
	ada.post(at, rule).want(t, http.StatusConflict, "Nothing was changed.")
	ada.post(at+"/switch", url.Values{"version": {"2"}}).want(t, http.StatusSeeOther)
	ada.get("/alerts/rules").want(t, http.StatusOK, "Switch on", "if there are at least 50")
	ada.post(at+"/end", url.Values{"version": {"1"}}).want(t, http.StatusConflict, "Nothing was changed.")
	ada.post(at+"/end", url.Values{"version": {"3"}}).want(t, http.StatusSeeOther)
	ada.get(at+"/edit").want(t, http.StatusGone)
	ada.post("/alerts/rules/alr_session/end", url.Values{"version": {"1"}}).want(t, http.StatusConflict, "Switch it off instead")
}

func TestAlertsAreHandled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada, vera, audra := w.signIn("ada"), w.signIn("vera"), w.signIn("audra")
	ada.get("/alerts").want(t, http.StatusOK, "No alert is open", "/channels/new?topic=alert.fired")
	ada.get("/channels/new?topic=alert.fired").want(t, http.StatusOK, `value="alert.fired" checked`)
	vera.get("/alerts").want(t, http.StatusForbidden)
	w.exec(`insert into alerts (id, rule_id, about, summary, times) values ('alt_1', 'alr_session', 'session-one', '131 calls <in> a minute', 4)`)
	ada.get("/alerts").want(t, http.StatusOK, "One alert is open", "131 calls &lt;in&gt; a minute", "4 times", "session=session-one", "Nobody is told of alerts.")
	ada.get("/").want(t, http.StatusOK, "One alert is open", `href="/alerts"`)
	if page := vera.get("/").want(t, http.StatusOK); strings.Contains(page.body, "alert is open") {
		t.Errorf("a viewer sees alerts: %s", page.shown())
	}
	if page := audra.get("/alerts").want(t, http.StatusOK); strings.Contains(page.body, "/acknowledge") {
		t.Errorf("an auditor may handle alerts: %s", page.shown())
	}
	audra.post("/alerts/alt_1/close", nil).want(t, http.StatusForbidden)
	ada.post("/alerts/alt_1/acknowledge", nil).want(t, http.StatusSeeOther)
	ada.get("/alerts").want(t, http.StatusOK, "looks into it")
	ada.post("/alerts/alt_1/close", nil).want(t, http.StatusSeeOther)
	ada.get("/alerts?rule=alr_session").want(t, http.StatusOK, "No alert is open", "131 calls", "by Ada")
	ada.post("/alerts/alt_1/acknowledge", nil).want(t, http.StatusConflict, "Nothing was changed.")
	ada.post("/alerts/alt_none/close", nil).want(t, http.StatusNotFound)
}

// TestARunawaySessionIsTold goes the whole way: a gateway reports more than a hundred calls of one session within a minute,
// and whoever is told of alerts has a message about it; once, and nothing while the rule is off.
func TestARunawaySessionIsTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t, allowLoopback)
	g := w.enrol("edge", "*")
	receiver := newHook(t)
	ada := w.signIn("ada")
	ada.post("/channels", url.Values{
		"name": {"ops"}, "kind": {"webhook"}, "address": {receiver.URL}, "topics": {"alert.fired", "alert.closed"}, "digest": {"0"},
	}).want(t, http.StatusCreated)
	of := func(session string, n int) {
		var calls []func(*client.CallRecord)
		for i := range n {
			calls = append(calls, func(r *client.CallRecord) {
				r.CallID, r.Session, r.At = fmt.Sprint(session, i), session, time.Now().Add(-time.Duration(i)*100*time.Millisecond)
			})
		}
		g.report(t, calls...)
	}
	look := func() { t.Helper(); must(t, w.usage.Look(t.Context())) }
	robot := w.automation("", identity.Admin)
	robot.call(post, "/v1/alert-rules/alr_session/switch", `{"on":false}`, "If-Match", `"v1"`).want(t, http.StatusOK)
	of("session-muted", 101)
	look()
	if n := read[int](w, `select count(*) from alerts`); n != 0 {
		t.Errorf("a rule that is off fired %d times", n)
	}
	w.exec(`delete from call_records`)
	robot.call(post, "/v1/alert-rules/alr_session/switch", `{"on":true}`, "If-Match", `"v2"`).want(t, http.StatusOK)
	of("session-calm", 100)
	of("session-wild", 101)
	look()
	look()
	told := string(<-receiver.bodies)
	for _, part := range []string{`"alert.fired"`, "session-wild", "101 calls within 60 s", "More than 100 calls a minute from one session"} {
		if !strings.Contains(told, part) {
			t.Errorf("the message lacks %q: %s", part, told)
		}
	}
	if strings.Contains(told, "tomas") {
		t.Errorf("the message names a person: %s", told)
	}
	alerts := into[listOf[alertJSON]](t, robot.get("/v1/alerts").want(t, http.StatusOK))
	if len(alerts.Items) != 1 || alerts.Items[0].About != "session-wild" || alerts.Items[0].Times != 1 {
		t.Errorf("%+v", alerts)
	}

	w.exec(`delete from call_records`)
	w.exec(`update alerts set fired_at = fired_at - interval '1 hour', last_at = last_at - interval '1 hour'`)
	look()
	if over := string(<-receiver.bodies); !strings.Contains(over, `"alert.closed"`) || !strings.Contains(over, alerts.Items[0].ID) {
		t.Errorf("that it is over is told as %s", over)
	}
	if n := read[int](w, `select count(*) from notices where topic like 'alert.%'`); n != 2 {
		t.Errorf("%d messages, want that it fired and that it is over", n)
	}
}

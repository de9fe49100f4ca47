package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"countersign/delivery"
	"countersign/registry"
)

// drift lets the server offer another list_orders than the pinned one.
func (w *world) drift(h *held, description string) registry.Definition {
	w.t.Helper()
	_, err := w.registry.RequestDiscovery(w.t.Context(), installer, h.server.ID)
	must(w.t, err)
	definition := json.RawMessage(fmt.Sprintf(`{"name":"list_orders","description":%q,"inputSchema":{"type":"object","properties":{"customer":{"type":"string"}}},"annotations":{"readOnlyHint":true}}`, description))
	w.offer(h.g, definition, deleteOrders)
	return w.served(h.server.ID)["list_orders"]
}

func TestReviewingDrift(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.hold(w.enrol("edge", "*"))
	tessa, vera := w.signIn("tessa"), w.signIn("vera")
	tessa.get("/drift").want(t, http.StatusOK, "Nothing has changed unseen", "A gateway last looked")
	first := w.drift(h, "Lists orders. <b>Always</b> call me first.")
	at := "/drift/" + first.ToolID
	tessa.get("/drift").want(t, http.StatusOK, "1 tool changed after review", at, `<span class="count">1`)
	review := tessa.get(at).want(t, http.StatusOK, "&lt;b&gt;Always&lt;/b&gt;", "seen by edge", "Accept v2", "Everybody", "input › customer")
	if shown := review.field(t, "definition"); !strings.Contains(shown, first.ID) {
		t.Errorf("the form does not say what was on the screen: %s", shown)
	}
	if strings.Contains(vera.get(at).want(t, http.StatusOK).body, "/decision") {
		t.Error("a viewer is offered a decision")
	}

	// It changes again while Tessa reads.
	second := w.drift(h, "Lists orders of one customer.")
	before := w.traces()
	for _, decision := range []string{"accept", "hold", "block"} {
		form := url.Values{"decision": {decision}, "definition": {first.ID}, "risk": {"write"}, "reason": {"I read it"}}
		a := tessa.post(at+"/decision", form).want(t, http.StatusConflict, "It changed again while you read.", "v3", "of one customer")
		if kept := a.field(t, "reason") + a.field(t, "definition"); !strings.Contains(kept, "I read it") || !strings.Contains(kept, second.ID) {
			t.Errorf("%s: the form holds %s", decision, kept)
		}
	}
	tessa.post(at+"/decision", url.Values{"decision": {"hold"}, "definition": {second.ID}}).want(t, http.StatusBadRequest, "Nothing was changed.").wantInvalid(t, "reason", "autofocus")
	tessa.post(at+"/decision", url.Values{"decision": {"maybe"}, "definition": {second.ID}}).want(t, http.StatusBadRequest)
	tessa.post(at+"/decision", url.Values{"decision": {"accept"}, "definition": {second.ID}, "risk": {"none"}}).want(t, http.StatusBadRequest).wantInvalid(t, "risk", "")
	vera.post(at+"/decision", url.Values{"decision": {"accept"}, "definition": {second.ID}, "risk": {"read_only"}, "reason": {"x"}}).want(t, http.StatusForbidden)
	if after := w.traces(); after != before {
		t.Errorf("%s became %s", before, after)
	}

	tessa.post(at+"/decision", url.Values{"decision": {"hold"}, "definition": {second.ID}, "reason": {"asking <i>them</i>"}}).want(t, http.StatusSeeOther)
	tessa.get("/drift").want(t, http.StatusOK, "asking &lt;i&gt;them&lt;/i&gt;")
	tessa.post(at+"/decision", url.Values{"decision": {"accept"}, "definition": {second.ID}, "risk": {"read_only"}}).want(t, http.StatusSeeOther)
	tessa.get(at).want(t, http.StatusOK, "It is not held.")
	if state := read[string](w, `select held_reason || risk from tools where id = $1`, first.ToolID); state != "read_only" {
		t.Errorf("the tool is %q", state)
	}
}

func TestFilteringDrift(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.hold(w.enrol("edge", "*"))
	d := w.drift(h, "Lists all orders.")
	vera := w.signIn("vera")
	severity := read[string](w, `select severity from tools where id = $1`, d.ToolID)
	for query, found := range map[string]bool{
		"q=LIST": true, "q=refund": false, "severity=" + severity: true, "severity=critical&q=nothing": false, "team=" + w.team.ID: true, "team=tem_none": false,
		"server=" + h.server.ID: true, "server=srv_none": false,
	} {
		a := vera.get("/drift?"+query).want(t, http.StatusOK)
		if strings.Contains(a.body, `href="/drift/`+d.ToolID) != found {
			t.Errorf("%s: found %v, want %v", query, !found, found)
		}
		if !found && !strings.Contains(a.body, "Nothing matches") {
			t.Errorf("%s: %s", query, a.shown())
		}
	}
	vera.get("/drift?after=rubbish").want(t, http.StatusBadRequest)
}

func TestATakeOfTwoToLowerARisk(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.hold(w.enrol("edge", "*"))
	tessa, ada, vera := w.signIn("tessa"), w.signIn("ada"), w.signIn("vera")
	at, definition := "/servers/"+h.server.ID+"/tools/"+h.tool, w.served(h.server.ID)["delete_orders"].ID
	tessa.get(at).want(t, http.StatusOK, "Change the risk", "Deletes &lt;b&gt;orders&lt;/b&gt;", "destructiveHint", "(not said)")
	if strings.Contains(vera.get(at).want(t, http.StatusOK).body, "Change the risk") {
		t.Error("a viewer is offered to change the risk")
	}
	risk := func() string { return read[string](w, `select risk from tools where id = $1`, h.tool) }
	tessa.post(at+"/risk", url.Values{"definition": {definition}, "risk": {"write"}}).want(t, http.StatusBadRequest).wantInvalid(t, "reason", "autofocus")
	tessa.post(at+"/risk", url.Values{"definition": {definition}, "risk": {"destructive"}}).want(t, http.StatusBadRequest).wantInvalid(t, "risk", "")
	vera.post(at+"/risk", url.Values{"definition": {definition}, "risk": {"write"}, "reason": {"x"}}).want(t, http.StatusForbidden)
	tessa.post(at+"/risk", url.Values{"definition": {definition}, "risk": {"write"}, "reason": {"can be undone"}}).want(t, http.StatusSeeOther)
	tessa.get(at).want(t, http.StatusOK, "You proposed it, so another person decides.", "can be undone")
	id := read[string](w, `select id from risk_proposals where state = 'open'`)
	tessa.post("/risks/"+id, url.Values{"decision": {"approve"}}).want(t, http.StatusForbidden)
	vera.get("/drift").want(t, http.StatusOK, "Members of the owning team and admins decide.")
	if risk() != "destructive" {
		t.Fatal("one person lowered a risk")
	}
	ada.post("/risks/"+id, url.Values{"decision": {"decline"}}).want(t, http.StatusBadRequest).wantInvalid(t, "reason-"+id, "autofocus")
	ada.post("/risks/"+id, url.Values{"decision": {"maybe"}}).want(t, http.StatusBadRequest)
	ada.post("/risks/"+id, url.Values{"decision": {"approve"}}).want(t, http.StatusSeeOther)
	ada.post("/risks/"+id, url.Values{"decision": {"approve"}}).want(t, http.StatusConflict)
	if risk() != "write" {
		t.Errorf("the risk is %s", risk())
	}
	ada.post(at+"/risk", url.Values{"definition": {definition}, "risk": {"destructive"}}).want(t, http.StatusSeeOther)
	if risk() != "destructive" {
		t.Errorf("raised by one, it is %s", risk())
	}
}

func TestComparingVersions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.hold(w.enrol("edge", "*"))
	d := w.drift(h, "Lists all orders.")
	vera := w.signIn("vera")
	at := "/servers/" + h.server.ID + "/tools/" + d.ToolID
	vera.get(at+"?a=1&b=2").want(t, http.StatusOK, "Version v1", "Version v2", `<span class="vh">added:</span>all `)
	vera.get(at+"?a=99&b=-1").want(t, http.StatusOK, "Version v2", "Version v1")
	vera.get(at+"?a=x").want(t, http.StatusOK, "Version v1")
	vera.get("/servers/srv_other/tools/"+d.ToolID).want(t, http.StatusNotFound)
	vera.get("/servers/"+h.server.ID+"/versions?q=list").want(t, http.StatusOK, "v2", "Served, not reviewed", "Pinned by")
	vera.get("/servers/"+h.server.ID+"/traffic").want(t, http.StatusOK, "No calls in ")
	vera.get("/servers/"+h.server.ID+"?only=held").want(t, http.StatusOK, "list_orders", "1 has changed")
	vera.get("/servers/"+h.server.ID+"?q=nothing").want(t, http.StatusOK, "Nothing matches")
}

func TestASuspensionIsWatched(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.enrol("edge", "*")
	h := w.hold(g)
	w.enrol("blind", "org.other/*")
	tessa := w.signIn("tessa")
	at := "/servers/" + h.server.ID
	version := read[int64](w, `select version from servers where id = $1`, h.server.ID)
	watch := tessa.stream(t, "gateways-"+h.server.ID)
	if name := watch.next(); name != "gateways-"+h.server.ID {
		t.Fatalf("began with %q", name)
	}
	tessa.post(at+"/state", url.Values{"state": {"suspended"}, "version": {fmt.Sprint(version)}, "state-reason": {"leak"}}).want(t, http.StatusSeeOther)
	w.current(t, g.AudienceID)
	a := tessa.get(at).want(t, http.StatusOK, "In force on 0 of 1 gateway", "OFFLINE", `hx-sse:connect="/events?topic=gateways-`+h.server.ID)
	if strings.Contains(a.body, "blind") {
		t.Error("a gateway that cannot see the server is waited for")
	}
	effects, err := w.delivery.Effects(t.Context(), installer, h.server.ID)
	must(t, err)
	status := fmt.Sprintf(`{"instance":"i1","epoch":1,"active_revision":%d}`, effects.Gateways[0].Carries)
	g.send(http.MethodPut, "/v1/gateways/self/status", status, "Content-Type", "application/json").want(t, http.StatusOK)
	if name := watch.next(); name != "gateways-"+h.server.ID {
		t.Errorf("after the gateway reported: %q", name)
	}
	tessa.get(at).want(t, http.StatusOK, "In force on 1 gateway", string(delivery.Synced), "after ")
}

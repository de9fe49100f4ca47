package server

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"countersign/identity"
)

func TestAgentsInAPage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada, vera := w.signIn("ada"), w.signIn("vera")
	gateway := w.enrol("edge", "*")
	w.exec(`insert into call_records (call_id, gateway_id, at, server, tool, kind, decision, agent)
		values ('c1', $1, clock_timestamp(), 'com.example/orders', 'list', 'tool', 'allowed', 'cursor <1>')`, gateway.ID)
	ada.get("/agents").want(t, http.StatusOK, "Nobody answers for these", "/agents/new?agent=cursor+%3C1%3E", "Give an owner", "No agent has an owner")
	if page := vera.get("/agents").want(t, http.StatusOK, "Nobody answers for these"); strings.Contains(page.body, "/agents/new") {
		t.Error("a viewer is offered what only admins do")
	}
	vera.get("/agents/new").want(t, http.StatusForbidden)
	vera.post("/agents", url.Values{"agent": {"x"}}).want(t, http.StatusForbidden)

	owner := read[string](w, `select id from people where subject = 'vera'`)
	ada.get("/agents/new?agent=cursor+%3C1%3E").want(t, http.StatusOK, `value="cursor &lt;1&gt;"`, `value="`+owner+`"`)
	ada.post("/agents", url.Values{"agent": {"cursor <1>"}, "note": {"kept"}}).want(t, http.StatusBadRequest, "Choose somebody who has signed in once.", "kept")
	ada.post("/agents", url.Values{"agent": {"cursor <1>"}, "name": {"Cursor"}, "owner": {owner}}).want(t, http.StatusSeeOther)
	id := read[string](w, `select id from agents`)
	page := ada.get("/agents").want(t, http.StatusOK, "Vera", "Cursor", "/agents/"+id+"/edit")
	if strings.Contains(page.body, "Nobody answers for these") {
		t.Error("it is still said to have no owner")
	}
	ada.get("/agents?q=curs").want(t, http.StatusOK, "/agents/"+id+"/edit")
	ada.get("/agents?q=zed").want(t, http.StatusOK, "No agent here")
	ada.get("/agents/"+id+"/edit").want(t, http.StatusOK, `name="version" value="1"`, "cursor &lt;1&gt;")
	changed := url.Values{"agent": {"cursor <1>"}, "name": {"Cursor of Vera"}, "owner": {owner}, "version": {"1"}}
	ada.post("/agents/"+id, changed).want(t, http.StatusSeeOther)
	ada.post("/agents/"+id, changed).want(t, http.StatusConflict, "Somebody changed or ended this agent", "Cursor of Vera")
	ada.post("/agents/"+id+"/end", url.Values{"version": {"1"}}).want(t, http.StatusConflict, "Somebody changed or ended this agent")
	ada.post("/agents/"+id+"/end", url.Values{"version": {"2"}, "reason": {"sold"}}).want(t, http.StatusSeeOther)
	ada.get("/agents?ended=1").want(t, http.StatusOK, "Cursor of Vera")
	ada.get("/agents/"+id+"/edit").want(t, http.StatusSeeOther)
}

func TestAutomationKeepsAgents(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.signIn("vera")
	admin, viewer := w.automation("", identity.Admin), w.automation("", identity.Viewer)
	owner := read[string](w, `select id from people where subject = 'vera'`)
	admin.get("/v1/agent-owners").want(t, http.StatusOK, `"id":"`+owner+`"`)
	viewer.get("/v1/agent-owners").wantProblem(t, http.StatusForbidden, "not_allowed")
	body := `{"agent":"cursor","owner":"` + owner + `","note":"n"}`
	viewer.call(post, "/v1/agents", body).wantProblem(t, http.StatusForbidden, "not_allowed")
	made := admin.call(post, "/v1/agents", body).want(t, http.StatusCreated, `"agent":"cursor","name":"cursor","owner":"`+owner+`"`, `"version":1`)
	at := made.header.Get("Location")
	if !strings.HasPrefix(at, "/v1/agents/agt_") || made.header.Get("ETag") == "" || made.header.Get("Countersign-Revision") != "" {
		t.Errorf("headers %v", made.header)
	}
	admin.call(post, "/v1/agents", body).wantProblem(t, http.StatusConflict, "agent_exists")
	admin.call(post, "/v1/agents", `{"agent":"x","owner":"per_none"}`).wantProblem(t, http.StatusBadRequest, "invalid_agent")
	viewer.get(at).want(t, http.StatusOK, `"owner_gone":false`)
	viewer.get("/v1/agents?query=CURS&owner="+owner).want(t, http.StatusOK, `"agent":"cursor"`)
	viewer.get("/v1/agents?ended=only").want(t, http.StatusOK, `"items":[]`)
	viewer.get("/v1/unowned-agents").want(t, http.StatusOK, `"items":[]`)
	admin.call(put, at, body).wantProblem(t, http.StatusPreconditionRequired, "if_match_required")
	changed := admin.call(put, at, `{"owner":"`+owner+`","name":"Cursor"}`, "If-Match", made.header.Get("ETag")).want(t, http.StatusOK, `"name":"Cursor"`, `"version":2`)
	admin.call(put, at, body, "If-Match", made.header.Get("ETag")).wantProblem(t, http.StatusPreconditionFailed, "agent_changed")
	admin.call(post, at+"/end", `{"reason":"sold"}`, "If-Match", changed.header.Get("ETag")).want(t, http.StatusOK, `"ended_at"`)
	admin.get("/v1/agents/agt_none").wantProblem(t, http.StatusNotFound, "no_such_agent")
}

func TestKeysOfAnAgentInAPage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada, vera := w.signIn("ada"), w.signIn("vera")
	owner := read[string](w, `select id from people where subject = 'vera'`)
	ada.post("/agents", url.Values{"agent": {"nightly"}, "owner": {owner}, "models": {"claude\ngpt"}}).want(t, http.StatusSeeOther)
	at := "/agents/" + read[string](w, `select id from agents`)
	ada.get(at+"/edit").want(t, http.StatusOK, "claude\ngpt</textarea>")
	ada.get(at).want(t, http.StatusOK, "It has no key", "Make it and show the key", "claude", `value="90" selected`)
	if page := vera.get(at).want(t, http.StatusOK, "It has no key"); strings.Contains(page.body, "<form method=\"post\" action=\"/agents") {
		t.Error("a viewer is offered a key")
	}
	vera.post(at+"/keys", url.Values{"name": {"k"}, "expires": {"90"}}).want(t, http.StatusForbidden)
	ada.post(at+"/keys", url.Values{"expires": {"90"}}).want(t, http.StatusBadRequest, "This is needed.")
	for _, days := range []string{"", "0", "-1", "91", "366", "9999999999"} {
		ada.post(at+"/keys", url.Values{"name": {"k"}, "expires": {days}}).want(t, http.StatusBadRequest, "Say when it expires.")
	}
	made := ada.post(at+"/keys", url.Values{"name": {"build <b>farm"}, "expires": {"30"}}).want(t, http.StatusCreated, "csa_", "build &lt;b&gt;farm")
	if cache := made.header.Get("Cache-Control"); !strings.Contains(cache, "no-store") {
		t.Errorf("the page with the key may be kept: %q", cache)
	}
	key := read[string](w, `select id from agent_keys`)
	secret := made.body[strings.Index(made.body, "csa_"):][:53]
	if page := ada.get(at).want(t, http.StatusOK, "build &lt;b&gt;farm", "csa_…"+secret[49:]); strings.Contains(page.body, secret) {
		t.Error("the key is shown again")
	}
	vera.post(at+"/keys/"+key+"/end", url.Values{}).want(t, http.StatusForbidden)
	ada.post(at+"/keys/"+key+"/end", url.Values{"reason": {"a\u202eb"}}).want(t, http.StatusBadRequest, `class="act" open`)
	ada.post(at+"/keys/"+key+"/end", url.Values{"reason": {"lost"}}).want(t, http.StatusSeeOther)
	ada.post(at+"/keys/"+key+"/end", url.Values{}).want(t, http.StatusConflict, "This key has ended already.")
	w.exec(`update sessions set auth_time = auth_time - interval '10 minutes'`)
	ada.get(at).want(t, http.StatusOK, "/auth/login?fresh=1&amp;return=%2Fagents%2Fagt_", "Sign in again")
	ada.post(at+"/keys", url.Values{"name": {"k"}, "expires": {"30"}}).want(t, http.StatusForbidden, "Sign in again to do this")
	if n := read[int](w, `select count(*) from agent_keys`); n != 1 {
		t.Errorf("there are %d keys", n)
	}
}

func TestAutomationEndsKeysAndMakesNone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.signIn("ada")
	admin, viewer := w.automation("", identity.Admin), w.automation("", identity.Viewer)
	owner := read[string](w, `select id from people where subject = 'ada'`)
	made := admin.call(post, "/v1/agents", `{"agent":"nightly","owner":"`+owner+`","models":["gpt","claude"]}`).
		want(t, http.StatusCreated, `"models":["claude","gpt"]`, `"keys":0`)
	if made.header.Get("Policy-Revision") == "" {
		t.Error("the policy did not move")
	}
	at := made.header.Get("Location")
	ada.post(strings.TrimPrefix(at, "/v1")+"/keys", url.Values{"name": {"farm"}, "expires": {"30"}}).want(t, http.StatusCreated)
	listed := viewer.get(at+"/keys").want(t, http.StatusOK, `"name":"farm"`, `"shown":"`, `"expires_at":"`)
	if strings.Contains(listed.body, "csa_") || strings.Contains(listed.body, "hash") {
		t.Errorf("the list gives too much: %s", listed.body)
	}
	viewer.get("/v1/agents/agt_none/keys").wantProblem(t, http.StatusNotFound, "no_such_agent")
	admin.call(post, at+"/keys", `{"name":"k"}`).want(t, http.StatusMethodNotAllowed)
	end := at + "/keys/" + read[string](w, `select id from agent_keys`) + "/end"
	viewer.call(post, end, `{}`).wantProblem(t, http.StatusForbidden, "not_allowed")
	admin.call(post, at+"/keys/agk_none/end", `{}`).wantProblem(t, http.StatusNotFound, "no_such_key")
	if r := admin.call(post, end, `{"reason":"lost"}`).want(t, http.StatusOK, `"ended_at"`); r.header.Get("Policy-Revision") == "" {
		t.Error("the end of a key did not move the policy")
	}
	admin.call(post, end, `{}`).wantProblem(t, http.StatusConflict, "key_ended")
	if n := read[int](w, `select count(*) from audit_events where kind in ('agent.key_created', 'agent.key_ended')`); n != 2 {
		t.Errorf("%d events say that a key was made and ended", n)
	}
}

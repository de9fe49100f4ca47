package server

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
)

func TestServerSettings(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.hold(w.enrol("edge", "*"))
	must(t, w.EnsureTeam(t.Context(), "Refunds", []string{"refunds"}))
	refunds := read[string](w, `select id from teams where name = 'Refunds'`)
	tessa, vera := w.signIn("tessa"), w.signIn("vera")
	at := "/servers/" + h.server.ID
	version := func() string {
		return strconv.FormatInt(read[int64](w, `select version from servers where id = $1`, h.server.ID), 10)
	}
	before := w.traces()
	for name, c := range map[string]struct {
		path, field string
		form        url.Values
		status      int
	}{
		"a long label":          {"/edit", "labels", url.Values{"title": {"Orders <desk>"}, "labels": {"ok, " + strings.Repeat("x", 10<<10)}}, http.StatusBadRequest},
		"no reason":             {"/transfer", "transfer-reason", url.Values{"team": {refunds}}, http.StatusBadRequest},
		"no team":               {"/transfer", "team", url.Values{"team": {"tem_none"}, "transfer-reason": {"they know it"}}, http.StatusBadRequest},
		"no address":            {"/move", "url", url.Values{"transport": {"streamable_http"}, "url": {"javascript:alert(1)"}}, http.StatusBadRequest},
		"no state":              {"/state", "", url.Values{"state": {"asleep"}, "state-reason": {"leak"}}, http.StatusConflict},
		"a reason without end":  {"/state", "state-reason", url.Values{"state": {"suspended"}, "state-reason": {strings.Repeat("x", 2000)}}, http.StatusBadRequest},
		"edited meanwhile":      {"/edit", "", url.Values{"title": {"Desk"}, "version": {"1"}}, http.StatusConflict},
		"transferred meanwhile": {"/transfer", "", url.Values{"team": {refunds}, "transfer-reason": {"they know it"}, "version": {"1"}}, http.StatusConflict},
		"moved meanwhile":       {"/move", "", url.Values{"transport": {"streamable_http"}, "url": {"http://127.0.0.1:1/other"}, "version": {"1"}}, http.StatusConflict},
	} {
		if c.form.Get("version") == "" {
			c.form.Set("version", version())
		}
		a := tessa.post(at+c.path, c.form)
		if a.status != c.status || !strings.Contains(a.body, "Nothing was changed.") {
			t.Errorf("%s: %d, want %d: %s", name, a.status, c.status, a.shown())
			continue
		}
		if c.field != "" {
			a.wantInvalid(t, c.field, "")
		}
		for field, values := range c.form {
			if field != "version" && field != "state" && field != "team" && field != "transport" && !strings.Contains(a.field(t, field), values[0]) {
				t.Errorf("%s: %s is not kept: %.200s", name, field, a.field(t, field))
			}
		}
	}
	for _, path := range []string{"/edit", "/transfer", "/move", "/state"} {
		vera.post(at+path, url.Values{"version": {version()}, "team": {refunds}, "transfer-reason": {"x"}, "transport": {"streamable_http"}, "url": {"http://127.0.0.1:1/other"}, "state": {"suspended"}}).want(t, http.StatusForbidden)
	}
	if body := vera.get(at+"/settings").want(t, http.StatusOK, "Commerce owns this server").body; strings.Contains(body, at+"/edit") {
		t.Error("a viewer is offered to edit")
	}
	if after := w.traces(); after != before {
		t.Errorf("%s became %s", before, after)
	}

	tessa.post(at+"/edit", url.Values{"title": {"Order desk"}, "description": {"All orders"}, "labels": {"env=prod, money"}, "version": {version()}}).want(t, http.StatusSeeOther)
	tessa.get(at+"/settings").want(t, http.StatusOK, "Order desk", "All orders", "env=prod, money")
	tessa.get("/servers?label=money").want(t, http.StatusOK, "Order desk")
	moved := tessa.post(at+"/move", url.Values{"transport": {"streamable_http"}, "url": {"http://127.0.0.1:1/other"}, "version": {version()}}).want(t, http.StatusSeeOther)
	if !strings.HasPrefix(moved.header.Get("Location"), at+"/discovery/") {
		t.Errorf("after the move: %s", moved.header.Get("Location"))
	}
	if n := read[int](w, `select count(*) from tools where server_id = $1 and pinned_id is not null`, h.server.ID); n > 0 {
		t.Errorf("%d tools are still pinned", n)
	}
	tessa.get(at+"/settings").want(t, http.StatusOK, "http://127.0.0.1:1/other", "http://127.0.0.1:1/mcp")
	tessa.post(at+"/transfer", url.Values{"team": {refunds}, "transfer-reason": {"they know it"}, "version": {version()}}).want(t, http.StatusSeeOther)
	tessa.get(at+"/settings").want(t, http.StatusOK, "Refunds owns this server")
	tessa.post(at+"/edit", url.Values{"title": {"Mine"}, "version": {version()}}).want(t, http.StatusForbidden)
}

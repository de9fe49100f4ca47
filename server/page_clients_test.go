package server

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

func TestAClientIsMadeShownOnceAndRevoked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.enrol("edge", "*")
	ada, vera := w.signIn("ada"), w.signIn("vera")
	ada.get("/clients").want(t, http.StatusOK, "No client yet", `href="/clients/new"`)
	ada.get("/clients/new").want(t, http.StatusOK, "Enough for countersign plan", "Commerce")

	form := url.Values{"name": {" rules <pipeline> "}, "roles": {"viewer", "admin"}, "team": {w.team.ID}}
	made := ada.post("/clients", form).want(t, http.StatusCreated, "rules &lt;pipeline&gt;", "COUNTERSIGN_URL="+w.url, "countersign plan", "Copy the secret")
	config := regexp.MustCompile(`COUNTERSIGN_CLIENT_ID=(\S+)\s+COUNTERSIGN_CLIENT_SECRET=(\S+)`).FindStringSubmatch(made.body)
	if config == nil {
		t.Fatalf("the page shows no credential: %s", made.shown())
	}
	if store := made.header.Get("Cache-Control"); !strings.Contains(store, "no-store") {
		t.Errorf("the secret may be kept: %q", store)
	}
	id, secret := config[1], config[2]
	token, err := w.auth.Token(t.Context(), id, secret)
	must(t, err)
	robot := w.anonymous()
	robot.bearer = token.Token
	robot.get("/v1/teams").want(t, http.StatusOK)

	list := vera.get("/clients").want(t, http.StatusOK, "rules &lt;pipeline&gt;", "Viewer", "Admin", "Commerce", "Ada Admin")
	if strings.Contains(list.body, secret) || strings.Contains(list.body, "/revoke") || strings.Contains(list.body, "edge") {
		t.Errorf("the list shows a secret, a form for others or a gateway: %s", list.shown())
	}
	before := w.traces()
	at := "/clients/" + id + "/revoke"
	vera.post(at, url.Values{"reason": {"x"}}).want(t, http.StatusForbidden)
	ada.post(at, url.Values{"reason": {"a\x1bb"}}).want(t, http.StatusBadRequest, "Nothing was changed.", "Say why", "<details class=\"act\" open")
	gateway := read[string](w, `select id from api_clients where kind = 'gateway'`)
	ada.post("/clients/"+gateway+"/revoke", url.Values{"reason": {"by mistake"}}).want(t, http.StatusNotFound)
	if after := w.traces(); after != before {
		t.Errorf("%s became %s", before, after)
	}
	ada.post(at, url.Values{"reason": {"the laptop was lost"}}).want(t, http.StatusSeeOther)
	ada.get("/clients").want(t, http.StatusOK, "Revoked. Its tokens are refused at once.")
	robot.get("/v1/teams").wantProblem(t, http.StatusUnauthorized, "invalid_token")
	ada.post(at, url.Values{"reason": {"again"}}).want(t, http.StatusNotFound)
	if reason := read[string](w, `select detail ->> 'reason' from audit_events where kind = 'client.revoked'`); reason != "the laptop was lost" {
		t.Errorf("the log keeps %q", reason)
	}
}

func TestAClientThatIsNotMade(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.signIn("ada")
	w.unchanged(t)
	for name, c := range map[string]struct {
		form           url.Values
		invalid, words string
	}{
		"no name":       {form: url.Values{"roles": {"viewer"}}, invalid: "name", words: "Give it a name"},
		"a hidden name": {form: url.Values{"name": {"a\u202eb"}, "roles": {"viewer"}}, invalid: "name", words: "Give it a name"},
		"no such team":  {form: url.Values{"name": {"pipeline"}, "roles": {"viewer"}, "team": {"tem_none"}}, invalid: "team", words: "There is no such team."},
		"an approver":   {form: url.Values{"name": {"pipeline"}, "roles": {"viewer", "approver"}}, words: "Choose among viewer, auditor and admin."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := ada.post("/clients", c.form).want(t, http.StatusBadRequest, "Nothing was changed.", c.words, `value="viewer" checked`)
			if c.invalid != "" {
				a.wantInvalid(t, c.invalid, "")
			}
			if shown := a.field(t, "name"); !strings.Contains(shown, `value="`+c.form.Get("name")+`"`) {
				t.Errorf("the name is not kept: %s", shown)
			}
			if strings.Contains(a.body, "COUNTERSIGN_CLIENT_SECRET") {
				t.Error("a secret is shown")
			}
		})
	}
}

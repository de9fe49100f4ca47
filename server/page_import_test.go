package server

import (
	"bytes"
	"fmt"
	"maps"
	"mime/multipart"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"countersign/registry"
)

const listed = `{"servers": [
  {"server": {"name": "com.acme/orders", "description": "Orders of the shop.", "version": "1.0.0",
              "remotes": [{"type": "streamable-http", "url": "https://orders.acme.example/mcp"}]},
   "_meta": {"io.modelcontextprotocol.registry/official": {"status": "active", "isLatest": true}}},
  {"server": {"name": "com.acme/labels", "description": "Prints <b>labels</b>.", "version": "0.9.0"}},
  {"server": {"name": "com.acme/icons", "description": "Icons.", "version": "1.0.0", "icons": [{"src": "javascript:alert(1)"}]}},
  {"server": {"name": "com.acme/two/slashes", "description": "No.", "version": "1.0.0"}}
]}`

// upload sends a form with a file, as a browser does.
func (c *caller) upload(path string, form url.Values, file string) answer {
	c.w.t.Helper()
	var body bytes.Buffer
	out := multipart.NewWriter(&body)
	must(c.w.t, out.WriteField("csrf", c.csrf))
	for name, values := range form {
		for _, value := range values {
			must(c.w.t, out.WriteField(name, value))
		}
	}
	part, err := out.CreateFormFile("file", "server.json")
	must(c.w.t, err)
	_, err = part.Write([]byte(file))
	must(c.w.t, err)
	must(c.w.t, out.Close())
	return c.send(http.MethodPost, path, body.String(), "Content-Type", out.FormDataContentType())
}

func (w *world) proposedServers() []string {
	w.t.Helper()
	return read[[]string](w, `select coalesce(array_agg(name order by name), '{}') from servers where state = 'proposed'`)
}

func TestServersAreImportedAfterAPreview(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tessa := w.signIn("tessa")
	tessa.get("/servers").want(t, http.StatusOK, `href="/servers/import"`)
	tessa.get("/servers/new").want(t, http.StatusOK, `href="/servers/import"`)
	tessa.get("/servers/import").want(t, http.StatusOK, "Nothing is contacted, and nothing becomes callable.")
	before := w.traces()

	preview := tessa.upload("/servers/import", nil, listed).want(t, http.StatusOK,
		"4 servers, 2 can be imported", "com.acme/orders", "at <code>https://orders.acme.example/mcp</code>", "&lt;b&gt;labels&lt;/b&gt;",
		"no address that a gateway can use", "Cannot be imported", "icons[0].src")
	if kept := preview.field(t, "text"); !strings.Contains(kept, listed) {
		t.Errorf("the preview does not carry the text: %s", kept)
	}
	if ticks := strings.Count(preview.body, " checked"); ticks != 2 {
		t.Errorf("%d are ticked, want 2", ticks)
	}
	tessa.upload("/servers/import", url.Values{"do": {"none"}, "text": {listed}}, "").want(t, http.StatusOK, "4 servers, 2 can be imported")
	tessa.post("/servers/import", url.Values{"do": {"edit"}, "text": {listed}}).want(t, http.StatusOK, "Or choose a file", "com.acme/orders")
	if after := w.traces(); after != before {
		t.Errorf("%s became %s", before, after)
	}

	form := url.Values{"do": {"propose"}, "text": {strings.ReplaceAll(listed, "\n", "\r\n")}, "team": {w.team.ID}, "pick": {"0", "1", "2"}}
	done := tessa.upload("/servers/import", form, "").want(t, http.StatusSeeOther)
	if to := done.header.Get("Location"); to != "/servers?state=proposed" {
		t.Errorf("it leads to %s", to)
	}
	tessa.get("/servers?state=proposed").want(t, http.StatusOK, "2 servers are proposed.", "com.acme/labels")
	if got := w.proposedServers(); !slices.Equal(got, []string{"com.acme/labels", "com.acme/orders"}) {
		t.Errorf("proposed are %v", got)
	}
	if n := read[int](w, `select count(*) from discoveries`); n != 0 {
		t.Errorf("%d discoveries were opened", n)
	}
	again := tessa.upload("/servers/import", nil, listed).want(t, http.StatusOK, "Here already")
	if strings.Contains(again.body, " checked") {
		t.Error("what is here already is ticked")
	}
	newer := strings.ReplaceAll(listed, "1.0.0", "1.1.0")
	tessa.upload("/servers/import", nil, newer).want(t, http.StatusOK, "New version")
	form.Set("text", newer)
	if to := tessa.upload("/servers/import", form, "").want(t, http.StatusSeeOther).header.Get("Location"); to != "/servers" {
		t.Errorf("it leads to %s", to)
	}
	tessa.get("/servers").want(t, http.StatusOK, "1 has a new version, 1 was here already.")
}

func TestAnImportThatIsNotTaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	must(t, w.EnsureTeam(t.Context(), "Payments", []string{"payments"}))
	other := read[string](w, `select id from teams where name = 'Payments'`)
	tessa, vera := w.signIn("tessa"), w.signIn("vera")
	w.unchanged(t)
	propose := func(change url.Values) url.Values {
		form := url.Values{"do": {"propose"}, "text": {listed}, "team": {w.team.ID}, "pick": {"0"}}
		maps.Copy(form, change)
		return form
	}
	for name, c := range map[string]struct {
		form   url.Values
		status int
		words  []string
	}{
		"nothing":           {form: url.Values{}, status: http.StatusBadRequest, words: []string{"Paste something, or choose a file."}},
		"an empty list":     {form: url.Values{"text": {"[]"}}, status: http.StatusBadRequest, words: []string{"It lists no server."}},
		"half of a listing": {form: url.Values{"text": {listed[:40]}}, status: http.StatusBadRequest, words: []string{"no acceptable JSON", "{&#34;servers&#34;"}},
		"a page":            {form: url.Values{"text": {"<html>"}}, status: http.StatusBadRequest, words: []string{"&lt;html&gt;"}},
		"a member twice":    {form: url.Values{"text": {`{"name": "a", "name": "b"}`}}, status: http.StatusBadRequest, words: []string{"no acceptable JSON"}},
		"nothing ticked":    {form: propose(url.Values{"pick": nil}), status: http.StatusBadRequest, words: []string{"Choose 1 to 500 servers.", "com.acme/labels"}},
		"only what cannot be": {
			form: propose(url.Values{"pick": {"2", "99", "-1", "x"}}), status: http.StatusBadRequest,
			words: []string{"Choose 1 to 500 servers."},
		},
		"no team":          {form: propose(url.Values{"team": nil}), status: http.StatusBadRequest, words: []string{"Choose the team that owns the servers."}},
		"another's team":   {form: propose(url.Values{"team": {other}}), status: http.StatusForbidden, words: []string{"Choose a team that you are a member of."}},
		"a made-up team":   {form: propose(url.Values{"team": {"tem_none"}}), status: http.StatusForbidden, words: []string{"for your own teams"}},
		"too many entries": {form: url.Values{"text": {"[" + strings.Repeat("1,", 2000) + "1]"}}, status: http.StatusRequestEntityTooLarge, words: []string{"more than 2000 servers"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := tessa.upload("/servers/import", c.form, "").want(t, c.status, append(c.words, "Nothing was changed.")...)
			if text := c.form.Get("text"); !strings.Contains(a.field(t, "text"), text) {
				t.Errorf("the text is not kept: %s", a.shown())
			}
			if strings.Contains(a.body, other) {
				t.Error("the team of others is offered")
			}
		})
	}
	vera.get("/servers/import").want(t, http.StatusForbidden)
	vera.upload("/servers/import", propose(nil), "").want(t, http.StatusForbidden)
}

func TestOneImportTakesOneVersionOfEach(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.signIn("ada")
	const twice = `[{"name": "com.acme/orders", "description": "Orders.", "version": "1.0.0"}, {"name": "com.acme/orders", "description": "Orders.", "version": "2.0.0"}]`
	preview := ada.upload("/servers/import", nil, twice).want(t, http.StatusOK, "There is a later version of it here.")
	if ticks := strings.Count(preview.body, " checked"); ticks != 1 {
		t.Errorf("%d are ticked, want the latest", ticks)
	}
	form := url.Values{"do": {"propose"}, "text": {twice}, "team": {w.team.ID}, "pick": {"0", "1"}}
	ada.upload("/servers/import", form, "").want(t, http.StatusBadRequest, "Choose one version of it")
	form["pick"] = []string{"1"}
	ada.upload("/servers/import", form, "").want(t, http.StatusSeeOther)
	other := strings.ReplaceAll(twice, "Orders.", "Others.")
	form.Set("text", other)
	form["pick"] = []string{"1"}
	ada.upload("/servers/import", form, "").want(t, http.StatusConflict, "Nothing was imported", "published already with other contents")
}

func TestAnUploadIsBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.signIn("ada")
	w.unchanged(t)
	large := `{"servers": [{"server": {"name": "com.acme/orders", "description": "` + strings.Repeat("x", registry.MaxListingBytes) + `"}}]}`
	ada.upload("/servers/import", nil, large).want(t, http.StatusRequestEntityTooLarge, "larger than 5 MiB", "Nothing was changed.")
	ada.upload("/servers/import", nil, large+strings.Repeat(" ", 1<<20)).want(t, http.StatusRequestEntityTooLarge, "The form is larger than")
	fields := url.Values{"pick": make([]string, uploadParts)}
	ada.upload("/servers/import", fields, "").want(t, http.StatusRequestEntityTooLarge, fmt.Sprintf("more than %d fields", uploadParts))
	for _, hidden := range []string{"a\x00b", "\xff\xfe{}"} {
		ada.upload("/servers/import", nil, hidden).want(t, http.StatusBadRequest, "characters that are no text")
	}
	ada.post("/servers/import", url.Values{"text": {strings.Repeat("x", formLimit)}}).want(t, http.StatusRequestEntityTooLarge)
	for name, kind := range map[string]string{"no boundary": "multipart/form-data", "another": "multipart/mixed; boundary=x"} {
		if a := ada.send(http.MethodPost, "/servers/import", "--x\r\nrubbish", "Content-Type", kind); a.status < 400 || a.status >= 500 {
			t.Errorf("%s: %s", name, a.shown())
		}
	}
	ada.upload("/servers/import", nil, "\ufeff"+listed).want(t, http.StatusOK, "4 servers, 2 can be imported")
}

func TestOneImportIsTickedNoFurtherThanItGoes(t *testing.T) {
	t.Parallel()
	entries := make([]registry.Entry, registry.MaxProposed+3)
	for i := range entries {
		entries[i].Latest = i != 0
	}
	p := newPicks(entries, url.Values{})
	if n := len(p.manifests()); n != registry.MaxProposed || p.ticked[0] || !p.ticked[registry.MaxProposed] || p.ticked[registry.MaxProposed+1] {
		t.Errorf("%d are ticked", n)
	}
	if n := len(newPicks(entries, url.Values{"do": {"none"}}).manifests()); n != 0 {
		t.Errorf("%d are ticked after none", n)
	}
}

package server

import (
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"countersign/policy"
)

var seenField = regexp.MustCompile(`name="seen" value="([^"]*)"`)

// seen is what the form of a rule says that the reader has seen.
func (a answer) seen(t *testing.T) string {
	t.Helper()
	found := seenField.FindStringSubmatch(a.body)
	if found == nil {
		t.Fatalf("no form of a rule: %s", a.shown())
	}
	return found[1]
}

func TestAGrantIsSeenBeforeItIsGiven(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.hold(w.enrol("edge", "*"))
	ada, vera := w.signIn("ada"), w.signIn("vera")
	fresh := ada.get("/grants/new").want(t, http.StatusOK, "See what this changes", `id="preview"`)
	if strings.Contains(fresh.body, `id="create"`) {
		t.Error("it can be saved before anybody saw what it changes")
	}
	before := w.traces()
	form := url.Values{
		"name": {"Tomas <reads>"}, "users": {"tomas\r\nines"}, "servers": {h.server.Name}, "names": {"list_*"}, "condition": {"args.limit <= 10"},
		"until": {"168h"}, "reason": {"INC-2207"}, "do": {"preview"},
	}
	vera.post("/grants", form).want(t, http.StatusForbidden)
	seen := ada.post("/grants", form).want(t, http.StatusOK, "What this changes", "list_orders", "Tomas &lt;reads&gt;", `id="create"`)
	if strings.Contains(seen.body, "Nothing was changed.") || strings.Contains(seen.body, "delete_orders") {
		t.Errorf("the preview: %s", seen.shown())
	}
	form.Set("do", "create")
	form.Set("seen", seen.seen(t))
	form.Set("names", "*")
	changed := ada.post("/grants", form).want(t, http.StatusOK, "You changed the form since.", "delete_orders")
	if after := w.traces(); after != before {
		t.Errorf("%s became %s", before, after)
	}
	form.Set("seen", changed.seen(t))
	ada.post("/grants", form).want(t, http.StatusSeeOther)
	ada.get("/grants").want(t, http.StatusOK, "“Tomas &lt;reads&gt;” is given.", "Watch it reach the gateways", "/policy/rollout/", "days left")
	if reader := vera.get("/grants").want(t, http.StatusOK, "Tomas &lt;reads&gt;"); strings.Contains(reader.body, "/edit") || strings.Contains(reader.body, "/end") {
		t.Errorf("a reader is offered to change: %s", reader.shown())
	}
	id := read[string](w, `select id from grants where name = 'Tomas <reads>'`)
	got := read[policy.Subject](w, `select subject from grants where id = $1`, id)
	if diff := cmp.Diff(policy.Subject{Users: []string{"tomas", "ines"}}, got); diff != "" {
		t.Errorf("subject (-want +got):\n%s", diff)
	}
}

func with(form url.Values, name, value string) url.Values {
	other := maps.Clone(form)
	other.Set(name, value)
	return other
}

func TestAGrantIsChanged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.hold(w.enrol("edge", "*"))
	ada, vera := w.signIn("ada"), w.signIn("vera")
	at := "/grants/" + h.grant.ID + "/edit"
	vera.get(at).want(t, http.StatusForbidden)
	ada.get("/grants/grt_none/edit").want(t, http.StatusNotFound)
	page := ada.get(at).want(t, http.StatusOK, `value="Everybody"`, `name="id" value="`+h.grant.ID, `name="version" value="1"`, "What happened to it")
	if !strings.Contains(page.field(t, "everyone"), "checked") || !strings.Contains(page.field(t, "servers"), h.server.Name) {
		t.Errorf("the form does not hold what the grant says: %s", page.shown())
	}
	form := url.Values{
		"id": {h.grant.ID}, "version": {"1"}, "name": {"Everybody"}, "groups": {"support"}, "servers": {h.server.Name}, "until": {"at"},
		"not_before": {"2026-11-01T08:00"}, "not_after": {"2099-12-24T18:00"}, "condition": {"has(args.limit)"}, "do": {"create"},
	}
	w.unchanged(t)
	ada.post("/grants", with(form, "version", "7")).want(t, http.StatusConflict, "Somebody changed or ended this grant")
	ada.post("/grants", with(form, "id", "grt_none")).want(t, http.StatusNotFound)
	seen := ada.post("/grants", with(form, "do", "preview")).want(t, http.StatusOK, "everyone may no longer call", "Save the change")
	form.Set("seen", seen.seen(t))
	form.Set("condition", "")
	if again := ada.post("/grants", form).want(t, http.StatusOK, "You changed the form since."); again.seen(t) == seen.seen(t) {
		t.Error("another form has the same mark")
	}
}

func TestATimeThatIsNotTouchedStays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.hold(w.enrol("edge", "*"))
	ada := w.signIn("ada")
	w.exec(`update grants set not_after = '2099-01-02 03:04:05.678901+00' where id = $1`, h.grant.ID)
	form := url.Values{
		"id": {h.grant.ID}, "version": {"1"}, "name": {"Renamed"}, "everyone": {"yes"}, "servers": {h.server.Name}, "until": {"at"},
		"not_after": {"2099-01-02T03:04:05"}, "do": {"create"},
	}
	ada.get("/grants/"+h.grant.ID+"/edit").want(t, http.StatusOK, `value="2099-01-02T03:04:05"`)
	ada.post("/grants", form).want(t, http.StatusSeeOther)
	end := read[time.Time](w, `select not_after from grants where id = $1 and name = 'Renamed'`, h.grant.ID)
	if want := time.Date(2099, 1, 2, 3, 4, 5, 678901000, time.UTC); !end.Equal(want) {
		t.Errorf("it ends %s, want %s", end, want)
	}
	ada.post("/grants/"+h.grant.ID+"/end", url.Values{"version": {"2"}, "reason": {"over"}}).want(t, http.StatusSeeOther)
	ada.get("/grants/"+h.grant.ID+"/edit").want(t, http.StatusGone, "ended, for good")
}

func TestAGrantThatIsNotGiven(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.hold(w.enrol("edge", "*"))
	ada := w.signIn("ada")
	w.unchanged(t)
	for name, c := range map[string]struct {
		change  url.Values
		invalid string
		words   string
	}{
		"no name":              {change: url.Values{"name": {""}}, invalid: "name"},
		"nobody":               {change: url.Values{"users": nil}, words: "Say who; tick everyone if you mean it."},
		"everyone and some":    {change: url.Values{"everyone": {"yes"}}, words: "Either everyone or those you name, not both."},
		"a hidden third user":  {change: url.Values{"users": {"a\nb\nc\x1bd"}}, invalid: "users", words: "Line 3 holds a control character."},
		"declared, no models":  {change: url.Values{"allow_declared": {"yes"}}, words: "This means something only with models."},
		"no server":            {change: url.Values{"servers": {""}}, invalid: "servers", words: "Name servers or labels; * is all."},
		"a hidden label":       {change: url.Values{"labels": {"env=\x1bprod"}}, invalid: "labels", words: "Line 1 holds a control character."},
		"another risk":         {change: url.Values{"risks": {"mild"}}, words: "Line 1 is not read_only"},
		"a condition of words": {change: url.Values{"condition": {"amount is small"}}, invalid: "condition"},
		"a huge condition":     {change: url.Values{"condition": {"true && " + strings.Repeat("(true) && ", 600) + "true"}}, invalid: "condition"},
		"a beginning in words": {change: url.Values{"not_before": {"tomorrow"}}, invalid: "not_before", words: "Write a day and a time"},
		"no end":               {change: url.Values{"until": {"at"}}, invalid: "not_after", words: "Write a day and a time"},
		"an end before":        {change: url.Values{"until": {"at"}, "not_before": {"2030-01-02T00:00"}, "not_after": {"2030-01-01T00:00"}}, invalid: "not_after"},
		"a made-up length":     {change: url.Values{"until": {"for ever"}}, invalid: "until", words: "Choose one of these."},
		"a negative length":    {change: url.Values{"until": {"-5h"}}, invalid: "until", words: "Choose one of these."},
		"a reason of 2,000":    {change: url.Values{"reason": {strings.Repeat("x", 2000)}}, invalid: "reason", words: "At most 1000 characters."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			form := url.Values{"name": {"Reading"}, "users": {"tomas"}, "servers": {"*"}, "until": {"24h"}, "do": {"create"}}
			maps.Copy(form, c.change)
			a := ada.post("/grants", form).want(t, http.StatusBadRequest, "Nothing was changed.", c.words)
			if c.invalid != "" {
				a.wantInvalid(t, c.invalid, "")
			}
			for _, field := range []string{"name", "users", "condition", "reason"} {
				if value := form.Get(field); value != "" && !strings.Contains(a.field(t, field), value) {
					t.Errorf("%s is not kept: %s", field, a.field(t, field))
				}
			}
			preview := ada.post("/grants", with(form, "do", "preview"))
			if c.invalid != "name" && c.invalid != "reason" && (preview.status != http.StatusOK || !strings.Contains(preview.body, c.words) || strings.Contains(preview.body, `id="create"`)) {
				t.Errorf("the preview takes it: %s", preview.shown())
			}
		})
	}
}

func TestGrantsNobodyUses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.hold(w.enrol("edge", "*"))
	w.exec(`update grants set created_at = created_at - interval '30 days', not_after = clock_timestamp() + interval '3 days', version = version + 1 where id = $1`, h.grant.ID)
	w.exec(`update registry_head set generation = generation + 1`)
	vera := w.signIn("vera")
	vera.get("/grants").want(t, http.StatusOK, "Everybody", "Never", "days left")
	vera.get("/grants?show=expiring").want(t, http.StatusOK, "Everybody")
	vera.get("/grants?show=never").want(t, http.StatusOK, "Everybody", "as used by every reported call")
	if unused := vera.get("/grants?show=unused").want(t, http.StatusOK, "Every grant is used"); strings.Contains(unused.body, "Everybody") {
		t.Errorf("one that was never used is not one that is unused for long: %s", unused.shown())
	}
	vera.get("/grants?show=ended").want(t, http.StatusOK, "No grant here")
}

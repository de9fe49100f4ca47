package server

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestACallIsExplained(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.hold(w.enrol("edge", "*"))
	w.current(t, h.g.AudienceID)
	ada, vera := w.signIn("ada"), w.signIn("vera")
	vera.get("/policy/explain").want(t, http.StatusOK, "Say who calls what")
	w.unchanged(t)
	call := url.Values{"call_user": {"tomas"}, "call_server": {h.server.Name}, "call_tool": {"list_orders"}, "call_kind": {"tool"}, "ask": {"yes"}}
	vera.get("/policy/explain?"+call.Encode()).want(t, http.StatusOK, "Allowed at once.", "Revision ", "Everybody", "Decides")
	vera.post("/policy/explain", with(call, "call_tool", "delete_orders")).want(t, http.StatusOK, "Held until it has the approval")
	vera.post("/policy/explain", with(call, "against", "now")).want(t, http.StatusOK, "The rules as they are now")
	unknown := vera.post("/policy/explain", with(call, "call_tool", "drop_<b>")).want(t, http.StatusOK, "nothing of that name", "drop_&lt;b&gt;")
	if strings.Contains(unknown.body, "/grants/new") || strings.Contains(unknown.body, "/edit") {
		t.Errorf("a reader is offered to make a grant: %s", unknown.shown())
	}
	for name, c := range map[string]struct {
		change  url.Values
		invalid string
	}{
		"no server":          {url.Values{"call_server": {""}}, "call_server"},
		"no tool":            {url.Values{"call_tool": {""}}, "call_tool"},
		"arguments in words": {url.Values{"call_arguments": {"{amount: 1}"}}, "call_arguments"},
		"a list of them":     {url.Values{"call_arguments": {"[1]"}}, "call_arguments"},
		"keys twice":         {url.Values{"call_arguments": {`{"a":1,"a":2}`}}, "call_arguments"},
		"another kind":       {url.Values{"call_kind": {"agent"}}, "call_kind"},
		"a time in words":    {url.Values{"call_at": {"noon"}}, "call_at"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			form := maps.Clone(call)
			maps.Copy(form, c.change)
			vera.post("/policy/explain", form).want(t, http.StatusBadRequest, `role="alert"`).wantInvalid(t, c.invalid, "")
		})
	}
	rule := url.Values{
		"name": {"Nobody <lists>"}, "everyone": {"yes"}, "servers": {h.server.Name}, "names": {"list_orders"}, "effect": {"deny"}, "do": {"try"},
	}
	draft := ada.post("/policy/explain?draft=guardrail", rule).want(t, http.StatusOK, "It is not saved.", "Nobody &lt;lists&gt;", `name="draft" value="guardrail"`, `formaction="/guardrails"`)
	if !strings.Contains(draft.field(t, "call_tool"), "list_orders") {
		t.Errorf("what the draft names is not suggested: %s", draft.field(t, "call_tool"))
	}
	maps.Copy(rule, call)
	rule.Set("draft", "guardrail")
	ada.post("/policy/explain", rule).want(t, http.StatusOK, "Denied by a guardrail.", "The rules with the draft")
	ada.post("/policy/explain", with(rule, "effect", "nothing")).want(t, http.StatusBadRequest, "The draft cannot be judged yet.")
	if reader := vera.post("/policy/explain", rule).want(t, http.StatusOK, "Allowed at once."); strings.Contains(reader.body, "not saved") {
		t.Errorf("a reader drafts: %s", reader.shown())
	}
}

func TestANearGrantIsPrepared(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.hold(w.enrol("edge", "*"))
	w.exec(`update grants set subject = '{"groups":["support"]}', version = version + 1 where id = $1`, h.grant.ID)
	w.exec(`update registry_head set generation = generation + 1`)
	ada := w.signIn("ada")
	q := url.Values{"call_user": {"tomas"}, "call_server": {h.server.Name}, "call_tool": {"list_orders"}, "against": {"now"}}
	a := ada.get("/policy/explain?"+q.Encode()).want(t, http.StatusOK, "no grant allows it", "be in group support", "/grants/"+h.grant.ID+"/edit", "Make a grant for this call")
	link := regexp.MustCompile(`href="(/grants/new\?[^"]*)"`).FindStringSubmatch(a.body)
	if link == nil {
		t.Fatal("there is no link")
	}
	form := ada.get(strings.ReplaceAll(link[1], "&amp;", "&")).want(t, http.StatusOK)
	for field, value := range map[string]string{"users": "tomas", "servers": h.server.Name, "names": "list_orders"} {
		if !strings.Contains(form.field(t, field), value) {
			t.Errorf("%s is not filled in: %s", field, form.field(t, field))
		}
	}
}

func TestPolicyTestsArePagesToo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.hold(w.enrol("edge", "*"))
	ada, vera := w.signIn("ada"), w.signIn("vera")
	vera.get("/policy/tests").want(t, http.StatusOK, "Nobody calls what is not here", "PASSES", "1 test holds")
	form := url.Values{
		"name": {"Tomas <reads>"}, "call_user": {"tomas"}, "call_server": {h.server.Name}, "call_tool": {"list_orders"}, "call_kind": {"tool"}, "expect_outcome": {"allow"}, "do": {"save"},
	}
	vera.post("/policy/tests", form).want(t, http.StatusForbidden)
	before := w.traces()
	ada.post("/policy/tests", with(form, "do", "try")).want(t, http.StatusOK, "By the rules as they are now it is allowed", "PASSES")
	ada.post("/policy/tests", with(with(form, "do", "try"), "expect_outcome", "deny")).want(t, http.StatusOK, "FAILS", "expected deny, got allow")
	ada.post("/policy/tests", with(form, "name", "")).want(t, http.StatusBadRequest).wantInvalid(t, "name", "")
	ada.post("/policy/tests", with(form, "call_tool", "")).want(t, http.StatusBadRequest).wantInvalid(t, "call_tool", "")
	ada.post("/policy/tests", with(form, "call_arguments", "{")).want(t, http.StatusBadRequest).wantInvalid(t, "call_arguments", "{")
	ada.post("/policy/tests", with(form, "expect_outcome", "maybe")).want(t, http.StatusBadRequest).wantInvalid(t, "expect_outcome", "")
	ada.post("/policy/tests", with(form, "name", "nobody CALLS what is not here")).want(t, http.StatusConflict).wantInvalid(t, "name", "nobody CALLS")
	if after := w.traces(); after != before {
		t.Errorf("%s became %s", before, after)
	}
	ada.post("/policy/tests", form).want(t, http.StatusSeeOther)
	id := read[string](w, `select id from policy_tests where name = 'Tomas <reads>'`)
	ada.get("/policy/tests/"+id+"/edit").want(t, http.StatusOK, `value="Tomas &lt;reads&gt;"`, `value="list_orders"`)
	ada.get("/policy/tests/none/edit").want(t, http.StatusNotFound)
	ada.post("/policy/tests", with(with(form, "id", id), "version", "9")).want(t, http.StatusConflict, "Somebody changed or ended this policy test")
	ada.post("/policy/tests", with(with(with(form, "id", id), "version", "1"), "expect_outcome", "deny")).want(t, http.StatusSeeOther)
	vera.get("/policy/tests").want(t, http.StatusOK, "1 of 2 tests fail", "expected deny, got allow")

	w.until(t, `select compile_error <> '' from audiences`)
	ada.get("/policy").want(t, http.StatusOK, "1 test fails, so no change of a rule is published.", "Tomas &lt;reads&gt;", "Open the tests")
	ada.get("/").want(t, http.StatusOK, "A policy test keeps the latest change from being published")
	ada.post("/policy/tests/"+id+"/end", url.Values{"version": {"1"}}).want(t, http.StatusConflict, "Somebody changed or ended this policy test")
	vera.post("/policy/tests/"+id+"/end", url.Values{"version": {"2"}}).want(t, http.StatusForbidden)
	ada.post("/policy/tests/"+id+"/end", url.Values{"version": {"2"}}).want(t, http.StatusSeeOther)
	ada.get("/policy/tests").want(t, http.StatusOK, "1 test holds", "The test is ended.")
}

func TestWhoCanCall(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.hold(w.enrol("edge", "*"))
	vera := w.signIn("vera")
	a := vera.get("/policy/access").want(t, http.StatusOK, "everyone", h.server.Name, "1 allowed, 1 held", "Destructive")
	cell := regexp.MustCompile(`class="cell" href="([^"#]*)`).FindStringSubmatch(a.body)
	if cell == nil {
		t.Fatalf("no cell: %s", a.shown())
	}
	vera.get(strings.ReplaceAll(cell[1], "&amp;", "&")).want(t, http.StatusOK, "What everyone can call of", "list_orders", "delete_orders", "People approve it first")
	vera.get("/policy/access?q=nobody-of-this-name").want(t, http.StatusOK, "Nothing matches")
	vera.get("/policy/access?user=tomas&groups=support").want(t, http.StatusOK, "What tomas can call", "list_orders", "/policy/explain?")
	vera.get("/policy/access?user=vera").want(t, http.StatusOK, "Groups are those of the last sign-in here.", `value="viewers"`)
	vera.get("/policy/access?user="+strings.Repeat("x", 5000)).want(t, http.StatusBadRequest)
	file := vera.get("/policy/access.csv").want(t, http.StatusOK, "everyone,"+h.server.Name+",tool,delete_orders,destructive,hold,approval_required")
	if got := file.header.Get("Content-Type"); got != "text/csv; charset=utf-8" {
		t.Errorf("Content-Type %s", got)
	}
	if reader := vera.get("/policy/access?user=tomas"); strings.Contains(reader.body, "/policy/suspensions?") {
		t.Errorf("a reader is offered to suspend: %s", reader.shown())
	}
	w.signIn("ada").get("/policy/access?user=tomas").want(t, http.StatusOK, "/policy/suspensions?kind=person&amp;which=tomas")
}

func TestCallsAreStopped(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.hold(w.enrol("edge", "*"))
	ada, vera, tessa := w.signIn("ada"), w.signIn("vera"), w.signIn("tessa")
	stop := func(kind, which, reason string) url.Values {
		return url.Values{"kind": {kind}, "which": {which}, "reason": {reason}}
	}
	before := w.traces()
	ada.get("/policy/suspensions?kind=agent&which=bot-7").want(t, http.StatusOK, "Nothing is suspended", `value="bot-7"`)
	if reader := vera.get("/policy/suspensions").want(t, http.StatusOK); strings.Contains(reader.body, `id="suspend"`) {
		t.Errorf("a reader is offered to suspend: %s", reader.shown())
	}
	vera.post("/policy/suspensions", stop("agent", "bot-7", "leak")).want(t, http.StatusForbidden)
	vera.post("/policy/suspensions", url.Values{"kind": {"tool"}, "tool": {h.tool}, "reason": {"x"}}).want(t, http.StatusForbidden)
	for name, c := range map[string]struct {
		form    url.Values
		invalid string
	}{
		"no reason":         {stop("agent", "bot-7", " "), "reason"},
		"no agent":          {stop("agent", "", "leak"), "which"},
		"many agents":       {stop("agent", "bot-*", "leak"), "which"},
		"a hidden agent":    {stop("agent", "bot\x1b", "leak"), "which"},
		"no person":         {stop("person", "", "leak"), "which"},
		"oneself":           {stop("person", "ada", "leak"), "which"},
		"nobody in special": {stop("team", "bot-7", "leak"), ""},
	} {
		a := ada.post("/policy/suspensions", c.form).want(t, http.StatusBadRequest, "Nothing was changed.")
		if c.invalid != "" {
			a.wantInvalid(t, c.invalid, "")
		} else if !strings.Contains(a.body, "Choose what to stop.") {
			t.Errorf("%s: %s", name, a.shown())
		}
	}
	if after := w.traces(); after != before {
		t.Errorf("%s became %s", before, after)
	}
	done := ada.post("/policy/suspensions", stop("agent", "bot-<7>", "Its <key> leaked.")).want(t, http.StatusSeeOther)
	ada.get(done.header.Get("Location")).want(t, http.StatusOK, "edge", "bot-&lt;7&gt;", "By Ada Admin", "Open suspensions")
	ada.post("/policy/suspensions", stop("agent", "bot-<7>", "again")).want(t, http.StatusConflict, "This is suspended already.")
	ada.post("/policy/suspensions", stop("person", "nora", "Left the company.")).want(t, http.StatusSeeOther)
	tool := url.Values{"kind": {"tool"}, "tool": {h.tool}, "reason": {"INC-7"}}
	at := "/servers/" + h.server.ID + "/tools/" + h.tool
	tessa.get(at).want(t, http.StatusOK, "Suspend this tool")
	tessa.post("/policy/suspensions", with(tool, "reason", "")).want(t, http.StatusBadRequest, "delete_orders").wantInvalid(t, "reason", "")
	tessa.post("/policy/suspensions", tool).want(t, http.StatusSeeOther)
	tessa.get(at).want(t, http.StatusOK, "Gateways deny every call of it.", "“INC-7”, by Tessa Team")
	ada.get("/").want(t, http.StatusOK, "Three suspensions are in force")
	ada.get("/guardrails").want(t, http.StatusOK, "Emergency", "Open suspensions")
	list := vera.get("/policy/suspensions").want(t, http.StatusOK, "3 suspensions in force", "Its &lt;key&gt; leaked.", "nora of", "delete_orders on "+h.server.Name)
	if strings.Contains(list.body, "/lift") {
		t.Errorf("a reader is offered to lift: %s", list.shown())
	}

	id := read[string](w, `select id from guardrails where emergency and subject ? 'agents'`)
	lift := "/policy/suspensions/" + id + "/lift"
	before = w.traces()
	vera.post(lift, url.Values{"version": {"1"}, "reason": {"x"}}).want(t, http.StatusForbidden)
	ada.post(lift, url.Values{"version": {"1"}}).want(t, http.StatusBadRequest, "Say why, for the one who asks later.", `id="lift-`+id)
	ada.post(lift, url.Values{"version": {"7"}, "reason": {"<over>"}}).want(t, http.StatusConflict, "Somebody changed or ended", `value="&lt;over&gt;"`)
	ada.post("/policy/suspensions/"+h.guardrail+"/lift", url.Values{"version": {"1"}, "reason": {"x"}}).want(t, http.StatusNotFound)
	if after := w.traces(); after != before {
		t.Errorf("%s became %s", before, after)
	}
	ada.post(lift, url.Values{"version": {"1"}, "reason": {"rotated"}}).want(t, http.StatusSeeOther)
	ada.get("/policy/suspensions").want(t, http.StatusOK, "2 suspensions in force", "Lifted.", "Watch it reach the gateways")
}

func TestARevisionAndTheWayBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.hold(w.enrol("edge", "*"))
	w.current(t, h.g.AudienceID)
	first := read[int64](w, `select max(revision) from revisions`)
	ada, vera := w.signIn("ada"), w.signIn("vera")
	ada.post("/grants/"+h.grant.ID+"/end", url.Values{"version": {"1"}, "reason": {"a mistake"}}).want(t, http.StatusSeeOther)
	w.current(t, h.g.AudienceID)
	second := read[int64](w, `select max(revision) from revisions`)

	vera.get("/policy/revisions").want(t, http.StatusOK, fmt.Sprintf("/policy/revisions/e1.r%d", second), "In force", "The grant “Everybody” was ended", "Ada Admin")
	at := fmt.Sprintf("/policy/revisions/e1.r%d", first)
	vera.get(fmt.Sprintf("/policy/revisions/e1.r%d", second)).want(t, http.StatusOK, "everyone may no longer call", "Everybody", "By Ada Admin", fmt.Sprintf("compared with revision %d", first))
	vera.get(at+fmt.Sprintf("?from=e1.r%d", second)).want(t, http.StatusOK, "everyone may call")
	vera.get(at+"/document").want(t, http.StatusOK, fmt.Sprintf(`"revision":%d`, first))
	for _, wrong := range []string{"/policy/revisions/e1.r999999", "/policy/revisions/7", "/policy/revisions/e9.r1", at + "?from=e1.r999999", at + "?from=x", at + "?audience=none", at + "/document?audience=none"} {
		vera.get(wrong).want(t, http.StatusNotFound)
	}
	vera.get(at+"/rollback").want(t, http.StatusForbidden)

	plan := ada.get(at+"/rollback").want(t, http.StatusOK, "everyone may call", "Everybody", fmt.Sprintf("Go back to the rules of revision %d", first))
	form := url.Values{"seen": {plan.seen(t)}, "reason": {"It was a mistake <b>"}, "sure": {"yes"}}
	before := w.traces()
	vera.post(at+"/rollback", form).want(t, http.StatusForbidden)
	ada.post(at+"/rollback", with(form, "sure", "")).want(t, http.StatusBadRequest, "Tick this when you have read what changes.", "It was a mistake &lt;b&gt;")
	ada.post(at+"/rollback", with(form, "reason", "")).want(t, http.StatusBadRequest).wantInvalid(t, "reason", "")
	ada.post(at+"/rollback", with(form, "seen", "sha256:0")).want(t, http.StatusPreconditionFailed, "The rules changed since you looked")
	if after := w.traces(); after != before {
		t.Errorf("%s became %s", before, after)
	}
	done := ada.post(at+"/rollback", form).want(t, http.StatusSeeOther)
	ada.get(done.header.Get("Location")).want(t, http.StatusOK, "The rules were rolled back", fmt.Sprintf("The rules are what they were in revision %d.", first))
	ada.get(at+"/rollback").want(t, http.StatusOK, "The rules are as they were then")
}

func TestARolloutAndTheKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.enrol("edge", "*")
	w.hold(g)
	ada := w.signIn("ada")
	generation := read[int64](w, `select generation from registry_head`)
	page := ada.get(fmt.Sprintf("/policy/rollout/%d", generation)).want(t, http.StatusOK, "edge", fmt.Sprintf("/events?topic=rollout-%d", generation), "hx-get", "<noscript>")
	if strings.Contains(page.body, "In force on 1") {
		t.Errorf("a gateway that never spoke enforces: %s", page.shown())
	}
	for _, wrong := range []string{"999999", "x", "-1", "9223372036854775807"} {
		if a := ada.get("/policy/rollout/" + wrong); a.status != http.StatusNotFound {
			t.Errorf("%s: %d", wrong, a.status)
		}
	}
	ada.get("/events?topic=rollout-x").want(t, http.StatusNotFound)
	keys := ada.get("/policy/keys").want(t, http.StatusOK, "OPA bundles", "ES256", "Signs", "What gateways pin", "countersign keys rotate --purpose policy")
	if !strings.Contains(keys.body, w.auth.RootKey()) {
		t.Error("the root is not there")
	}
	if strings.Contains(keys.body, "PRIVATE") {
		t.Error("a key is shown")
	}
}

// until waits for something of the database to be true.
func (w *world) until(t *testing.T, sql string) {
	t.Helper()
	for deadline := time.After(15 * time.Second); !read[bool](w, sql); {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-deadline:
			t.Fatalf("still not: %s", sql)
		}
	}
}

package server

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"countersign/client"
	"countersign/identity"
	"countersign/policy"
	"countersign/registry"
)

// listOf is one page as a client reads it.
type listOf[T any] = listJSON[T]

// newServer is the body of a registration.
func (w *world) newServer(name string) map[string]any {
	return map[string]any{"name": name, "team": w.team.ID, "transport": "streamable_http", "url": "https://orders.example.com/mcp"}
}

func TestAutomationKeepsServers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	robot := w.automation(w.team.ID)
	made := robot.call(post, "/v1/servers", w.newServer("com.example/one")).want(t, http.StatusCreated)
	one := into[registeredJSON](t, made)
	at := made.header.Get("Location")
	if at != "/v1/servers/"+one.Server.ID || one.Server.State != registry.Proposed || one.Discovery.State != registry.Waiting {
		t.Fatalf("made %s: %s", at, made.body)
	}
	if tag := robot.get(at).want(t, http.StatusOK).header.Get("ETag"); tag != `"v1"` || tag != made.header.Get("ETag") {
		t.Errorf("ETag %s, then %s", made.header.Get("ETag"), tag)
	}
	edited := robot.call(patch, at, `{"title":"One","labels":["env=prod"]}`, "If-Match", `"v1"`).want(t, http.StatusOK, `"title":"One"`)
	tag := edited.header.Get("ETag")
	if tag == `"v1"` {
		t.Error("the edit gives no new version")
	}
	robot.call(patch, at, `{"title":"Two"}`, "If-Match", `"v1"`).wantProblem(t, http.StatusPreconditionFailed, "server_changed")
	robot.call(patch, at, `{"title":"Two"}`).wantProblem(t, http.StatusPreconditionRequired, "if_match_required")
	robot.call(patch, at, `{"title":"Two"}`, "If-Match", `W/"v1"`).wantProblem(t, http.StatusBadRequest, "invalid_if_match")
	robot.call(post, at+"/state", `{"state":"active"}`, "If-Match", tag).wantProblem(t, http.StatusConflict, "state_not_possible")

	moved := into[registeredJSON](t, robot.call(post, at+"/move", `{"transport":"streamable_http","url":"https://new.example.com/mcp"}`, "If-Match", tag).want(t, http.StatusOK))
	if found := into[listOf[endpointJSON]](t, robot.get(at+"/endpoints").want(t, http.StatusOK)); len(found.Items) != 2 || found.Items[1].EndedAt == nil {
		t.Errorf("endpoints %+v", found)
	}
	stopped := into[discoveryJSON](t, robot.call(post, "/v1/discoveries/"+moved.Discovery.ID+"/cancel", "").want(t, http.StatusOK))
	if stopped.State != registry.Cancelled {
		t.Errorf("the discovery is %s", stopped.State)
	}
	again := robot.call(post, at+"/discoveries", "").want(t, http.StatusCreated)
	robot.get(again.header.Get("Location")).want(t, http.StatusOK, `"state":"waiting"`)
	robot.call(post, at+"/discoveries", "").wantProblem(t, http.StatusConflict, "discovery_open")
	if found := into[listOf[discoveryJSON]](t, robot.get(at+"/discoveries").want(t, http.StatusOK)); len(found.Items) != 3 {
		t.Errorf("%d discoveries", len(found.Items))
	}
	other, err := w.registry.CreateTeam(t.Context(), installer, registry.NewTeam{Name: "Other", IDPGroups: []string{"other"}})
	must(t, err)
	version := robot.get(at).header.Get("ETag")
	robot.call(patch, at, map[string]any{"team": other.ID, "reason": "they run it now"}, "If-Match", version).want(t, http.StatusOK, other.ID)
	version = robot.get(at).header.Get("ETag")
	robot.call(post, at+"/state", `{"state":"retired"}`, "If-Match", version).wantProblem(t, http.StatusForbidden, "not_allowed")
	w.automation("", identity.Admin).call(post, at+"/state", `{"state":"retired"}`, "If-Match", version).want(t, http.StatusOK, `"retired"`)
}

func TestAutomationReadsWhatAServerOffers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.enrol("edge", "*")
	h := w.hold(g)
	viewer := w.automation("", identity.Viewer)
	tools := into[listOf[toolJSON]](t, viewer.get("/v1/servers/"+h.server.ID+"/tools?limit=1").want(t, http.StatusOK))
	if len(tools.Items) != 1 || tools.Items[0].Name != "delete_orders" || tools.Next == "" {
		t.Fatalf("tools %+v", tools)
	}
	rest := into[listOf[toolJSON]](t, viewer.get("/v1/servers/"+h.server.ID+"/tools?after="+tools.Next).want(t, http.StatusOK))
	if len(rest.Items) != 1 || rest.Items[0].Name != "list_orders" || rest.Next != "" {
		t.Errorf("the rest %+v", rest)
	}
	viewer.get("/v1/servers?after="+tools.Next).wantProblem(t, http.StatusBadRequest, "invalid_parameter")
	tool := tools.Items[0]
	versions := into[listOf[definitionJSON]](t, viewer.get("/v1/tools/"+tool.ID+"/definitions").want(t, http.StatusOK))
	if len(versions.Items) != 1 || versions.Items[0].State != registry.Approved {
		t.Fatalf("versions %+v", versions)
	}
	text := into[definitionTextJSON](t, viewer.get("/v1/tools/"+tool.ID+"/definitions/"+versions.Items[0].ID).want(t, http.StatusOK))
	if text.Raw != string(deleteOrders) {
		t.Errorf("raw %s", text.Raw)
	}
	viewer.get("/v1/tools/"+tool.ID+"/definitions/none").wantProblem(t, http.StatusNotFound, "no_such_definition")
	viewer.get("/v1/tools/"+tool.ID+"/grants").want(t, http.StatusOK, h.grant.ID)

	changed := strings.Replace(string(deleteOrders), "Deletes", "Destroys", 1)
	g.call(post, client.PathObservations, client.Observation{
		ServerID: h.server.ID, EndpointDigest: h.server.Endpoint.Digest, Partial: true, Tools: []json.RawMessage{json.RawMessage(changed)},
	}).want(t, http.StatusOK, "delete_orders")
	if queue := into[listOf[driftedJSON]](t, viewer.get("/v1/drift").want(t, http.StatusOK)); len(queue.Items) != 1 || !queue.Items[0].Held {
		t.Errorf("drift %+v", queue)
	}
	drift := into[driftJSON](t, viewer.get("/v1/drift/"+tool.ID).want(t, http.StatusOK))
	if len(drift.Differences) == 0 || drift.Differences[0].Meaning == "" || drift.Served.Number != 2 {
		t.Errorf("drift %+v", drift)
	}
	viewer.get("/v1/drift?severity=huge").wantProblem(t, http.StatusBadRequest, "invalid_parameter")
	viewer.get("/v1/risk-proposals?open=true").want(t, http.StatusOK, `"items":[]`)
	viewer.get("/v1/sprawl").want(t, http.StatusOK, `"tools":2`, "com.example/orders")
	first := into[listOf[sprawlToolJSON]](t, viewer.get("/v1/sprawl/tools?limit=1").want(t, http.StatusOK))
	second := into[listOf[sprawlToolJSON]](t, viewer.get("/v1/sprawl/tools?limit=1&show=never_called&after="+first.Next).want(t, http.StatusOK))
	if len(first.Items) != 1 || len(second.Items) != 1 || first.Items[0].Tool == second.Items[0].Tool {
		t.Errorf("sprawl %+v, then %+v", first, second)
	}
	viewer.get("/v1/gateways").want(t, http.StatusOK, `"edge"`)
	viewer.get("/v1/gateways/"+g.ID).want(t, http.StatusOK, `"instances":[`)
	viewer.get("/v1/rollout").want(t, http.StatusOK, `"counts"`)
}

func TestAutomationKeepsRules(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	admin, viewer := w.automation("", identity.Admin), w.automation("", identity.Viewer)
	everyone, all := policy.Subject{Everyone: true}, policy.Resource{Servers: []string{"*"}}
	body := map[string]any{"name": "All read", "subject": everyone, "resource": all}
	viewer.call(post, "/v1/grants", body).wantProblem(t, http.StatusForbidden, "not_allowed")
	made := admin.call(post, "/v1/grants", body).want(t, http.StatusCreated)
	at := made.header.Get("Location")
	admin.get(at).want(t, http.StatusOK, `"state":"in_force"`)
	admin.call(post, "/v1/grants/preview", map[string]any{"resource": all}).want(t, http.StatusOK, `"items":[]`)
	admin.call(post, at+"/end", `{"reason":"over"}`, "If-Match", `"v7"`).wantProblem(t, http.StatusPreconditionFailed, "grant_changed")
	admin.call(post, at+"/end", `{"reason":"over"}`, "If-Match", made.header.Get("ETag")).want(t, http.StatusOK, `"state":"ended"`)
	viewer.get("/v1/grants").want(t, http.StatusOK, `"items":[]`)
	viewer.get("/v1/grants?ended=only").want(t, http.StatusOK, "All read")
	bad := admin.call(post, "/v1/grants", `{"name":"","subject":{},"resource":{"servers":["*"]}}`).wantProblem(t, http.StatusBadRequest, "invalid_grant")
	if bad.Fields["name"] == "" || bad.Fields["subject"] == "" {
		t.Errorf("fields %v", bad.Fields)
	}
	rail := admin.call(post, "/v1/guardrails", map[string]any{"name": "No", "subject": everyone, "resource": all, "effect": policy.Effect{Deny: true}}).want(t, http.StatusCreated)
	at = rail.header.Get("Location")
	viewer.get(at).want(t, http.StatusOK, `"deny":true`)
	viewer.get("/v1/guardrails?ended=true").want(t, http.StatusOK, `"deny":true`)

	team := admin.call(post, "/v1/teams", `{"name":"Payments","groups":["pay"]}`).want(t, http.StatusCreated, `"people":[]`)
	at = team.header.Get("Location")
	admin.call(put, at, `{"name":"Payment","groups":["pay","bank"]}`).want(t, http.StatusOK, `"bank"`)
	viewer.get(at).want(t, http.StatusOK, `"Payment"`)
	viewer.get("/v1/teams").want(t, http.StatusOK, `"Payment"`, `"Commerce"`)
	admin.call(put, at, `{"name":"Payment"}`).wantProblem(t, http.StatusBadRequest, "invalid_team")
}

func TestAutomationChangesRulesInPlace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	admin, viewer := w.automation("", identity.Admin), w.automation("", identity.Viewer)
	everyone, all := policy.Subject{Everyone: true}, policy.Resource{Servers: []string{"*"}}
	body := map[string]any{"key": "small", "name": "Small", "subject": everyone, "resource": all, "condition": "args.amount <= 100"}
	made := admin.call(post, "/v1/grants", body).want(t, http.StatusCreated, `"condition":"args.amount \u003c= 100"`)
	at, version := made.header.Get("Location"), made.header.Get("ETag")
	body["condition"] = "args.amount <= 10"
	admin.call(put, at, body).wantProblem(t, http.StatusPreconditionRequired, "if_match_required")
	admin.call(put, at, body, "If-Match", `"v7"`).wantProblem(t, http.StatusPreconditionFailed, "grant_changed")
	viewer.call(put, at, body, "If-Match", version).wantProblem(t, http.StatusForbidden, "not_allowed")
	changed := admin.call(put, at, body, "If-Match", version).want(t, http.StatusOK, `\u003c= 10"`, `"version":2`)
	if changed.header.Get("ETag") != `"v2"` {
		t.Errorf("the ETag is %s", changed.header.Get("ETag"))
	}
	viewer.get(at).want(t, http.StatusOK, `\u003c= 10"`)
	for _, bad := range []string{"args.amount <", "1 + 1", strings.Repeat("true && ", 600) + "true"} {
		body["condition"] = bad
		refused := admin.call(put, at, body, "If-Match", `"v2"`).wantProblem(t, http.StatusBadRequest, "invalid_grant")
		if refused.Fields["condition"] == "" {
			t.Errorf("%.20s: fields %v", bad, refused.Fields)
		}
	}
	viewer.call(post, "/v1/grants/preview", map[string]any{"resource": all, "condition": "args.amount < 3"}).want(t, http.StatusOK, `"items":[]`)
	viewer.call(post, "/v1/grants/preview", map[string]any{"resource": all, "condition": "3"}).wantProblem(t, http.StatusBadRequest, "invalid_condition")

	rail := map[string]any{"name": "Large", "subject": everyone, "resource": all, "condition": "args.amount > 50", "effect": policy.Effect{Deny: true}}
	made = admin.call(post, "/v1/guardrails", rail).want(t, http.StatusCreated, `\u003e 50"`)
	at, version = made.header.Get("Location"), made.header.Get("ETag")
	rail["name"] = "Large ones"
	admin.call(put, at, rail, "If-Match", version).want(t, http.StatusOK, `"version":2`)
	rail["condition"] = "args.amount > 10"
	admin.call(put, at, rail, "If-Match", `"v2"`).wantProblem(t, http.StatusForbidden, "interactive_only")
	admin.call(put, at, rail, "If-Match", `"v1"`).wantProblem(t, http.StatusPreconditionFailed, "guardrail_changed")
	for name, effect := range map[string]policy.Effect{
		"require": {Require: "args.currency == 'EUR'"}, "token_budget": {TokenBudget: &policy.TokenBudget{Tokens: 50_000, Seconds: 3600}},
		"max_response_bytes": {MaxResponseBytes: 200_000},
	} {
		made = admin.call(post, "/v1/guardrails", map[string]any{"name": name, "subject": everyone, "resource": all, "effect": effect}).want(t, http.StatusCreated, `"`+name+`"`)
		viewer.get(made.header.Get("Location")).want(t, http.StatusOK, `"`+name+`"`)
	}
}

// onlyAsk are the addresses that take a question in a body, and change nothing.
var onlyAsk = []string{
	"/v1/grants/preview", "/v1/plan", "/v1/policy/explain", "/v1/policy/preview", "/v1/policy/tests/run", "/v1/policy/access",
}

// TestMachinesDoNotDoWhatNeedsAPerson holds every way to loosen something against the strongest client there is.
func TestMachinesDoNotDoWhatNeedsAPerson(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.enrol("edge", "*")
	h := w.hold(g)
	rail, err := w.registry.CreateGuardrail(t.Context(), installer, registry.NewGuardrail{
		Name: "No", Subject: policy.Subject{Everyone: true}, Resource: policy.Resource{Servers: []string{"com.other/*"}}, Effect: policy.Effect{Deny: true},
	})
	must(t, err)
	admin := w.automation(w.team.ID, identity.Viewer, identity.Auditor, identity.Admin)
	readers := map[string]*caller{"viewer": w.automation("", identity.Viewer), "auditor": w.automation("", identity.Auditor)}
	w.unchanged(t)
	admin.call(post, "/v1/guardrails/"+rail.ID+"/end", `{"reason":"in the way"}`, "If-Match", fmt.Sprintf(`"v%d"`, rail.Version)).
		wantProblem(t, http.StatusForbidden, "interactive_only")
	for _, r := range w.routes() {
		if !r.access.bearer && !r.access.public { // a page or a form: no token opens it
			if a := admin.call(r.method, strings.NewReplacer(":id", h.id(r.path), ":job", h.discovery).Replace(r.path), ""); a.status < 300 && r.path != "/events" {
				t.Errorf("%s %s opens to a token: %s", r.method, r.path, a.shown())
			}
		}
	}
	g.get("/v1/servers").wantProblem(t, http.StatusForbidden, "not_for_gateways")
	for name, c := range readers {
		for _, o := range w.operations() {
			if !isUnsafe(o.method) || !o.access.bearer || slices.Contains(onlyAsk, o.path) {
				continue
			}
			a := c.call(o.method, strings.NewReplacer(":id", h.id(o.path)).Replace(o.path), bodyFor(w, o.path), "If-Match", `"v1"`)
			if a.status < 400 {
				t.Errorf("%s %s as %s: %s", o.method, o.path, name, a.shown())
			}
		}
	}
}

// bodyFor is a body that an operation would take.
func bodyFor(w *world, path string) any {
	switch {
	case path == "/v1/servers":
		return w.newServer("com.example/other")
	case strings.HasSuffix(path, "/state"):
		return `{"state":"retired"}`
	case strings.HasSuffix(path, "/move"):
		return `{"transport":"streamable_http","url":"https://new.example.com/mcp"}`
	case path == "/v1/teams" || path == "/v1/teams/:id":
		return `{"name":"X","groups":["x"]}`
	case path == "/v1/grants":
		return `{"name":"X","subject":{"everyone":true},"resource":{"servers":["*"]}}`
	case path == "/v1/guardrails":
		return `{"name":"X","subject":{"everyone":true},"resource":{"servers":["*"]},"effect":{"deny":true}}`
	}
	return `{}`
}

func TestBadAutomationInput(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	admin := w.automation("", identity.Admin)
	w.unchanged(t)
	for name, c := range map[string]struct {
		change map[string]any
		field  string
	}{
		"two slashes":          {map[string]any{"name": "com.example/a/b"}, "name"},
		"control characters":   {map[string]any{"name": "com.example/a\u0007b"}, "name"},
		"a hidden character":   {map[string]any{"title": "Ord\u200bers"}, "title"},
		"labels of 10 kB":      {map[string]any{"labels": []string{strings.Repeat("x", 10_000)}}, "labels"},
		"too many labels":      {map[string]any{"labels": strings.Split("abcdefghijklmnopqrstuvwxyz", "")}, "labels"},
		"no team":              {map[string]any{"team": ""}, "team"},
		"a team there is not":  {map[string]any{"team": "tem_none"}, "team"},
		"an address of a file": {map[string]any{"url": "file:///etc/passwd"}, "url"},
		"a transport":          {map[string]any{"transport": "carrier_pigeon"}, "transport"},
		"a long description":   {map[string]any{"description": strings.Repeat("x", 5000)}, "description"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body := w.newServer("com.example/good")
			maps.Copy(body, c.change)
			if p := admin.call(post, "/v1/servers", body).wantProblem(t, http.StatusBadRequest, "invalid_server"); p.Fields[c.field] == "" {
				t.Errorf("fields %v", p.Fields)
			}
		})
	}
	unknown := w.newServer("com.example/good")
	unknown["pinned"] = true
	admin.call(post, "/v1/servers", unknown).wantProblem(t, http.StatusBadRequest, "invalid_json")
	admin.send(post, "/v1/servers", "name=x", "Content-Type", "application/x-www-form-urlencoded").wantProblem(t, http.StatusUnsupportedMediaType, unsupportedMedia)
	admin.call(http.MethodDelete, "/v1/servers", "").wantProblem(t, http.StatusMethodNotAllowed, methodNotAllowed)
	admin.get("/v1/nothing").wantProblem(t, http.StatusNotFound, "no_such_page")
}

func TestBadParametersAreNamed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	viewer := w.automation("", identity.Viewer)
	for query, field := range map[string]string{
		"limit=0": "limit", "limit=201": "limit", "limit=ten": "limit", "state=gone": "state", "held=yes": "held",
		"after=garbage": "after", "after=%F0": "", "after=Y29tLmV4YW1wbGUvb3JkZXJz": "after", "after=..%2f..": "after", "page=2": "page",
		"limit=1&limit=2": "limit", "query=" + strings.Repeat("x", 600): "query", "%3Cb%3E=1": "<b>", "a%00=1": "", "q%0A=1": `q\n`,
	} {
		code := "invalid_parameter"
		if field == "" {
			code = "invalid_text"
		}
		p := viewer.get("/v1/servers?"+query).wantProblem(t, http.StatusBadRequest, code)
		if field != "" && p.Fields[field] == "" {
			t.Errorf("%s: fields %v, want %q", query, p.Fields, field)
		}
	}
	viewer.get("/v1/rollout?verbose=1").wantProblem(t, http.StatusBadRequest, "invalid_parameter")
}

func TestListsAreReadToTheirEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	admin := w.automation("", identity.Admin)
	want := map[string]bool{}
	for i := range 7 {
		name := fmt.Sprintf("com.example/s%d", i)
		admin.call(post, "/v1/servers", w.newServer(name)).want(t, http.StatusCreated)
		want[name] = true
	}
	for after := ""; ; {
		page := into[listOf[serverJSON]](t, admin.get("/v1/servers?limit=3&after="+after).want(t, http.StatusOK))
		for _, s := range page.Items {
			if !want[s.Name] {
				t.Errorf("%s comes twice", s.Name)
			}
			delete(want, s.Name)
		}
		if after = page.Next; after == "" {
			break
		}
	}
	if len(want) > 0 {
		t.Errorf("left out: %v", want)
	}
}

func TestAutomationReadsTheAuditLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	auditor := w.automation("", identity.Auditor)
	robot := w.automation(w.team.ID)
	robot.call(post, "/v1/servers", w.newServer("com.example/one")).want(t, http.StatusCreated)
	newest := into[listOf[eventJSON]](t, auditor.get("/v1/audit?limit=1").want(t, http.StatusOK))
	older := into[listOf[eventJSON]](t, auditor.get("/v1/audit?limit=1&after="+newest.Next).want(t, http.StatusOK))
	if len(newest.Items) != 1 || len(older.Items) != 1 || newest.Items[0].Kind != "server.discovery_requested" || older.Items[0].Kind != "server.registered" {
		t.Fatalf("events %+v, then %+v", newest, older)
	}
	if e := older.Items[0]; e.ActorKind != "client" || e.ActorName != "robot" || e.TargetName != "com.example/one" {
		t.Errorf("the client is not named: %+v", e)
	}
	auditor.get("/v1/audit?kind=team.").want(t, http.StatusOK, `"team.created"`)
	robot.get("/v1/audit").wantProblem(t, http.StatusForbidden, "not_allowed")
}

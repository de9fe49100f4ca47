package server

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"countersign/client"
	"countersign/delivery"
	"countersign/identity"
	"countersign/registry"
)

// A robot suspends a tool, and waits until the gateway says that it enforces that.
func TestAutomationSuspendsAndWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.enrol("edge", "*")
	h := w.hold(g)
	robot, viewer := w.automation("", identity.Admin), w.automation("", identity.Viewer)
	viewer.call(post, "/v1/suspensions", map[string]any{"tool": h.tool}).wantProblem(t, http.StatusForbidden, "not_allowed")
	robot.call(post, "/v1/suspensions", map[string]any{"tool": h.tool, "agent": "cursor"}).wantProblem(t, http.StatusBadRequest, "invalid_suspension")
	made := robot.call(post, "/v1/suspensions", map[string]any{"tool": h.tool, "reason": "it leaks"}).want(t, http.StatusCreated)
	suspended := into[suspensionJSON](t, made)
	generation := made.header.Get(client.HeaderRevision)
	if suspended.Kind != registry.SuspendedTool || fmt.Sprint(suspended.Revision) != generation || suspended.Name == "" {
		t.Errorf("generation %s: %s", generation, made.body)
	}
	robot.call(post, "/v1/suspensions", map[string]any{"tool": h.tool}).wantProblem(t, http.StatusConflict, "already_suspended")
	if found := into[listOf[suspensionJSON]](t, viewer.get("/v1/suspensions").want(t, http.StatusOK)); len(found.Items) != 1 {
		t.Errorf("suspensions %+v", found)
	}
	robot.call(post, "/v1/guardrails/"+suspended.Guardrail.ID+"/end", `{"reason":"mended"}`, "If-Match", `"v1"`).
		wantProblem(t, http.StatusForbidden, "interactive_only")

	w.current(t, g.AudienceID)
	revision := w.delivery.Current(g.AudienceID).Revision
	report := func(active int64) {
		g.call(put, "/v1/gateways/self/status", client.Status{Instance: "i1", Epoch: 1, ActiveRevision: active}).want(t, http.StatusOK)
	}
	report(revision - 1)
	path := "/v1/policy/rollout?revision=" + generation
	pending := into[effectsJSON](t, viewer.get(path).want(t, http.StatusOK))
	if pending.Done || pending.Counts["PENDING"] != 1 || pending.Gateways[0].Reason == "" || pending.Gateways[0].Carries != revision {
		t.Errorf("%+v", pending)
	}
	answers := make(chan answer, 2)
	for _, c := range []*caller{viewer, g.caller} {
		go func() { answers <- c.get(path + "&wait=99") }()
	}
	report(revision)
	for range cap(answers) {
		done := into[effectsJSON](t, (<-answers).want(t, http.StatusOK))
		if !done.Done || len(done.Gateways) != 1 || done.Gateways[0].State != delivery.Synced || done.Gateways[0].Reason != "" {
			t.Errorf("%+v", done)
		}
	}
	other := w.enrol("other", "org.none/*")
	if seen := into[effectsJSON](t, other.get(path).want(t, http.StatusOK)); len(seen.Gateways) != 1 || seen.Gateways[0].Name != "other" {
		t.Errorf("a gateway sees %+v", seen)
	}
	viewer.get("/v1/policy/rollout").want(t, http.StatusOK, `"since"`)
	viewer.get("/v1/policy/rollout?revision=9999").wantProblem(t, http.StatusNotFound, "no_such_generation")
	viewer.get("/v1/policy/rollout?wait=-1").wantProblem(t, http.StatusBadRequest, "invalid_parameter")
}

func TestAutomationSuspendsAPersonAndAnAgent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	robot := w.automation("", identity.Admin)
	for body, kind := range map[string]string{
		`{"agent":"cursor"}`: `"kind":"agent"`, `{"issuer":"https://idp.example.com","subject":"tomas"}`: `"kind":"person"`,
	} {
		made := robot.call(post, "/v1/suspensions", body).want(t, http.StatusCreated, kind)
		robot.get(made.header.Get("Location")).want(t, http.StatusOK, `"deny":true`)
	}
	robot.call(post, "/v1/suspensions", `{"subject":"tomas"}`).wantProblem(t, http.StatusBadRequest, "invalid_suspension")
	made := robot.call(post, "/v1/teams", `{"name":"X","groups":["x"]}`).want(t, http.StatusCreated)
	if strings.TrimSpace(made.header.Get(client.HeaderRevision)) != "" {
		t.Error("a new team moved the policy")
	}
}

func TestAutomationReadsHistory(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.enrol("edge", "*")
	h := w.hold(g)
	viewer := w.automation("", identity.Viewer)
	w.current(t, g.AudienceID)
	before := w.delivery.Current(g.AudienceID).Revision
	made := w.automation("", identity.Admin).call(post, "/v1/suspensions", map[string]any{"tool": h.tool}).want(t, http.StatusCreated)
	w.current(t, g.AudienceID)

	found := into[listOf[pastJSON]](t, viewer.get("/v1/policy/revisions?limit=1&audience="+g.AudienceID).want(t, http.StatusOK))
	if len(found.Items) != 1 || found.Next == "" || len(found.Items[0].Moves) == 0 || found.Items[0].Moves[0].Kind != "tool.suspended" {
		t.Fatalf("%+v", found)
	}
	last := found.Items[0]
	if fmt.Sprint(last.Revision) != made.header.Get(client.HeaderRevision) || last.Before != fmt.Sprintf("e1.r%d", before) {
		t.Errorf("%+v", last)
	}
	viewer.get("/v1/policy/revisions?limit=1&audience="+g.AudienceID+"&after="+found.Next).want(t, http.StatusOK, last.Before)
	at := "/v1/policy/revisions/" + last.ID
	one := into[editionJSON](t, viewer.get(at+"?audience="+g.AudienceID).want(t, http.StatusOK))
	if string(one.Document) != string(w.delivery.Current(g.AudienceID).Document) {
		t.Errorf("document %s", one.Document)
	}
	diff := into[diffJSON](t, viewer.get(at+"/diff?audience="+g.AudienceID).want(t, http.StatusOK, `"kind":"begin"`))
	if diff.From != last.Before || len(diff.Rules) != 1 || len(diff.Sentences) != 1 || !diff.Rules[0].Emergency {
		t.Errorf("%+v", diff)
	}
	viewer.get(at+"/diff?from="+last.ID+"&audience="+g.AudienceID).want(t, http.StatusOK, `"sentences":[]`)
	viewer.get(at+"/diff?from=42&audience="+g.AudienceID).wantProblem(t, http.StatusNotFound, "no_such_revision")
	viewer.get(at).wantProblem(t, http.StatusNotFound, "no_such_revision")
	moves := into[listOf[moveJSON]](t, viewer.get("/v1/policy/moves?limit=2").want(t, http.StatusOK))
	if len(moves.Items) != 2 || moves.Items[0].Kind != "tool.suspended" || moves.Next == "" {
		t.Errorf("%+v", moves)
	}
	plan := into[registry.Plan](t, viewer.get("/v1/policy/rollback?revision="+fmt.Sprint(before)).want(t, http.StatusOK))
	if len(plan.Changes) != 0 {
		t.Errorf("a rollback lifts the suspension: %+v", plan.Changes)
	}
	viewer.get("/v1/policy/rollback").wantProblem(t, http.StatusNotFound, "no_such_generation")
}

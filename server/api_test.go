package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"countersign/approvals"
	"countersign/client"
	"countersign/policy"
	"countersign/registry"
)

func TestBadJSON(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.enrol("edge", "*")
	w.unchanged(t)
	t.Cleanup(func() {
		if n := read[int](w, `select count(*) from call_records`); n != 0 {
			t.Errorf("%d calls are recorded", n)
		}
	})
	for name, c := range map[string]struct {
		body, kind string
		status     int
		code       string
	}{
		"nothing":                        {body: "", status: 400, code: "invalid_json"},
		"malformed":                      {body: `{"calls":[}`, status: 400, code: "invalid_json"},
		"cut off":                        {body: `{"calls":[`, status: 400, code: "invalid_json"},
		"duplicate keys":                 {body: `{"calls":[],"calls":[]}`, status: 400, code: "invalid_json"},
		"duplicate by an escape":         {body: `{"calls":[],"\u0063alls":[]}`, status: 400, code: "invalid_json"},
		"keys that differ in case":       {body: `{"calls":[],"Calls":[]}`, status: 400, code: "invalid_json"},
		"keys that fold to the same":     {body: `{"calls":[],"call\u017f":[]}`, status: 400, code: "invalid_json"},
		"trailing data":                  {body: `{"calls":[]} {"calls":[]}`, status: 400, code: "invalid_json"},
		"a batch":                        {body: `[{"calls":[]}]`, status: 400, code: "invalid_json"},
		"another type":                   {body: `{"calls":"none"}`, status: 400, code: "invalid_json"},
		"unknown member":                 {body: `{"calls":[],"drop":true}`, status: 400, code: "invalid_json"},
		"unknown member, deep":           {body: `{"calls":[{"call_id":"1","args":{}}]}`, status: 400, code: "invalid_json"},
		"too deep":                       {body: `{"calls":` + strings.Repeat("[", 2000) + strings.Repeat("]", 2000) + `}`, status: 400, code: "invalid_json"},
		"no UTF-8":                       {body: "{\"calls\":[{\"call_id\":\"\xff\"}]}", status: 400, code: "invalid_json"},
		"too large":                      {body: `{"calls":[` + strings.Repeat(" ", bodyLimit) + `]}`, status: 413, code: "too_large"},
		"no kind":                        {body: `{"calls":[]}`, kind: "-", status: 415, code: unsupportedMedia},
		"a form":                         {body: `calls=`, kind: "application/x-www-form-urlencoded", status: 415, code: unsupportedMedia},
		"text, which any site may post":  {body: `{"calls":[]}`, kind: "text/plain", status: 415, code: unsupportedMedia},
		"a record without its id":        {body: `{"calls":[{}]}`, status: 400, code: "invalid_call_record"},
		"an id with a NUL":               {body: `{"calls":[{"call_id":"a\u0000b","at":"2026-11-22T12:00:00Z","server":"a/b","tool":"t","kind":"tool","decision":"allowed"}]}`, status: 400, code: "invalid_call_record"},
		"a charset beside the kind (ok)": {body: `{"calls":[]}`, kind: "application/json; charset=utf-8", status: 200},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kind := c.kind
			if kind == "" {
				kind = "application/json"
			}
			header := []string{"Content-Type", kind}
			if kind == "-" {
				header = nil
			}
			a := g.send(http.MethodPost, "/v1/calls", c.body, header...)
			if c.code == "" {
				a.want(t, c.status)
				return
			}
			a.wantProblem(t, c.status, c.code)
		})
	}
	if read := g.call(http.MethodPost, "/v1/confirmations/redeem", `{"call":{"arguments":{"a":1,"A":2}}}`); read.status != http.StatusBadRequest {
		t.Errorf("arguments that differ in case: %s", read.shown())
	}
}

func TestNoRouteOfGatewaysFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.enrol("edge", "*")
	for _, r := range w.routes() {
		if !r.access.bearer {
			continue
		}
		for _, body := range []string{`{}`, `null`, `[]`, `0`, `{"id":"\u0000"}`, `{"instance":"\u0000"}`, `{"call":{"server_id":"\u0000"}}`, `{"token":"\u0000","redemption_id":"\u0000"}`} {
			for _, id := range []string{"none", "%00", "%ff", "..%2f..", strings.Repeat("x", 5000)} {
				path := strings.NewReplacer(":id", id, ":digest", id).Replace(r.path)
				if a := g.call(r.method, path, body); a.status >= 500 && !strings.Contains(a.body, "policy_compiling") {
					t.Errorf("%s %s with %s: %s", r.method, path[:min(60, len(path))], body, a.shown())
				}
			}
		}
	}
}

func TestDiscoveryOverHTTP(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g, foreign := w.enrol("edge", "com.example/*"), w.enrol("foreign", "com.other/*")
	server, discovery := w.register()
	foreign.call(http.MethodPost, client.PathLease, client.LeaseRequest{Instance: "i1"}).want(t, http.StatusNoContent)
	job := into[client.Job](t, g.call(http.MethodPost, client.PathLease, client.LeaseRequest{Instance: "i1", Wait: 1}).want(t, http.StatusOK))
	want := client.Job{
		ID: discovery.ID, ServerID: server.ID, Server: orders, Attempt: 1, LeaseSeconds: 60,
		Endpoint: policy.Endpoint{Transport: "streamable_http", URL: "http://127.0.0.1:1/mcp", Digest: server.Endpoint.Digest},
	}
	if diff := cmp.Diff(want, job); diff != "" {
		t.Errorf("job (-want +got):\n%s", diff)
	}
	at := client.PathDiscoveries + job.ID
	steps := client.Progress{Steps: []client.Step{{Name: client.StepConnect, State: client.StepRunning, Detail: "<b>connecting</b>"}}}
	if reply := into[client.ProgressReply](t, g.call(http.MethodPost, at+"/progress", steps).want(t, http.StatusOK)); reply.Cancelled {
		t.Error("cancelled")
	}
	ada := w.signIn("ada")
	page := "/servers/" + server.ID + "/discovery/" + job.ID
	ada.get(page).want(t, http.StatusOK, "&lt;b&gt;connecting&lt;/b&gt;")
	foreign.call(http.MethodPost, at+"/result", client.Offer{Tools: []json.RawMessage{listOrders}}).wantProblem(t, http.StatusConflict, "discovery_not_yours")
	g.call(http.MethodPost, at+"/result", client.Offer{Tools: []json.RawMessage{listOrders, deleteOrders}}).want(t, http.StatusNoContent)
	ada.get(page).want(t, http.StatusOK, "list_orders", "Deletes &lt;b&gt;orders&lt;/b&gt;")
	g.call(http.MethodPost, at+"/failure", client.Failure{Error: "late"}).wantProblem(t, http.StatusConflict, "discovery_not_yours")

	ada.post("/servers/"+server.ID+"/discover", nil).want(t, http.StatusSeeOther)
	job = into[client.Job](t, g.call(http.MethodPost, client.PathLease, client.LeaseRequest{Instance: "i1"}).want(t, http.StatusOK))
	g.call(http.MethodPost, client.PathDiscoveries+job.ID+"/failure", client.Failure{Error: "refused <i>it</i>"}).want(t, http.StatusNoContent)
	ada.get("/servers/"+server.ID+"/discovery/"+job.ID).want(t, http.StatusOK, "refused &lt;i&gt;it&lt;/i&gt;")
}

func TestACancelledDiscovery(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g, ada := w.enrol("edge", "*"), w.signIn("ada")
	server, discovery := w.register()
	job := into[client.Job](t, g.call(http.MethodPost, client.PathLease, client.LeaseRequest{Instance: "i1"}).want(t, http.StatusOK))
	at := "/servers/" + server.ID + "/discovery/" + discovery.ID
	ada.post(at+"/cancel", nil).want(t, http.StatusSeeOther)
	ada.post(at+"/cancel", nil).want(t, http.StatusConflict)
	if reply := into[client.ProgressReply](t, g.call(http.MethodPost, client.PathDiscoveries+job.ID+"/progress", client.Progress{}).want(t, http.StatusOK)); !reply.Cancelled {
		t.Error("the gateway is not told")
	}
	ada.get("/servers/none/discovery/"+discovery.ID).want(t, http.StatusNotFound)
}

func TestAGatewaySeesItsAudienceOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g, foreign := w.enrol("edge", "com.example/*"), w.enrol("foreign", "com.other/*")
	h := w.hold(g)
	look := client.Observation{ServerID: h.server.ID, EndpointDigest: h.server.Endpoint.Digest, Tools: []json.RawMessage{listOrders}}
	before := w.traces()
	foreign.call(http.MethodPost, client.PathObservations, look).wantProblem(t, http.StatusNotFound, "no_such_server")
	foreign.get("/v1/definitions/"+h.call.Definition.String()).wantProblem(t, http.StatusNotFound, "no_such_definition")
	foreign.get(client.PathApprovals+"/"+h.approval.ID).wantProblem(t, http.StatusNotFound, "no_such_approval")
	foreign.call(http.MethodPost, client.PathApprovals+"/"+h.approval.ID+"/token", ``).wantProblem(t, http.StatusNotFound, "no_such_approval")
	foreign.call(http.MethodPost, client.PathApprovals+"/"+h.approval.ID+"/cancel", ``).wantProblem(t, http.StatusNotFound, "no_such_approval")
	foreign.call(http.MethodPost, client.PathApprovals, h.ask).wantProblem(t, http.StatusForbidden, "foreign_gateway")
	mine := w.asking(foreign, h.server, registry.Definition{Digest: h.call.Definition}, `{"order":7}`)
	foreign.call(http.MethodPost, client.PathApprovals, mine).wantProblem(t, http.StatusForbidden, "policy_denied")
	if after := w.traces(); after != before {
		t.Errorf("%s became %s", before, after)
	}

	text := g.get("/v1/definitions/"+h.call.Definition.String()).want(t, http.StatusOK)
	if text.body != string(deleteOrders) || !strings.Contains(text.header.Get("Cache-Control"), "immutable") {
		t.Errorf("%s", text.shown())
	}
	g.get("/v1/definitions/rubbish").wantProblem(t, http.StatusBadRequest, "invalid_digest")
	held := into[client.ObservationReply](t, g.call(http.MethodPost, client.PathObservations, look).want(t, http.StatusOK))
	if diff := cmp.Diff([]client.HeldTool{}, held.Held); diff != "" {
		t.Errorf("held (-want +got):\n%s", diff)
	}
	look.Tools = []json.RawMessage{[]byte(strings.Replace(string(listOrders), "Lists", "Steals", 1)), deleteOrders}
	held = into[client.ObservationReply](t, g.call(http.MethodPost, client.PathObservations, look).want(t, http.StatusOK))
	if diff := cmp.Diff([]client.HeldTool{{Kind: policy.KindTool, Name: "list_orders"}}, held.Held); diff != "" {
		t.Errorf("held (-want +got):\n%s", diff)
	}
}

func TestAHeldCallOverHTTP(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.enrol("edge", "*")
	h := w.hold(g)
	if h.approval.State != client.ApprovalPending || h.approval.URL != w.url+"/approvals/"+h.approval.ID || h.approval.ExpiresIn < 800 {
		t.Errorf("%+v", h.approval)
	}
	joined := into[client.Approval](t, g.call(http.MethodPost, client.PathApprovals, h.ask).want(t, http.StatusOK))
	if joined.ID != h.approval.ID {
		t.Errorf("the same call is another request: %+v", joined)
	}
	at := client.PathApprovals + "/" + h.approval.ID
	g.call(http.MethodPost, at+"/token", ``).wantProblem(t, http.StatusConflict, "not_approved")

	waited := make(chan answer, 1)
	go func() { waited <- g.get(at + "?wait=45") }()
	h.vote(t, w, approvals.Approve)
	select {
	case a := <-waited:
		if got := into[client.Approval](t, a); got.State != client.ApprovalApproved {
			t.Errorf("the gateway that waits hears %+v", got)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the gateway that waits hears nothing")
	}

	claim := into[client.Claim](t, g.call(http.MethodPost, at+"/token", ``).want(t, http.StatusOK))
	other := h.call
	other.Arguments = json.RawMessage(`{"order":8}`)
	redeem := client.Redeem{Token: claim.Token, Call: other, RedemptionID: "red-1", Instance: "i1"}
	g.call(http.MethodPost, client.PathRedeem, redeem).wantProblem(t, http.StatusConflict, "call_digest_mismatch")
	redeem.Call = h.call
	first := into[client.Redemption](t, g.call(http.MethodPost, client.PathRedeem, redeem).want(t, http.StatusOK))
	if first.Replayed || first.ApprovalID != h.approval.ID {
		t.Errorf("%+v", first)
	}
	if again := into[client.Redemption](t, g.call(http.MethodPost, client.PathRedeem, redeem).want(t, http.StatusOK)); !again.Replayed {
		t.Errorf("%+v", again)
	}
	redeem.RedemptionID = "red-2"
	g.call(http.MethodPost, client.PathRedeem, redeem).wantProblem(t, http.StatusGone, "confirmation_used")
	outcome := client.PathConfirmation + "red-1/outcome"
	g.call(http.MethodPost, outcome, client.Outcome{Status: client.Succeeded, ResponseBytes: 7}).want(t, http.StatusNoContent)
	g.call(http.MethodPost, outcome, client.Outcome{Status: client.Failed}).wantProblem(t, http.StatusConflict, "outcome_differs")
	if got := into[client.Approval](t, g.get(at)); got.State != client.ApprovalClosed {
		t.Errorf("%+v", got)
	}
	again := into[client.Approval](t, g.call(http.MethodPost, client.PathApprovals, h.ask).want(t, http.StatusCreated))
	g.call(http.MethodPost, client.PathApprovals+"/"+again.ID+"/cancel", ``).want(t, http.StatusOK)
	if strings.Contains(w.log.String(), claim.Token) || strings.Contains(w.log.String(), g.bearer) || strings.Contains(w.log.String(), h.ask.Evidence) {
		t.Error("a token is in the log")
	}
}

func TestCallRecords(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.enrol("edge", "*")
	record := func(id, tool string) client.CallRecord {
		return client.CallRecord{CallID: id, At: time.Now(), Server: orders, Tool: tool, Kind: policy.KindTool, Decision: client.AllowedCall}
	}
	batch := client.CallBatch{Calls: []client.CallRecord{record("a", "list_orders"), record("b", "evil\x00tool"), record("a", "list_orders")}}
	g.call(http.MethodPost, client.PathCalls, batch).want(t, http.StatusOK)
	g.call(http.MethodPost, client.PathCalls, batch).want(t, http.StatusOK)
	if n := read[int](w, `select count(*) from call_records`); n != 2 {
		t.Errorf("%d records", n)
	}
	if tool := read[string](w, `select tool from call_records where call_id = 'b'`); tool != "evil\uFFFDtool" {
		t.Errorf("kept as %q", tool)
	}
	many := client.CallBatch{}
	for i := range 1001 {
		many.Calls = append(many.Calls, record(fmt.Sprintf("m%d", i), "x"))
	}
	g.call(http.MethodPost, client.PathCalls, many).wantProblem(t, http.StatusRequestEntityTooLarge, "too_many_calls")
}

func TestStatusTellsAGatewayWhoItIs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.enrol("edge", "*")
	reply := into[client.StatusReply](t, g.call(http.MethodPut, client.PathStatus, client.Status{Instance: "i1", Version: "v1"}).want(t, http.StatusOK))
	if diff := cmp.Diff(client.StatusReply{GatewayID: g.ID, Name: "edge", AudienceID: g.AudienceID, Resource: g.Resource}, reply); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for i, process := range []string{"a", "b", "a"} { // who comes back after the other is a second one
		said := into[client.StatusReply](t, g.call(http.MethodPut, client.PathStatus, client.Status{Instance: "i1"}, client.HeaderProcess, process).want(t, http.StatusOK))
		if said.SharedInstance != (i == 2) {
			t.Errorf("report %d: %+v", i, said)
		}
	}
	g.call(http.MethodPut, client.PathStatus, client.Status{}).wantProblem(t, http.StatusBadRequest, "invalid_status")
	w.signIn("vera").get("/gateways/"+g.ID).want(t, http.StatusOK, "i1")
}

package server

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"countersign/approvals"
	"countersign/client"
	"countersign/delivery"
	"countersign/notify"
	"countersign/policy"
	"countersign/registry"
)

const orders = "com.example/orders"

// The definitions that the server of these tests offers, as it sends them.
var (
	listOrders   = json.RawMessage(`{"name":"list_orders","description":"Lists orders","inputSchema":{"type":"object"},"annotations":{"readOnlyHint":true}}`)
	deleteOrders = json.RawMessage(`{"name":"delete_orders","description":"Deletes <b>orders</b>","inputSchema":{"type":"object"}}`)
)

// register makes the server and gives it with its open discovery.
func (w *world) register() (registry.Server, registry.Discovery) {
	w.t.Helper()
	server, discovery, err := w.registry.Register(w.t.Context(), installer, registry.Registration{
		Name: orders, TeamID: w.team.ID, Location: registry.Location{Transport: registry.StreamableHTTP, URL: "http://127.0.0.1:1/mcp"},
	})
	must(w.t, err)
	return server, discovery
}

// offer lets the gateway answer the open discovery over HTTP.
func (w *world) offer(g *edge, definitions ...json.RawMessage) {
	w.t.Helper()
	job := into[client.Job](w.t, g.call(http.MethodPost, client.PathLease, client.LeaseRequest{Instance: "i1"}).want(w.t, http.StatusOK))
	g.call(http.MethodPost, client.PathDiscoveries+job.ID+"/result", client.Offer{Tools: definitions}).want(w.t, http.StatusNoContent)
}

// served gives the definitions that the server offered last, by name.
func (w *world) served(server string) map[string]registry.Definition {
	w.t.Helper()
	page, err := w.registry.Tools(w.t.Context(), installer, registry.ToolFilter{ServerID: server})
	must(w.t, err)
	all := map[string]registry.Definition{}
	for _, tool := range page.Items {
		all[tool.Name] = *tool.Served
	}
	return all
}

// held is a call that waits for a person, and what there is around it.
type held struct {
	g         *edge
	server    registry.Server
	discovery string
	grant     registry.Grant
	call      policy.Call
	ask       client.Ask
	approval  client.Approval
	guardrail string
	test      string // of the policy
	event     string // an audit event
	tool      string // delete_orders
	agent     string // that somebody answers for
	channel   string // that nothing is sent to
}

// hold registers, pins and grants, and lets Vera's agent ask for delete_orders.
func (w *world) hold(g *edge) *held {
	w.t.Helper()
	h := &held{g: g}
	server, discovery := w.register()
	h.server, h.discovery = server, discovery.ID
	w.offer(g, listOrders, deleteOrders)
	definitions := w.served(server.ID)
	h.tool = definitions["delete_orders"].ToolID
	pins := url.Values{"reason": {"seen"}}
	for name, risk := range map[string]string{"list_orders": "read_only", "delete_orders": "destructive"} {
		pins.Add("pin", definitions[name].ID)
		pins.Set("risk-"+definitions[name].ID, risk)
	}
	w.signIn("ada").post("/servers/"+server.ID+"/pin", pins).want(w.t, http.StatusSeeOther)
	var err error
	h.grant, err = w.registry.CreateGrant(w.t.Context(), installer, registry.NewGrant{
		Name: "Everybody", Subject: policy.Subject{Everyone: true}, Resource: policy.Resource{Servers: []string{orders}},
	})
	must(w.t, err)
	h.ask = w.asking(g, server, definitions["delete_orders"], `{"order":7}`)
	h.call = h.ask.Call
	h.approval = into[client.Approval](w.t, g.call(http.MethodPost, client.PathApprovals, h.ask).want(w.t, http.StatusCreated))
	h.guardrail = read[string](w, `select max(id) from guardrails`)
	test, err := w.delivery.CreatePolicyTest(w.t.Context(), installer, delivery.NewPolicyTest{
		Name: "Nobody calls what is not here", Given: delivery.Given{Server: "com.example/nowhere", Name: "any"}, Expect: delivery.Expect{Outcome: delivery.ExpectDeny},
	})
	must(w.t, err)
	h.test = test.ID
	agent, err := w.registry.RegisterAgent(w.t.Context(), installer, registry.NewAgent{
		Agent: "other-agent", OwnerID: read[string](w, `select min(id) from people`),
	})
	must(w.t, err)
	h.agent = agent.ID
	h.channel, _, err = w.notify.Create(w.t.Context(), installer, notify.Setup{
		Name: "A channel that is paused", Kind: notify.Webhook, Topics: []string{notify.TopicAlive}, Address: "https://hooks.example.com/ops",
	})
	must(w.t, err)
	w.exec(`update channels set paused_at = clock_timestamp()`)
	h.event = read[string](w, `select max(id)::text from audit_events`)
	return h
}

// asking is the question of a gateway about a call that Vera's agent makes.
func (w *world) asking(g *edge, server registry.Server, d registry.Definition, arguments string) client.Ask {
	w.t.Helper()
	evidence := w.idp.Token(w.t, "vera", g.Resource)
	who, err := w.auth.Evidence(w.t.Context(), g.principal(), evidence)
	must(w.t, err)
	call := policy.Call{
		Issuer: w.url, Epoch: 1, Gateway: g.ID, ServerID: server.ID, EndpointDigest: server.Endpoint.Digest, Tool: "delete_orders",
		Kind: policy.KindTool, Definition: d.Digest, Principal: who.Identity(), Arguments: json.RawMessage(arguments),
	}
	digest, _, err := call.Digest()
	must(w.t, err)
	return client.Ask{Call: call, CallDigest: digest, Evidence: evidence, Principal: who}
}

// id is the id that stands in a route's path.
func (h *held) id(path string) string {
	for prefix, id := range map[string]string{
		"/approvals": h.approval.ID, "/v1/approvals": h.approval.ID, "/servers": h.server.ID, "/gateways": h.g.ID,
		"/grants": h.grant.ID, "/audit": h.event, "/v1/discoveries": h.discovery, "/v1/servers": h.server.ID, "/v1/teams": h.server.TeamID,
		"/guardrails": h.guardrail, "/policy/tests": h.test, "/v1/tools": h.tool, "/v1/drift": h.tool, "/v1/grants": h.grant.ID, "/v1/gateways": h.g.ID,
		"/agents": h.agent, "/v1/agents": h.agent, "/alerts/rules": "alr_session", "/channels": h.channel, "/v1/channels": h.channel,
	} {
		if strings.HasPrefix(path, prefix+"/") {
			return id
		}
	}
	return "no-such-id"
}

// current waits for the first policy of an audience that speaks for everything that is in the registry now.
func (w *world) current(t testing.TB, audience string) {
	t.Helper()
	generation := read[int64](w, `select generation from registry_head`)
	for deadline := time.After(15 * time.Second); ; {
		changed := w.delivery.Changed(audience)
		if s := w.delivery.Current(audience); s != nil && s.CompiledGeneration >= generation {
			return
		}
		select {
		case <-changed:
		case <-time.After(50 * time.Millisecond): // a generation that changes nothing is no change
		case <-deadline:
			t.Fatalf("no policy of generation %d", generation)
		}
	}
}

// vote decides on the call as Tessa, in the browser.
func (h *held) vote(t testing.TB, w *world, d approvals.Decision) {
	t.Helper()
	tessa := w.signIn("tessa")
	form := decision(h, d, "because")
	tessa.post("/approvals/"+h.approval.ID+"/decision", form).want(t, http.StatusSeeOther)
}

package main

import (
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// shopServer is one of the examples: registered, pinned, granted to Vera, and running.
type shopServer struct {
	*embedded
	t         *testing.T
	w         *world
	wire      *wire
	language  string
	name      string
	resource  string
	variables map[string]string
	tessa     *person
}

// TestEmbedded takes both examples through the life of approvals, with a real control plane, a real database and a real
// MCP client, and no gateway.
func TestEmbedded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, language := range []string{"go", "python"} {
		t.Run(language, func(t *testing.T) {
			t.Parallel()
			s := w.shop(t, language)
			s.listed()
			s.once()
			s.denied()
			s.carried()
			s.away()
			s.killed()
		})
	}
}

// shop enrols the server as an embedded gateway, starts it, and pins what it says that it offers.
func (w *world) shop(t *testing.T, language string) *shopServer {
	t.Helper()
	ada := w.signIn(t, "ada")
	s := &shopServer{t: t, w: w, wire: w.wire(t), language: language, name: "com.example/shop-" + language, tessa: w.signIn(t, "tessa")}
	address := listen(t)
	_ = address.Close() // its port is free for the server now
	s.resource = "http://" + address.Addr().String()
	enrolled := ada.post("/gateways", url.Values{"name": {language}, "kind": {"embedded"}, "servers": {s.name}, "resource": {s.resource}}, http.StatusCreated)
	state := t.TempDir()
	s.variables = map[string]string{
		"CONTROL_PLANE": s.wire.url, "CLIENT_ID": find(t, enrolled, `(cli_\w+)`), "CLIENT_SECRET": find(t, enrolled, `id="client-secret"[^>]*>([^<]+)<`),
		"SERVER": s.name, "RESOURCE": s.resource, "ISSUER": w.idp.Issuer, "LISTEN": address.Addr().String(),
		"STATE": filepath.Join(state, "state"), "ORDERS": filepath.Join(state, "orders.json"),
	}
	s.embedded = start(t, language, s.variables)

	discovery := ada.post("/servers", url.Values{"name": {s.name}, "team": {find(t, ada.get("/servers/new", http.StatusOK), `value="(tem_\w+)"`)}, "transport": {"streamable_http"}, "url": {s.url}}, http.StatusSeeOther)
	page := ""
	eventually(t, "the server is discovered by itself", func() bool {
		page = ada.get(discovery, http.StatusOK)
		return strings.Contains(page, `name="pin"`)
	})
	pins := url.Values{"reason": {"looked at"}}
	for _, found := range regexp.MustCompile(`name="pin" value="(\w+)"`).FindAllStringSubmatch(page, -1) {
		pins.Add("pin", found[1])
		pins.Set("risk-"+found[1], find(t, page, `(?s)name="risk-`+found[1]+`".*?value="(\w+)" selected`))
	}
	id := strings.Split(discovery, "/")[2]
	ada.post("/servers/"+id+"/pin", pins, http.StatusSeeOther)
	ada.post("/grants", url.Values{"name": {"Vera, " + language}, "users": {"vera"}, "servers": {s.name}, "do": {"create"}}, http.StatusSeeOther)
	eventually(t, "the policy reaches the server", func() bool {
		_, text, _ := s.call("vera", "list_orders", map[string]any{})
		return text != "" && !strings.Contains(text, "NOT EXECUTED") && !strings.Contains(text, "not executed")
	})
	return s
}

// session opens a session of a real client, as an agent of somebody.
func (s *shopServer) session(who string) *mcp.ClientSession {
	s.t.Helper()
	bearer := "Bearer " + s.w.idp.Token(s.t, who, s.resource)
	hc := &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		r.Header.Set("Authorization", bearer)
		return http.DefaultTransport.RoundTrip(r)
	})}
	session, err := mcp.NewClient(&mcp.Implementation{Name: "agent", Version: "1"}, nil).Connect(s.t.Context(),
		&mcp.StreamableClientTransport{Endpoint: s.url, HTTPClient: hc, DisableStandaloneSSE: true}, nil)
	must(s.t, err)
	return session
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// call calls a tool, and gives whether it was executed, what it said, and the request that waits, if one does.
func (s *shopServer) call(who, tool string, arguments map[string]any) (ok bool, text, approval string) {
	s.t.Helper()
	session := s.session(who)
	defer func() { _ = session.Close() }()
	result, err := session.CallTool(s.t.Context(), &mcp.CallToolParams{Name: tool, Arguments: arguments})
	must(s.t, err)
	if len(result.Content) > 0 {
		text = result.Content[0].(*mcp.TextContent).Text
	}
	if notice, held := result.Meta["countersign/approval"].(map[string]any); held {
		approval, _ = notice["id"].(string)
	}
	return !result.IsError, text, approval
}

func order(id string) map[string]any { return map[string]any{"order_id": id} }

func with(token string, arguments map[string]any) map[string]any {
	arguments["confirmation_token"] = token
	return arguments
}

// has says whether an order is still there.
func (s *shopServer) has(id string) bool {
	s.t.Helper()
	ok, text, _ := s.call("vera", "list_orders", map[string]any{})
	if !ok {
		s.t.Fatalf("list_orders: %s", text)
	}
	return strings.Contains(text, id)
}

// held calls delete_order, which must be held, and gives the request.
func (s *shopServer) held(id string) (approval string) {
	s.t.Helper()
	ok, text, approval := s.call("vera", "delete_order", order(id))
	if ok || approval == "" || !strings.Contains(text, s.w.url+"/approvals/"+approval) {
		s.t.Fatalf("a destructive call: %v %q, want held", ok, text)
	}
	if !s.has(id) {
		s.t.Fatal("a held call was executed")
	}
	return approval
}

// refused calls delete_order, which must not be executed and say why.
func (s *shopServer) refused(arguments map[string]any, says string) {
	s.t.Helper()
	if ok, text, _ := s.call("vera", "delete_order", arguments); ok || !strings.Contains(text, says) {
		s.t.Fatalf("delete_order %v: %v %q, want refused: %s", arguments, ok, text, says)
	}
}

// runs calls delete_order, which must be executed.
func (s *shopServer) runs(arguments map[string]any) {
	s.t.Helper()
	if ok, text, _ := s.call("vera", "delete_order", arguments); !ok || !strings.Contains(text, "Deleted") {
		s.t.Fatalf("delete_order %v: %v %q", arguments, ok, text)
	}
}

// confirmations says what became of the confirmations of a request.
func (s *shopServer) confirmations(approval string) string {
	return read[string](s.t, s.w, `select coalesce(string_agg(state::text, ' '), '') from confirmations where approval_id = $1`, approval)
}

// listed: who has no grant may call nothing, and what is served is what was pinned.
func (s *shopServer) listed() {
	s.t.Helper()
	if ok, text, _ := s.call("nora", "list_orders", map[string]any{}); ok {
		s.t.Errorf("somebody without a grant calls: %s", text)
	}
	if ok, text, approval := s.call("nora", "delete_order", order("o-1001")); ok || approval != "" {
		s.t.Errorf("somebody without a grant is held: %s", text)
	}
	s.refused(map[string]any{"order": "o-1001"}, "")
	s.refused(with("cst_mistyped", order("o-1001")), "confirmation_token")
	if n := read[int](s.t, s.w, `select count(*) from approvals where server_name = $1`, s.name); n != 0 {
		s.t.Errorf("people are asked %d times about what nobody may call", n)
	}
}

// once: held, approved by a person, and the identical retry is executed exactly once.
func (s *shopServer) once() {
	s.t.Helper()
	approval := s.held("o-1001")
	if again := s.held("o-1001"); again != approval {
		s.t.Errorf("an identical call opens another request: %s and %s", approval, again)
	}
	s.tessa.decide(approval, "approve")
	s.runs(order("o-1001"))
	eventually(s.t, "the outcome is reported", func() bool { return s.confirmations(approval) == "succeeded" })
	if ok, text, next := s.call("vera", "delete_order", order("o-1001")); ok || next == "" || next == approval {
		s.t.Errorf("the same call again: %v %q", ok, text)
	}
}

// denied: the agent is told why, once, and may ask anew.
func (s *shopServer) denied() {
	s.t.Helper()
	s.tessa.decide(s.held("o-1002"), "deny")
	s.refused(order("o-1002"), "because")
	s.held("o-1002")
}

// carried: a token that a person was shown is good for the very call, and once.
func (s *shopServer) carried() {
	s.t.Helper()
	approval := s.held("o-1003")
	s.tessa.decide(approval, "approve")
	token := s.reveal(approval)
	s.refused(with(token, order("o-1004")), "other arguments")
	if !s.has("o-1003") || !s.has("o-1004") || s.confirmations(approval) != "issued" {
		s.t.Fatalf("wrong arguments with the right token: %s", s.confirmations(approval))
	}
	s.runs(with(token, order("o-1003")))
	s.refused(with(token, order("o-1003")), "used already")
	eventually(s.t, "the outcome is reported", func() bool { return s.confirmations(approval) == "succeeded" })
}

// reveal has the token shown to the person who called, which works once. A server that is told to repeat the call then
// cannot claim one.
func (s *shopServer) reveal(approval string) string {
	s.t.Helper()
	vera := s.w.signIn(s.t, "vera")
	s.tessa.post("/approvals/"+approval+"/reveal", url.Values{}, http.StatusForbidden)
	token := find(s.t, vera.post("/approvals/"+approval+"/reveal", url.Values{}, http.StatusOK), `(cst_[0-9A-Za-z]{49})`)
	vera.post("/approvals/"+approval+"/reveal", url.Values{}, http.StatusConflict)
	s.refused(order("o-1003"), "was shown to the person who called")
	return token
}

// away: without the control plane nobody is asked, and nothing runs.
func (s *shopServer) away() {
	s.t.Helper()
	approval := s.held("o-1004")
	s.tessa.decide(approval, "approve")
	s.wire.cut.Store(true)
	s.refused(order("o-1004"), "NOT EXECUTED")
	s.wire.cut.Store(false)
	if !s.has("o-1004") {
		s.t.Fatal("it was executed while nobody could be asked")
	}
	s.runs(order("o-1004"))
}

// killed: between redeeming and executing. Nobody knows, so a person looks; it is not executed by the next start.
func (s *shopServer) killed() {
	s.t.Helper()
	approval := s.held("o-1005")
	s.tessa.decide(approval, "approve")
	s.wire.keep.Store(true)
	session := s.session("vera")
	called := make(chan error, 1)
	go func() {
		_, err := session.CallTool(s.t.Context(), &mcp.CallToolParams{Name: "delete_order", Arguments: order("o-1005")})
		called <- err
	}()
	<-s.wire.kept
	s.kill()
	<-called
	_ = session.Close()
	s.wire.keep.Store(false)
	s.wire.cut.Store(false)
	s.embedded = start(s.t, s.language, s.variables)
	if !s.has("o-1005") || s.confirmations(approval) != "redeemed" {
		s.t.Fatalf("after the crash: %s", s.confirmations(approval))
	}
	if next := s.held("o-1005"); next == approval {
		s.t.Fatal("the request that was redeemed is open again")
	}
	_, err := s.w.db.Exec(s.t.Context(), `update confirmations set outcome_by = clock_timestamp() where approval_id = $1`, approval)
	must(s.t, err)
	eventually(s.t, "it is indeterminate", func() bool { return s.confirmations(approval) == "indeterminate" })
	if !s.has("o-1005") {
		s.t.Fatal("it was executed after all")
	}
}

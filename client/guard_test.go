package client

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"countersign/canonical"
	"countersign/policy"
)

const (
	readTool    = `{"name":"read","inputSchema":{"type":"object"}}`
	deleteTool  = `{"name":"delete","inputSchema":{"type":"object"}}`
	changedTool = `{"name":"changed","description":"now","inputSchema":{"type":"object"}}`
	someToken   = "cst_0000000000000000000000000000000000000000000000000"
)

// guarding is a guard at a control plane that answers as a test says, and what it was asked.
type guarding struct {
	*plane
	guard *Guard

	mu    sync.Mutex
	asked []string // paths, in order
}

// guard makes a guard of a server whose policy lets everyone read, holds delete, and pins another definition of changed.
func newGuarding(t *testing.T, change ...func(*policy.Document)) *guarding {
	t.Helper()
	p := newPlane(t)
	g := &guarding{plane: p}
	d := document(1, 1, "aud_1")
	tool := func(id, name, raw string, guardrails ...int) policy.Tool {
		digest, err := DefinitionDigest(json.RawMessage(raw))
		if err != nil {
			t.Fatal(err)
		}
		return policy.Tool{ID: id, Kind: policy.KindTool, Name: name, Definition: digest, Risk: policy.Write, Grants: []int{0}, Guardrails: guardrails}
	}
	d.Servers = []policy.Server{{
		ID: "srv_1", Name: "com.example/shop", State: policy.Active, Team: "tem_1",
		Endpoint: policy.Endpoint{Transport: policy.StreamableHTTP, URL: "https://shop.test/mcp", Digest: canonical.Sum("e", nil)},
		Tools: []policy.Tool{
			tool("tol_1", "changed", `{"name":"changed","description":"before","inputSchema":{"type":"object"}}`),
			tool("tol_2", "delete", deleteTool, 0), tool("tol_3", "read", readTool, 1),
		},
	}}
	d.Grants = []policy.Grant{{ID: "grt_1", Name: "Vera", Subject: policy.Subject{Users: []string{"vera"}}}}
	d.Guardrails = []policy.Guardrail{
		{ID: "grd_1", Name: "Held", Subject: policy.Subject{Everyone: true}, Effect: policy.Effect{Approval: &policy.Approval{Quorum: 1, OwningTeam: true}}},
		{ID: "grd_2", Name: "Slow", Subject: policy.Subject{Everyone: true}, Effect: policy.Effect{RateLimit: &policy.RateLimit{Calls: 3, Seconds: 3600}, MaxResponseBytes: 0}},
	}
	for _, c := range change {
		c(&d)
	}
	p.serveJWS(signed(t, d, p.key, "k1"), policy.ETag(1, 1, d.ContentDigest(), "jose"))
	feed, _ := p.follow(t.TempDir(), nil)
	eventually(t, "a policy", runs(feed, 1))
	var err error
	g.guard, err = NewGuard(GuardConfig{
		Client: feed.Client, Feed: feed, Server: "com.example/shop",
		Offer: Offer{Tools: []json.RawMessage{json.RawMessage(readTool), json.RawMessage(deleteTool), json.RawMessage(changedTool)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// answers makes a path answer, and notes that it was asked.
func (g *guarding) answers(pattern string, status int, body any) {
	g.handle(pattern, func(w http.ResponseWriter, r *http.Request) {
		g.mu.Lock()
		g.asked = append(g.asked, strings.TrimPrefix(r.URL.Path, "/v1/"))
		g.mu.Unlock()
		switch {
		case status == 0:
			panic(http.ErrAbortHandler)
		case status >= 400:
			problem(w, status, body.(string))
		default:
			reply(w, status, body)
		}
	})
}

func (g *guarding) approval(state ApprovalState) {
	g.answers("POST "+PathApprovals, 200, Approval{ID: "apr_1", State: state, URL: "https://control.test/approvals/apr_1", ExpiresIn: 60, Reason: "no\x1b[31m"})
}

var vera = Caller{Principal: policy.Principal{Issuer: "https://idp.test", Subject: "vera"}, Token: "eyJ"}

// call calls a tool, and says how often it ran and with what.
func (g *guarding) call(caller Caller, tool, arguments string) (ran []string, err error) {
	_, err = g.guard.Call(context.Background(), caller, tool, json.RawMessage(arguments), func(_ context.Context, a json.RawMessage) ([]byte, error) {
		ran = append(ran, string(a))
		return []byte("done"), nil
	})
	return ran, err
}

func TestGuardDecidesByThePolicy(t *testing.T) {
	t.Parallel()
	g := newGuarding(t)
	nora := Caller{Principal: policy.Principal{Issuer: "https://idp.test", Subject: "nora"}}
	if ran, err := g.call(vera, "read", ` {"b":1.50, "a":"\u0041"} `); err != nil || len(ran) != 1 || ran[0] != `{"a":"A","b":1.5}` {
		t.Errorf("an allowed call: %q %v", ran, err)
	}
	for name, c := range map[string]struct {
		by              Caller
		tool, arguments string
		reason          policy.Reason
	}{
		"no grant":              {nora, "read", `{}`, policy.ReasonUnknownTool},
		"nobody":                {Caller{}, "read", `{}`, policy.ReasonUnknownTool},
		"an unknown tool":       {vera, "none", `{}`, policy.ReasonUnknownTool},
		"not what is pinned":    {vera, "changed", `{}`, policy.ReasonDrifted},
		"no object":             {vera, "read", `[]`, ReasonArguments},
		"2^53 + 1":              {vera, "read", `{"n":9007199254740993}`, ReasonArguments},
		"a key twice":           {vera, "read", `{"a":1,"a":2}`, ReasonArguments},
		"a token of wrong form": {vera, "delete", `{"confirmation_token":"cst_x"}`, ReasonArguments},
		"a token that is none":  {vera, "delete", `{"confirmation_token":null}`, ReasonArguments},
	} {
		ran, err := g.call(c.by, c.tool, c.arguments)
		no := (*NotExecutedError)(nil)
		if !errors.As(err, &no) || no.Reason != c.reason || len(ran) > 0 {
			t.Errorf("%s: ran %q, %v, want %s", name, ran, err, c.reason)
		}
	}
	if got := g.guard.Visible(vera); !cmp.Equal(got, []string{"delete", "read"}) {
		t.Errorf("Vera sees %v", got)
	}
	if got := g.guard.Visible(nora); len(got) > 0 {
		t.Errorf("Nora sees %v", got)
	}
	for range 2 {
		_, _ = g.call(vera, "read", `{}`)
	}
	no := (*NotExecutedError)(nil)
	if ran, err := g.call(vera, "read", `{}`); !errors.As(err, &no) || no.Reason != ReasonRateLimited || no.RetryAfter < time.Minute || len(ran) > 0 {
		t.Errorf("the fourth call of three: %v", err)
	}
}

func TestGuardWithoutAPolicyDenies(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	feed, err := NewFeed(FeedConfig{Client: p.client(nil), StateDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	g, err := NewGuard(GuardConfig{Client: feed.Client, Feed: feed, Server: "com.example/shop"})
	if err != nil {
		t.Fatal(err)
	}
	ran, err := (&guarding{guard: g}).call(vera, "read", `{}`)
	if no := (*NotExecutedError)(nil); !errors.As(err, &no) || no.Reason != ReasonNoPolicy || !errors.Is(err, ErrNoPolicy) || len(ran) > 0 {
		t.Errorf("ran %q: %v", ran, err)
	}
	if got := g.Visible(vera); len(got) > 0 {
		t.Errorf("without a policy %v are visible", got)
	}
	for name, offer := range map[string][]json.RawMessage{
		"no name":           {json.RawMessage(`{"title":"x"}`)},
		"a name twice":      {json.RawMessage(readTool), json.RawMessage(readTool)},
		"two readings":      {json.RawMessage(`{"name":"a","name":"b"}`)},
		"a name of no text": {json.RawMessage(`{"name":7}`)},
	} {
		if _, err := NewGuard(GuardConfig{Client: feed.Client, Feed: feed, Server: "s", Offer: Offer{Tools: offer}}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestGuardAsks goes through what the control plane may answer to a held call: it runs only when it was redeemed.
func TestGuardAsks(t *testing.T) {
	t.Parallel()
	const token, redeem = "approvals/apr_1/token", "confirmations/redeem"
	type step struct {
		path   string
		status int
		body   any
	}
	claims := step{"POST " + PathApprovals + "/apr_1/token", 200, Claim{Token: someToken}}
	redeems := step{"POST " + PathRedeem, 200, Redemption{ApprovalID: "apr_1"}}
	for name, c := range map[string]struct {
		arguments string
		state     ApprovalState
		steps     []step
		asked     []string
		reason    policy.Reason // "": it ran
		says      string
	}{
		"pending":                {state: ApprovalPending, asked: []string{"approvals"}, reason: policy.ReasonApprovalRequired, says: "https://control.test/approvals/apr_1"},
		"approved":               {state: ApprovalApproved, steps: []step{claims, redeems}, asked: []string{"approvals", token, redeem}},
		"carried":                {arguments: `{"confirmation_token":"` + someToken + `","id":1}`, steps: []step{redeems}, asked: []string{redeem}},
		"carried, for another":   {arguments: `{"confirmation_token":"` + someToken + `","id":1}`, steps: []step{{redeems.path, 409, CodeMismatch}}, asked: []string{redeem}, reason: ReasonNotApproved, says: "It was not used up"},
		"carried, used":          {arguments: `{"confirmation_token":"` + someToken + `","id":1}`, steps: []step{{redeems.path, 410, "confirmation_used"}}, asked: []string{redeem}, reason: ReasonNotApproved, says: "used already"},
		"denied":                 {state: ApprovalDenied, asked: []string{"approvals"}, reason: ReasonNotApproved, says: "The reason given: no [31m"},
		"closed":                 {state: ApprovalClosed, asked: []string{"approvals"}, reason: ReasonNotApproved},
		"a state of later":       {state: "dreaming", asked: []string{"approvals"}, reason: ReasonNotApproved},
		"not required":           {state: ApprovalNotRequired, asked: []string{"approvals"}, reason: ReasonPolicyMoving},
		"revealed":               {state: ApprovalApproved, steps: []step{{claims.path, 409, CodeRevealed}}, asked: []string{"approvals", token}, reason: ReasonNotApproved, says: "Ask them for it"},
		"too late":               {state: ApprovalApproved, steps: []step{{claims.path, 409, "claim_too_late"}}, asked: []string{"approvals", token}, reason: ReasonNotApproved},
		"no answer to the claim": {state: ApprovalApproved, steps: []step{{claims.path, 0, nil}}, reason: ReasonUnavailable},
		"somebody else's":        {state: ApprovalApproved, steps: []step{claims, {redeems.path, 200, Redemption{Replayed: true}}}, asked: []string{"approvals", token, redeem}, reason: ReasonNotApproved},
		"denied at last":         {state: ApprovalApproved, steps: []step{claims, {redeems.path, 403, CodeDenied}}, asked: []string{"approvals", token, redeem}, reason: ReasonNotApproved},
		"not asked: denied":      {steps: []step{{"POST " + PathApprovals, 403, CodeDenied}}, reason: policy.ReasonDeniedByGuardrail},
		"not asked: too many":    {steps: []step{{"POST " + PathApprovals, 429, "too_many_pending"}}, reason: ReasonUnavailable, says: "too many"},
		"not asked: no evidence": {steps: []step{{"POST " + PathApprovals, 403, CodeNoEvidence}}, reason: ReasonUnavailable, says: "proves who calls"},
		"not asked: a mistake":   {steps: []step{{"POST " + PathApprovals, 409, CodeMismatch}}, reason: ReasonUnavailable, says: "Tell the operator"},
		"not asked: away":        {steps: []step{{"POST " + PathApprovals, 0, nil}}, reason: ReasonUnavailable, says: "cannot be reached"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGuarding(t)
			g.approval(c.state)
			for _, s := range c.steps {
				g.answers(s.path, s.status, s.body)
			}
			if c.arguments == "" {
				c.arguments = `{"id":1}`
			}
			ran, err := g.call(vera, "delete", c.arguments)
			no := (*NotExecutedError)(nil)
			switch {
			case c.reason == "" && (err != nil || len(ran) != 1 || ran[0] != `{"id":1}`):
				t.Errorf("ran %q: %v", ran, err)
			case c.reason != "" && (!errors.As(err, &no) || no.Reason != c.reason || len(ran) > 0 || !strings.Contains(no.Text, c.says)):
				t.Errorf("ran %q: %v, want %s %q", ran, err, c.reason, c.says)
			}
			if c.asked != nil && !cmp.Equal(c.asked, g.asked) {
				t.Errorf("asked %v, want %v", g.asked, c.asked)
			}
			if no != nil && (no.Approval != nil) != (c.state == ApprovalPending) {
				t.Errorf("_meta says %v", no.Meta())
			}
		})
	}
}

// TestGuardReportsHowItEnded: whatever the tool does, and also if the first report does not arrive.
func TestGuardReportsHowItEnded(t *testing.T) {
	t.Parallel()
	g := newGuarding(t)
	g.approval(ApprovalApproved)
	g.answers("POST "+PathApprovals+"/apr_1/token", 200, Claim{Token: someToken})
	outcomes := make(chan Outcome, 8)
	first := true
	g.handle("POST "+PathRedeem, func(w http.ResponseWriter, r *http.Request) {
		var in Redeem
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			t.Error(err)
		}
		g.handle("POST "+PathConfirmation+in.RedemptionID+"/outcome", func(w http.ResponseWriter, r *http.Request) {
			if first {
				first = false
				problem(w, 503, "busy")
				return
			}
			var o Outcome
			_ = json.NewDecoder(r.Body).Decode(&o)
			w.WriteHeader(204)
			outcomes <- o
		})
		reply(w, 200, Redemption{ApprovalID: "apr_1"})
	})
	g.answers("POST "+PathLease, 503, "busy")
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- g.guard.Run(ctx) }()
	for _, c := range []struct {
		name string
		run  Tool
		want OutcomeStatus
	}{
		{"it works", func(context.Context, json.RawMessage) ([]byte, error) { return []byte("done"), nil }, Succeeded},
		{"it fails", func(context.Context, json.RawMessage) ([]byte, error) { return nil, errors.New("no such order") }, Failed},
		{"nobody knows", func(context.Context, json.RawMessage) ([]byte, error) { return nil, ErrIndeterminate }, Indeterminate},
		{"it panics", func(context.Context, json.RawMessage) ([]byte, error) { panic("x") }, Indeterminate},
	} {
		func() {
			defer func() { _ = recover() }()
			_, _ = g.guard.Call(t.Context(), vera, "delete", nil, c.run)
		}()
		if got := <-outcomes; got.Status != c.want {
			t.Errorf("%s: reported %+v, want %s", c.name, got, c.want)
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestGuardWithholdsWhatIsTooLong: the tool ran, and its caller is told that it did.
func TestGuardWithholdsWhatIsTooLong(t *testing.T) {
	t.Parallel()
	g := newGuarding(t, func(d *policy.Document) { d.Guardrails[1].Effect = policy.Effect{MaxResponseBytes: 3} })
	ran, err := g.call(vera, "read", `{}`)
	if long := (*ResultTooLongError)(nil); !errors.As(err, &long) || long.Bytes != 4 || len(ran) != 1 {
		t.Errorf("ran %q: %v", ran, err)
	}
}

// TestGuardAnswersDiscoveries says what it serves, and nothing about other servers.
func TestGuardAnswersDiscoveries(t *testing.T) {
	t.Parallel()
	g := newGuarding(t)
	jobs := make(chan Job, 2)
	jobs <- Job{ID: "dis_1", Server: "com.example/other"}
	jobs <- Job{ID: "dis_2", Server: "com.example/shop"}
	g.handle("POST "+PathLease, func(w http.ResponseWriter, r *http.Request) {
		select {
		case j := <-jobs:
			reply(w, 200, j)
		case <-r.Context().Done():
		case <-time.After(time.Second):
			w.WriteHeader(204)
		}
	})
	said := make(chan string, 3)
	for _, path := range []string{PathDiscoveries + "dis_1/failure", PathDiscoveries + "dis_2/result", PathObservations} {
		g.handle("POST "+path, func(w http.ResponseWriter, r *http.Request) {
			var o Offer
			_ = json.NewDecoder(r.Body).Decode(&o)
			said <- r.URL.Path + " " + string(json.RawMessage(strings.Repeat("t", len(o.Tools))))
			reply(w, 200, ObservationReply{})
		})
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- g.guard.Run(ctx) }()
	got := map[string]bool{<-said: true, <-said: true, <-said: true}
	want := map[string]bool{PathDiscoveries + "dis_1/failure ": true, PathDiscoveries + "dis_2/result ttt": true, PathObservations + " ttt": true}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("said (-want +got):\n%s", diff)
	}
	stop()
	<-done
}

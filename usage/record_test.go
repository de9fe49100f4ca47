package usage

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"countersign/client"
	"countersign/identity"
	"countersign/internal/problem"
)

func TestRecord(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	old := func(r *client.CallRecord) { r.At = w.now.AddDate(0, 0, -91) }
	ahead := func(r *client.CallRecord) { r.At = w.now.AddDate(2, 0, 0) }
	denied := func(r *client.CallRecord) { r.Decision, r.Reason, r.UpstreamUS = client.DeniedCall, "no_grant", 0 }
	strange := func(r *client.CallRecord) { r.Tool = "evil\x00" + strings.Repeat("ü", 400) }
	wrong := func(r *client.CallRecord) { r.ToolError = true }
	unknown := func(r *client.CallRecord) {
		r.Server, r.Decision, r.Reason = "com.nobody/knows", client.DeniedCall, "unknown_server"
	}
	batch := []client.CallRecord{w.call(), w.call(denied), w.call(old), w.call(ahead), w.call(strange), w.call(wrong), w.call(unknown)}
	batch = append(batch, batch[0])
	if diff := cmp.Diff(Recorded{Stored: 6, Known: 1, Expired: 1}, w.record(batch...)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(Recorded{Known: 7, Expired: 1}, w.record(batch...)); diff != "" {
		t.Errorf("sent again: %s", diff)
	}
	if n := value[int](w, `select count(*) from call_records where at > clock_timestamp()`); n != 0 {
		t.Errorf("%d records are of the future", n)
	}
	for _, table := range []string{"usage_hours", "usage_days"} {
		got := value[string](w, `
			select format('%s calls, %s allowed, %s denied, %s errors, %s µs, %s added, %s tokens, took %s, added %s', sum(calls), sum(allowed), sum(denied),
			       sum(errors), sum(duration_us), sum(added_us), sum(request_tokens + response_tokens), sum(took[9]), sum(added[8])) from `+table)
		want := "5 calls, 4 allowed, 1 denied, 1 errors, 160000 µs, 40000 added, 1375 tokens, took 4, added 4"
		if got != want {
			t.Errorf("%s: %s, want %s", table, got, want)
		}
	}
	if tool := value[string](w, `select tool from call_records where tool like 'evil%'`); len(tool) > maxName || !strings.HasPrefix(tool, "evil\uFFFDü") {
		t.Errorf("the name was kept as %q", tool)
	}
	if n := value[int](w, `select count(*) from tool_usage where tool = 'list' and last_at > clock_timestamp() - interval '1 minute'`); n != 1 {
		t.Errorf("%d times the tool was noted as used", n)
	}
	asked, err := w.ledger.UnknownServers(t.Context(), vera)
	w.must(err)
	if len(asked) != 1 || asked[0].Name != "com.nobody/knows" || asked[0].Calls != 1 || asked[0].GatewayName != "edge" || asked[0].Subject != "" {
		t.Errorf("unknown servers: %+v", asked)
	}
}

func TestRecordRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cases := map[string]func(*client.CallRecord){
		"no id":             func(r *client.CallRecord) { r.CallID = "" },
		"a long id":         func(r *client.CallRecord) { r.CallID = strings.Repeat("x", 65) },
		"no decision":       func(r *client.CallRecord) { r.Decision = "perhaps" },
		"no time":           func(r *client.CallRecord) { r.At = time.Time{} },
		"negative tokens":   func(r *client.CallRecord) { r.RequestTokens = -1 },
		"absurd duration":   func(r *client.CallRecord) { r.DurationUS = 1 << 60 },
		"absurd tokens":     func(r *client.CallRecord) { r.ResponseTokens = maxTokens + 1 },
		"before all time":   func(r *client.CallRecord) { r.At = time.Date(-4000, 1, 1, 0, 0, 0, 0, time.UTC) },
		"a control id":      func(r *client.CallRecord) { r.CallID = "a\x1bb" },
		"absurd bytes":      func(r *client.CallRecord) { r.ResponseBytes = 1 << 62 },
		"negative filtered": func(r *client.CallRecord) { r.Filtered = -1 },
	}
	for name, change := range cases {
		if _, err := w.ledger.Record(t.Context(), edge, []client.CallRecord{w.call(), w.call(change)}); !problem.Is(err, problem.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := w.ledger.Record(t.Context(), edge, make([]client.CallRecord, MaxCalls+1)); !problem.Is(err, problem.TooLarge) {
		t.Errorf("too many: %v", err)
	}
	for _, who := range []identity.Principal{ada, vera, {}} {
		if _, err := w.ledger.Record(t.Context(), who, nil); err == nil {
			t.Errorf("%s may record", who.Name)
		}
	}
	if n := value[int](w, `select count(*) from call_records`); n != 0 {
		t.Errorf("%d records were stored", n)
	}
}

// TestAGatewayThatLies sends all that the bounds let through: control characters, times to come and the largest numbers. What an honest gateway reports of the same tool is added up all the same.
func TestAGatewayThatLies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	liar := identity.Principal{Kind: identity.Gateway, ID: "gtw_2", GatewayID: "gtw_2"}
	lie := func(n int, change func(*client.CallRecord)) {
		t.Helper()
		if _, err := w.ledger.Record(t.Context(), liar, w.times(n, change)); err != nil {
			t.Fatal(err)
		}
	}
	lie(300, func(r *client.CallRecord) {
		r.RequestBytes, r.ResponseBytes, r.RequestTokens, r.ResponseTokens = maxBytes, maxBytes, maxTokens, maxTokens
		r.DurationUS, r.UpstreamUS, r.Filtered, r.Revision, r.At = maxTimeUS, maxTimeUS, maxFiltered, 1<<62, w.now.AddDate(7000, 0, 0)
		r.Agent, r.Reason = "new\nline\x1b[31m\u009b\xff", "so\x07"
	})
	if n := value[int](w, `select count(*) from call_records where agent ~ '[[:cntrl:]]' or reason ~ '[[:cntrl:]]' or at > clock_timestamp()`); n != 0 {
		t.Errorf("%d records hold control characters or are of the future", n)
	}
	if h := value[float64](w, `select max(duration_us / calls / 3.6e9)::float8 from usage_days`); h > 1 {
		t.Errorf("a call counts for %v hours", h)
	}

	// As many of the largest as two thousand million, and then one more.
	for _, table := range []string{"usage_hours", "usage_days", "usage_parts"} {
		w.exec(`update `+table+` set request_tokens = $1, response_tokens = $1`, int64(2_000_000_000)*maxTokens)
	}
	w.record(w.call(), w.call())
	lie(2, func(r *client.CallRecord) { r.RequestTokens, r.ResponseTokens = maxTokens, maxTokens })
	if _, err := w.ledger.SetPrice(t.Context(), ada, NewPrice{Model: "*", Currency: "EUR", Input: "999999", Output: "999999"}); err != nil {
		t.Fatal(err)
	}
	for _, f := range []Filter{{}, {Server: orders}, {Agent: "cursor"}} {
		if sum, err := w.ledger.Summary(t.Context(), vera, f); err != nil || sum.Now.Calls == 0 {
			t.Errorf("%+v: %d calls, %v", f, sum.Now.Calls, err)
		}
		if _, err := w.ledger.Breakdown(t.Context(), vera, f, ByModel, 0); err != nil {
			t.Error(err)
		}
	}
	w.must(w.ledger.Look(t.Context()))
}

// TestNamesHaveAnEnd says 50,000 different names of each kind, after one server and more made-up tools than are kept.
func TestNamesHaveAnEnd(t *testing.T) {
	t.Parallel()
	s := newStrange()
	at := time.Now()
	say := func(gateway string, r client.CallRecord) client.CallRecord {
		r.At, r.Kind = at, "tool"
		s.bound(gateway, &r)
		return r
	}
	for i := range maxTools + 1 {
		say("gtw_1", client.CallRecord{Server: orders, Tool: fmt.Sprint("made up ", i), Reason: "unknown_tool"})
	}
	servers, tools, agents, subjects, models := map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}
	for i := range 50_000 {
		name := fmt.Sprint("n", i)
		r := say("gtw_1", client.CallRecord{Server: name, Tool: name, Agent: name, Subject: name, Model: name, ModelAssurance: "attested", Reason: "allowed"})
		servers[r.Server], tools[r.Tool], agents[r.Agent], subjects[r.Subject], models[r.Model] = true, true, true, true, true
	}
	got := []int{len(servers), len(tools), len(agents), len(subjects), len(models)}
	if diff := cmp.Diff([]int{maxServers, maxTools - maxStrangeTools + 1, maxAgents + 1, maxSubjects + 1, maxModels + 1}, got); diff != "" {
		t.Errorf("servers, tools, agents, subjects, models (-want +got):\n%s", diff)
	}
	if r := say("gtw_2", client.CallRecord{Server: "another", Tool: "another", Agent: "another", Reason: "allowed"}); r.Server+r.Tool+r.Agent != "anotheranotheranother" {
		t.Errorf("what one gateway says hides what another does: %+v", r)
	}
}

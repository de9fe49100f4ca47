package usage

import (
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

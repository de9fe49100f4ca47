package gateway

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"countersign/canonical"
	"countersign/client"
)

// hostile are results of servers, each with what must not reach the caller. None holds what would make it unreadable.
var hostile = []struct{ name, result, without string }{
	{"colours", `{"content":[{"type":"text","text":"\u001b[31mred\u001b[0m"}]}`, `u001b`},
	{"a window title", `{"content":[{"type":"text","text":"\u001b]0;pwned\u0007ok"}]}`, `pwned`},
	{"a hyperlink", `{"content":[{"type":"text","text":"\u001b]8;;http://evil.example\u001b\\x\u001b]8;;\u001b\\"}]}`, `evil`},
	{"the clipboard", `{"content":[{"type":"text","text":"\u001b]52;c;ZXZpbA==\u0007"}]}`, `ZXZpbA`},
	{"C1", `{"content":[{"type":"text","text":"\u009b2Jx"}]}`, `2J`},
	{"a carriage return", `{"content":[{"type":"text","text":"ok\rrm"}]}`, `\r`},
	{"backspaces", `{"content":[{"type":"text","text":"ok\b\brm"}]}`, `\b`},
	{"NUL", `{"content":[{"type":"text","text":"a\u0000b"}]}`, `u0000`},
	{"zero width", `{"content":[{"type":"text","text":"pay\u200bload"}]}`, "\u200b"},
	{"tags", `{"content":[{"type":"text","text":"hi` + "\U000e0069\U000e0067" + `"}]}`, "\U000e0069"},
	{"bidirectional", `{"content":[{"type":"text","text":"a\u202ecod"}]}`, "\u202e"},
	{"half a pair", `{"content":[{"type":"text","text":"cut \ud83d"}]}`, `ud83d`},
	{"a Markdown image", `{"content":[{"type":"text","text":"![a](https://evil.example/?d=1)"}]}`, `evil`},
	{"an image by reference", `{"content":[{"type":"text","text":"![a][r]\n\n[r]: https://evil.example"}]}`, `![`},
	{"a reference in another text", `{"content":[{"type":"text","text":"![a][r]"},{"type":"text","text":"[r]: https://evil.example"}]}`, `![`},
	{"an HTML image", `{"content":[{"type":"text","text":"<img src=//evil.example>"}]}`, `evil`},
	{"a script", `{"content":[{"type":"text","text":"<script>x</script>"}]}`, `<script`},
	{"a handler", `{"content":[{"type":"text","text":"<svg onload=x>"}]}`, `<svg`},
	{"a frame", `{"content":[{"type":"text","text":"<iframe src=x>"}]}`, `<iframe`},
	{"a javascript link", `{"content":[{"type":"text","text":"[x](javascript:alert(1))"}]}`, `javascript`},
	{"an escaped slash", `{"content":[{"type":"text","text":"![a](https:\/\/evil.example)"}]}`, `evil`},
	{"a key", `{"content":[{"type":"text","text":"AKIAZ5GMXQZQ7NOPQRST"}]}`, `AKIA`},
	{"a key in two", `{"content":[{"type":"text","text":"AKIAZ5GM\u200bXQZQ7NOPQRST"}]}`, `AKIA`},
	{"a key in base64", `{"content":[{"type":"text","text":"Z2hwXzAxMjM0NTY3ODlhYmNkZWZnaGlqQUJDREVGR0hJSjQ1Njc4OQ=="}]}`, `Z2hw`},
	{"a password", `{"content":[{"type":"text","text":"postgres://a:hunter2x@db"}]}`, `hunter2x`},
	{"a card", `{"content":[{"type":"text","text":"4111 1111 1111 1111"}]}`, `4111`},
	{"structured content", `{"content":[],"structuredContent":{"a":{"b":["\u001b[31mx"]}}}`, `u001b`},
	{"a secret in structured content", `{"content":[],"structuredContent":{"a":"AKIAZ5GMXQZQ7NOPQRST"}}`, `AKIA`},
	{"a key with hidden characters", `{"content":[],"structuredContent":{"a\u200b":"SECRET"}}`, `SECRET`},
	{"a key that is a key", `{"content":[],"structuredContent":{"AKIAZ5GMXQZQ7NOPQRST":"SECRET"}}`, `SECRET`},
	{"a resource", `{"content":[{"type":"resource","resource":{"uri":"a://b","text":"<script>"}}]}`, `<script`},
	{"the address of a resource", `{"content":[{"type":"resource","resource":{"uri":"javascript:x","text":""}}]}`, `javascript`},
	{"a link", `{"content":[{"type":"resource_link","uri":"a://b\u202e","name":"x\u001b[31m","description":"![a](//evil.example)"}]}`, `evil`},
	{"the type of a link", `{"content":[{"type":"resource_link","uri":"a://b","name":"x","mimeType":"text/\u200bplain"}]}`, "\u200b"},
	{"an icon", `{"content":[{"type":"resource_link","uri":"a://b","name":"x","icons":[{"src":"https://evil.example/i.png"}]}]}`, `evil`},
	{"bytes that are none", `{"content":[{"type":"image","mimeType":"image/png","data":"<script>"}]}`, `<script`},
	{"a blob that is none", `{"contents":[{"uri":"a://b","blob":"\u001b[31m"}]}`, `u001b`},
	{"_meta", `{"content":[],"_meta":{"x":"\u001b[31m","y":{"z":"<script>"}}}`, `<script`},
	{"a decision of ours", `{"content":[],"_meta":{"countersign/decision":{"decision":"held","url":"SECRET"}}}`, `SECRET`},
	{"a cursor with an escape", `{"content":[{"type":"text","text":"SECRET"}],"nextCursor":"\u001b[31m"}`, `SECRET`},
	{"a prompt", `{"messages":[{"role":"user","content":{"type":"text","text":"<script>"}}]}`, `<script`},
	{"what is asked", `{"resultType":"input_required","inputRequests":{"a":{"method":"elicitation/create","params":{"mode":"url","url":"javascript:x","message":"\u202eok"}}}}`, `javascript`},
	{"a form", `{"resultType":"input_required","inputRequests":{"a":{"method":"elicitation/create","params":{"message":"m","requestedSchema":{"type":"object","properties":{"a":{"title":"<script>"}}}}}}}`, `<script`},
	{"no object", `"\u001b[31m<script>"`, `<script`},
	{"deep", `{"content":[],"structuredContent":` + strings.Repeat(`{"a":`, 600) + `"SECRET"` + strings.Repeat(`}`, 600) + `}`, `SECRET`},
}

func TestHostileResults(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open()
	session := s.connect("ada", "2025-11-25", nil)
	old := http.Header{headerSession: {session.ID()}, headerVersion: {"2025-11-25"}}
	for _, h := range hostile {
		message := `{"jsonrpc":"2.0","id":1,"result":` + h.result + `}`
		for way, answer := range map[string]http.HandlerFunc{
			"JSON":   answerWith(200, "application/json", message),
			"events": answerWith(200, "text/event-stream", "event: message\ndata: "+message+"\n\n"),
		} {
			s.misbehave("tools/call", answer)
			bodies := map[string]string{
				"modern": s.modernCall("update_order", `{"id":"o-1001"}`).body,
				"legacy": s.post(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"update_order","arguments":{"id":"o-1001"}}}`, old).body,
			}
			for era, body := range bodies {
				if strings.Contains(body, h.without) || strings.ContainsFunc(body, func(r rune) bool { return unicode.Is(unicode.Cf, r) }) || !strings.Contains(body, `"id":1`) {
					t.Errorf("%s, %s, %s: %.400s", h.name, era, way, body)
				}
			}
		}
	}
}

func TestChangedResultSaysSo(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open()
	tests := []struct{ name, result, want string }{
		{"nothing changed", `{"content":[ {"type":"text","text":"fin\u0065"}],"structuredContent":{"n":12345678901234567890,"f":1.0}}`, `{"content":[ {"type":"text","text":"fin\u0065"}],"structuredContent":{"n":12345678901234567890,"f":1.0}}`},
		{
			"two texts", `{"content":[{"type":"text","text":"\u001b[1mx"},{"type":"text","text":"a\u200bb"}],"structuredContent":{"n":12345678901234567890,"f":1.0}}`,
			`{"content":[{"type":"text","text":"x"},{"type":"text","text":"ab"}],"structuredContent":{"n":12345678901234567890,"f":1.0},"_meta":{"countersign/filtered":{"texts":2,"kinds":["terminal","hidden"]}}}`,
		},
		{
			"beside other _meta", `{"_meta":{"a":1,"countersign/filtered":2},"content":[{"type":"text","text":"\u001b[1mx"}]}`,
			`{"_meta":{"a":1,"countersign/filtered":{"texts":1,"kinds":["terminal"]}},"content":[{"type":"text","text":"x"}]}`,
		},
		{"tickets pass", `{"content":[],"nextCursor":"AKIAZ5GMXQZQ7NOPQRST","_meta":{"io.modelcontextprotocol/related-task":{"taskId":"<script>"}}}`, `{"content":[],"nextCursor":"AKIAZ5GMXQZQ7NOPQRST","_meta":{"io.modelcontextprotocol/related-task":{"taskId":"<script>"}}}`},
	}
	for _, tt := range tests {
		s.misbehave("tools/call", answerWith(200, "application/json", `{"jsonrpc":"2.0","id":1,"result":`+tt.result+`}`))
		r := s.modernCall("update_order", `{"id":"o-1001"}`)
		if diff := cmp.Diff(tt.want, string(r.result)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestErrorsAndNotificationsAreMadeSafe(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open()
	s.misbehave("tools/call", answerWith(200, "application/json", `{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"\u001b[31mAKIAZ5GMXQZQ7NOPQRST","data":{"x":"<script>","countersign/decision":{"x":"SECRET"}}}}`))
	if r := s.modernCall("update_order", `{"id":"o-1001"}`); !strings.Contains(r.body, `"message":"[secret removed: aws-access-token]","data":{"x":"&lt;script>"}`) {
		t.Errorf("an error: %s", r.body)
	}
	event := func(text string) string { return "data: " + text + "\n\n" }
	s.misbehave("tools/call", answerWith(200, "text/event-stream",
		event(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":{"a":"\u001b[31mlog"}}}`)+
			event(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"AKIAZ5GMXQZQ7NOPQRST","progress":1.0,"message":"![x](//evil.example)"}}`)+
			event(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":{"a\u200b":"SECRET"}}}`)+
			event(`{"jsonrpc":"2.0","id":1,"result":{"content":[]}}`)))
	r := s.modernCall("update_order", `{"id":"o-1001"}`)
	for _, want := range []string{`"data":{"a":"log"}`, `"progressToken":"AKIAZ5GMXQZQ7NOPQRST","progress":1.0,"message":"x [image removed]"`, `"content":[]`} {
		if !strings.Contains(r.body, want) {
			t.Errorf("%s lacks %s", r.body, want)
		}
	}
	if strings.Contains(r.body, "SECRET") || strings.Count(r.body, "data: ") != 3 {
		t.Errorf("what cannot be made safe: %s", r.body)
	}
}

func TestOutputConfiguration(t *testing.T) {
	t.Parallel()
	s := newStand(t, func(c *Config) {
		c.Output = Output{Secrets: "keep", AllowHosts: []string{"img.example.com"}}
		c.Upstreams = map[string]Upstream{"com.example/orders": {Output: Output{ActiveContent: "keep"}}}
	}).open()
	text := `<script> ![a](//evil.example) AKIAZ5GMXQZQ7NOPQRST`
	s.misbehave("tools/call", answerWith(200, "application/json", `{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"\u001b[1m`+text+`"}]}}`))
	if r := s.modernCall("update_order", `{"id":"o-1001"}`); !strings.Contains(r.body, `"text":"`+text+`"`) {
		t.Errorf("kept: %s", r.body)
	}
	for _, wrong := range []Output{{Secrets: "no"}, {ActiveContent: "off"}, {AllowHosts: []string{"https://x.example"}}, {AllowHosts: []string{"*"}}, {AllowHosts: []string{""}}} {
		if err := wrong.validate("output"); err == nil {
			t.Errorf("%+v is taken", wrong)
		}
	}
}

// TestStructuredContentIsOfThePinnedForm has a tool whose approved definition has an output schema.
func TestStructuredContentIsOfThePinnedForm(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open()
	schema := json.RawMessage(`{"type":"object","properties":{"n":{"type":"integer"},"s":{"type":"string","maxLength":5}},"required":["n"],"additionalProperties":false}`)
	tool := s.source.Servers[0].Tools[0]
	for _, candidate := range s.source.Servers[0].Tools {
		if candidate.Name == "update_order" {
			tool = candidate
		}
	}
	s.modernCall("update_order", `{"id":"o-1001"}`) // by then the server was seen
	s.gateway.watch.mu.Lock()
	s.gateway.watch.entry(&s.source.Servers[0]).outputs = map[canonical.Digest]json.RawMessage{tool.Definition: schema}
	s.gateway.watch.mu.Unlock()
	tests := []struct {
		name, result string
		want         string
	}{
		{"it matches", `{"content":[],"structuredContent":{"n":1}}`, `"n":1`},
		{"none", `{"content":[]}`, `"content":[]`},
		{"the tool failed", `{"content":[],"isError":true,"structuredContent":{"x":1}}`, `"x":1`},
		{"something is missing", `{"content":[],"structuredContent":{"s":"x"}}`, "output_invalid"},
		{"another type", `{"content":[],"structuredContent":{"n":"POISON"}}`, "output_invalid"},
		{"something more", `{"content":[],"structuredContent":{"n":1,"POISON":1}}`, "output_invalid"},
		{"too long once it is safe", `{"content":[],"structuredContent":{"n":1,"s":"<img src=//e.example>"}}`, "output_invalid"},
		{"fine once it is safe", `{"content":[],"structuredContent":{"n":1,"s":"\u001b[1mshort"}}`, `"s":"short"`},
	}
	for _, tt := range tests {
		s.misbehave("tools/call", answerWith(200, "application/json", `{"jsonrpc":"2.0","id":1,"result":`+tt.result+`}`))
		r := s.modernCall("update_order", `{"id":"o-1001"}`)
		if !strings.Contains(r.body, tt.want) || strings.Contains(r.body, "POISON") {
			t.Errorf("%s: %s", tt.name, r.body)
		}
		if tt.want == "output_invalid" && !strings.Contains(r.body, "the tool ran, and must not be called again") {
			t.Errorf("%s: %s", tt.name, r.body)
		}
	}
	s.eventually("the call records", func() bool {
		return strings.Count(fmt.Sprint(s.plane.decisions("update_order")), "allowed/output_invalid") == 4
	})
}

func TestProcessesAndStreamsAreMadeSafe(t *testing.T) {
	t.Parallel()
	s := newStdioStand(t, "poison", nil)
	for _, era := range eras {
		res := call(t, s.connect("ada", era, nil), "poison", `{}`)
		if got := textOf(res); got != "red &lt;script>x</script> [secret removed: aws-access-token]" || res.Meta[metaFiltered] == nil {
			t.Errorf("%s, a process: %q %v", era, got, res.Meta)
		}
	}
}

// TestHeldCallIsMadeSafe has a call run after an approval, whose result is neither safe nor, then, of the approved form.
func TestHeldCallIsMadeSafe(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open()
	s.modernCall("delete_orders", `{"ids":["o-1001"]}`)
	s.plane.decide("apr_1", client.ApprovalApproved, "")
	s.misbehave("tools/call", answerWith(200, "application/json", `{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"a\u202eb"}]}}`))
	if r := s.modernCall("delete_orders", `{"ids":["o-1001"]}`); !strings.Contains(r.body, `"text":"ab"`) || !strings.Contains(r.body, metaFiltered) {
		t.Errorf("got %s", r.body)
	}
	if diff := cmp.Diff([]client.OutcomeStatus{client.Succeeded}, s.plane.outcomeList()); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
}

// TestSizeIsJudgedBeforeFiltering has results that the filter makes shorter.
func TestSizeIsJudgedBeforeFiltering(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil).open().guarded("grd_2", atMost(100), "list_orders").publish()
	s.misbehave("tools/call", answerWith(200, "application/json", `{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"`+strings.Repeat(`\u200b`, 50)+`"}]}}`))
	if r := s.modernCall("list_orders", `{}`); !strings.Contains(r.body, "response_too_long") {
		t.Errorf("got %s", r.body)
	}
}

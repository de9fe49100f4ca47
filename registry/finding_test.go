package registry

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"countersign/policy"
)

func TestUnseenCharacters(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		what, text string
		want       string // codes, comma separated
	}{
		{"plain", "Lists orders, at most 50 — naïve, 日本語, עברית, العربية.", ""},
		{"lines", "one\n\ttwo\r\nthree", ""},
		{"emoji", "⚠️ careful 👩‍💻 ❤️ 1️⃣ ✓", ""},
		{"Persian with a non-joiner", "می\u200cخواهم", ""},
		{"Hindi with a joiner", "क\u094d\u200dष", ""},
		{"zero-width space", "safe\u200btext", codeHidden},
		{"joiner in Latin", "ad\u200dmin", codeHidden},
		{"non-joiner in Latin", "ad\u200cmin", codeHidden},
		{"soft hyphen", "pass\u00adword", codeHidden},
		{"byte order mark", "x\ufeff", codeHidden},
		{"Hangul filler", "x\u3164", codeHidden},
		{"Braille blank", "x\u2800", codeHidden},
		{"line separator", "x\u2028y", codeHidden},
		{"selector after a letter", "x\ufe0f", codeHidden},
		{"smuggled selectors", "😀\U000e0100\U000e0101", codeHidden},
		{"word joiner", "x\u2060", codeHidden},
		{"right-to-left override", "x\u202ey", codeBidi},
		{"isolate", "\u2066x\u2069", codeBidi},
		{"Arabic letter mark", "x\u061c", codeBidi},
		{"backspace", "x\x08", codeControl},
		{"delete", "x\x7f", codeControl},
		{"C1", "x\u0085", codeControl},
		{"escape", "\x1b[31mred", codeTerminal},
		{"single-character CSI", "\u009b31m", codeTerminal},
		{"tags", "x\U000e0041\U000e0042", codeTag},
		{"several", "\u200b\u202e\x1b\x00\U000e0001", strings.Join([]string{codeHidden, codeBidi, codeTerminal, codeControl, codeTag}, ",")},
	} {
		var codes []string
		for _, u := range findUnseen(test.text, true) {
			codes = append(codes, u.code)
		}
		if got := strings.Join(codes, ","); got != test.want {
			t.Errorf("%s: got %q, want %q", test.what, got, test.want)
		}
	}
	if len(findUnseen("a\nb", false)) != 1 {
		t.Error("a line break in a name passed")
	}
}

func TestVisible(t *testing.T) {
	t.Parallel()
	if got := visible("a\u202eb\x1b[31mcdef", 6); got != "a\ufffdb\ufffd[3…" {
		t.Errorf("got %q", got)
	}
}

func TestFindings(t *testing.T) {
	t.Parallel()
	schema := func(s string) string { return `{"name":"x","description":"d","inputSchema":` + s + `}` }
	doubled := func(levels int) string {
		var defs []string
		for i := range levels {
			defs = append(defs, fmt.Sprintf(`"d%d":{"allOf":[{"$ref":"#/$defs/d%d"},{"$ref":"#/$defs/d%d"}]}`, i, i+1, i+1))
		}
		defs = append(defs, fmt.Sprintf(`"d%d":{"type":"string"}`, levels))
		return `{"type":"object","properties":{"a":{"$ref":"#/$defs/d0"}},"$defs":{` + strings.Join(defs, ",") + `}}`
	}
	for _, test := range []struct {
		what, raw string
		want      []string // code at place
	}{
		{"plain", schema(`{"type":"object"}`), nil},
		{"draft-07", schema(`{"$schema":"http://json-schema.org/draft-07/schema#","type":"object","definitions":{"a":{"type":"string"}},"properties":{"a":{"$ref":"#/definitions/a"}}}`), nil},
		{"a tree", schema(`{"type":"object","properties":{"root":{"$ref":"#/$defs/node"}},"$defs":{"node":{"type":"object","properties":{"next":{"anyOf":[{"$ref":"#/$defs/node"},{"type":"null"}]}}}}}`), nil},
		{"pattern", schema(`{"type":"object","properties":{"a":{"pattern":"^[a-z]+$"}}}`), nil},
		{"reference into an array and with escapes", schema(`{"type":"object","properties":{"a/b c":{"anyOf":[{"type":"string"}]},"d":{"$ref":"#/properties/a~1b%20c/anyOf/0"}}}`), nil},
		{"doubled twice is fine", schema(doubled(4)), nil},

		{"hidden in the name", `{"name":"x\u200b","inputSchema":{"type":"object"}}`, []string{"hidden_character at /name"}},
		{"escape in a description", `{"name":"x","description":"\u001b[2J","inputSchema":{"type":"object"}}`, []string{"terminal_escape at /description"}},
		{"tags in the title", `{"name":"x","title":"\udb40\udc41","inputSchema":{"type":"object"}}`, []string{"tag_character at /title"}},
		{"bidi deep in the schema", schema(`{"type":"object","properties":{"a":{"description":"\u202e"}}}`), []string{"bidirectional_character at /inputSchema/properties/a/description"}},
		{"hidden in a key", schema(`{"type":"object","properties":{"a\u200b":{}}}`), []string{"hidden_character at /inputSchema/properties/a\ufffd"}},
		{"hidden in an enum", schema(`{"type":"object","properties":{"a":{"enum":["x","y\u200b"]}}}`), []string{"hidden_character at /inputSchema/properties/a/enum/1"}},

		{"no schema", `{"name":"x"}`, []string{"schema_missing at /inputSchema"}},
		{"schema is true", schema(`true`), []string{"schema_invalid at /inputSchema"}},
		{"not for an object", schema(`{"type":"string"}`), []string{"schema_invalid at /inputSchema"}},
		{"wrong type", schema(`{"type":"object","properties":{"a":{"type":"strin"}}}`), []string{"schema_invalid at /inputSchema"}},
		{"look-ahead", schema(`{"type":"object","properties":{"a":{"pattern":"(?=x)"}}}`), []string{"schema_invalid at /inputSchema"}},
		{"unknown dialect", schema(`{"$schema":"https://evil.example/schema","type":"object"}`), []string{"schema_invalid at /inputSchema"}},
		{"file", schema(`{"type":"object","properties":{"a":{"$ref":"file:///srv/schema.json"}}}`), []string{"schema_remote_reference at /inputSchema"}},
		{"http", schema(`{"type":"object","allOf":[{"$ref":"https://evil.example/x"}]}`), []string{"schema_remote_reference at /inputSchema"}},
		{"relative", schema(`{"type":"object","allOf":[{"$ref":"other.json"}]}`), []string{"schema_remote_reference at /inputSchema"}},
		{"self", schema(`{"type":"object","$ref":"#"}`), []string{"schema_self_reference at /inputSchema"}},
		{"self in allOf", schema(`{"type":"object","allOf":[{"$ref":"#"}]}`), []string{"schema_self_reference at /inputSchema"}},
		{"dynamic", schema(`{"type":"object","allOf":[{"$dynamicRef":"#x"}]}`), []string{"schema_self_reference at /inputSchema"}},
		{"anchor", schema(`{"type":"object","$defs":{"a":{"$anchor":"x"}},"allOf":[{"$ref":"#x"}]}`), []string{"schema_reference at /inputSchema"}},
		{"dangling", schema(`{"type":"object","allOf":[{"$ref":"#/$defs/none"}]}`), []string{"schema_reference at /inputSchema"}},
		{"inner address", schema(`{"type":"object","$defs":{"a":{"$id":"https://x.example/"}}}`), []string{"schema_reference at /inputSchema"}},
		{"a loop of two", schema(`{"type":"object","$defs":{"a":{"$ref":"#/$defs/b"},"b":{"allOf":[{"$ref":"#/$defs/a"}]}},"properties":{"x":{"$ref":"#/$defs/a"}}}`), []string{"schema_explosive at /inputSchema"}},
		{"a reference to itself", schema(`{"type":"object","properties":{"a":{"$ref":"#/properties/a"}}}`), []string{"schema_explosive at /inputSchema"}},
		{"22 doubled allOf", schema(doubled(22)), []string{"schema_explosive at /inputSchema"}},
		{"too deep", schema(strings.Repeat(`{"type":"object","properties":{"a":`, 60) + `{}` + strings.Repeat(`}}`, 60)), []string{"schema_too_large at /inputSchema"}},
		{"output", `{"name":"x","inputSchema":{"type":"object"},"outputSchema":{"$ref":"http://x"}}`, []string{"schema_remote_reference at /outputSchema"}},
	} {
		started := time.Now()
		var got []string
		for _, f := range examine(policy.KindTool, []byte(test.raw)) {
			got = append(got, f.Code+" at "+f.Where)
			if !f.Blocks || f.Message == "" {
				t.Errorf("%s: finding %+v", test.what, f)
			}
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: %s", test.what, diff)
		}
		if took := time.Since(started); took > 30*time.Second {
			t.Errorf("%s took %s", test.what, took)
		}
	}
	if got := examine(policy.KindPrompt, []byte(`{"name":"x"}`)); len(got) != 0 {
		t.Errorf("a prompt needs no schema: %v", got)
	}
}

func TestProposedRisk(t *testing.T) {
	t.Parallel()
	for hints, want := range map[string]policy.Risk{
		``:                        policy.Destructive,
		`"readOnlyHint":true`:     policy.ReadOnly,
		`"readOnlyHint":"true"`:   policy.Destructive,
		`"ReadOnlyHint":true`:     policy.Destructive,
		`"readOnlyHint":false`:    policy.Destructive,
		`"destructiveHint":false`: policy.Write,
		`"destructiveHint":true`:  policy.Destructive,
		`"destructiveHint":0`:     policy.Destructive,
		`"readOnlyHint":false,"destructiveHint":false`: policy.Write,
	} {
		if got := proposeRisk(policy.KindTool, tool("x", "d", hints)); got != want {
			t.Errorf("%s: got %s, want %s", hints, got, want)
		}
	}
	if got := proposeRisk(policy.KindTool, []byte(`{"annotations":[]}`)); got != policy.Destructive {
		t.Errorf("odd annotations: %s", got)
	}
}

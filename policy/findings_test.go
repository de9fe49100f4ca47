package policy_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"countersign/policy"
)

const refundSchema = `{
	"type": "object",
	"properties": {
		"amount": {"type": "number"}, "count": {"type": "integer"}, "to": {"type": "string"}, "urgent": {"type": "boolean"},
		"note": {"type": ["string", "null"]}, "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}},
		"tags": {"type": "array", "items": {"type": "string"}}, "any": {}, "open": {"type": "object"},
		"address": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": false},
		"more": {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": true},
		"one": {"oneOf": [{"type": "string"}, {"type": "number"}]}, "loop": {"$ref": "#/properties/loop"}, "far": {"$ref": "https://example.com/x"}
	},
	"required": ["amount", "to", "lines", "tags", "address", "count", "urgent"],
	"$defs": {"line": {"type": "object", "properties": {"price": {"type": "number"}, "sku": {"type": "string"}}, "required": ["price"]}}
}`

func TestConditionFindings(t *testing.T) {
	t.Parallel()
	tool := policy.Tool{Kind: policy.KindTool, Name: "refund", InputSchema: []byte(refundSchema)}
	for _, c := range []struct {
		expr string
		want []string
	}{
		{"args.amount <= 100 && args.count == 1.0 && args.amount + args.count > 1.5", nil},
		{`args.to.endsWith("@acme.com") || args.to in ["a", "b"] || args["to"] == "x"`, nil},
		{"args.urgent", nil},
		{"!args.urgent ? args.amount < 5 : args.count < 5", nil},
		{`args.note == null || args.note == "x" || args.to != null`, nil},
		{`args.lines.all(l, l.price <= 100 && l.sku.startsWith("a"))`, nil},
		{`args.lines[0].price > 1 && args.lines.map(l, l.price).exists(p, p > 1) && size(args.lines) > 2`, nil},
		{`"a" in args.tags && args.tags.exists(t, t.matches("^a"))`, nil},
		{`args.any.whatever > 5 && args.open.whatever == "x" && args.more.b == 1 && args.one == 5 && args.loop.x && args.far.y == 1`, nil},
		{`args.address.city == "Bern" && args == {"a": 1} && "to" in args`, nil},
		{`principal.agent == "cursor" && now > timestamp("2026-01-01T00:00:00Z")`, nil},
		{`timestamp(args.to) < now && int(args.to) > 5 && string(args.amount) == "5"`, nil},
		{`args.all(name, name in ["amount", "to"])`, nil},

		{"args.amont <= 100 || args.amont > 5", []string{"There is no args.amont."}},
		{"has(args.amont)", []string{"There is no args.amont."}},
		{`args["amont"] == 1`, []string{"There is no args.amont."}},
		{`args.address.zip == "1"`, []string{"There is no args.address.zip."}},
		{"args.lines.all(l, l.prize <= 1)", []string{"There is no args.lines[].prize."}},
		{"args.lines[1].prize <= 1", []string{"There is no args.lines[].prize."}},
		{`args.amount <= "100"`, []string{"args.amount is a number, and the condition takes it for text."}},
		{`"100" == args.amount`, []string{"args.amount is a number, and the condition takes it for text."}},
		{`args.to > 5 && args.urgent == 1`, []string{
			"args.to is text, and the condition takes it for a number.", "args.urgent is true or false, and the condition takes it for a number.",
		}},
		{"args.note > 5", []string{"args.note is text or null, and the condition takes it for a number."}},
		{"args.to", []string{"args.to is text, and the condition takes it for true or false."}},
		{"args.amount && true", []string{"args.amount is a number, and the condition takes it for true or false."}},
		{"args.to == args.amount", []string{
			"args.to is text, and the condition takes it for a number.", "args.amount is a number, and the condition takes it for text.",
		}},
		{`args.amount in ["a"]`, []string{"args.amount is a number, and the condition takes it for text."}},
		{"5 in args.tags", []string{"args.tags is a list of text, and the condition looks there for a number."}},
		{`"x" in args.to`, []string{"args.to is text, and the condition takes it for a list or an object."}},
		{`args.tags.startsWith("a")`, []string{"args.tags is a list, and the condition takes it for text."}},
		{`args.to.name == "x"`, []string{"args.to is text, which has no members."}},
		{`args.to.exists(x, x == "a")`, []string{"args.to is text, and the condition takes it for a list or an object."}},
		{"args.tags.all(t, t > 5)", []string{"args.tags[] is text, and the condition takes it for a number."}},
		{"args.tags.all(t, t)", []string{"args.tags[] is text, and the condition takes it for true or false."}},
		{"args.to * 2 > 5", []string{"args.to is text, and the condition takes it for a number."}},
		{"size(args.amount) > 2", []string{"args.amount is a number, and the condition takes it for text or a list or an object."}},
		{"args.to > now", []string{"args.to is text, and the condition takes it for timestamp."}},
		{"args.to.getHours() > 5", []string{"args.to is no point in time before it is made one, with timestamp(args.to)."}},
		{"[1].all(args, args > 0) && args.tags.all(args, args > 0)", []string{"args.tags[] is text, and the condition takes it for a number."}},
		{"args.\u202e == 1", nil}, // is no expression
	} {
		if diff := cmp.Diff(c.want, policy.ConditionFindings(c.expr, tool)); diff != "" {
			t.Errorf("%s (-want +got)\n%s", c.expr, diff)
		}
	}
}

func TestConditionFindingsWithoutASchema(t *testing.T) {
	t.Parallel()
	for _, schema := range []string{"", "{}", "true", `{"type":"object"}`, `{"type":"object","properties":{}}`, "nonsense", `{"$ref":"#"}`, `{"allOf":[{}],"properties":{"a":{}}}`} {
		tool := policy.Tool{Kind: policy.KindTool, Name: "any", InputSchema: []byte(schema)}
		if found := policy.ConditionFindings(`args.x > 5 && args.y == "z"`, tool); found != nil {
			t.Errorf("%s: %v", schema, found)
		}
	}
	none := policy.Tool{Kind: policy.KindTool, Name: "any", InputSchema: []byte(`{"type":"object","properties":{},"additionalProperties":false}`)}
	if diff := cmp.Diff([]string{"There is no args.x."}, policy.ConditionFindings("args.x > 5", none)); diff != "" {
		t.Error(diff)
	}
	resource := policy.Tool{Kind: policy.KindResource, Name: "file:///{+path}"}
	if diff := cmp.Diff([]string{"There is no args.path."}, policy.ConditionFindings(`args.path == "x" && args.uri.contains("y")`, resource)); diff != "" {
		t.Error(diff)
	}
}

func TestConditionNotes(t *testing.T) {
	t.Parallel()
	tool := policy.Tool{Kind: policy.KindTool, Name: "refund", InputSchema: []byte(refundSchema)}
	for expr, want := range map[string][]string{
		"args.amount > 5":                               nil,
		`args.note == "x" || args.note == "y"`:          {"A call may leave out args.note, which has() asks about."},
		`has(args.note) && args.note == "x"`:            nil,
		`args.lines.all(l, l.sku == "x")`:               {"A call may leave out args.lines[].sku, which has() asks about."},
		`args.lines.all(l, !has(l.sku) || l.sku > "x")`: nil,
	} {
		if diff := cmp.Diff(want, policy.ConditionNotes(expr, tool)); diff != "" {
			t.Errorf("%s (-want +got)\n%s", expr, diff)
		}
	}
}

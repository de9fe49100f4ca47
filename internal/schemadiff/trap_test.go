package schemadiff_test

import (
	"testing"

	"countersign/internal/schemadiff"
)

// trap is a change that looks harmless, and a value that shows it is not: valid before, and not after.
type trap struct{ name, before, after, value string }

var traps = []trap{
	{"a name that could be anything", `{"type":"object"}`, `{"type":"object","properties":{"b":{"type":"string"}}}`, `{"b":1}`},
	{
		"a name that a pattern let in", `{"patternProperties":{"^b":{"type":"string"}},"additionalProperties":false}`,
		`{"patternProperties":{"^b":{"type":"string"}},"properties":{"b":{"type":"integer"}},"additionalProperties":false}`, `{"b":"s"}`,
	},
	{
		"a name that falls back to what others must be", `{"properties":{"b":{"type":"string"}},"additionalProperties":{"type":"integer"}}`,
		`{"additionalProperties":{"type":"integer"}}`, `{"b":"s"}`,
	},
	{
		"a pattern that a name fits", `{"properties":{"xa":{"type":"string"}},"additionalProperties":false}`,
		`{"properties":{"xa":{"type":"string"}},"additionalProperties":false,"patternProperties":{"^x":{"type":"integer"}}}`, `{"xa":"s"}`,
	},
	{"a pattern gone, and what it let in", `{"patternProperties":{"^x":{}},"additionalProperties":false}`, `{"additionalProperties":false}`, `{"xa":1}`},
	{
		"a name that a neighbour described", `{"allOf":[{"properties":{"b":{"type":"string"}}}],"unevaluatedProperties":false}`,
		`{"allOf":[{"properties":{"b":{"type":"string"}}}],"unevaluatedProperties":false,"properties":{"b":{"type":"integer"}}}`, `{"b":"s"}`,
	},
	{"a name that nothing describes now", `{"properties":{"a":{}},"unevaluatedProperties":false}`, `{"unevaluatedProperties":false}`, `{"a":1}`},
	{"others that nothing describes now", `{"additionalProperties":true,"unevaluatedProperties":false}`, `{"unevaluatedProperties":false}`, `{"a":1}`},
	{"a neighbour that describes less", `{"anyOf":[{"properties":{"a":{}}},{}],"unevaluatedProperties":false}`, `{"anyOf":[{},{}],"unevaluatedProperties":false}`, `{"a":1}`},
	{"elements that nothing describes now", `{"prefixItems":[{}],"unevaluatedItems":false}`, `{"unevaluatedItems":false}`, `[1]`},
	{"names", `{}`, `{"propertyNames":{"maxLength":1}}`, `{"ab":1}`},
	{"what must come along", `{"dependentRequired":{"a":["b"]}}`, `{"dependentRequired":{"a":["b","c"]}}`, `{"a":1,"b":1}`},

	{"the rest of a shorter list", `{"prefixItems":[{},{"type":"string"}],"items":{"type":"integer"}}`, `{"prefixItems":[{}],"items":{"type":"integer"}}`, `[1,"s"]`},
	{"elements that come twice", `{}`, `{"uniqueItems":true}`, `[1,1.0]`},
	{"more that must be there", `{"contains":{}}`, `{"contains":{},"minContains":2}`, `[1]`},
	{"more that count", `{"contains":{"type":"integer"},"maxContains":1}`, `{"contains":{"type":"number"},"maxContains":1}`, `[1,1.5]`},
	{"fewer that count", `{"contains":{"type":"number"}}`, `{"contains":{"type":"integer"}}`, `[1.5]`},
	{"a limit that draft-07 does not know", draft07(`"contains":{"const":1}`), draft07(`"contains":{"const":2},"minContains":0`), `[1]`},

	{"a type for values that do not have it", `{"enum":[1,"a"]}`, `{"enum":[1,"a"],"type":"string"}`, `1`},
	{"whole numbers too big for a float", `{"const":9007199254740993}`, `{"const":9007199254740992}`, `9007199254740993`},
	{"a limit at the limit", `{"maximum":1}`, `{"exclusiveMaximum":1}`, `1`},
	{"steps that are no fraction", `{"multipleOf":0.5}`, `{"multipleOf":1}`, `0.5`},

	{"an alternative gone", `{"anyOf":[{"type":"string"},{"type":"null"}]}`, `{"anyOf":[{"type":"null"},{"type":"boolean"},{"type":"integer"}]}`, `"s"`},
	{"one more, and two fit", `{"oneOf":[{"type":"string"}]}`, `{"oneOf":[{"type":"string"},{"maxLength":3}]}`, `"s"`},
	{"one wider, and two fit", `{"oneOf":[{"type":"string"},{"type":"null"}]}`, `{"oneOf":[{"type":"string"},{"type":["null","string"]}]}`, `"s"`},
	{
		"one wider in its definition, and two fit", `{"oneOf":[{"$ref":"#/$defs/x"},{"type":"null"}],"$defs":{"x":{"type":"string"}}}`,
		`{"oneOf":[{"$ref":"#/$defs/x"},{"type":"null"}],"$defs":{"x":{"type":["string","null"]}}}`, `null`,
	},
	{"whole numbers are numbers, and two fit", `{"oneOf":[{"type":"string"},{"type":"integer"}]}`, `{"oneOf":[{"type":"string"},{"type":"integer"},{"type":"number"}]}`, `1`},
	{"one written twice, and two fit", `{"oneOf":[{"const":1}]}`, `{"oneOf":[{"const":1},{"const":1.0}]}`, `1`},
	{"more refused by a definition", `{"not":{"$ref":"#/$defs/x"},"$defs":{"x":{"type":"string"}}}`, `{"not":{"$ref":"#/$defs/x"},"$defs":{"x":{"type":["string","null"]}}}`, `null`},
	{"more to which a condition applies", `{"if":{"const":1},"then":{"const":1}}`, `{"if":{"enum":[1,2]},"then":{"const":1}}`, `2`},
	{"a condition with only an alternative", `{}`, `{"if":{"const":1},"else":{"const":2}}`, `3`},
	{"a condition in a definition", `{"if":{"$ref":"#/$defs/x"},"then":{"minimum":5},"$defs":{"x":{"const":9}}}`, `{"if":{"$ref":"#/$defs/x"},"then":{"minimum":5},"$defs":{"x":{"type":"integer"}}}`, `1`},
	{"one more condition", `{"allOf":[{}]}`, `{"allOf":[{},{"type":"string"}]}`, `1`},

	{"a definition that another keyword hides", `{"$ref":"#/default","default":{}}`, `{"$ref":"#/default","default":{"type":"string"}}`, `1`},
	{"beside a reference, in draft-07", draft07(`"$ref":"#/definitions/x","definitions":{"x":{}}`), draft07(`"$ref":"#/definitions/x","const":1,"definitions":{"x":{}}`), `2`},
	{"a reference in draft-07", draft07(`"$ref":"#/definitions/x","type":"string","definitions":{"x":{}}`), draft07(`"type":"string"`), `1`},
	{"deep within itself", tree(`"maximum":2`), tree(`"maximum":1`), `{"left":{"right":{"value":2}}}`},
	{
		"a part with an address of its own", `{"properties":{"a":{"$id":"urn:a","$ref":"#/$defs/x","$defs":{"x":{}}}},"$defs":{"x":{}}}`,
		`{"properties":{"a":{"$id":"urn:a","$ref":"#/$defs/x","$defs":{"x":{"type":"string"}}}},"$defs":{"x":{}}}`, `{"a":1}`,
	},
	{"a reference to a name", `{"$ref":"#n","$defs":{"x":{"$anchor":"n"}}}`, `{"$ref":"#n","$defs":{"x":{"$anchor":"n","type":"string"}}}`, `1`},
	{
		"a reference that depends on where it came from", `{"$dynamicRef":"#n","$defs":{"x":{"$dynamicAnchor":"n"}}}`,
		`{"$dynamicRef":"#n","$defs":{"x":{"$dynamicAnchor":"n","type":"string"}}}`, `1`,
	},
}

// TestTraps shows that none of them is said to be compatible.
func TestTraps(t *testing.T) {
	t.Parallel()
	for _, c := range traps {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			was, is := compile([]byte(c.before)), compile([]byte(c.after))
			if was == nil || is == nil {
				t.Fatal("a schema does not compile")
			}
			value := decode(t, []byte(c.value))
			if was.Validate(value) != nil || is.Validate(value) == nil {
				t.Fatalf("the value does not show it: before %v, after %v", was.Validate(value), is.Validate(value))
			}
			if changes := schemadiff.Compare([]byte(c.before), []byte(c.after)); schemadiff.Compatible(changes) {
				t.Errorf("said to be compatible:\n%s", describe(changes))
			}
		})
	}
}

package schemadiff_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"countersign/internal/schemadiff"
)

// oneChange is a pair of schemas and what is to be said of it: kinds and places.
type oneChange struct {
	name, before, after string
	want                []string
}

// changed makes a case.
func changed(name, before, after string, want ...string) oneChange {
	return oneChange{name, before, after, want}
}

var values = []oneChange{
	changed("nothing", `{"type":"string"}`, `{ "type" : "string" }`),
	changed("another type", `{"type":"string"}`, `{"type":"object","required":["a"]}`, "breaking /type"),
	changed("one more type", `{"type":"string"}`, `{"type":["string","null"]}`, "wider /type"),
	changed("one type fewer", `{"type":["string","null"]}`, `{"type":"string"}`, "narrower /type"),
	changed("one type for another", `{"type":["string","null"]}`, `{"type":["string","boolean"]}`, "breaking /type"),
	changed("fractions", `{"type":"integer"}`, `{"type":"number"}`, "wider /type"),
	changed("no fractions", `{"type":"number"}`, `{"type":"integer"}`, "narrower /type"),
	changed("a list of one type", `{"type":"string"}`, `{"type":["string"]}`, "text_only /type"),
	changed("any type", `{"type":"string"}`, `{}`, "wider /type"),
	changed("nothing any more", `{"items":{}}`, `{"items":false}`, "narrower /items"),
	changed("nothing at all", `{}`, `{"not":{}}`, "narrower /not"),

	changed("one more value", `{"enum":["a"]}`, `{"enum":["b","a"]}`, "wider /enum"),
	changed("one value fewer", `{"enum":["a","b"]}`, `{"enum":["a"]}`, "narrower /enum"),
	changed("one value for another", `{"enum":["a","b"]}`, `{"enum":["a","c"]}`, "breaking /enum"),
	changed("values in another order", `{"enum":["a","b"]}`, `{"enum":["b","a"]}`, "text_only /enum"),
	changed("any value", `{"type":"string","enum":["a"]}`, `{"type":"string"}`, "wider /enum"),
	changed("only some values", `{"type":"string"}`, `{"type":"string","enum":["a"]}`, "narrower /enum"),
	changed("another constant", `{"const":1}`, `{"const":2}`, "breaking /const"),
	changed("the same constant", `{"const":{"a":1,"b":[1e0]}}`, `{"const":{"b":[1],"a":1.0}}`, "text_only /const"),
	changed("a type for values that have it", `{"enum":["a"]}`, `{"enum":["a"],"type":"string"}`, "text_only /type"),
	changed("a list for a constant", `{"const":"a"}`, `{"enum":["a","b"]}`, "text_only /enum", "wider /const"),

	changed("a higher limit", `{"maximum":10}`, `{"maximum":11}`, "wider /maximum"),
	changed("a lower limit", `{"maximum":10}`, `{"maximum":9.5}`, "narrower /maximum"),
	changed("no limit", `{"maximum":10}`, `{}`, "wider /maximum"),
	changed("a limit", `{}`, `{"minimum":0}`, "narrower /minimum"),
	changed("a limit on what is no number", `{"type":"string"}`, `{"type":"string","minimum":0}`, "text_only /minimum"),
	changed("the same limit", `{"maximum":10}`, `{"maximum":1.0e1}`, "text_only /maximum"),
	changed("a limit beyond floats", `{"maximum":9007199254740993}`, `{"maximum":9007199254740992}`, "narrower /maximum"),
	changed("a limit beyond reckoning", `{"maximum":1e999999999}`, `{"maximum":1e999999998}`, "breaking /maximum"),
	changed("a limit that excludes itself", `{"minimum":1}`, `{"exclusiveMinimum":1}`, "narrower "),
	changed("a limit that excludes more", `{"minimum":1}`, `{"exclusiveMinimum":0.5}`, "wider "),
	changed("a second limit that says nothing", `{"maximum":1}`, `{"maximum":1,"exclusiveMaximum":7}`, "text_only /exclusiveMaximum"),
	changed("finer steps", `{"multipleOf":0.5}`, `{"multipleOf":0.25}`, "wider /multipleOf"),
	changed("coarser steps", `{"multipleOf":2}`, `{"multipleOf":4}`, "narrower /multipleOf"),
	changed("other steps", `{"multipleOf":2}`, `{"multipleOf":3}`, "breaking /multipleOf"),
	changed("whole steps for whole numbers", `{"type":"integer"}`, `{"type":"integer","multipleOf":1}`, "text_only /multipleOf"),

	changed("longer text", `{"maxLength":10}`, `{"maxLength":20}`, "wider /maxLength"),
	changed("no empty text", `{"type":"string"}`, `{"type":"string","minLength":1}`, "narrower /minLength"),
	changed("empty text, which was", `{"type":"string"}`, `{"type":"string","minLength":0}`, "text_only /minLength"),
	changed("a pattern", `{}`, `{"pattern":"^a"}`, "narrower /pattern"),
	changed("no pattern", `{"pattern":"^a"}`, `{}`, "wider /pattern"),
	changed("another pattern", `{"pattern":"^a"}`, `{"pattern":"a"}`, "breaking /pattern"),
	changed("another format", `{"format":"date"}`, `{"format":"date-time"}`, "breaking /format"),
	changed("no format", `{"format":"date"}`, `{}`, "wider /format"),
	changed("another encoding", `{"contentEncoding":"base64","contentMediaType":"text/plain"}`, `{"contentMediaType":"text/plain"}`, "breaking /contentEncoding"),

	changed("other words", `{"title":"a","description":"b","default":1}`, `{"title":"A","description":"B","default":2}`,
		"text_only /title", "text_only /description", "text_only /default"),
	changed("a keyword that nobody knows", `{}`, `{"x-widget":"slider"}`, "breaking /x-widget"),
	changed("a keyword with a value that makes no sense", `{"required":true}`, `{"required":false}`, "breaking /required"),
	changed("a name of its own", `{"$id":"urn:a"}`, `{"$id":"urn:b"}`, "text_only /$id"),
}

var objects = []oneChange{
	changed("one more property, closed", closed(`"a":{"type":"string"}`), closed(`"a":{"type":"string"},"b":{"type":"string"}`), "new_power /properties/b"),
	changed("one more property, open", open(`"a":{}`), open(`"a":{},"b":{"type":"string"}`), "new_power /properties/b", "narrower /properties/b"),
	changed("one more property of any kind, open", open(`"a":{}`), open(`"a":{},"b":{}`), "new_power /properties/b"),
	changed("one more property, of others", `{"additionalProperties":{"type":"string"}}`, `{"additionalProperties":{"type":"string"},"properties":{"b":{"type":"string","minLength":1}}}`,
		"new_power /properties/b", "narrower /properties/b"),
	changed("one more that must be sent", closed(`"a":{}`), `{"type":"object","properties":{"a":{},"b":{}},"required":["b"],"additionalProperties":false}`,
		"breaking /required", "new_power /properties/b"),
	changed("one fewer, closed", closed(`"a":{},"b":{}`), closed(`"a":{}`), "breaking /properties/b"),
	changed("one fewer, open", open(`"a":{},"b":{"type":"string"}`), open(`"a":{}`), "wider /properties/b"),
	changed("one fewer, that was anything", open(`"a":{},"b":{}`), open(`"a":{}`), "text_only /properties/b"),
	changed("one refused", open(`"a":{}`), open(`"a":false`), "breaking /properties/a"),
	changed("one not refused", open(`"a":false`), open(`"a":{}`), "new_power /properties/a"),
	changed("one that must be sent", open(`"a":{}`), `{"type":"object","properties":{"a":{}},"required":["a"]}`, "breaking /required"),
	changed("one that need not be sent", `{"required":["a","b"]}`, `{"required":["b"]}`, "wider /required"),
	changed("a property within", open(`"a":{"maximum":1}`), open(`"a":{"maximum":2}`), "wider /properties/a/maximum"),
	changed("a name with a slash", open(`"a/b~":{"maximum":1}`), open(`"a/b~":{"maximum":2}`), "wider /properties/a~1b~0/maximum"),
	changed("opened", closed(`"a":{}`), open(`"a":{}`), "new_power /additionalProperties"),
	changed("closed", open(`"a":{}`), closed(`"a":{}`), "narrower /additionalProperties"),
	changed("opened and open", `{}`, `{"additionalProperties":true}`, "text_only "),
	changed("others wider", `{"additionalProperties":{"maximum":1}}`, `{"additionalProperties":{"maximum":2}}`, "wider /additionalProperties/maximum"),
	changed("a pattern for names, closed", `{"additionalProperties":false}`, `{"additionalProperties":false,"patternProperties":{"^x-":{}}}`, "new_power /patternProperties/^x-"),
	changed("a pattern for names, open", `{}`, `{"patternProperties":{"^x-":{"type":"string"}}}`, "breaking /patternProperties/^x-"),
	changed("no pattern for names, open", `{"patternProperties":{"^x-":{"type":"string"}}}`, `{}`, "wider /patternProperties/^x-"),
	changed("no pattern for names, closed", `{"additionalProperties":false,"patternProperties":{"^x-":{}}}`, `{"additionalProperties":false}`, "breaking /patternProperties/^x-"),
	changed("under a pattern", `{"patternProperties":{"^x-":{"maximum":1}}}`, `{"patternProperties":{"^x-":{"maximum":2}}}`, "wider /patternProperties/^x-/maximum"),
	changed("one more property that a pattern may speak of", `{"patternProperties":{"b":{"type":"string"}},"additionalProperties":false}`,
		`{"patternProperties":{"b":{"type":"string"}},"additionalProperties":false,"properties":{"b":{"type":"integer"}}}`,
		"new_power /properties/b", "breaking /properties/b"),
	changed("shorter names", `{"propertyNames":{"maxLength":5}}`, `{"propertyNames":{"maxLength":4}}`, "narrower /propertyNames"),
	changed("more properties", `{"maxProperties":5}`, `{"maxProperties":6}`, "wider /maxProperties"),
}

func closed(properties string) string {
	return `{"type":"object","properties":{` + properties + `},"additionalProperties":false}`
}

func open(properties string) string { return `{"type":"object","properties":{` + properties + `}}` }

var combinations = []oneChange{
	changed("elements wider", `{"items":{"maximum":1}}`, `{"items":{"maximum":2}}`, "wider /items/maximum"),
	changed("more elements", `{"maxItems":1}`, `{"maxItems":2}`, "wider /maxItems"),
	changed("elements that may come twice", `{"uniqueItems":true}`, `{"uniqueItems":false}`, "wider /uniqueItems"),
	changed("something that must be among them", `{}`, `{"contains":{"const":1}}`, "narrower /contains"),
	changed("something looser that must be among them", `{"contains":{"const":1}}`, `{"contains":{"enum":[1,2]}}`, "wider /contains"),

	changed("one more condition", `{"allOf":[{"minimum":1}]}`, `{"allOf":[{"minimum":1},{"maximum":2}]}`, "narrower /allOf"),
	changed("one condition fewer", `{"allOf":[{"minimum":1},{"maximum":2}]}`, `{"allOf":[{"maximum":2}]}`, "wider /allOf"),
	changed("a looser condition", `{"allOf":[{"minimum":1},{"maximum":2}]}`, `{"allOf":[{"minimum":0},{"maximum":2}]}`, "wider /allOf/0/minimum"),
	changed("conditions in another order", `{"allOf":[{"minimum":1},{"maximum":2}]}`, `{"allOf":[{"maximum":2},{"minimum":1}]}`, "text_only /allOf"),
	changed("a condition taken out", `{"allOf":[{"minimum":1}]}`, `{"minimum":1}`, "narrower /minimum", "text_only /allOf"),
	changed("one more alternative", `{"anyOf":[{"type":"string"}]}`, `{"anyOf":[{"type":"string"},{"type":"null"}]}`, "wider /anyOf"),
	changed("one alternative fewer", `{"anyOf":[{"type":"string"},{"type":"null"}]}`, `{"anyOf":[{"type":"null"}]}`, "narrower /anyOf"),
	changed("an alternative for what was all", `{"type":"string"}`, `{"anyOf":[{"type":"string"},{"type":"null"}]}`, "wider /type", "text_only /anyOf"),
	changed("one alternative wider", `{"anyOf":[{"type":"string","maxLength":1},{"type":"null"}]}`, `{"anyOf":[{"type":"string","maxLength":2},{"type":"null"}]}`, "wider /anyOf/0/maxLength"),
	changed("one more that excludes the others", `{"oneOf":[{"const":"a"}]}`, `{"oneOf":[{"const":"a","title":"A"},{"const":"b"}]}`, "wider /oneOf"),
	changed("one more that may not exclude them", `{"oneOf":[{"minimum":1}]}`, `{"oneOf":[{"minimum":1},{"maximum":5}]}`, "breaking /oneOf"),
	changed("exclusive ones in another order", `{"oneOf":[{"minimum":1},{"maximum":5}]}`, `{"oneOf":[{"maximum":5},{"minimum":1}]}`, "text_only /oneOf"),
	changed("words within", `{"oneOf":[{"minimum":1,"title":"a"},{"maximum":5}]}`, `{"oneOf":[{"minimum":1,"title":"b"},{"maximum":5}]}`, "text_only /oneOf/0/title"),
	changed("less refused", `{"not":{"maximum":5}}`, `{"not":{"maximum":4}}`, "wider /not"),
	changed("more refused", `{"not":{"maximum":4}}`, `{"not":{"maximum":5}}`, "narrower /not"),
	changed("a consequence", `{"if":{"const":1}}`, `{"if":{"const":1},"then":{"type":"integer"}}`, "narrower /then"),
	changed("another condition", `{"if":{"const":1},"then":{"minimum":1}}`, `{"if":{"const":2},"then":{"minimum":1}}`, "breaking /if"),
	changed("more that must be sent together", `{"dependencies":{"a":["b"]}}`, `{"dependencies":{"a":["b","c"]}}`, "narrower /dependencies"),

	changed("a definition", `{"$ref":"#/definitions/a","definitions":{"a":{"maximum":1}}}`, `{"$ref":"#/definitions/a","definitions":{"a":{"maximum":2}}}`, "wider /definitions/a/maximum"),
	changed("a part that became a definition", `{"properties":{"a":{"maximum":1}}}`, `{"properties":{"a":{"$ref":"#/definitions/a"}},"definitions":{"a":{"maximum":1}}}`,
		"text_only "),
	changed("a definition that nothing uses", `{"definitions":{"a":{"maximum":1}}}`, `{"definitions":{"a":{"maximum":2}}}`, "text_only /definitions/a"),
	changed("a list of lists", tree(`"maximum":1`), tree(`"maximum":2`), "wider /definitions/tree/properties/value/maximum"),
	changed("a reference that leads nowhere", `{"items":{"$ref":"#/definitions/a"}}`, `{"items":{"$ref":"#/definitions/b"}}`, "breaking /items"),
	changed("a reference out of the schema", `{"items":{"$ref":"https://example.com/a"}}`, `{"items":{"$ref":"https://example.com/b"}}`, "breaking /items"),
	changed("a schema that asks for itself", `{}`, `{"allOf":[{"$ref":"#"}]}`, "breaking "),
	changed("a dialect within", `{}`, `{"items":{"$schema":"http://json-schema.org/draft-04/schema#"}}`, "breaking ", "breaking /items/$schema"),
}

func tree(value string) string {
	return `{"$ref":"#/definitions/tree","definitions":{"tree":{"type":"object","properties":{` +
		`"value":{` + value + `},"left":{"$ref":"#/definitions/tree"},"right":{"$ref":"#/definitions/tree"}}}}}`
}

// TestCompare says what each change means, in either dialect.
func TestCompare(t *testing.T) {
	t.Parallel()
	for _, c := range append(append(values, objects...), combinations...) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for _, dialect := range []string{"http://json-schema.org/draft-07/schema#", "https://json-schema.org/draft/2020-12/schema"} {
				before, after := within(t, dialect, c.before), within(t, dialect, c.after)
				if diff := cmp.Diff(c.want, brief(schemadiff.Compare(before, after))); diff != "" {
					t.Errorf("Compare(%s, %s) (-want +got):\n%s", before, after, diff)
				}
			}
		})
	}
}

var dialects = []oneChange{
	changed("elements one by one", `{"prefixItems":[{"maximum":1}],"items":false}`, `{"prefixItems":[{"maximum":2}],"items":false}`, "wider /prefixItems/0/maximum"),
	changed("one more element", `{"prefixItems":[{}],"items":false}`, `{"prefixItems":[{},{}],"items":false}`, "wider /prefixItems/1"),
	changed("one element fewer", `{"prefixItems":[{},{}],"items":false}`, `{"prefixItems":[{}],"items":false}`, "breaking /prefixItems/1"),
	changed("fewer that must be among them", `{"contains":{},"minContains":2}`, `{"contains":{},"minContains":1}`, "wider /minContains"),
	changed("what nothing else describes", `{"properties":{"a":{}},"unevaluatedProperties":false}`, `{"properties":{"a":{}}}`, "new_power /unevaluatedProperties"),
	changed("one more property, closed by what nothing else describes", `{"properties":{"a":{}},"unevaluatedProperties":false}`,
		`{"properties":{"a":{},"b":{"type":"string"}},"unevaluatedProperties":false}`, "new_power /properties/b"),
	changed("a neighbour of what nothing else describes", `{"allOf":[{"properties":{"a":{}}}],"unevaluatedProperties":false}`,
		`{"allOf":[{"properties":{"b":{}}}],"unevaluatedProperties":false}`,
		"breaking /unevaluatedProperties", "new_power /allOf/0/properties/b", "text_only /allOf/0/properties/a"),
	changed("beside a reference", `{"$ref":"#/$defs/a","maximum":1,"$defs":{"a":{}}}`, `{"$ref":"#/$defs/a","maximum":2,"$defs":{"a":{}}}`, "wider /maximum"),
	changed("a dynamic reference", `{"items":{"$dynamicRef":"#a"}}`, `{"items":{"$dynamicRef":"#a"},"maxItems":2}`, "breaking ", "narrower /maxItems"),
	changed("must come together", `{"dependentRequired":{"a":["b"]}}`, `{"dependentRequired":{"a":[]}}`, "wider /dependentRequired"),
	changed("must fit together", `{"dependentSchemas":{"a":{"maxProperties":2}}}`, `{"dependentSchemas":{"a":{"maxProperties":3}}}`, "wider /dependentSchemas"),

	changed("a named dialect", `{}`, `{"$schema":"https://json-schema.org/draft/2020-12/schema"}`, "text_only /$schema"),
	changed("another dialect", `{}`, `{"$schema":"http://json-schema.org/draft-07/schema#"}`, "breaking /$schema"),
	changed("an unknown dialect", `{"$schema":"urn:x","maximum":1}`, `{"$schema":"urn:x","maximum":2}`, "breaking /$schema", "wider /maximum"),
	changed("an unknown dialect, other words", `{"$schema":"urn:x","title":"a"}`, `{"$schema":"urn:x","title":"b"}`, "text_only /title"),
	changed("draft-07, one by one", draft07(`"items":[{"maximum":1}]`), draft07(`"items":[{"maximum":2}]`), "wider /items/0/maximum"),
	changed("draft-07, the other elements", draft07(`"items":[{}],"additionalItems":false`), draft07(`"items":[{}]`), "wider /additionalItems"),
	changed("draft-07, beside a reference", draft07(`"$ref":"#/definitions/a","maximum":1,"definitions":{"a":{}}`),
		draft07(`"$ref":"#/definitions/a","maximum":2,"definitions":{"a":{}}`), "breaking "),
	changed("true", `true`, `{}`, "text_only "),
	changed("false", `true`, `false`, "breaking "),
	changed("not false", `false`, `{"type":"string"}`, "wider "),
	changed("no schema", `{}`, ``, "text_only "),
	changed("a schema", ``, `{"type":"string"}`, "narrower /type"),
	changed("no JSON", `{}`, `{"a":1,"a":2}`, "breaking "),
	changed("no schema but a number", `1`, `2`, "breaking "),
}

func draft07(keywords string) string {
	return `{"$schema":"http://json-schema.org/draft-07/schema#",` + keywords + `}`
}

// TestCompareDialects is about what only one dialect has.
func TestCompareDialects(t *testing.T) {
	t.Parallel()
	for _, c := range dialects {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(c.want, brief(schemadiff.Compare(json.RawMessage(c.before), json.RawMessage(c.after)))); diff != "" {
				t.Errorf("Compare(%s, %s) (-want +got):\n%s", c.before, c.after, diff)
			}
		})
	}
}

// within gives a schema a dialect.
func within(t *testing.T, dialect, schema string) json.RawMessage {
	t.Helper()
	var m map[string]json.RawMessage
	if err := json.Unmarshal([]byte(schema), &m); err != nil {
		t.Fatalf("%s: %v", schema, err)
	}
	m["$schema"] = json.RawMessage(`"` + dialect + `"`)
	return marshal(t, m)
}

func brief(changes []schemadiff.Change) []string {
	var all []string
	for _, c := range changes {
		all = append(all, strings.Join([]string{string(c.Kind), c.Path}, " "))
	}
	return all
}

package registry

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"countersign/policy"
)

// blocking gives the codes that keep a definition from being pinned.
func blocking(kind policy.Kind, raw string) string {
	var codes []string
	for _, f := range examine(kind, []byte(raw)) {
		if f.Blocks {
			codes = append(codes, f.Code)
		}
	}
	return strings.Join(codes, ",")
}

// TestCharactersBlockWhereverAModelReadsThem has each kind of character in each place.
func TestCharactersBlockWhereverAModelReadsThem(t *testing.T) {
	t.Parallel()
	characters := map[string]struct{ text, code string }{
		"hidden":                  {"a\u200bb", codeHidden},
		"hidden behind an emoji":  {"a\u2764\U000e0101b", codeHidden},
		"bidirectional":           {"a\u202eb", codeBidi},
		"tag":                     {"a\U000e0041b", codeTag},
		"control":                 {"a\u0008b", codeControl},
		"control of 8 bits":       {"a\u0085b", codeControl},
		"terminal escape":         {"a\u001b[2Jb", codeTerminal},
		"terminal escape, 8 bits": {"a\u009b2Jb", codeTerminal},
	}
	const plain = `"inputSchema":{"type":"object"}`
	places := map[string]struct {
		kind     policy.Kind
		template string
	}{
		"name":                 {policy.KindTool, `{"name":%s,` + plain + `}`},
		"title":                {policy.KindTool, `{"name":"x","title":%s,` + plain + `}`},
		"description":          {policy.KindTool, `{"name":"x","description":%s,` + plain + `}`},
		"annotations title":    {policy.KindTool, `{"name":"x","annotations":{"title":%s},` + plain + `}`},
		"property name":        {policy.KindTool, `{"name":"x","inputSchema":{"type":"object","properties":{%s:{}}}}`},
		"property title":       {policy.KindTool, `{"name":"x","inputSchema":{"type":"object","properties":{"a":{"title":%s}}}}`},
		"property description": {policy.KindTool, `{"name":"x","inputSchema":{"type":"object","properties":{"a":{"description":%s}}}}`},
		"enum":                 {policy.KindTool, `{"name":"x","inputSchema":{"type":"object","properties":{"a":{"enum":["b",%s]}}}}`},
		"const":                {policy.KindTool, `{"name":"x","inputSchema":{"type":"object","properties":{"a":{"const":%s}}}}`},
		"default":              {policy.KindTool, `{"name":"x","inputSchema":{"type":"object","properties":{"a":{"default":{"b":[%s]}}}}}`},
		"examples":             {policy.KindTool, `{"name":"x","inputSchema":{"type":"object","properties":{"a":{"examples":[%s]}}}}`},
		"$comment":             {policy.KindTool, `{"name":"x","inputSchema":{"type":"object","$comment":%s}}`},
		"required":             {policy.KindTool, `{"name":"x","inputSchema":{"type":"object","required":[%s]}}`},
		"output schema":        {policy.KindTool, `{"name":"x",` + plain + `,"outputSchema":{"type":"object","description":%s}}`},
		"icon":                 {policy.KindTool, `{"name":"x","icons":[{"src":%s}],` + plain + `}`},
		"_meta":                {policy.KindTool, `{"name":"x","_meta":{"a":%s},` + plain + `}`},
		"a member of its own":  {policy.KindTool, `{"name":"x",%s:1,` + plain + `}`},
		"prompt argument":      {policy.KindPrompt, `{"name":"x","arguments":[{"name":"a","description":%s}]}`},
		"resource address":     {policy.KindResource, `{"uri":%s,"name":"x"}`},
	}
	for place, p := range places {
		for what, c := range characters {
			text, err := json.Marshal(c.text)
			if err != nil {
				t.Fatal(err)
			}
			if got := blocking(p.kind, fmt.Sprintf(p.template, text)); got != c.code {
				t.Errorf("%s in %s: %q, want %q", what, place, got, c.code)
			}
		}
		if got := blocking(p.kind, fmt.Sprintf(p.template, `"plain text"`)); got != "" {
			t.Errorf("plain text in %s: %s", place, got)
		}
	}
}

// TestSchemasThatBlock has the schemas that no call could be checked against, or not safely.
func TestSchemasThatBlock(t *testing.T) {
	t.Parallel()
	doubled := func(levels int) string {
		var defs []string
		for i := range levels {
			defs = append(defs, fmt.Sprintf(`"d%d":{"allOf":[{"$ref":"#/$defs/d%d"},{"$ref":"#/$defs/d%d"}]}`, i, i+1, i+1))
		}
		return `{"type":"object","allOf":[{"$ref":"#/$defs/d0"}],"$defs":{` + strings.Join(append(defs, fmt.Sprintf(`"d%d":{}`, levels)), ",") + `}}`
	}
	property := func(s string) string { return `{"type":"object","properties":{"a":` + s + `}}` }
	for what, test := range map[string]struct{ schema, code string }{
		"self $ref":                     {`{"type":"object","$ref":"#"}`, "schema_self_reference"},
		"self $ref in allOf":            {`{"type":"object","allOf":[{"$ref":"#"}]}`, "schema_self_reference"},
		"self $ref, spelled out":        {`{"type":"object","properties":{"a":{"$ref":"#/properties/a"}}}`, "schema_explosive"},
		"self $ref by way of another":   {`{"type":"object","$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}},"properties":{"x":{"$ref":"#/$defs/a"}}}`, "schema_explosive"},
		"remote $ref":                   {property(`{"$ref":"https://schemas.test/a.json"}`), "schema_remote_reference"},
		"remote $ref without a scheme":  {property(`{"$ref":"//schemas.test/a.json"}`), "schema_remote_reference"},
		"$ref to a file":                {property(`{"$ref":"file:///etc/passwd"}`), "schema_remote_reference"},
		"remote dialect":                {`{"$schema":"https://schemas.test/dialect","type":"object"}`, "schema_invalid"},
		"address of its own":            {property(`{"$id":"https://schemas.test/a.json"}`), "schema_reference"},
		"$dynamicRef":                   {property(`{"$dynamicRef":"#a"}`), "schema_self_reference"},
		"22 doubled allOf":              {doubled(22), "schema_explosive"},
		"13 doubled allOf":              {doubled(13), "schema_explosive"},
		"wide anyOf in anyOf":           {property(`{"anyOf":[` + strings.Repeat(`{"anyOf":[`+strings.Repeat(`{},`, 99)+`{}]},`, 59) + `{}]}`), "schema_explosive"},
		"too many parts":                {property(`{"enum":[` + strings.Repeat(`0,`, 20_000) + `1]}`), "schema_too_large"},
		"look-ahead":                    {property(`{"pattern":"(?=a)a"}`), "schema_invalid"},
		"look-behind":                   {property(`{"pattern":"(?<=a)b"}`), "schema_invalid"},
		"back reference":                {property(`{"pattern":"(a)\\1"}`), "schema_invalid"},
		"look-ahead in a property name": {`{"type":"object","patternProperties":{"(?!a)b":{}}}`, "schema_invalid"},
		"a type nobody knows":           {property(`{"type":"text"}`), "schema_invalid"},
		"not for an object":             {`{"type":"array"}`, "schema_invalid"},

		"8 doubled allOf":  {doubled(8), ""},
		"a list of itself": {`{"type":"object","$defs":{"node":{"type":"object","properties":{"next":{"$ref":"#/$defs/node"}}}},"properties":{"list":{"$ref":"#/$defs/node"}}}`, ""},
	} {
		if got := blocking(policy.KindTool, `{"name":"x","inputSchema":`+test.schema+`}`); got != test.code {
			t.Errorf("%s: %q, want %q", what, got, test.code)
		}
	}
}

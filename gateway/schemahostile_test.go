package gateway

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"countersign/canonical"
	"countersign/policy"
)

// doubled is a schema of n definitions, each of which asks for the next one twice.
func doubled(keyword string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"d%d":{%q:[{"$ref":"#/$defs/d%d"},{"$ref":"#/$defs/d%d"}]},`, i, keyword, i+1, i+1)
	}
	return fmt.Sprintf(`{"type":"object","$ref":"#/$defs/d0","$defs":{%s"d%d":{"type":"object"}}}`, b.String(), n)
}

// hostileSchema is a row: a schema of a server, arguments, and what becomes of them.
type hostileSchema struct {
	name, schema, arguments string
	want                    verdictOf
}

type verdictOf string

const (
	passes      verdictOf = "passes"
	invalid     verdictOf = "the arguments are refused"
	unenforced  verdictOf = "the schema cannot be enforced"
	notEnforced verdictOf = "refused one way or the other" // what is cheap enough on one machine is not on another
)

func hostileSchemas() []hostileSchema {
	long := strings.Repeat("a", 5_000)
	deep := strings.Repeat(`{"a":`, 60) + "{}" + strings.Repeat("}", 60)
	enum := `"v0"`
	for i := 1; i < 20_000; i++ {
		enum += fmt.Sprintf(`,"v%d"`, i)
	}
	pattern := func(p string) string { return `{"type":"object","properties":{"a":{"pattern":"` + p + `"}}}` }
	return []hostileSchema{
		{"nothing", ``, `{"a":1}`, passes},
		{"true", `true`, `{"a":1}`, passes},
		{"false", `false`, `{}`, invalid},
		{"no schema", `"text"`, `{}`, unenforced},
		{"no JSON", `{"type":`, `{}`, unenforced},
		{"a reference to itself", `{"$ref":"#"}`, `{}`, unenforced},
		{"a reference to itself, behind allOf", `{"allOf":[{"$ref":"#"}]}`, `{}`, unenforced},
		{"a reference to itself, behind anyOf and not", `{"anyOf":[{"not":{"$ref":"#"}}]}`, `{}`, unenforced},
		{"two that refer to each other", `{"$ref":"#/$defs/a","$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}}}`, `{}`, unenforced},
		{"a dynamic reference to itself", `{"$dynamicAnchor":"x","$dynamicRef":"#x"}`, `{}`, unenforced},
		{"a reference to nothing", `{"$ref":"#/$defs/none"}`, `{}`, unenforced},
		{"a reference to a file", `{"$ref":"file:///etc/passwd"}`, `{}`, unenforced},
		{"a reference to another machine", `{"$ref":"http://169.254.169.254/latest/meta-data"}`, `{}`, unenforced},
		{"a base on another machine", `{"$id":"http://evil.test/","properties":{"a":{"$ref":"x.json"}}}`, `{}`, unenforced},
		{"another meta-schema", `{"$schema":"http://evil.test/schema"}`, `{}`, unenforced},
		{"a recursive schema, and deep arguments", `{"type":"object","properties":{"a":{"$ref":"#"}},"additionalProperties":false}`, deep, passes},
		{"a recursive schema, and something wrong at the bottom", `{"type":"object","properties":{"a":{"$ref":"#"}},"additionalProperties":false}`, strings.Replace(deep, "{}", `{"b":1}`, 1), invalid},
		{"unevaluated properties", `{"allOf":[{"properties":{"a":true}}],"unevaluatedProperties":false}`, `{"a":1,"b":2}`, invalid},
		{"allOf, doubled ten times", doubled("allOf", 10), `{}`, passes},
		{"allOf, doubled forty times", doubled("allOf", 40), `{}`, unenforced},
		{"oneOf, doubled forty times", doubled("oneOf", 40), `{}`, notEnforced},
		{"looking ahead", pattern("^(?=a)a"), `{"a":"a"}`, unenforced},
		{"looking behind", pattern("(?<=a)b"), `{"a":"ab"}`, unenforced},
		{"a reference back", pattern(`(a)\\1`), `{"a":"aa"}`, unenforced},
		{"a pattern that takes others for ever", pattern("^(a+)+$"), `{"a":"` + long + `!"}`, invalid},
		{"a pattern that repeats too often", pattern("(a{1000}){1000}"), `{"a":"a"}`, unenforced},
		{"a pattern of many alternatives", pattern("^(" + strings.Repeat("a?", 500) + "){1,2}$"), `{"a":"` + long + `!"}`, notEnforced},
		{"a great many values", `{"properties":{"a":{"enum":[` + enum + `]}}}`, `{"a":"none"}`, invalid},
		{"a bound beyond all floats", `{"properties":{"a":{"maximum":1e999999}}}`, `{"a":1}`, unenforced},
		{"a bound without end", `{"properties":{"a":{"maximum":1e9999999}}}`, `{"a":1}`, unenforced},
		{"a number without end", `{"properties":{"a":{"type":"number","maximum":3}}}`, `{"a":1e9999999}`, invalid},
		{"a number without end for an integer", `{"properties":{"a":{"type":"integer"}}}`, `{"a":1e99999999999}`, invalid},
		{"a number without end among others", `{"properties":{"a":{"enum":[1,2]}}}`, `{"a":1e99999999999}`, invalid},
		{"a number without end, once", `{"properties":{"a":{"uniqueItems":true}}}`, `{"a":[1,1e99999999999,-1e99999999999]}`, invalid},
		{"a number without end that divides", `{"properties":{"a":{"multipleOf":3}}}`, `{"a":-1e-99999999999}`, invalid},
		{"a number beyond all floats", `{"properties":{"a":{"multipleOf":3}}}`, `{"a":1e999999}`, invalid},
		{"a divisor next to nothing", `{"properties":{"a":{"multipleOf":1e-999999}}}`, `{"a":1}`, unenforced},
		{"an integer that floats round", `{"properties":{"a":{"maximum":9007199254740992}}}`, `{"a":9007199254740993}`, invalid},
		{"formats", `{"properties":{"a":{"format":"regex"},"b":{"format":"idn-email"}}}`, `{"a":"(","b":"` + long + `"}`, passes},
		{"a list of no length", `{"properties":{"a":{"type":"array","uniqueItems":true}}}`, `{"a":[` + strings.Repeat(`{"b":[1]},`, 300) + `{"b":[1]}]}`, invalid},
		{"keys of the caller in patterns", `{"patternProperties":{"^x":false}}`, `{"x\u202e":1}`, invalid},
	}
}

// deadline is far more than a validation may take, and far less than what the rows would without a bound.
const deadline = 30 * time.Second

func TestHostileSchemasLetNothingThroughAndStallNothing(t *testing.T) {
	t.Parallel()
	for _, tt := range hostileSchemas() {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := make(chan verdictOf, 1)
			go func() {
				tool := &policy.Tool{Name: "x", Definition: canonical.Sum("test", []byte(tt.schema)), InputSchema: json.RawMessage(tt.schema)}
				switch path, err := newSchemas().check(tool, json.RawMessage(tt.arguments)); {
				case err == nil:
					got <- passes
				case path == "":
					got <- unenforced
				default:
					got <- invalid
				}
			}()
			select {
			case v := <-got:
				if v != tt.want && (tt.want != notEnforced || v == passes) {
					t.Errorf("%s, want %s", v, tt.want)
				}
			case <-time.After(deadline):
				t.Error("it stalls")
			}
		})
	}
}

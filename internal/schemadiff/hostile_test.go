package schemadiff_test

import (
	"fmt"
	"strings"
	"testing"

	"countersign/internal/schemadiff"
)

// TestHostileSchemas compares what is made to be costly. It ends, and proves nothing that it did not look at.
func TestHostileSchemas(t *testing.T) {
	t.Parallel()
	repeat := func(n int, format string) string {
		parts := make([]string, n)
		for i := range parts {
			parts[i] = fmt.Sprintf(format, i)
		}
		return strings.Join(parts, ",")
	}
	doubled := func(last string) string {
		var b strings.Builder
		for i := range 40 {
			fmt.Fprintf(&b, `"d%d":{"allOf":[{"$ref":"#/$defs/d%d"},{"$ref":"#/$defs/d%d"}]},`, i, i+1, i+1)
		}
		return `{"$ref":"#/$defs/d0","$defs":{` + b.String() + `"d40":` + last + `}}`
	}
	chain := func(n int, last string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `"d%d":{"items":{"$ref":"#/$defs/d%d"}},`, i, i+1)
		}
		return fmt.Sprintf(`{"$ref":"#/$defs/d0","$defs":{%s"d%d":%s}}`, b.String(), n, last)
	}
	long := strings.Repeat("x", 300_000)
	for name, c := range map[string][2]string{
		"nothing in common of many": {
			`{"anyOf":[` + repeat(2000, `{"minimum":%d}`) + `]}`,
			`{"anyOf":[` + repeat(2000, `{"maximum":%d}`) + `]}`,
		},
		"many that exclude each other": {
			`{"oneOf":[` + repeat(3000, `{"enum":[%[1]d,"%[1]d"]}`) + `]}`,
			`{"oneOf":[` + repeat(3000, `{"enum":["%[1]d",%[1]d]}`) + `,{"const":null}]}`,
		},
		"doubled":           {doubled(`{"minimum":1}`), doubled(`{"minimum":2}`)},
		"a long chain":      {chain(9000, `{"minimum":1}`), chain(9000, `{"minimum":2}`)},
		"references abound": {`{"allOf":[` + repeat(900, `{"$ref":"#/$defs/a","minimum":%d}`) + `],"$defs":{"a":{"pattern":"` + long + `1"}}}`, `{"allOf":[` + repeat(901, `{"$ref":"#/$defs/a","minimum":%d}`) + `],"$defs":{"a":{"pattern":"` + long + `2"}}}`},
		"many patterns":     {`{"patternProperties":{` + repeat(5000, `"p%d":{"minimum":1}`) + `}}`, `{"properties":{` + repeat(5000, `"n%d":{"maximum":1}`) + `}}`},
		"many names":        {`{}`, `{"properties":{` + repeat(30_000, `"n%d":{"maximum":1}`) + `}}`},
		"deep":              {strings.Repeat(`{"not":`, 120) + `{"minimum":1}` + strings.Repeat(`}`, 120), strings.Repeat(`{"not":`, 120) + `{"minimum":2}` + strings.Repeat(`}`, 120)},
		"too deep":          {strings.Repeat(`{"not":`, 500) + `{}` + strings.Repeat(`}`, 500), `{}`},
		"after itself":      {`{}`, `{"not":{"$ref":"#"}}`},
		"in a circle":       {`{"$ref":"#/$defs/a","$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}}}`, `{"$ref":"#/$defs/b","$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}}}`},
		"into itself":       {`{"items":{"$ref":"#/items"}}`, `{"items":{"$ref":"#/items"},"maxItems":1}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			changes := schemadiff.Compare([]byte(c[0]), []byte(c[1]))
			if schemadiff.Compatible(changes) || len(changes) > 501 {
				t.Errorf("%d changes, and the first of them is %.300s", len(changes), describe(changes[:min(1, len(changes))]))
			}
		})
	}
}

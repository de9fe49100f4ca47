package web

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestArguments(t *testing.T) {
	t.Parallel()
	got, more := Arguments([]byte(`{"type":"object","required":["to"],"properties":{
		"amount":{"type":["integer","null"],"minimum":1,"maximum":10000},
		"to":{"type":"string","pattern":"^acc_","description":"An account"},
		"why":{"enum":["fraud","error"]},"lines":{"type":"array","items":{"type":"object","required":["sku"],"properties":{"sku":{"type":"string"}}}},
		"shape":{"$ref":"#/$defs/shape"},"odd":true,"wrong":{"type":7,"enum":"x","properties":[]}}}`))
	want := []Argument{
		{Path: "to", Type: "string, matching ^acc_", Description: "An account", Required: true},
		{Path: "amount", Type: "integer or null, at least 1, at most 10000"},
		{Path: "lines", Type: "array of object"},
		{Path: "lines[].sku", Type: "string", Required: true},
		{Path: "odd", Type: "anything"},
		{Path: "shape", Type: "as #/$defs/shape"},
		{Path: "why", Type: "anything, one of fraud, error"},
		{Path: "wrong", Type: "anything"},
	}
	if diff := cmp.Diff(want, got); diff != "" || more {
		t.Errorf("more: %v (-want +got):\n%s", more, diff)
	}
}

func TestArgumentsAreBounded(t *testing.T) {
	t.Parallel()
	wide, deep := strings.Builder{}, `{"type":"string"}`
	for i := range 500 {
		fmt.Fprintf(&wide, `,"a%03d":{"type":"string"}`, i)
	}
	for range 50 {
		deep = `{"properties":{"x":` + deep + `}}`
	}
	for name, schema := range map[string]string{"wide": `{"properties":{` + wide.String()[1:] + `}}`, "deep": deep} {
		if got, more := Arguments([]byte(schema)); !more || len(got) > argumentsToShow {
			t.Errorf("%s: %d arguments, more: %v", name, len(got), more)
		}
	}
	for _, schema := range []string{"", "null", "[]", "7", `{"properties":7}`, "\x00"} {
		if got, more := Arguments([]byte(schema)); len(got) > 0 || more {
			t.Errorf("%q: %v, more: %v", schema, got, more)
		}
	}
}

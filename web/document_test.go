package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDocumentsCanBePointedAt(t *testing.T) {
	t.Parallel()
	document := indented([]byte(`{"format":"x","servers":[{"name":"a","tools":[{"name":"t"}]},{"name":"b"}],"grants":[],"limits":{"n":{"a":1}},"guardrails":[{"id":"g"}]}`))
	parts, cut := stretches(document)
	var ids []string
	var all strings.Builder
	for _, p := range parts {
		all.WriteString(p.text)
		ids = append(ids, fmt.Sprintf("%s %v", p.id, p.member))
	}
	if all.String() != document || cut {
		t.Errorf("the document became %q, cut: %v", all.String(), cut)
	}
	want := []string{" false", "servers true", "servers-0 false", "servers-1 false", "grants true", "limits true", "guardrails true", "guardrails-0 false"}
	if diff := cmp.Diff(want, ids); diff != "" {
		t.Errorf("places (-want +got):\n%s", diff)
	}
	parts, cut = stretches(strings.Repeat("line\n", mostLines+1))
	if !cut || strings.Count(parts[0].text, "\n") != mostLines {
		t.Errorf("a long document: %d parts, cut: %v", len(parts), cut)
	}
}

func TestIndentIsThatOfTheStandardLibrary(t *testing.T) {
	t.Parallel()
	for _, document := range []string{
		`{}`, `[]`, `"a"`, `{"a":{},"b":[],"c":[{}],"d":"}],:{\"\\"}`, `[1,-2.5e3,true,null,"é\u2028"]`, `{"a":[[["x"]],{"b":{"c":1}}]}`,
	} {
		var want bytes.Buffer
		if err := json.Indent(&want, []byte(document), "", "  "); err != nil {
			t.Fatal(err)
		}
		if got := Indent([]byte(document)); got != want.String() {
			t.Errorf("%s\nwant\n%s", got, want.String())
		}
	}
	long := Indent([]byte("[" + strings.Repeat("1,", 100_000) + "1]"))
	if n := strings.Count(long, "\n"); n != mostLines+1 {
		t.Errorf("a long document has %d lines", n)
	}
}

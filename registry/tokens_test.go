package registry

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestTokens(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		what, raw string
		want      int
	}{
		{"nothing", ``, 1},
		{"an object", `{}`, 1},
		{"a tool", `{"name":"list_orders","description":"Lists orders, newest first.","inputSchema":{"type":"object"}}`, 21},
		{"white space between costs nothing", "{\n  \"name\" : \"list_orders\",\"description\":\"Lists orders, newest first.\",\n\t\"inputSchema\":{\"type\":\"object\"}}", 21},
		{"no JSON", `<html>`, 2},
		{"too long to count", `"` + strings.Repeat("word ", 20_000) + `"`, 25_000},
	} {
		if got := Tokens(json.RawMessage(test.raw)); got != test.want {
			t.Errorf("%s: %d tokens, want %d", test.what, got, test.want)
		}
	}
}

// TestTokensOfAnything shows that nothing makes counting fail or hang: the longest that is counted, of the worst kinds.
func TestTokensOfAnything(t *testing.T) {
	t.Parallel()
	for _, part := range []string{"a", "A", "Aa", " ", "1", "\u0301", "\u4e00", "'s", "=", "\\n", "\xff", "\U0001f600", "aA\u0301"} {
		raw := json.RawMessage(`"` + strings.Repeat(part, maxCountedBytes/len(part)-1) + `"`)
		if n := Tokens(raw); n < 1 || n > len(raw) {
			t.Errorf("%q over and over: %d tokens", part, n)
		}
	}
}

func TestTokensAreStored(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	raw := tool("list_orders", "Lists orders.")
	server := w.register("orders", tools(raw))
	stored := func() int {
		return w.count(`select coalesce(d.tokens, 0) from definitions d join tools t on t.id = d.tool_id where t.server_id = $1`, server.ID)
	}
	if got, want := stored(), Tokens(raw); got != want {
		t.Errorf("stored %d, want %d", got, want)
	}
	w.must(w.exec(`update definitions set tokens = null`))
	w.must(w.exec(`update tools set skeleton = ''`))
	w.must(w.Backfill(w.ctx))
	if got, want := stored(), Tokens(raw); got != want {
		t.Errorf("filled in %d, want %d", got, want)
	}
	if n := w.count(`select count(*) from tools where skeleton = 'llst_orders'`); n != 1 {
		t.Error("the skeleton was not filled in")
	}
	w.must(w.Backfill(w.ctx))
}

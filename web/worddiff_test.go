package web

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// bracketed writes a side with what only it has in brackets.
func bracketed(pieces []piece) string {
	var out strings.Builder
	for _, p := range pieces {
		if p.changed {
			out.WriteString("[" + p.text + "]")
		} else {
			out.WriteString(p.text)
		}
	}
	return out.String()
}

func joined(pieces []piece) string {
	var out strings.Builder
	for _, p := range pieces {
		out.WriteString(p.text)
	}
	return out.String()
}

func TestCompareWords(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, before, after, left, right string }{
		{"the same", "Lists orders.", "Lists orders.", "Lists orders.", "Lists orders."},
		{"nothing before", "", "Lists orders.", "", "[Lists orders.]"},
		{"a word", "Refund in part.", "Refund in full.", "Refund in [part].", "Refund in [full]."},
		{"words within", "Refund a charge in part. Returns it.", "Refund a charge in part, to any account. Returns it.", "Refund a charge in part. Returns it.", "Refund a charge in part[, to any account]. Returns it."},
		{"a hidden character", "read it", "read\u200b it", "read it", "read[\u200b] it"},
		{"more of it", "a\u200bb", "a\u200b\u200b\u200bb", "a[\u200b]b", "a[\u200b\u200b\u200b]b"},
		{"a line", "one\ntwo", "one\nand\ntwo", "one\ntwo", "one\n[and\n]two"},
		{"letters of others", "注文を表示", "注文を削除", "[注文を表示]", "[注文を削除]"},
	} {
		left, right := compareWords(c.before, c.after)
		if diff := cmp.Diff([]string{c.left, c.right}, []string{bracketed(left), bracketed(right)}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

func TestComparingIsBounded(t *testing.T) {
	t.Parallel()
	before, after := strings.Repeat("a b ", 100_000), strings.Repeat("b c ", 100_000)
	left, right := compareWords(before, after)
	if len(left) > 3 || len(right) > 3 || joined(left) != before || joined(right) != after {
		t.Errorf("%d and %d pieces", len(left), len(right))
	}
}

func FuzzCompareWords(f *testing.F) {
	for _, seed := range [][2]string{{"", ""}, {"a b", "a c"}, {poison, "plain"}, {"\xff\xfe", "\xffx"}, {"e\u0301a", "ea"}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, before, after string) {
		left, right := compareWords(before, after)
		if joined(left) != before || joined(right) != after {
			t.Fatalf("%q and %q became %q and %q", before, after, joined(left), joined(right))
		}
		shared := func(pieces []piece) (out string) {
			for _, p := range pieces {
				if !p.changed {
					out += p.text
				}
			}
			return out
		}
		if shared(left) != shared(right) {
			t.Fatalf("%q and %q share %q, or %q", before, after, shared(left), shared(right))
		}
	})
}

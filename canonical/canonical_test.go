package canonical_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"countersign/canonical"
)

// code returns the code of a refusal, "" for none.
func code(t testing.TB, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	var e *canonical.Error
	if !errors.As(err, &e) {
		t.Fatalf("error %v is a %T, want *canonical.Error", err, err)
	}
	return e.Code
}

type checkCase struct {
	name   string
	input  string
	limits canonical.Limits
	want   string // code; "" is accepted
}

func accept(name, input string) checkCase { return checkCase{name: name, input: input} }
func refuse(name, input, want string) checkCase {
	return checkCase{name: name, input: input, want: want}
}

func (c checkCase) folded() checkCase          { c.limits.FoldedKeys = true; return c }
func (c checkCase) depth(n int) checkCase      { c.limits.MaxDepth = n; return c }
func (c checkCase) atMost(bytes int) checkCase { c.limits.MaxBytes = bytes; return c }

func manyKeys(n int, more ...string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"key%d":%d,`, i, i)
	}
	for _, k := range more {
		fmt.Fprintf(&b, `"%s":0,`, k)
	}
	return "{" + strings.TrimSuffix(b.String(), ",") + "}"
}

func TestCheck(t *testing.T) {
	t.Parallel()
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	cases := []checkCase{
		accept("an empty object", `{}`),
		accept("an empty array", ` [ ] `),
		accept("scalars", "[true,false,null,0,-0,1.5,-1e9,1E+2,\"\",\"é\",\"\\u00e9\\ud83d\\ude00\"]"),
		accept("a scalar alone", ` "x" `),
		accept("nested", `{"a":[{"b":[]},{"b":{}}],"c":{"a":1}}`),
		accept("space of all four kinds", "\t{ \"a\"\n:\r1 , \"b\" : [ 1 , 2 ] } \n"),
		accept("delete is not a control character of JSON", "\"\x7f\""),
		accept("the same key in two objects", `[{"a":1},{"a":1}]`),
		accept("a key again in a child", `{"a":{"a":{"a":1}},"b":{"a":1}}`),
		accept("keys that differ in case, unless refused", `{"a":1,"A":2}`),
		accept("a BOM inside a string", "\"\ufeff\""),
		accept("NUL in a value", `["\u0000"]`),
		accept("an integer of any length", `123456789012345678901234567890`),
		accept("an exponent of any size", `1e999999999999999999999`),
		accept("many keys", manyKeys(100)),
		accept("many keys, folded", manyKeys(100)).folded(),

		refuse("nothing", ``, "syntax"),
		refuse("only space", "  \n", "syntax"),
		refuse("cut off after a brace", `{`, "syntax"),
		refuse("cut off in a string", `{"a`, "syntax"),
		refuse("cut off after a key", `{"a"`, "syntax"),
		refuse("cut off after a colon", `{"a":`, "syntax"),
		refuse("cut off after a value", `{"a":1`, "syntax"),
		refuse("cut off in a literal", `tru`, "syntax"),
		refuse("cut off in an escape", `"\`, "syntax"),
		refuse("a comma too many in an array", `[1,]`, "syntax"),
		refuse("a comma too many in an object", `{"a":1,}`, "syntax"),
		refuse("a comma first", `[,1]`, "syntax"),
		refuse("brackets crossed", `[{]}`, "syntax"),
		refuse("a key without quotes", `{a:1}`, "syntax"),
		refuse("single quotes", `{'a':1}`, "syntax"),
		refuse("a comment", `{/**/}`, "syntax"),
		refuse("NaN", `NaN`, "syntax"),
		refuse("Infinity", `[Infinity]`, "syntax"),
		refuse("a NUL byte", "\x00", "syntax"),
		refuse("a no-break space", "\u00a0{}", "syntax"),
		refuse("an unknown escape", `"\x41"`, "syntax"),
		refuse("short \\u", `"\u12g4"`, "syntax"),

		refuse("a plus sign", `+1`, "syntax"),
		refuse("a leading zero", `01`, "syntax"),
		refuse("a negative leading zero", `-01`, "syntax"),
		refuse("no digits", `-`, "syntax"),
		refuse("no whole part", `.5`, "syntax"),
		refuse("no fraction", `1.`, "syntax"),
		refuse("no exponent", `1e`, "syntax"),
		refuse("no exponent digits", `1e+`, "syntax"),
		refuse("hexadecimal", `0x10`, "trailing_data"),

		refuse("two values", `{}{}`, "trailing_data"),
		refuse("two values on two lines", "{}\n{}", "trailing_data"),
		refuse("something after a number", `1 x`, "trailing_data"),
		refuse("a closing brace too many", `{}}`, "trailing_data"),
		refuse("a NUL after the value", "{}\x00", "trailing_data"),

		refuse("a byte that is not UTF-8", "\"\xff\"", "not_utf8"),
		refuse("an overlong form", "\"\xc0\x80\"", "not_utf8"),
		refuse("a surrogate as UTF-8", "\"\xed\xa0\x80\"", "not_utf8"),
		refuse("a cut-off rune", "\"\xe2\x82", "not_utf8"),
		refuse("UTF-16", "{\x00}\x00", "syntax"),
		refuse("a byte order mark", "\ufeff{}", "byte_order_mark"),

		refuse("a newline in a string", "\"a\nb\"", "control_character"),
		refuse("an escape byte in a string", "\"\x1b[2J\"", "control_character"),
		refuse("a NUL byte in a string", "\"\x00\"", "control_character"),

		refuse("a high surrogate alone", `"\ud83d"`, "lone_surrogate"),
		refuse("a high surrogate before a letter", `"\ud83dx"`, "lone_surrogate"),
		refuse("two high surrogates", `"\ud83d\ud83d"`, "lone_surrogate"),
		refuse("a low surrogate alone", `"\ude00"`, "lone_surrogate"),
		refuse("a pair the wrong way round", `"\ude00\ud83d"`, "lone_surrogate"),
		refuse("in a key", `{"\ud83d":1}`, "lone_surrogate"),

		refuse("a duplicate key", `{"name":"delete","name":"safe"}`, "duplicate_key"),
		refuse("a duplicate key, escaped", `{"name":1,"n\u0061me":2}`, "duplicate_key"),
		refuse("a duplicate empty key", `{"":1,"":2}`, "duplicate_key"),
		refuse("a duplicate key with a rune beyond the BMP", `{"😀":1,"\ud83d\ude00":2}`, "duplicate_key"),
		refuse("a duplicate key deep down", `[[{"a":[{"b":1,"c":2,"b":3}]}]]`, "duplicate_key"),
		refuse("a duplicate key after a child", `{"a":{"x":1,"y":2},"a":1}`, "duplicate_key"),
		refuse("a duplicate among many", manyKeys(100, "key3"), "duplicate_key"),
		refuse("a duplicate of the last of few", manyKeys(16, "key15"), "duplicate_key"),
		refuse("a duplicate is a duplicate when folded too", `{"a":1,"a":2}`, "duplicate_key").folded(),

		refuse("a case variant", `{"name":1,"Name":2}`, "case_variant_key").folded(),
		refuse("long s", `{"params":1,"paramſ":2}`, "case_variant_key").folded(),
		refuse("Kelvin sign", `{"token":1,"to\u212Aen":2}`, "case_variant_key").folded(),
		refuse("Greek final sigma", `{"ς":1,"Σ":2}`, "case_variant_key").folded(),
		refuse("a case variant among many", manyKeys(100, "KEY3"), "case_variant_key").folded(),
		refuse("a Kelvin sign among many", manyKeys(100, "Key3"), "case_variant_key").folded(),
		accept("sharp s is not ss", `{"ß":1,"ss":2}`).folded(),

		refuse("NUL in a key", `{"name\u0000":1}`, "nul_in_key"),
		refuse("NUL as a key", `{"\u0000":1}`, "nul_in_key"),

		accept("as deep as allowed", deep(64)).depth(64),
		refuse("deeper than allowed", deep(65), "depth").depth(64),
		accept("an object counts like an array", `{"a":{"b":1}}`).depth(2),
		refuse("an object too deep", `{"a":{"b":{}}}`, "depth").depth(2),
		accept("as deep as any scan goes", deep(1000)),
		refuse("a million brackets", strings.Repeat("[", 1_000_000), "depth"),
		refuse("a million objects", strings.Repeat(`{"a":`, 1_000_000), "depth").depth(1 << 30),

		accept("as long as allowed", `"12345678"`).atMost(10),
		refuse("longer than allowed", `"123456789"`, "size").atMost(10),
		refuse("size is judged first", "\xff\xff", "size").atMost(1),
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			err := canonical.Check([]byte(c.input), c.limits)
			if got := code(t, err); got != c.want {
				t.Errorf("Check(%.80q) = %v, want code %q", c.input, err, c.want)
			}
		})
	}
}

func TestErrorSaysWhere(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", 100)
	cases := []struct {
		input  string
		path   string
		offset int
	}{
		{`{"a":{"b":[1,{"c":tru}]}}`, "/a/b/1/c", 18},
		{`[0,1,{"a":1,"a":2}]`, "/2/a", 12},
		{`{"a/b":{"c~d":[}}`, "/a~1b/c~0d/0", 15},
		{`{"a":1} x`, "", 8},
		{"{\"\u202e\\u001b[2J\\\\\":x}", `/\u202e\x1b[2J\\`, 18},
		{`{"` + long + `":x}`, "/" + long[:64] + "…", 204},
		{`{"a" 1}`, "/a", 5},
		{`{"a":1,b}`, "", 7},
		{"\"\xff", "", 1},
	}
	for _, c := range cases {
		var e *canonical.Error
		if err := canonical.Check([]byte(c.input), canonical.Limits{}); !errors.As(err, &e) {
			t.Errorf("Check(%q) = %v, want an error", c.input, err)
			continue
		}
		if e.Path != c.path || e.Offset != c.offset {
			t.Errorf("Check(%q) is at %d in %q, want %d in %q", c.input, e.Offset, e.Path, c.offset, c.path)
		}
	}
}

func TestErrorIsShort(t *testing.T) {
	t.Parallel()
	hostile := strings.Repeat(`{"`+strings.Repeat("\u202e", 10_000)+`":`, 500)
	err := canonical.Check([]byte(hostile), canonical.Limits{})
	if err == nil || len(err.Error()) > 1000 || strings.Contains(err.Error(), "\u202e") {
		t.Errorf("the error has %d bytes or repeats hidden characters: %.200q", len(err.Error()), err)
	}
}

// AllocsPerRun counts the whole program's allocations, so this one is not parallel.
func TestCheckIsCheap(t *testing.T) {
	body := []byte(`{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"x","arguments":{"a":[1,2,3],"b":"c"}}}`)
	allocs := testing.AllocsPerRun(100, func() {
		if err := canonical.Check(body, canonical.Limits{FoldedKeys: true}); err != nil {
			t.Fatal(err)
		}
	})
	if allocs > 3 {
		t.Errorf("Check of a call makes %v allocations, want no more than its stack needs", allocs)
	}
}

func TestMembers(t *testing.T) {
	t.Parallel()
	input := []byte(` { "b" : [ 1 , {"x":2} ] , "\u0061" : 1.0 , "c":{} , "":"" } `)
	got, err := canonical.Members(input)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, m := range got {
		fmt.Fprintf(&b, "%s=%s;", m.Key, m.Value)
	}
	if want := `b=[ 1 , {"x":2} ];a=1.0;c={};="";`; b.String() != want {
		t.Errorf("Members = %s, want %s", b.String(), want)
	}
	if v, ok := canonical.Lookup(got, "a"); !ok || string(v) != "1.0" {
		t.Errorf("Lookup(a) = %s, %v", v, ok)
	}
	if _, ok := canonical.Lookup(got, "A"); ok {
		t.Error("Lookup ignores case")
	}
	want := `{"b":[ 1 , {"x":2} ],"a":1.0,"c":{},"":""}`
	if out := canonical.AppendObject(nil, got); string(out) != want {
		t.Errorf("AppendObject = %s, want %s", out, want)
	}
	if grown := append(got[0].Value, "!!!!"...); input[bytes.IndexByte(input, ']')+2] == '!' {
		t.Errorf("appending to a value (%s) writes into the input", grown)
	}
}

func TestElements(t *testing.T) {
	t.Parallel()
	got, err := canonical.Elements([]byte(` [ {"a":[1,2]} , "x", 12345678901234567890 ] `))
	if err != nil {
		t.Fatal(err)
	}
	want := `[{"a":[1,2]},"x",12345678901234567890]`
	if out := canonical.AppendArray(nil, got); string(out) != want {
		t.Errorf("Elements, AppendArray = %s, want %s", out, want)
	}
	if got, err := canonical.Elements([]byte(`[]`)); err != nil || len(got) != 0 {
		t.Errorf("Elements([]) = %v, %v", got, err)
	}
}

func TestPartsAreRefused(t *testing.T) {
	t.Parallel()
	object := func(b []byte) error { _, err := canonical.Members(b); return err }
	array := func(b []byte) error { _, err := canonical.Elements(b); return err }
	fields := func(b []byte) error { _, err := canonical.Fields(b, "name", "arguments", "params"); return err }
	cases := []struct {
		name  string
		parse func([]byte) error
		input string
		want  string
	}{
		{"an array is no object", object, `[]`, "not_object"},
		{"null is no object", object, ` null`, "not_object"},
		{"nothing is no object", object, ``, "syntax"},
		{"an object is no array", array, `{}`, "not_array"},
		{"a duplicate key", object, `{"a":1,"a":2}`, "duplicate_key"},
		{"a duplicate key in a child", array, `[{"a":1,"a":2}]`, "duplicate_key"},
		{"trailing data", object, `{} {}`, "trailing_data"},
		{"a byte order mark", object, "\ufeff{}", "byte_order_mark"},
		{"a variant of a field", fields, `{"NAME":"x"}`, "case_variant_key"},
		{"a variant beside the field", fields, `{"name":"x","Name":"y"}`, "case_variant_key"},
		{"a long s", fields, `{"paramſ":1}`, "case_variant_key"},
		{"other keys may vary", fields, `{"name":1,"Title":1,"title":1}`, ""},
		{"and so may keys of children", fields, `{"arguments":{"Name":1,"name":2}}`, ""},
	}
	for _, c := range cases {
		if got := code(t, c.parse([]byte(c.input))); got != c.want {
			t.Errorf("%s: %q gives %q, want %q", c.name, c.input, got, c.want)
		}
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	for input, want := range map[string]string{
		`"plain"`:                    "plain",
		` "a\"\\\/\b\f\n\r\t" `:      "a\"\\/\b\f\n\r\t",
		`"\u00e9\uD83D\uDE00\u0000"`: "é😀\x00",
	} {
		if got, ok := canonical.Text([]byte(input)); !ok || got != want {
			t.Errorf("Text(%s) = %q, %v, want %q", input, got, ok, want)
		}
	}
	for _, input := range []string{``, `"`, `1`, `null`, `"a" "b"`, `"\ud800"`, "\"\xff\"", `"a"b"`} {
		if got, ok := canonical.Text([]byte(input)); ok {
			t.Errorf("Text(%q) = %q, want it refused", input, got)
		}
	}
}

func TestAppendString(t *testing.T) {
	t.Parallel()
	for input, want := range map[string]string{
		"a\"\\/\b\f\n\r\t\x00\x1f\x7f": `"a\"\\/\b\f\n\r\t\u0000\u001f` + "\x7f" + `"`,
		"é😀\u2028<>&":                  "\"é😀\u2028<>&\"",
		"\xff|\xed\xa0\x80":            "\"\ufffd|\ufffd\ufffd\ufffd\"",
	} {
		got := canonical.AppendString(nil, input)
		if string(got) != want {
			t.Errorf("AppendString(%q) = %s, want %s", input, got, want)
		}
		if !json.Valid(got) {
			t.Errorf("AppendString(%q) = %s, not JSON", input, got)
		}
	}
}

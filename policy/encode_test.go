package policy_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"countersign/canonical"
	"countersign/policy"
)

// byEncodingJSON is the encoding of a document by the standard library.
func byEncodingJSON(t rapid.TB, d policy.Document) []byte {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(d); err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n"))
}

// hostileTexts are strings that a writer of JSON may get wrong.
var hostileTexts = []string{
	"", "plain", `a"b\c`, "tab\tline\n\x00\x1f\x7f", "<script>&amp;", "\u2028\u2029", "é 漢 😀", "\xff\xfe broken", "\u202e\u200b", "/",
}

// fill sets every field that v has, to the end: what somebody adds to the document and forgets to write is found.
func fill(t *rapid.T, v reflect.Value) {
	switch value := v.Addr().Interface().(type) {
	case *json.RawMessage:
		*value = rapid.SampledFrom([]json.RawMessage{
			nil, json.RawMessage(`{}`), json.RawMessage(" { \"a b\" : [ 1e400, 0.10, \"\u2028 <&> \\u00e9\" ] }\n"),
		}).Draw(t, "schema")
		return
	case *time.Time:
		*value = time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "seconds"), rapid.Int64Range(0, 1e9-1).Draw(t, "nanoseconds")).UTC()
		return
	case *canonical.Digest:
		value[rapid.IntRange(0, len(value)-1).Draw(t, "at")] = rapid.Byte().Draw(t, "byte")
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(rapid.SampledFrom(hostileTexts).Draw(t, "text"))
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(t, "flag"))
	case reflect.Int, reflect.Int64:
		v.SetInt(rapid.SampledFrom([]int64{0, 1, -1, 1<<53 - 1, 1<<63 - 1}).Draw(t, "number"))
	case reflect.Struct:
		for _, field := range v.Fields() {
			fill(t, field)
		}
	case reflect.Pointer:
		if rapid.Bool().Draw(t, "there") {
			v.Set(reflect.New(v.Type().Elem()))
			fill(t, v.Elem())
		}
	case reflect.Slice:
		n := rapid.IntRange(-1, 2).Draw(t, "length")
		if n < 0 {
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			fill(t, v.Index(i))
		}
	default:
		t.Fatalf("nobody knows how to fill a %s", v.Type())
	}
}

func TestTheEncodingIsThatOfTheStandardLibrary(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var d policy.Document
		fill(t, reflect.ValueOf(&d).Elem())
		got, err := d.Marshal()
		if want := byEncodingJSON(t, d); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%v\n%s, want\n%s", err, got, want)
		}
	})
}

func TestASchemaThatIsNotJSONIsNotWritten(t *testing.T) {
	t.Parallel()
	d := policy.Document{Servers: []policy.Server{{Tools: []policy.Tool{{InputSchema: json.RawMessage(`{"type":`)}}}}}
	if text, err := d.Marshal(); err == nil {
		t.Errorf("written as %s", text)
	}
}

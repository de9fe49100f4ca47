package canonical_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"

	"github.com/gowebpki/jcs"

	"countersign/canonical"
)

// seeds are what the fuzzers start from: every input of the tables and vectors.
func seeds(f *testing.F) {
	f.Helper()
	for _, file := range []string{"exact.json", "arguments.json", "refused.json"} {
		for _, v := range readVectors(f, file) {
			f.Add([]byte(v.Input))
		}
	}
	for _, s := range []string{
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":{}}}`,
		`[[[[]]]]`, `{"a":{"a":{"A":1}},"\u0041":[]}`, `-0.0e-00`, `"\ud83d\ude00"`, manyKeys(20, "KEY1"),
		"\ufeff1", "\"\xed\xa0\x80\"", `{"a":1,"a":2}`, `{"a\u0000":1}`,
	} {
		f.Add([]byte(s))
	}
}

// FuzzCheck compares with encoding/json: what we accept is valid, and what we
// refuse as malformed is not.
func FuzzCheck(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		plain := canonical.Check(data, canonical.Limits{})
		folded := canonical.Check(data, canonical.Limits{FoldedKeys: true})
		valid := json.Valid(data)
		switch code(t, plain) {
		case "":
			if !valid {
				t.Errorf("accepted %q, which encoding/json refuses", data)
			}
			if c := code(t, folded); c != "" && c != canonical.CodeCaseVariantKey {
				t.Errorf("folding keys changes the verdict on %q to %v", data, folded)
			}
		case canonical.CodeSyntax, canonical.CodeTrailingData, canonical.CodeControlCharacter, canonical.CodeByteOrderMark:
			if valid {
				t.Errorf("refused %q (%v), which encoding/json accepts", data, plain)
			}
		case canonical.CodeCaseVariantKey:
			t.Errorf("refused a case variant in %q without being asked to", data)
		}
		if plain != nil && folded == nil {
			t.Errorf("folding keys accepts %q, refused otherwise: %v", data, plain)
		}
	})
}

// FuzzExact checks that the canonical form is one: stable, of the same meaning,
// and RFC 8785 in all but numbers.
func FuzzExact(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		once, err := canonical.Exact(data)
		if err != nil {
			_ = code(t, err)
			return
		}
		if err := canonical.Check(once, canonical.Limits{}); err != nil {
			t.Fatalf("Exact(%q) = %q, refused by Check: %v", data, once, err)
		}
		if twice, err := canonical.Exact(once); err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("Exact(%q) = %q, and again %q, %v", data, once, twice, err)
		}
		if before, after := decode(t, data), decode(t, once); !reflect.DeepEqual(before, after) {
			t.Fatalf("Exact(%q) = %q means something else", data, once)
		}
		if want, err := jcs.Transform(data); err == nil {
			if got, err := jcs.Transform(once); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("RFC 8785 of %q is %q, of its exact form %q, %v", data, want, got, err)
			}
			if !bytes.ContainsAny(want, "0123456789") && !bytes.Equal(once, want) {
				t.Fatalf("Exact(%q) = %q, want %q", data, once, want)
			}
		}
	})
}

// FuzzArguments checks that canonical arguments are stable and mean, number for
// number, what was received.
func FuzzArguments(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		once, err := canonical.Arguments(data)
		if err != nil {
			_ = code(t, err)
			return
		}
		if err := canonical.Check(once, canonical.Limits{FoldedKeys: true}); err != nil {
			t.Fatalf("Arguments(%q) = %q, refused by Check: %v", data, once, err)
		}
		if twice, err := canonical.Arguments(once); err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("Arguments(%q) = %q, and again %q, %v", data, once, twice, err)
		}
		if len(data) == 0 {
			return
		}
		var before, after any
		if json.Unmarshal(data, &before) != nil || json.Unmarshal(once, &after) != nil || !reflect.DeepEqual(before, after) {
			t.Fatalf("Arguments(%q) = %q means something else", data, once)
		}
	})
}

// FuzzParts checks that parts put together again are the same document.
func FuzzParts(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		if members, err := canonical.Members(data); err == nil {
			again := canonical.AppendObject(nil, members)
			if !reflect.DeepEqual(decode(t, data), decode(t, again)) {
				t.Fatalf("the members of %q make %q", data, again)
			}
		}
		if elements, err := canonical.Elements(data); err == nil {
			again := canonical.AppendArray(nil, elements)
			if !reflect.DeepEqual(decode(t, data), decode(t, again)) {
				t.Fatalf("the elements of %q make %q", data, again)
			}
		}
		if got, ok := canonical.Text(data); ok {
			var want string
			if err := json.Unmarshal(data, &want); err != nil || got != want {
				t.Fatalf("Text(%q) = %q, want %q, %v", data, got, want, err)
			}
		}
	})
}

// decode reads a document with encoding/json, numbers as they are written.
func decode(t testing.TB, data []byte) any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("decoding %q: %v", data, err)
	}
	return v
}

package policy_test

import (
	"testing"

	"countersign/canonical"
	"countersign/policy"
)

func TestETag(t *testing.T) {
	t.Parallel()
	d := must(canonical.ParseDigest("sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"))(t)
	for encoding, want := range map[string]string{
		"": `"e1.r42.0123456789ab"`, "gzip": `"e1.r42.0123456789ab-gz"`, "jose": `"e1.r42.0123456789ab-jose"`,
	} {
		got := policy.ETag(1, 42, d, encoding)
		tag, ok := policy.ParseETag(got)
		if got != want || !ok || tag.String() != got || tag.Epoch != 1 || tag.Revision != 42 || tag.Digest != "0123456789ab" {
			t.Errorf("ETag for %q = %s, read as %+v, want %s", encoding, got, tag, want)
		}
	}
}

func TestParseETagReadsOnlyOurs(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		``, `"`, `""`, `*`, `e1.r42.0123456789ab`, `"e1.r42.0123456789ab`, `"e1.r42"`, `"e1.r42.0123456789a"`,
		`"e1.r42.0123456789abc"`, `"e1.r42.0123456789AB"`, `"e01.r42.0123456789ab"`, `"e1.r+42.0123456789ab"`,
		`"1.42.0123456789ab"`, `"e1.r99999999999999999999.0123456789ab"`, `"r42.e1.0123456789ab"`, `w/"e1.r42.0123456789ab"`,
	} {
		if tag, ok := policy.ParseETag(s); ok {
			t.Errorf("%s is read as %+v", s, tag)
		}
	}
}

func TestHeld(t *testing.T) {
	t.Parallel()
	current := policy.Tag{Epoch: 1, Revision: 42, Digest: "0123456789ab", Encoding: "gz"}
	for header, want := range map[string]bool{
		``:                                     false,
		`*`:                                    true,
		` * `:                                  true,
		`"*"`:                                  false,
		`"e1.r42.0123456789ab-gz"`:             true,
		`"e1.r42.0123456789ab"`:                true,
		`W/"e1.r42.0123456789ab"`:              true,
		`"e1.r41.0123456789ab"`:                false, // a rollback is a new revision
		`"e2.r42.0123456789ab"`:                false,
		`"e1.r42.ffffffffffff"`:                false,
		`"x", "e1.r42.0123456789ab"`:           true,
		`"a,b" , W/"e1.r42.0123456789ab-jose"`: true,
		`"x" "e1.r41.0123456789ab"`:            false,
		`"x, "e1.r42.0123456789ab`:             false,
	} {
		if got := policy.ParseHeld([]string{header}).Has(current); got != want {
			t.Errorf("%s has it: %v, want %v", header, got, want)
		}
	}
	held := policy.ParseHeld([]string{`"x"`, `"e1.r41.0123456789ab-gz", "e1.r43.0123456789ab"`})
	for tag, want := range map[policy.Tag]bool{
		{Epoch: 1, Revision: 42}: true, {Epoch: 1, Revision: 43}: false, {Epoch: 2, Revision: 1}: false, {Epoch: 0, Revision: 99}: true,
	} {
		if held.Beyond(tag) != want {
			t.Errorf("beyond %s: %v, want %v", tag, !want, want)
		}
	}
	tags := policy.ParseETags(`"x", W/"e1.r41.0123456789ab-gz", "e1.r42.0123456789ab"`)
	if len(tags) != 2 || tags[0].Revision != 41 || tags[1].Revision != 42 {
		t.Errorf("ParseETags = %+v", tags)
	}
}

func FuzzParseETags(f *testing.F) {
	f.Add(`"x", W/"e1.r41.0123456789ab-gz", "e1.r42.0123456789ab"`)
	f.Fuzz(func(t *testing.T, header string) {
		for _, tag := range policy.ParseETags(header) {
			if again, ok := policy.ParseETag(tag.String()); !ok || again != tag {
				t.Fatalf("%+v is written as %s and read as %+v", tag, tag, again)
			}
			if !policy.ParseHeld([]string{header}).Has(tag) {
				t.Fatalf("%q does not match its own %s", header, tag)
			}
		}
	})
}

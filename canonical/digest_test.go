package canonical_test

import (
	"encoding/json"
	"strings"
	"testing"

	"countersign/canonical"
)

func TestDigestHasOneWrittenForm(t *testing.T) {
	t.Parallel()
	d := canonical.Sum("test", []byte("data"))
	if got, err := canonical.ParseDigest(d.String()); err != nil || got != d {
		t.Errorf("ParseDigest(%s) = %s, %v", d, got, err)
	}
	if d.String() != "sha256:"+d.Hex() || len(d.Hex()) != 64 {
		t.Errorf("String is %s, Hex %s", d, d.Hex())
	}
	hex := d.Hex()
	for name, s := range map[string]string{
		"empty":            "",
		"no prefix":        hex,
		"other prefix":     "sha512:" + hex,
		"upper case":       "sha256:" + strings.Repeat("A", 64),
		"upper prefix":     "SHA256:" + hex,
		"too short":        "sha256:" + hex[:63],
		"too long":         "sha256:" + hex + "0",
		"not hexadecimal":  "sha256:" + hex[:63] + "g",
		"space":            " sha256:" + hex[:63],
		"a rune of 2 byte": "sha256:" + hex[:62] + "é",
	} {
		if got, err := canonical.ParseDigest(s); err == nil {
			t.Errorf("%s: ParseDigest(%q) = %s, want an error", name, s, got)
		}
	}
}

func TestDigestInJSON(t *testing.T) {
	t.Parallel()
	type document struct {
		D canonical.Digest            `json:"d"`
		M map[canonical.Digest]string `json:"m"`
	}
	d := canonical.Sum("test", nil)
	text, err := json.Marshal(document{D: d, M: map[canonical.Digest]string{d: "x"}})
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"d":"` + d.String() + `","m":{"` + d.String() + `":"x"}}`; string(text) != want {
		t.Errorf("got %s, want %s", text, want)
	}
	var back document
	if err := json.Unmarshal(text, &back); err != nil || back.D != d || back.M[d] != "x" {
		t.Errorf("read back %v, %v", back, err)
	}
	if err := json.Unmarshal([]byte(`{"d":"sha256:00"}`), &back); err == nil || back.D != d {
		t.Errorf("a bad digest is read as %s, %v", back.D, err)
	}
}

func TestSumSeparatesDomains(t *testing.T) {
	t.Parallel()
	if canonical.Sum("a", []byte("bc")) == canonical.Sum("ab", []byte("c")) {
		t.Error("the domain is not set apart from the data")
	}
	var zero canonical.Digest
	if !zero.IsZero() || canonical.Sum("", nil).IsZero() {
		t.Error("IsZero is wrong")
	}
}

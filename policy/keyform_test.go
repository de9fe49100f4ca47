package policy_test

import (
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"countersign/policy"
)

// aKey is published: other implementations test their checksum with it.
const aKey = "csa_0000000000000000000000000000000000000000000"

func TestFormOfAKey(t *testing.T) {
	t.Parallel()
	form := regexp.MustCompile(`^csa_[0-9A-Za-z]{49}$`)
	rapid.Check(t, func(t *rapid.T) {
		random := [32]byte(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "random"))
		key := policy.KeyText(random)
		if !form.MatchString(key) || !policy.IsKeyText(key) {
			t.Fatalf("%q is not a key", key)
		}
		at := rapid.IntRange(0, len(key)-1).Draw(t, "at")
		other := rapid.SampledFrom([]byte("09AZaz_ \x00")).Draw(t, "other")
		if wrong := key[:at] + string(other) + key[at+1:]; wrong != key && policy.IsKeyText(wrong) {
			t.Fatalf("%q is taken for a key, and so is %q", key, wrong)
		}
	})
	zero := policy.KeyText([32]byte{})
	if !strings.HasPrefix(zero, aKey) {
		t.Errorf("no random bits make %q", zero)
	}
	full := [32]byte{}
	for i := range full {
		full[i] = 0xff
	}
	if key := policy.KeyText(full); len(key) != 53 || !policy.IsKeyText(key) {
		t.Errorf("%q", key)
	}
	for _, wrong := range []string{"", "csa_", aKey, zero + "0", zero[:52], "csk_" + zero[4:], "CSA_" + zero[4:], " " + zero, strings.ToLower(policy.KeyText(full))} {
		if policy.IsKeyText(wrong) {
			t.Errorf("%q is taken for a key", wrong)
		}
	}
}

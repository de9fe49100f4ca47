package web

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestSecretsAreHiddenByNamedRules(t *testing.T) {
	t.Parallel()
	shown := func(arguments string) string { return arguments }
	hidden := func(arguments string) string { return arguments }
	for arguments, want := range map[string]string{
		hidden(`{"token":"abcd"}`):                     "credentials",
		hidden(`{"accessToken":"abcd"}`):               "credentials",
		hidden(`{"clientSecret":"abcd"}`):              "credentials",
		hidden(`{"AWSSecretKey":"abcd"}`):              "credentials",
		hidden(`{"apiKey":"abcd"}`):                    "credentials",
		hidden(`{"X-Api-Key":"abcd"}`):                 "credentials",
		hidden(`{"Authorization":"abcd"}`):             "credentials",
		hidden(`{"db_password":7}`):                    "credentials",
		hidden(`{"credentials":{"user":"a"}}`):         "credentials",
		hidden(`{"note":"use ghp_0123456789abcdef"}`):  "token formats",
		hidden(`{"header":"Bearer 0123456789abcdef"}`): "token formats",
		hidden(`{"dsn":"postgres://u:p@db/x"}`):        "address with a password",
		shown(`{"max_tokens":4096}`):                   "",
		shown(`{"tokens":12}`):                         "",
		shown(`{"token":null,"password":false}`):       "",
		shown(`{"author":"Ines","monkey":"abcd"}`):     "",
		shown(`{"url":"https://example.com:8080/@a"}`): "",
	} {
		for _, row := range argumentRows([]byte(arguments)) {
			if want == "" && row.masked != "" || want != "" && !strings.Contains(row.masked, "“"+want+"”") {
				t.Errorf("%s: masked %q, want the rule %q", arguments, row.masked, want)
			}
			if row.masked != "" && row.value != "" {
				t.Errorf("%s: the hidden value is still in the row", arguments)
			}
		}
	}
}

func TestSecretsAreHiddenAtEveryDepth(t *testing.T) {
	t.Parallel()
	given := `{"a":[{"refresh_token":"xyz","n":1.50},"ghp_0123456789abcdef"],"b":{"c":{"password":[1,2]}}}`
	want := `{"a":[{"refresh_token":"Hidden by rule “credentials”, 3 characters","n":1.50},"Hidden by rule “token formats”, 20 characters"],` +
		`"b":{"c":{"password":"Hidden by rule “credentials”, 5 bytes"}}}`
	if diff := cmp.Diff(want, string(mask([]byte(given)))); diff != "" {
		t.Errorf("masked (-want +got):\n%s", diff)
	}
}

func TestWhatCannotBeReadIsNotShown(t *testing.T) {
	t.Parallel()
	for _, broken := range []string{``, `{"token":"abc`, `{"a":1`, `[1,`, `token=abc`, `1 2`} {
		if got := string(mask([]byte(broken))); got != `"Not readable as JSON"` {
			t.Errorf("mask(%q) = %s", broken, got)
		}
	}
}

// Arguments may be nested 64 deep and 256 KiB long. Work that doubles with each level would take for ever, and work
// that grows with the depth would be seen here.
func TestDeepArgumentsAreReadInTime(t *testing.T) {
	t.Parallel()
	nested := func(levels int) string {
		return strings.Repeat(`{"a":[`, levels/2) + `"` + strings.Repeat("x", 200<<10) + `"` + strings.Repeat("]}", levels/2)
	}
	took := func(arguments string) time.Duration {
		began := time.Now()
		if got := string(mask([]byte(arguments))); got != arguments {
			t.Error("what is no secret was changed")
		}
		argumentRows([]byte(arguments))
		return time.Since(began)
	}
	if flat, deep := took(nested(2)), took(nested(62)); deep > 10*flat+time.Second {
		t.Errorf("62 levels took %s, 2 levels took %s", deep, flat)
	}
}

func FuzzMask(f *testing.F) {
	f.Add(`{"a":[1,{"password":{"x":[1]}},"b"],"é\u2028":-1.5e3,"":null,"n":[[],{}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		masked := mask([]byte(text))
		if !json.Valid(masked) {
			t.Errorf("%q became %q, which is no JSON", text, masked)
		}
		var given, shown any
		if json.Unmarshal([]byte(text), &given) == nil && !strings.Contains(string(masked), "Hidden by rule") {
			if err := json.Unmarshal(masked, &shown); err != nil || !cmp.Equal(given, shown) {
				t.Errorf("%q became %q", text, masked)
			}
		}
	})
}

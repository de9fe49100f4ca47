package web

import (
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

// Arguments may be nested 64 deep and 256 KiB long. A mask whose work doubles with each level would take for ever.
func TestDeepArgumentsAreReadInTime(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat(`{"a":[`, 31) + `"` + strings.Repeat("x", 200<<10) + `"` + strings.Repeat("]}", 31)
	began := time.Now()
	if got := string(mask([]byte(deep))); got != deep {
		t.Error("what is no secret was changed")
	}
	argumentRows([]byte(deep))
	if took := time.Since(began); took > time.Minute {
		t.Errorf("it took %s", took)
	}
}

package secret_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zalando/go-keyring"

	"countersign/internal/secret"
)

// TestMain keeps the tests off the machine's own keyring.
func TestMain(m *testing.M) {
	keyring.MockInit()
	os.Exit(m.Run())
}

func TestRead(t *testing.T) {
	t.Setenv("SECRET_TEST_SET", " from the environment\n")
	t.Setenv("SECRET_TEST_EMPTY", " \n")
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte("from a file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	long := filepath.Join(t.TempDir(), "long")
	if err := os.WriteFile(long, []byte(strings.Repeat("x", 70<<10)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := secret.Set("gateway/agent", "from the keyring"); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ source, want, fault string }{
		{"env:SECRET_TEST_SET", "from the environment", ""},
		{"file:" + path, "from a file", ""},
		{"keyring:gateway/agent", "from the keyring", ""},
		{"env:SECRET_TEST_UNSET", "", "not set"},
		{"env:SECRET_TEST_EMPTY", "", "empty"},
		{"file:" + path + ".gone", "", "no such file"},
		{"file:" + long, "", "too long"},
		{"keyring:absent", "", "not found"},
		{"keyring:../x", "", "letters, digits"},
		{"hunter2", "", "never as itself"},
		{"vault:x", "", "never as itself"},
		{"env:", "", "never as itself"},
	}
	for _, test := range tests {
		got, err := secret.Source(test.source).Read()
		if got != test.want || test.fault == "" && err != nil || test.fault != "" && (err == nil || !strings.Contains(err.Error(), test.fault)) {
			t.Errorf("%s: %q, %v", test.source, got, err)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Error("an error repeats what was given")
		}
	}
	if err := secret.Delete("gateway/agent"); err != nil {
		t.Fatal(err)
	}
	if _, err := secret.Source("keyring:gateway/agent").Read(); err == nil {
		t.Error("it is still there")
	}
	if err := secret.Set("x", " "); err == nil {
		t.Error("an empty secret was stored")
	}
}

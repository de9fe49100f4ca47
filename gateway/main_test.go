package gateway

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain also is the stdio server of the tests: the test binary starts itself.
func TestMain(m *testing.M) {
	if mode := os.Getenv("COUNTERSIGN_TEST_STDIO"); mode != "" {
		serveTestStdio(mode)
		return
	}
	goleak.VerifyTestMain(m)
}

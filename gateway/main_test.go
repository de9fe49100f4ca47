package gateway

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain also is the stdio server of the tests: the test binary starts itself.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == stdioArgument {
		if os.Args[2] == "hostile" {
			serveHostileStdio()
			return
		}
		serveTestStdio(os.Args[2])
		return
	}
	if os.Getenv(upstreamVariable) != "" {
		serveBenchUpstream()
		return
	}
	// A toxic that is taken away while data flows leaves its goroutine behind.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/toxics.(*ToxicStub).Run"))
}

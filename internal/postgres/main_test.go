package postgres_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"countersign/internal/pgtest"
	"countersign/internal/postgres"
)

// childVariable makes the test binary an application that runs an embedded
// server on the named data folder until it is killed.
const childVariable = "COUNTERSIGN_TEST_CHILD_DATA"

func TestMain(m *testing.M) {
	if dataDir := os.Getenv(childVariable); dataDir != "" {
		os.Exit(runChild(dataDir))
	}
	goleak.VerifyTestMain(m, pgtest.Goroutines())
}

// runChild prints one line, "ready PID" or "error …", and stays until killed.
func runChild(dataDir string) int {
	cfg := postgres.Config{DataDir: dataDir, Volatile: true, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	server, err := postgres.Start(context.Background(), cfg)
	if err != nil {
		fmt.Printf("error %v\n", err)
		return 1
	}
	fmt.Printf("ready %d\n", server.PID())
	time.Sleep(5 * time.Minute)
	return 0
}

// madeOnce is a data folder on which a server ran and was stopped.
var madeOnce = sync.OnceValues(func() (string, error) {
	area, err := pgtest.Area()
	if err != nil {
		return "", err
	}
	data := filepath.Join(area, "made")
	server, err := postgres.Start(context.Background(), postgres.Config{DataDir: data, Volatile: true})
	if err != nil {
		return "", err
	}
	return data, server.Stop(context.Background())
})

// madeData returns a data folder of t's own that was made before: making one
// takes a second, copying one does not.
func madeData(t *testing.T) string {
	t.Helper()
	made, err := madeOnce()
	if err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(pgtest.TempDir(t), "data")
	if out, err := exec.Command("cp", "-a", made, data).CombinedOutput(); err != nil {
		t.Fatalf("copying the data folder: %v: %s", err, out)
	}
	return data
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// eventually fails t unless condition becomes true within limit.
func eventually(t *testing.T, limit time.Duration, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !condition(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after %v still waiting for: %s", limit, what)
		}
	}
}

package pgtest_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"countersign/internal/pgtest"
)

// lingerVariable makes TestNewGivesAMigratedDatabase tell where its files are
// and wait to be killed.
const lingerVariable = "COUNTERSIGN_TEST_LINGER"

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, pgtest.Goroutines())
}

func TestNewGivesAMigratedDatabase(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	var generation int
	if err := db.Runtime.QueryRow(t.Context(), `select generation from registry_head`).Scan(&generation); err != nil {
		t.Fatal(err)
	}
	if os.Getenv(lingerVariable) != "" {
		area, err := pgtest.Area()
		fmt.Printf("area %s %v\n", area, err)
		time.Sleep(time.Minute)
	}
}

func TestDatabasesAreApart(t *testing.T) {
	t.Parallel()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			db := pgtest.New(t)
			if _, err := db.Owner.Exec(t.Context(), `create table mine as select 1 as n`); err != nil {
				t.Error(err)
			}
			if _, err := db.NewPool(t).Exec(t.Context(), `select 1`); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestServerSurvivesKills(t *testing.T) {
	t.Parallel()
	s := pgtest.NewServer(t, true)
	where := s.RuntimeDSN
	for _, crash := range []func(testing.TB){s.Kill, s.StopImmediately, s.Stop} {
		crash(t)
		s.Start(t)
	}
	if s.RuntimeDSN != where {
		t.Error("the server moved")
	}
}

// A test process that is killed leaves no server and no files behind.
func TestNothingStaysAfterAKill(t *testing.T) {
	t.Parallel()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "-test.run=^TestNewGivesAMigratedDatabase$")
	cmd.Env = append(os.Environ(), lingerVariable+"=1", "TEST_DATABASE_URL=")
	cmd.WaitDelay = time.Second
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // ended by our signal
	var area string
	if _, scanErr := fmt.Sscanf(line, "area %s", &area); err != nil || scanErr != nil {
		t.Fatalf("the child says %q (%v)", line, err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		_, err := os.Stat(area)
		if os.IsNotExist(err) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is still there: %v", area, err)
		}
	}
	if found := processesNaming(t, area); found != "" {
		t.Errorf("still running:\n%s", found)
	}
}

// processesNaming lists the processes whose command line holds text.
func processesNaming(t *testing.T, text string) string {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, line := range lines {
		args, err := os.ReadFile(line)
		if err == nil && strings.Contains(string(args), text) { // one that has ended meanwhile cannot be read
			found = append(found, strings.ReplaceAll(string(args), "\x00", " ")+"\n")
		}
	}
	return strings.Join(found, "")
}

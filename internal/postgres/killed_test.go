package postgres_test

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"countersign/internal/pgtest"
	"countersign/internal/postgres"
)

// child is another Countersign: this test binary, running runChild.
type child struct {
	cmd *exec.Cmd
	out *bufio.Reader
}

func startChild(t *testing.T, binary, dataDir string, as *syscall.Credential) *child {
	t.Helper()
	cmd := exec.Command(binary)
	cmd.Dir = filepath.Dir(dataDir)
	cmd.Env = append(os.Environ(), childVariable+"="+dataDir)
	cmd.Stderr = t.Output()
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &child{cmd: cmd, out: bufio.NewReader(out)}
	t.Cleanup(c.kill)
	return c
}

// kill ends the child with SIGKILL, so it can clean up nothing. The server it
// leaves behind has its own end to see to.
func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait() // ended by our signal
}

// ready returns the process id of the child's server.
func (c *child) ready(t *testing.T) int {
	t.Helper()
	line, err := c.out.ReadString('\n')
	text, found := strings.CutPrefix(strings.TrimSpace(line), "ready ")
	if err != nil || !found {
		t.Fatalf("the child says %q (%v), want it ready", line, err)
	}
	pid, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func self(t *testing.T) string {
	t.Helper()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return binary
}

func TestKilledApplicationTakesItsServerWithIt(t *testing.T) {
	t.Parallel()
	data := madeData(t)
	app := startChild(t, self(t), data, nil)
	app.ready(t)
	wantInUse(t, data, app.cmd.Process.Pid)
	app.kill()
	eventually(t, 30*time.Second, "the server to shut down", func() bool {
		_, err := os.Stat(filepath.Join(data, "postmaster.pid"))
		return errors.Is(err, os.ErrNotExist)
	})
	start(t, postgres.Config{DataDir: data, Volatile: true})
}

func TestRestartRightAfterAKill(t *testing.T) {
	t.Parallel()
	data := madeData(t)
	app := startChild(t, self(t), data, nil)
	app.ready(t)
	app.kill()
	start(t, postgres.Config{DataDir: data, Volatile: true}) // while the old server may still be shutting down
}

func TestApplicationAndServerKilledTogether(t *testing.T) {
	t.Parallel()
	data := madeData(t)
	app := startChild(t, self(t), data, nil)
	pid := app.ready(t)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	app.kill()
	start(t, postgres.Config{DataDir: data, Volatile: true})
}

func TestKilledWhileMakingTheDatabase(t *testing.T) {
	t.Parallel()
	data := filepath.Join(pgtest.TempDir(t), "data")
	app := startChild(t, self(t), data, nil)
	eventually(t, 30*time.Second, "initdb to be at work", func() bool {
		begun, _ := filepath.Glob(data + ".tmp-*/PG_VERSION")
		return len(begun) > 0
	})
	app.kill()
	if _, err := os.Stat(data); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a half-made data folder is in place: %v", err)
	}
	start(t, postgres.Config{DataDir: data, Volatile: true})
	wantNoLeftovers(t, data)
}

// As root this is a child that gave up its rights; otherwise we are that user.
func TestOrdinaryUserRunsAServer(t *testing.T) {
	t.Parallel()
	dir := pgtest.TempDir(t)
	binary, as := self(t), (*syscall.Credential)(nil)
	if os.Geteuid() == 0 {
		as = credentialOf(t, "nobody")
		binary = copyForOthers(t, self(t))
		if err := os.Chown(dir, int(as.Uid), int(as.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	data := filepath.Join(dir, "data")
	app := startChild(t, binary, data, as)
	app.ready(t)
	app.kill()
	start(t, postgres.Config{DataDir: data, Volatile: true}) // root goes on as the folder's owner
}

func credentialOf(t *testing.T, name string) *syscall.Credential {
	t.Helper()
	u, err := user.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// copyForOthers copies a program to where another user can run it: go test keeps
// it in a folder that only we may enter.
func copyForOthers(t *testing.T, from string) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "countersign-app-") //nolint:usetesting // t.TempDir is private too
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(dir, "app")
	src, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close() // only read from
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(dst, src); err != nil {
		t.Fatal(err)
	}
	if err := dst.Close(); err != nil {
		t.Fatal(err)
	}
	return to
}

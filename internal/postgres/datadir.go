//go:build unix

package postgres

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// dataDir is the folder of one embedded database and what lies beside it:
//
//	D             PostgreSQL's own; there is no half-made one
//	D/log         its log
//	D.lock        held (flock) by the Countersign that runs it, holds its process id
//	D.tmp-…       initdb at work; renamed to D when whole, removed by the next start
type dataDir string

func (d dataDir) lockFile() string { return string(d) + ".lock" }

// resolveDataDir makes the folder above path and returns path as PostgreSQL
// will see it, without symbolic links.
func resolveDataDir(path string) (dataDir, error) {
	if path == "" {
		return "", errors.New("the data folder of the embedded PostgreSQL has no name")
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("resolving the data folder: %w", err)
	}
	if err := makeEnterable(filepath.Dir(abs)); err != nil {
		return "", fmt.Errorf("making the folder above the data folder: %w", err)
	}
	parent, err := filepath.EvalSymlinks(filepath.Dir(abs))
	if err != nil {
		return "", fmt.Errorf("resolving the data folder: %w", err)
	}
	return dataDir(filepath.Join(parent, filepath.Base(abs))), nil
}

// makeEnterable makes missing folders so that another account may pass through,
// whatever the umask. Existing ones are left alone.
func makeEnterable(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := makeEnterable(filepath.Dir(dir)); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return os.Chmod(dir, 0o755) //nolint:gosec // PostgreSQL's account passes through; the data itself is 0700
}

// lock takes the data folder for this process until the file is closed, or
// returns an *InUseError.
func (d dataDir) lock() (*os.File, error) {
	f, err := os.OpenFile(d.lockFile(), os.O_CREATE|os.O_RDWR, 0o644) //nolint:gosec // holds a process id
	if errors.Is(err, fs.ErrPermission) {
		return nil, d.foreign(err)
	}
	if err != nil {
		return nil, fmt.Errorf("locking the data folder: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		defer f.Close() // only read from
		return nil, &InUseError{PID: readPID(d.lockFile()), DataDir: string(d)}
	}
	if err == nil {
		err = writePID(f)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("locking the data folder: %w", err)
	}
	return f, nil
}

func writePID(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := fmt.Fprintln(f, os.Getpid())
	return err
}

// readPID reads the process id in the first line of a lock file, 0 if there is
// none. The winner of a race writes it just after it took the lock.
func readPID(file string) int {
	for range 20 {
		content, _ := os.ReadFile(file)
		line, _, _ := strings.Cut(string(content), "\n")
		if pid, err := strconv.Atoi(strings.TrimSpace(line)); err == nil {
			return pid
		}
		time.Sleep(10 * time.Millisecond)
	}
	return 0
}

// InUseError says that the data folder is in use by a running process.
type InUseError struct {
	PID     int // 0 when unknown
	DataDir string
	orphan  bool // PID is a PostgreSQL that no Countersign looks after
}

func (e *InUseError) Error() string {
	if e.orphan {
		return fmt.Sprintf("a PostgreSQL server (process %d) still uses %s: stop it first (kill -INT %d)", e.PID, e.DataDir, e.PID)
	}
	return fmt.Sprintf("Countersign already runs on %s (process %d): use that one, stop it first, "+
		"or choose another folder with --data", e.DataDir, e.PID)
}

// major returns the PostgreSQL version that made the folder, 0 when there is
// nothing in it yet.
func (d dataDir) major() (int, error) {
	entries, err := os.ReadDir(string(d))
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return 0, nil
	}
	if errors.Is(err, fs.ErrPermission) {
		return 0, d.foreign(err)
	}
	if err != nil {
		return 0, fmt.Errorf("reading the data folder: %w", err)
	}
	content, err := os.ReadFile(filepath.Join(string(d), "PG_VERSION"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("%s is not empty and holds no database: choose another folder with --data", d)
	}
	if err != nil {
		return 0, fmt.Errorf("reading the version of the data folder: %w", err)
	}
	major, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil {
		return 0, fmt.Errorf("reading the version of the data folder: %w", err)
	}
	return major, nil
}

func (d dataDir) foreign(err error) error {
	return fmt.Errorf("the data folder %s, or the one above it, belongs to another user: run as that user, "+
		"or choose another folder with --data: %w", d, err)
}

// create makes the database cluster in a temporary folder and renames it, so
// that a process killed on the way leaves nothing that looks like a database.
// The caller holds the lock.
func (d dataDir) create(ctx context.Context, b binaries, a account, durable bool, log *slog.Logger) error {
	d.removeLeftovers(log)
	tmp := string(d) + ".tmp-" + strings.ToLower(rand.Text()[:8])
	if err := a.makeDir(tmp); err != nil {
		return fmt.Errorf("making the data folder: %w", err)
	}
	defer os.RemoveAll(tmp) // gone once renamed; else the next start removes it
	started := time.Now()
	if err := runInitdb(ctx, b, a, tmp, durable); err != nil {
		return err
	}
	if err := os.Rename(tmp, string(d)); err != nil {
		return fmt.Errorf("putting the new data folder in place: %w", err)
	}
	if durable {
		if err := syncDir(filepath.Dir(string(d))); err != nil {
			return fmt.Errorf("putting the new data folder in place: %w", err)
		}
	}
	log.Info("database made", slog.String("folder", string(d)), slog.Int("version", b.major), slog.Duration("took", time.Since(started)))
	return nil
}

func runInitdb(ctx context.Context, b binaries, a account, dir string, durable bool) error {
	args := []string{
		"-D", dir, "-U", superuser, "-A", "peer", "-E", "UTF8", "--no-locale",
		"--no-instructions", "--data-checksums",
	}
	if !durable {
		args = append(args, "--no-sync")
	}
	cmd := exec.CommandContext(ctx, b.program("initdb"), args...) //nolint:gosec // a program that find has checked
	cmd.Dir, cmd.Env, cmd.SysProcAttr = "/", b.environment(), a.attributes()
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = 5 * time.Second
	runtime.LockOSThread() // the death signal follows the thread
	defer runtime.UnlockOSThread()
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return fmt.Errorf("making the database: %w", ctx.Err())
	}
	if err != nil {
		return fmt.Errorf("making the database with initdb: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

func (d dataDir) removeLeftovers(log *slog.Logger) {
	leftovers, _ := filepath.Glob(string(d) + ".tmp-*") // the only error is a bad pattern
	for _, dir := range leftovers {
		if err := os.RemoveAll(dir); err != nil {
			log.Warn("removing a half-made data folder", slog.String("folder", dir), slog.Any("error", err))
		}
	}
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close() // only read from
	return f.Sync()
}

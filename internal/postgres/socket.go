//go:build unix

package postgres

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// makeSocketDir makes the folder of the Unix socket, whose path has to be
// short. The name depends on the data folder alone, so a crash leaves at most
// one behind and a restarted server is found where it was.
func makeSocketDir(wanted string, d dataDir, a account) (string, error) {
	dir := wanted
	if dir == "" {
		digest := sha256.Sum256([]byte(d))
		dir = fmt.Sprintf("/tmp/countersign-%d-%x", a.uid, digest[:5])
	}
	err := a.makeDir(dir)
	if errors.Is(err, fs.ErrExist) {
		err = ownedBy(dir, a)
	}
	if err != nil {
		return "", fmt.Errorf("making the folder of the database socket: %w", err)
	}
	return dir, nil
}

// ownedBy refuses a folder that somebody else put in our place.
func ownedBy(dir string, a account) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.IsDir() || int(stat.Uid) != a.uid || info.Mode().Perm() != 0o700 {
		return fmt.Errorf("%s belongs to somebody else: remove it", dir)
	}
	return nil
}

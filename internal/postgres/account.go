//go:build unix

package postgres

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
)

// account is the operating-system user that the server runs as. PostgreSQL
// refuses to run as root, so root lends it another one.
type account struct {
	name     string
	uid, gid int
	lent     bool // differs from ours: we are root
}

// accountFor chooses the account for a data folder: our own, or for root the
// folder's owner if it has one, else postgres, else nobody.
func accountFor(dataDir string) (account, error) {
	if euid := os.Geteuid(); euid != 0 {
		u, err := user.LookupId(strconv.Itoa(euid))
		if err != nil {
			return account{}, fmt.Errorf("user id %d has no name in /etc/passwd, which PostgreSQL needs: "+
				"run as a named user, or set DATABASE_URL: %w", euid, err)
		}
		return newAccount(u, false)
	}
	if info, err := os.Stat(dataDir); err == nil && info.IsDir() && ownerOf(info) != 0 {
		u, err := user.LookupId(strconv.Itoa(ownerOf(info)))
		if err != nil {
			return account{}, fmt.Errorf("the owner of %s has no name in /etc/passwd: %w", dataDir, err)
		}
		return newAccount(u, true)
	}
	for _, name := range []string{"postgres", "nobody"} {
		if u, err := user.Lookup(name); err == nil {
			return newAccount(u, true)
		}
	}
	return account{}, errors.New("PostgreSQL cannot run as root, and there is no user postgres or nobody: " +
		"run as an ordinary user, or set DATABASE_URL")
}

func newAccount(u *user.User, lent bool) (account, error) {
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return account{}, fmt.Errorf("reading the user id of %s: %w", u.Username, err)
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return account{}, fmt.Errorf("reading the group id of %s: %w", u.Username, err)
	}
	return account{name: u.Username, uid: uid, gid: gid, lent: lent}, nil
}

func ownerOf(info os.FileInfo) int {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(stat.Uid)
	}
	return -1
}

// own gives path to the account.
func (a account) own(path string) error {
	if !a.lent {
		return nil
	}
	return os.Lchown(path, a.uid, a.gid)
}

// makeDir makes a folder that belongs to the account alone.
func (a account) makeDir(path string) error {
	if err := os.Mkdir(path, 0o700); err != nil {
		return err
	}
	return a.own(path)
}

// canEnter returns an error naming the first folder on the way to dir, dir
// included, that the account may not pass through.
func (a account) canEnter(dir string) error {
	if !a.lent {
		return nil
	}
	resolved, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return err
	}
	var above []string
	for d := resolved; ; d = filepath.Dir(d) {
		above = append(above, d)
		if d == filepath.Dir(d) {
			break
		}
	}
	for _, folder := range slices.Backward(above) {
		info, err := os.Stat(folder)
		if err != nil {
			return err
		}
		if !a.mayPass(info) {
			return fmt.Errorf("user %s may not enter %s", a.name, folder)
		}
	}
	return nil
}

func (a account) mayPass(info os.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return true
	}
	switch {
	case int(stat.Uid) == a.uid:
		return info.Mode()&0o100 != 0
	case int(stat.Gid) == a.gid:
		return info.Mode()&0o010 != 0
	default:
		return info.Mode()&0o001 != 0
	}
}

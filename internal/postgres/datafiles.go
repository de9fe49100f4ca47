//go:build unix

package postgres

import (
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"strings"
)

func (d dataDir) path(name string) string { return filepath.Join(string(d), name) }

func (d dataDir) postmasterFile() string { return d.path("postmaster.pid") }

// writeAccess lets this process's user, and nobody else, connect in any of the
// three roles. It is written anew at each start: the user may have changed.
func (d dataDir) writeAccess(a account) error {
	us, err := user.Current()
	if err != nil {
		return fmt.Errorf("reading our own user name: %w", err)
	}
	var ident strings.Builder
	for _, role := range []string{superuser, OwnerRole, RuntimeRole} {
		fmt.Fprintf(&ident, "countersign \"%s\" %s\n", us.Username, role)
	}
	files := map[string]string{"pg_hba.conf": "local all all peer map=countersign\n", "pg_ident.conf": ident.String()}
	root, err := os.OpenRoot(string(d))
	if err != nil {
		return fmt.Errorf("opening the data folder: %w", err)
	}
	defer root.Close() // only a handle
	for name, content := range files {
		if err := replaceFile(root, name, content, a); err != nil {
			return fmt.Errorf("writing %s: %w", name, err)
		}
	}
	return nil
}

// replaceFile works inside root, so that a link left in a folder that belongs to
// another account leads nowhere.
func replaceFile(root *os.Root, name, content string, a account) error {
	tmp := name + ".new"
	if err := root.RemoveAll(tmp); err != nil {
		return err
	}
	if err := root.WriteFile(tmp, []byte(content), 0o600); err != nil {
		return err
	}
	if a.lent {
		if err := root.Lchown(tmp, a.uid, a.gid); err != nil {
			return err
		}
	}
	return root.Rename(tmp, name)
}

// The server's log, and the size at which a start sets it aside.
const (
	logName  = "log/postgresql.log"
	logLimit = 8 << 20
)

func (d dataDir) openLog(a account) (*os.File, error) {
	root, err := os.OpenRoot(string(d))
	if err != nil {
		return nil, fmt.Errorf("opening the data folder: %w", err)
	}
	defer root.Close() // only a handle
	if err := root.Mkdir("log", 0o700); err == nil && a.lent {
		err = root.Lchown("log", a.uid, a.gid)
		if err != nil {
			return nil, fmt.Errorf("making the log folder: %w", err)
		}
	}
	if info, err := root.Stat(logName); err == nil && info.Size() > logLimit {
		_ = root.Rename(logName, logName+".1")
	}
	f, err := root.OpenFile(logName, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening PostgreSQL's log: %w", err)
	}
	if a.lent {
		if err := f.Chown(a.uid, a.gid); err != nil {
			_ = f.Close()
			return nil, fmt.Errorf("opening PostgreSQL's log: %w", err)
		}
	}
	return f, nil
}

// logSize returns where the log will go on after openLog.
func (d dataDir) logSize() int64 {
	if info, err := os.Stat(d.path(logName)); err == nil && info.Size() <= logLimit {
		return info.Size()
	}
	return 0
}

// logTail returns what was logged after offset, at most its last 4 KiB.
func (d dataDir) logTail(offset int64) string {
	root, err := os.OpenRoot(string(d))
	if err != nil {
		return err.Error()
	}
	defer root.Close() // only a handle
	f, err := root.Open(logName)
	if err != nil {
		return err.Error()
	}
	defer f.Close() // only read from
	if info, err := f.Stat(); err == nil {
		offset = max(offset, info.Size()-4096)
	}
	tail, _ := io.ReadAll(io.NewSectionReader(f, offset, 4096))
	return strings.TrimSpace(string(tail))
}

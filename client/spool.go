package client

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// spool is where call records wait that the control plane did not take, one a line. Processes that share a state directory
// share it.
//
//	calls.spool ──set aside──▶ calls.spool.sending ──sent──▶ gone
//
// Whoever writes to it or sets it aside holds one lock, so that nothing is written to what was set aside; whoever sends
// holds another, so that one process sends at a time. Both end with the process.
type spool struct{ dir string }

const (
	fileSpool    = "calls.spool"
	spoolSending = "calls.spool.sending"
	lockSpool    = "calls.lock"
	lockSending  = "calls.sending.lock"
)

var errSpoolFull = errors.New("the spool is full")

func (s spool) path(name string) string { return filepath.Join(s.dir, name) }

// size is how much waits.
func (s spool) size() (n int64) {
	for _, name := range []string{fileSpool, spoolSending} {
		if info, err := os.Stat(s.path(name)); err == nil {
			n += info.Size()
		}
	}
	return n
}

// add appends whole lines. A line that an earlier process was cut off in writing is ended first, so that it spoils only
// itself.
func (s spool) add(lines []byte) (err error) {
	unlock, err := lockFile(s.path(lockSpool), true)
	if err != nil {
		return err
	}
	defer unlock()
	if s.size()+int64(len(lines)) > spoolBound {
		return errSpoolFull
	}
	file, err := os.OpenFile(s.path(fileSpool), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	end, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	last := make([]byte, 1)
	if end > 0 {
		if _, err := file.ReadAt(last, end-1); err != nil {
			return err
		}
	}
	if end > 0 && last[0] != '\n' {
		lines = append([]byte{'\n'}, lines...)
	}
	_, err = file.Write(lines)
	return err
}

// send gives each line to take, unless another process does so already, and forgets them when take took all and done too.
// A crash, or an error, sends all again: the control plane knows records by their id.
func (s spool) send(take func(line []byte) error, done func() error) error {
	unlock, err := lockFile(s.path(lockSending), false)
	if err != nil || unlock == nil {
		return err
	}
	defer unlock()
	if err := s.setAside(); err != nil {
		return err
	}
	file, err := os.Open(s.path(spoolSending))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // only read
	lines := bufio.NewReader(file)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 1 {
			if err := take(line); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			if err := done(); err != nil {
				return err
			}
			return os.Remove(s.path(spoolSending))
		case err != nil:
			return err
		}
	}
}

// setAside takes what is spooled, unless there is something from before.
func (s spool) setAside() error {
	if _, err := os.Stat(s.path(spoolSending)); err == nil {
		return nil
	}
	if _, err := os.Stat(s.path(fileSpool)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	unlock, err := lockFile(s.path(lockSpool), true)
	if err != nil {
		return err
	}
	defer unlock()
	if err := os.Rename(s.path(fileSpool), s.path(spoolSending)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

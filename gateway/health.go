package gateway

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// health is what /healthz and /readyz answer.
type health struct {
	Status   string `json:"status"`
	Reason   string `json:"reason,omitempty"`
	Epoch    int64  `json:"epoch,omitempty"`
	Revision int64  `json:"revision,omitempty"`
	Instance string `json:"instance,omitempty"`

	Configuration *configurationHealth `json:"configuration,omitempty"`
}

// serveReady is 503 while there is no policy to decide with, while the gateway is about to stop, and while it could
// keep nothing on disk: then a policy or a record would be lost at the next restart.
func (g *Gateway) serveReady(w http.ResponseWriter, _ *http.Request) {
	h := health{Status: "ready", Instance: g.config().Instance, Configuration: g.loaded.health()}
	snapshot, err := g.feed.Current()
	if err == nil {
		h.Epoch, h.Revision = snapshot.Epoch, snapshot.Revision
		err = g.disk.writable(g.config().StateDir, g.now())
	}
	switch {
	case g.drain.leaving.Load():
		h.Status, h.Reason = "draining", "the gateway is about to stop"
	case err != nil:
		h.Status, h.Reason = "not ready", err.Error()
	default:
		writeJSON(w, http.StatusOK, h)
		return
	}
	writeJSON(w, http.StatusServiceUnavailable, h)
}

// stateDisk knows whether the state directory can be written. Whoever asks for readiness is nobody we know, so it is
// tried every few seconds at most.
type stateDisk struct {
	mu    sync.Mutex
	tried time.Time
	err   error
}

const diskTried = 5 * time.Second

var errDisk = errors.New("the state directory cannot be written")

func (d *stateDisk) writable(dir string, now time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if age := now.Sub(d.tried); !d.tried.IsZero() && age >= 0 && age < diskTried {
		return d.err
	}
	d.tried, d.err = now, nil
	path := filepath.Join(dir, ".writable")
	if err := os.WriteFile(path, []byte("ready\n"), 0o600); err != nil {
		d.err = errDisk
	} else if err := os.Remove(path); err != nil {
		d.err = errDisk
	}
	return d.err
}

const fileLock = "lock"

var errLocked = errors.New("another gateway runs on this state directory: each instance needs one of its own")

// lockState keeps the state directory for this process alone, until it ends.
func lockState(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the state directory: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, fileLock), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the state directory: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = lock.Close() // not ours
		return nil, errLocked
	}
	return lock, nil
}

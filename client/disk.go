package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// The files of a state directory.
const (
	filePins   = "pins.json"
	filePolicy = "policy.jose"
	fileLease  = "lease.json"
)

// disk is the state directory. Only the user of the gateway may read it.
type disk struct {
	dir string
}

func (d disk) path(name string) string { return filepath.Join(d.dir, name) }

// write replaces a file as a whole, or not at all, also when the machine loses power.
func (d disk) write(name string, data []byte) error {
	tmp, err := os.CreateTemp(d.dir, name+".tmp*")
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // gone after the rename
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), d.path(name))
	}
	if err == nil {
		err = d.sync()
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return nil
}

// sync makes a rename last.
func (d disk) sync() error {
	dir, err := os.Open(d.dir)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// read returns nil when there is no such file.
func (d disk) read(name string) ([]byte, error) {
	data, err := os.ReadFile(d.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	return data, nil
}

// readPins returns nil when there was no first contact. Pins that cannot be read are an error: to pin anew
// silently would be to trust whoever damaged them.
func (d disk) readPins() (*pins, error) {
	data, err := d.read(filePins)
	if err != nil || data == nil {
		return nil, err
	}
	var p pins
	if err := json.Unmarshal(data, &p); err != nil || p.Issuer == "" || p.Audience == "" || len(p.Keys.Keys) == 0 {
		return nil, fmt.Errorf("reading %s: it is damaged; remove it to pin the keys of the control plane anew", d.path(filePins))
	}
	return &p, nil
}

func (d disk) writePins(p *pins) error {
	data, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("writing %s: %w", filePins, err)
	}
	return d.write(filePins, data)
}

// readPolicy returns the last known good policy, "" when there is none. A lease that cannot be read is over.
func (d disk) readPolicy() (jws string, saved savedLease, err error) {
	data, err := d.read(filePolicy)
	if err != nil || data == nil {
		return "", savedLease{}, err
	}
	text, err := d.read(fileLease)
	if err != nil {
		return "", savedLease{}, err
	}
	if json.Unmarshal(text, &saved) != nil {
		saved = savedLease{}
	}
	return string(data), saved, nil
}

func (d disk) writeLease(s savedLease) error {
	data, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("writing %s: %w", fileLease, err)
	}
	return d.write(fileLease, data)
}

// setAside keeps a policy that does not verify, for people to look at.
func (d disk) setAside() {
	_ = os.Rename(d.path(filePolicy), d.path(filePolicy+".refused")) // if it cannot be, it is refused again
}

// wipe forgets policy and lease, also the policy that was set aside.
func (d disk) wipe() error {
	var errs []error
	for _, name := range []string{filePolicy, fileLease, filePolicy + ".refused"} {
		if err := os.Remove(d.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("wiping the policy on disk: %w", err)
	}
	return d.sync()
}

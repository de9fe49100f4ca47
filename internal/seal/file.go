package seal

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Load reads a key file: 32 random bytes in standard base64, a final newline allowed, as
// `openssl rand -base64 32` writes it. A file that others may write, or that anyone may read
// beyond its owner and group, is refused; the group may read, because orchestrators mount
// secrets so.
func Load(path string) (*Key, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading the sealing key: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("reading the sealing key: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("the sealing key %q is not a regular file", path)
	}
	if mode := info.Mode().Perm(); mode&0o037 != 0 {
		return nil, fmt.Errorf("the sealing key %q is open to others (mode %04o): run chmod 600 on it", path, mode)
	}
	text, err := io.ReadAll(io.LimitReader(f, 1024))
	if err != nil {
		return nil, fmt.Errorf("reading the sealing key: %w", err)
	}
	secret, err := base64.StdEncoding.Strict().DecodeString(string(bytes.TrimSpace(text)))
	if err != nil { // the cause would quote the file
		return nil, fmt.Errorf("the sealing key %q is not base64: make one with `openssl rand -base64 32`", path)
	}
	key, err := newKey(secret)
	if err != nil {
		return nil, fmt.Errorf("the sealing key %q is not one: %w", path, err)
	}
	return key, nil
}

// LoadOrCreate is Load, and makes a new key with mode 0600 when there is no file. Processes
// that race get the same key. It is for development: in production a key that appears by
// itself on one machine would be missing on the others.
func LoadOrCreate(path string) (*Key, error) {
	key, err := Load(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if err := create(path); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("creating the sealing key %q: %w", path, err)
	}
	return Load(path)
}

// create writes the key beside path and links it there: nobody sees it half written, and the
// first of two racing processes wins.
func create(path string) error {
	secret := make([]byte, keySize)
	if _, err := rand.Read(secret); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".seal-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = fmt.Fprintln(f, base64.StdEncoding.EncodeToString(secret))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Link(f.Name(), path)
}

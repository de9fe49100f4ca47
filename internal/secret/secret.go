// Package secret reads secrets from where a person said that they are, never from a command line or a configuration
// file itself: env:NAME, file:PATH, or keyring:NAME, an entry of the operating system's keyring.
package secret

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/zalando/go-keyring"
)

// service is under what the keyring lists our entries.
const service = "countersign"

// maxSecret bounds what is taken for a secret.
const maxSecret = 64 << 10

// Source is where a secret is.
type Source string

var entryName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$`)

// Validate says what is wrong with how a source is written. It does not look there.
func (s Source) Validate() error {
	kind, where, ok := strings.Cut(string(s), ":")
	switch {
	case !ok || where == "" || kind != "env" && kind != "file" && kind != "keyring":
		return errors.New("a secret is given as env:NAME, file:PATH or keyring:NAME, never as itself")
	case kind == "keyring" && !entryName.MatchString(where):
		return errors.New("the name of a keyring entry has letters, digits and . _ / - only")
	}
	return nil
}

// Read reads the secret, without space around it. The error names the source and nothing of the secret.
func (s Source) Read() (string, error) {
	if err := s.Validate(); err != nil {
		return "", err
	}
	kind, where, _ := strings.Cut(string(s), ":")
	var value string
	var err error
	switch kind {
	case "env":
		var set bool
		if value, set = os.LookupEnv(where); !set {
			err = errors.New("the variable is not set")
		}
	case "file":
		value, err = readFile(where)
	default:
		value, err = keyring.Get(service, where)
		err = ofKeyring(err, where)
	}
	if err != nil {
		return "", fmt.Errorf("reading the secret %s: %w", s, err)
	}
	if value = strings.TrimSpace(value); value == "" {
		return "", fmt.Errorf("reading the secret %s: it is empty", s)
	}
	return value, nil
}

// ofKeyring says what to do about an error of the keyring.
func ofKeyring(err error, name string) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, keyring.ErrNotFound):
		return fmt.Errorf("%w; store it with: countersign secret set %s < FILE", err, name)
	}
	return fmt.Errorf("the keyring of this machine cannot be used: %w; env:NAME and file:PATH can", err)
}

func readFile(path string) (string, error) {
	file, err := os.Open(filepath.Clean(path))
	if err != nil {
		return "", err
	}
	defer func() { _ = file.Close() }() // only read
	data, err := io.ReadAll(io.LimitReader(file, maxSecret+1))
	if err == nil && len(data) > maxSecret {
		err = errors.New("it is too long for a secret")
	}
	return string(data), err
}

// Set stores a secret in the keyring.
func Set(name, value string) error {
	if !entryName.MatchString(name) {
		return errors.New("the name of a keyring entry has letters, digits and . _ / - only")
	}
	if value = strings.TrimSpace(value); value == "" || len(value) > maxSecret {
		return errors.New("the secret is empty, or too long for one")
	}
	if err := keyring.Set(service, name, value); err != nil {
		return fmt.Errorf("storing a secret in the keyring: %w", ofKeyring(err, name))
	}
	return nil
}

// Delete takes a secret out of the keyring.
func Delete(name string) error {
	if err := keyring.Delete(service, name); errors.Is(err, keyring.ErrNotFound) {
		return fmt.Errorf("deleting %q from the keyring: %w", name, err)
	} else if err != nil {
		return fmt.Errorf("deleting %q from the keyring: %w", name, ofKeyring(err, name))
	}
	return nil
}

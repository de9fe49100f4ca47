//go:build !unix

package client

// lockFile locks nothing here: give each process a state directory of its own.
func lockFile(string, bool) (unlock func(), err error) { return func() {}, nil }

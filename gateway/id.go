package gateway

import "crypto/rand"

// newID makes an id that nobody can guess.
func newID(prefix string) string { return prefix + "_" + rand.Text() }

//go:build unix

package pgtest

import "go.uber.org/goleak"

// Goroutines tells goleak of the one goroutine that watches the shared server
// until the test process ends.
func Goroutines() goleak.Option {
	return goleak.IgnoreAnyFunction("countersign/internal/postgres.(*Server).supervise")
}

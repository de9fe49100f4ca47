package main

import (
	"strings"
	"testing"
)

func TestMedians(t *testing.T) {
	t.Parallel()
	got := medians(strings.NewReader(`goos: linux
BenchmarkFloor-2   	 1000	  300 ns/op	 0 B/op	 0 allocs/op
BenchmarkFloor-2   	 1000	  100 ns/op	 0 B/op	 0 allocs/op
BenchmarkFloor-2   	 1000	  200 ns/op	 0 B/op	 0 allocs/op
BenchmarkRedeem    	 1000	  9 ns/op	 1234.5 redeemed/s
PASS
`))
	if got["BenchmarkFloor"]["ns/op"] != 200 || got["BenchmarkRedeem"]["redeemed/s"] != 1234.5 {
		t.Errorf("got %v", got)
	}
}

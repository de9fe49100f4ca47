package server

import (
	"testing"
	"time"
)

func TestSpanWords(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "0 s", 2100 * time.Millisecond: "2.1 s", 41 * time.Second: "41 s", 72 * time.Second: "1 min 12 s",
		10 * time.Minute: "10 min", time.Hour: "1 h", 65 * time.Minute: "1 h 5 min", 26 * time.Hour: "26 h",
	} {
		if got := spanWords(d); got != want {
			t.Errorf("%s is %q, want %q", d, got, want)
		}
	}
}

package gateway

import (
	"log/slog"
	"strconv"
	"sync"
	"time"
)

// What a server may say on stderr: so many lines at once, and then so many a second, over all processes of a command and
// their restarts. A server that is chatty, or that dies and is started again and again, does not fill the disk.
const (
	stderrBurst  = 200
	stderrRate   = 2
	maxLogLine   = 2048
	stderrNotice = time.Minute // how often it is said that lines were dropped
)

// stderrRoom is how many lines of one command may still be logged.
type stderrRoom struct {
	mu      sync.Mutex
	tokens  float64
	at      time.Time
	dropped int
	noticed time.Time
}

// take asks for room for a line. dropped, when it is not 0, is to be told.
func (r *stderrRoom) take(now time.Time) (ok bool, dropped int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.at.IsZero() {
		r.tokens = stderrBurst
	} else if passed := now.Sub(r.at).Seconds(); passed > 0 {
		r.tokens = min(stderrBurst, r.tokens+passed*stderrRate)
	}
	r.at = now
	if ok = r.tokens >= 1; ok {
		r.tokens--
	} else {
		r.dropped++
	}
	if r.dropped > 0 && now.Sub(r.noticed) >= stderrNotice {
		dropped, r.dropped, r.noticed = r.dropped, 0, now
	}
	return ok, dropped
}

// stderrLog writes what a server says on stderr to our log, in lines of bounded length.
type stderrLog struct {
	log  *slog.Logger
	now  func() time.Time
	room *stderrRoom
	line []byte
}

// Write takes some output.
func (s *stderrLog) Write(data []byte) (int, error) {
	for _, c := range data {
		if c == '\n' {
			s.flush()
			continue
		}
		if len(s.line) < maxLogLine {
			s.line = append(s.line, c)
		}
	}
	return len(data), nil
}

func (s *stderrLog) flush() {
	if len(s.line) > 0 {
		ok, dropped := s.room.take(s.now())
		if dropped > 0 {
			s.log.Warn("a stdio server says too much on stderr", slog.Int("lines_dropped", dropped))
		}
		if ok {
			s.log.Info("stderr of a stdio server", slog.String("line", strconv.QuoteToASCII(string(s.line))))
		}
	}
	s.line = s.line[:0]
}

package gateway

import (
	"errors"
	"sync"
	"time"
)

// Bounds of the sessions that a gateway remembers.
const (
	maxSessions = 20_000
	sessionIdle = 12 * time.Hour
)

// sessions binds the session ids that upstreams give out to the principals that opened them: to know an id is
// no authentication. After a restart no id is known, and clients initialize again, as the protocol has it.
type sessions struct {
	now func() time.Time

	mu    sync.Mutex
	bound map[sessionKey]*binding
}

type sessionKey struct {
	server string // id
	id     string
}

type binding struct {
	caller string
	used   time.Time
	duties duties
}

var (
	errForeignSession = errors.New("the server gave out the session id of another principal")
	errManySessions   = errors.New("too many sessions are open")
)

func newSessions(now func() time.Time) *sessions {
	return &sessions{now: now, bound: map[sessionKey]*binding{}}
}

// bind remembers whose session it is.
func (s *sessions) bind(server, id string, c *caller) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	key, now := sessionKey{server, id}, s.now()
	if known := s.bound[key]; known != nil && known.caller != c.key() {
		return errForeignSession
	}
	if len(s.bound) >= maxSessions {
		for k, b := range s.bound {
			if now.Sub(b.used) > sessionIdle {
				delete(s.bound, k)
			}
		}
	}
	if len(s.bound) >= maxSessions {
		return errManySessions
	}
	s.bound[key] = &binding{caller: c.key(), used: now}
	return nil
}

// owns reports whether the session was opened by c.
func (s *sessions) owns(server, id string, c *caller) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.bound[sessionKey{server, id}]
	if b == nil || b.caller != c.key() {
		return false
	}
	b.used = s.now()
	return true
}

// duties gives what the calls of a session owe, nil if there is no such session.
func (s *sessions) duties(server, id string) *duties {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.bound[sessionKey{server, id}]
	if b == nil {
		return nil
	}
	return &b.duties
}

// end forgets a session.
func (s *sessions) end(server, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.bound, sessionKey{server, id})
}

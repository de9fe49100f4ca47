package main

import (
	"bytes"
	"fmt"
	"net/http"
	"sync"
)

// bare is the least that could answer a poll: net/http, one entity, no check of who asks. It compiles nothing and reads
// no database; the one who has a new entity tells it by POST /push.
type bare struct {
	mu      sync.Mutex
	version int
	changed chan struct{}
}

func newBare() *bare { return &bare{changed: make(chan struct{})} }

// entity is as large as a small policy.
var entity = bytes.Repeat([]byte("x"), 2200)

func (s *bare) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost {
		s.mu.Lock()
		s.version++
		close(s.changed)
		s.changed = make(chan struct{})
		s.mu.Unlock()
		return
	}
	s.mu.Lock()
	etag, changed := fmt.Sprintf(`"%d"`, s.version), s.changed
	s.mu.Unlock()
	if r.Header.Get("If-None-Match") == etag {
		if r.Header.Get("Prefer") == "" {
			w.Header().Set("ETag", etag)
			w.WriteHeader(http.StatusNotModified)
			return
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
		s.mu.Lock()
		etag = fmt.Sprintf(`"%d"`, s.version)
		s.mu.Unlock()
	}
	w.Header().Set("ETag", etag)
	_, _ = w.Write(entity) // whoever left needs no answer
}

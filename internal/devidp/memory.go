package devidp

import (
	"sync"
	"time"
)

// memoryLimit bounds each memory; beyond it the provider refuses rather than grows.
const memoryLimit = 100_000

// memory remembers values that are good once, until they expire. A spent value is still
// remembered, so that its second use is recognised.
type memory[V any] struct {
	now func() time.Time

	mu      sync.Mutex
	entries map[string]*entry[V]
}

type entry[V any] struct {
	value   V
	spent   bool
	expires time.Time
}

func newMemory[V any](now func() time.Time) *memory[V] {
	return &memory[V]{now: now, entries: make(map[string]*entry[V])}
}

// add remembers value under key. It reports false when the key is already known or there is
// no room.
func (m *memory[V]) add(key string, value V, ttl time.Duration) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	if len(m.entries) >= memoryLimit {
		for k, e := range m.entries {
			if now.After(e.expires) {
				delete(m.entries, k)
			}
		}
	}
	if old, ok := m.entries[key]; len(m.entries) >= memoryLimit || ok && now.Before(old.expires) {
		return false
	}
	m.entries[key] = &entry[V]{value: value, expires: now.Add(ttl)}
	return true
}

// spend returns the value under key and whether this is its first use; known is false when
// there is none or it has expired.
func (m *memory[V]) spend(key string) (value V, first, known bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.entries[key]
	if !ok || !m.now().Before(e.expires) {
		return value, false, false
	}
	first = !e.spent
	e.spent = true
	return e.value, first, true
}

func (m *memory[V]) has(key string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.entries[key]
	return ok && m.now().Before(e.expires)
}

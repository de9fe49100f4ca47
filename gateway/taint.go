package gateway

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"countersign/canonical"
	"countersign/policy"
)

// taints remembers what came into the sessions of callers: by labels of servers, when something of one was last passed
// on. A session is everything that one principal does through one agent, as no other name of it is proven, and an agent
// that could choose one could begin a clean one.
//
// It is this instance's own memory. What is new goes to a file before it is passed on, so that a restart forgets
// nothing; where the file cannot be read, every session counts as one of which nothing is known.
type taints struct {
	log  *slog.Logger
	now  func() time.Time
	path string

	mu      sync.Mutex
	callers map[string]policy.Taint // never changed in place: a decision may be reading it
	lost    time.Time               // until then nothing is known of those who are not in callers
	file    *os.File
	written int64
}

// Bounds of what is remembered.
const (
	fileTaint     = "taint.log"
	maxTainted    = 100_000     // callers
	maxTaintFile  = 16 << 20    // bytes, before it is written anew
	taintFresh    = time.Second // a mark that is no older is not made again
	maxTaintLabel = 200         // labels of one caller
)

// taintMark is one line of the file.
type taintMark struct {
	Caller string    `json:"caller"` // digest of its key
	Label  string    `json:"label"`
	At     time.Time `json:"at"`
}

// openTaints reads what is known.
func openTaints(dir string, log *slog.Logger, now func() time.Time) (*taints, error) {
	t := &taints{log: log, now: now, path: filepath.Join(dir, fileTaint), callers: map[string]policy.Taint{}}
	data, err := os.ReadFile(t.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading what came into sessions: %w", err)
	}
	t.read(data)
	return t, t.rewrite()
}

// read takes marks in. A line that cannot be read, save the last one, which a crash may have cut off before it was passed
// on, means that something is lost.
func (t *taints) read(data []byte) {
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, 64<<10)
	broken := false
	for lines.Scan() {
		var m taintMark
		if broken {
			t.lose()
		}
		if broken = json.Unmarshal(lines.Bytes(), &m) != nil; !broken && t.now().Sub(m.At) < policy.MaxTaint {
			t.put(m.Caller, m.Label, m.At)
		}
	}
	if lines.Err() != nil || broken && bytes.HasSuffix(data, []byte("\n")) {
		t.lose()
	}
}

func (t *taints) lose() {
	if t.lost.IsZero() {
		t.log.Error("what came into sessions is not known: each counts as tainted for a day")
	}
	t.lost = t.now().Add(policy.MaxTaint)
}

// put notes a mark. The caller holds t.mu, or is the only one.
func (t *taints) put(caller, label string, at time.Time) {
	known := t.callers[caller]
	next := make(policy.Taint, len(known)+1)
	for l, when := range known {
		if at.Sub(when) < policy.MaxTaint {
			next[l] = when
		}
	}
	if len(next) < maxTaintLabel || !next[label].IsZero() {
		next[label] = at
	}
	t.callers[caller] = next
}

// of gives what came into the session of a caller. It must not be changed.
func (t *taints) of(c *caller) policy.Taint {
	key := taintKey(c)
	t.mu.Lock()
	defer t.mu.Unlock()
	known, ok := t.callers[key]
	switch {
	case t.now().Before(t.lost):
		return nil
	case !ok:
		return policy.Taint{}
	}
	return known
}

// marked reports whether there is nothing to mark: no label, or all were marked a moment ago.
func (t *taints) marked(c *caller, labels []string) bool {
	if len(labels) == 0 {
		return true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return !t.stale(taintKey(c), labels)
}

func (t *taints) stale(key string, labels []string) bool {
	now, known := t.now(), t.callers[key]
	return slices.ContainsFunc(labels, func(l string) bool { return now.Sub(known[l]) >= taintFresh })
}

// mark notes that something of a server with these labels is about to be passed to a caller.
func (t *taints) mark(c *caller, labels []string) {
	key := taintKey(c)
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.stale(key, labels) {
		return
	}
	now, known := t.now(), t.callers[key]
	if known == nil && len(t.callers) >= maxTainted && !t.forget(now) {
		t.lose()
		return
	}
	var lines bytes.Buffer
	for _, l := range labels {
		t.put(key, l, now)
		line, _ := json.Marshal(taintMark{key, l, now}) // of our own type
		lines.Write(append(line, '\n'))
	}
	t.write(lines.Bytes())
}

// write appends to the file, which is written anew when it is long. What cannot be written is still remembered.
func (t *taints) write(lines []byte) {
	if t.written+int64(len(lines)) > maxTaintFile {
		if err := t.rewrite(); err != nil {
			t.log.Error("what came into sessions cannot be written", slog.Any("error", err))
		}
		return
	}
	n, err := t.file.Write(lines)
	if t.written += int64(n); err != nil {
		t.log.Error("what came into sessions cannot be written", slog.Any("error", err))
	}
}

// forget drops callers of whom nothing is worth knowing any more. It reports whether there is room.
func (t *taints) forget(now time.Time) bool {
	for key, known := range t.callers {
		latest := time.Time{}
		for _, at := range known {
			if at.After(latest) {
				latest = at
			}
		}
		if now.Sub(latest) >= policy.MaxTaint {
			delete(t.callers, key)
		}
	}
	return len(t.callers) < maxTainted
}

// rewrite writes the file anew, with what is still known.
func (t *taints) rewrite() error {
	t.forget(t.now())
	var lines bytes.Buffer
	if t.now().Before(t.lost) {
		lines.WriteString("lost\n\n") // so that the next one to read it does not know either
	}
	for key, known := range t.callers {
		for label, at := range known {
			line, _ := json.Marshal(taintMark{key, label, at}) // of our own type
			lines.Write(append(line, '\n'))
		}
	}
	next, err := os.OpenFile(t.path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600)
	if err == nil {
		_, err = next.Write(lines.Bytes())
	}
	if err == nil {
		err = os.Rename(t.path+".new", t.path)
	}
	if err != nil {
		return fmt.Errorf("writing what came into sessions: %w", err)
	}
	if t.file != nil {
		_ = t.file.Close() // it is not the file any more
	}
	t.file, t.written = next, int64(lines.Len())
	return nil
}

// close lets go of the file.
func (t *taints) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	_ = t.file.Close() // each line was written when it was said
}

// taintKey is the caller in a form that tells nobody who reads the file.
func taintKey(c *caller) string {
	sum := sha256.Sum256([]byte("countersign/taint/v1\x00" + c.key()))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// taint notes that content of the server is about to be passed on. Lists do not count: they hold what people pinned. Nor
// does an answer that says nothing.
func (x *exchange) taint(content []byte) {
	if x.server == nil || x.caller == nil || x.g.taints.marked(x.caller, x.server.Labels) || pinnedOnly(content) {
		return
	}
	x.g.taints.mark(x.caller, x.server.Labels)
}

// pinnedOnly reports whether a result is one of our filtered lists, or empty.
func pinnedOnly(result []byte) bool {
	members, err := canonical.Members(result)
	if err != nil {
		return false
	}
	return !slices.ContainsFunc(members, func(m canonical.Member) bool {
		switch m.Key {
		case "nextCursor", "ttlMs", "cacheScope", "resultType", "_meta": // which no client shows
			return false
		}
		_, list := lists[m.Key]
		return !list
	})
}

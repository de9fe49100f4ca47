package client

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
)

// takesCalls makes the plane count the records that it gets, by id, unless it is away.
func (p *plane) takesCalls(away *atomic.Bool) map[string]int {
	got := map[string]int{}
	p.handle("POST "+PathCalls, func(w http.ResponseWriter, r *http.Request) {
		if away.Load() {
			problem(w, 503, "down")
			return
		}
		var batch CallBatch
		_ = json.NewDecoder(r.Body).Decode(&batch)
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, c := range batch.Calls {
			got[c.CallID]++
		}
		w.WriteHeader(204)
	})
	return got
}

func TestSpoolAfterACrash(t *testing.T) {
	t.Parallel()
	p, dir := newPlane(t), t.TempDir()
	got := p.takesCalls(&atomic.Bool{})
	writeSpool := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	writeSpool(spoolSending, `{"call_id":"call_1"}`+"\n"+`{"call_id":"call_2"}`+"\n") // died while it sent
	writeSpool(fileSpool, `{"call_id":"call_3"}`+"\n"+`{"call_id":"cal`)              // and while it wrote
	r := NewRecorder(p.client(nil), dir)
	r.keep([]CallRecord{{CallID: "call_4"}})
	for range 2 {
		if err := r.flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := 1; i <= 4; i++ {
		if id := "call_" + strconv.Itoa(i); got[id] != 1 {
			t.Errorf("%s arrived %d times", id, got[id])
		}
	}
	if records, bytes := r.Waiting(); records != 0 || bytes != 0 || r.Dropped() != 1 {
		t.Errorf("%d records and %d bytes wait, %d dropped", records, bytes, r.Dropped())
	}
}

func TestTwoProcessesOnOneSpool(t *testing.T) {
	t.Parallel()
	p, dir := newPlane(t), t.TempDir()
	var away atomic.Bool
	got := p.takesCalls(&away)
	var running sync.WaitGroup
	for process := range 2 {
		r := NewRecorder(p.client(nil), dir)
		running.Go(func() {
			for i := range 200 {
				away.Store(i%3 == 0)
				r.Record(CallRecord{CallID: strconv.Itoa(process) + "." + strconv.Itoa(i)})
				_ = r.flush(t.Context()) // then it is spooled
			}
			if r.Dropped() != 0 {
				t.Errorf("%d dropped", r.Dropped())
			}
		})
	}
	running.Wait()
	away.Store(false)
	last := NewRecorder(p.client(nil), dir)
	for range 2 { // what was being sent, and what was spooled since
		if err := last.flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(got) != 400 {
		t.Errorf("%d records arrived, want 400", len(got))
	}
}

func TestRecordsOfALongAbsenceAreOnDisk(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	var away atomic.Bool
	away.Store(true)
	got := p.takesCalls(&away)
	r := NewRecorder(p.client(nil), t.TempDir())
	for i := range 2*bufferBound + 10 { // more than memory has room for
		r.Record(CallRecord{CallID: strconv.Itoa(i)})
		if i%(bufferBound/2) == 0 {
			if err := r.flush(t.Context()); err == nil {
				t.Fatal("flushed to nobody")
			}
		}
	}
	away.Store(false)
	for range 2 {
		if err := r.flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(got) != 2*bufferBound+10 || r.Dropped() != 0 {
		t.Errorf("%d arrived, %d dropped", len(got), r.Dropped())
	}
}

package client

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"time"
)

// Bounds of a Recorder.
const (
	batchSize   = 100
	flushEvery  = time.Second
	bufferBound = 10_000
	spoolBound  = 32 << 20
)

// Recorder sends call records in batches: each second, and as soon as a batch is full. While the control
// plane does not take them they go to a file, up to 32 MiB; beyond that the newest are dropped and counted.
// Records are telemetry: no call waits for them. A process that dies loses those of its last second.
type Recorder struct {
	client *Client
	spool  spool
	log    *slog.Logger

	mu      sync.Mutex
	buffer  []CallRecord
	dropped int64
	full    chan struct{}
}

// NewRecorder makes a Recorder that spools in dir. Nothing is sent before Run.
func NewRecorder(c *Client, dir string) *Recorder {
	return &Recorder{client: c, spool: spool{dir}, log: c.log, full: make(chan struct{}, 1)}
}

// Record takes a record. It never blocks.
func (r *Recorder) Record(record CallRecord) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.buffer) >= bufferBound {
		r.dropped++
		return
	}
	r.buffer = append(r.buffer, record)
	if len(r.buffer) >= batchSize {
		select {
		case r.full <- struct{}{}:
		default:
		}
	}
}

// Dropped says how many records were lost because neither memory nor the spool had room, or because the control plane
// refused them.
func (r *Recorder) Dropped() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.dropped
}

// Waiting says how many records wait in memory to be sent, and how many bytes of them on disk.
func (r *Recorder) Waiting() (records int, spooled int64) {
	r.mu.Lock()
	records = len(r.buffer)
	r.mu.Unlock()
	return records, r.spool.size()
}

// Run sends until ctx ends, then once more for a moment, and spools what is left.
func (r *Recorder) Run(ctx context.Context) error {
	ticker := time.NewTicker(flushEvery)
	defer ticker.Stop()
	var resume time.Time // not before then, after a failure
	for attempt := 0; ; {
		select {
		case <-ticker.C:
		case <-r.full:
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
			defer cancel()
			if r.flush(last) != nil {
				r.keep(r.take(bufferBound))
			}
			return nil
		}
		if r.client.now().Before(resume) {
			r.keep(r.take(bufferBound))
			continue
		}
		if err := r.flush(ctx); err != nil && ctx.Err() == nil {
			resume = r.client.now().Add(backoff(attempt, flushEvery, longestRetry))
			attempt++
			r.log.Debug("call records were not sent", slog.Any("error", err))
			continue
		}
		attempt = 0
	}
}

// flush sends what is spooled and then what is in memory. What cannot be sent goes to the spool; what the control plane
// refuses for good is dropped.
func (r *Recorder) flush(ctx context.Context) error {
	if err := r.flushSpool(ctx); err != nil {
		r.keep(r.take(bufferBound))
		return err
	}
	for {
		batch := r.take(batchSize)
		if len(batch) == 0 {
			return nil
		}
		if err := r.send(ctx, batch); err != nil {
			r.keep(append(batch, r.take(bufferBound)...))
			return err
		}
	}
}

func (r *Recorder) send(ctx context.Context, batch []CallRecord) error {
	err := r.client.SendCalls(ctx, batch)
	if Refused(err) && !IsStatus(err, 403) {
		r.log.Warn("call records were refused and dropped", slog.Any("error", err), slog.Int("records", len(batch)))
		r.drop(len(batch))
		return nil
	}
	return err
}

func (r *Recorder) take(n int) []CallRecord {
	r.mu.Lock()
	defer r.mu.Unlock()
	n = min(n, len(r.buffer))
	batch := r.buffer[:n:n]
	if r.buffer = r.buffer[n:]; len(r.buffer) == 0 {
		r.buffer = nil
	}
	return batch
}

func (r *Recorder) drop(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dropped += int64(n)
}

// keep appends records to the spool.
func (r *Recorder) keep(batch []CallRecord) {
	if len(batch) == 0 {
		return
	}
	var lines bytes.Buffer
	enc := json.NewEncoder(&lines)
	for _, record := range batch {
		if err := enc.Encode(record); err != nil {
			r.drop(1)
		}
	}
	if err := r.spool.add(lines.Bytes()); err != nil {
		r.log.Warn("call records were not spooled", slog.Any("error", err), slog.Int("records", len(batch)))
		r.drop(len(batch))
	}
}

// flushSpool sends the spool, in batches.
func (r *Recorder) flushSpool(ctx context.Context) error {
	var batch []CallRecord
	sendBatch := func() error {
		if len(batch) == 0 {
			return nil
		}
		err := r.send(ctx, batch)
		batch = nil
		return err
	}
	return r.spool.send(func(line []byte) error {
		var record CallRecord
		if err := json.Unmarshal(line, &record); err != nil {
			r.drop(1)
			return nil //nolint:nilerr // it was cut off by a crash: the others go on
		}
		if batch = append(batch, record); len(batch) < batchSize {
			return nil
		}
		return sendBatch()
	}, sendBatch)
}

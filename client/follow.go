package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Bounds of the back-off and of a policy.
const (
	longestRetry = 30 * time.Second
	revokedRetry = time.Minute
	keysFor      = time.Hour
	maxPolicy    = 384 << 20 // a document of 256 MiB in base64
)

// Why an answer is not taken.
var (
	errOlder       = errors.New("it is older than the policy that runs") // a replay, or a replica that lags behind
	errTwoPolicies = errors.New("it says something else than the policy of that revision that runs")
	errNotOurs     = errors.New("the control plane answered 304 for a policy that was not presented to it")
)

// follow pulls until ctx ends.
func (f *Feed) follow(ctx context.Context) {
	for attempt := 0; ctx.Err() == nil; {
		f.keepKeysFresh(ctx)
		began := f.now()
		fresh, err := f.pull(ctx)
		var wait time.Duration
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			attempt = 0
			if !fresh && f.now().Sub(began) < time.Second {
				wait = f.Retry // a server that does not wait is not asked in a tight loop
			}
		case IsCode(err, CodeRevoked):
			f.revoke()
			wait = backoff(0, revokedRetry, revokedRetry)
		default:
			wait = f.pause(err, attempt)
			attempt++
		}
		if sleep(ctx, wait) != nil {
			return
		}
	}
}

// keepKeysFresh fetches the set of keys every hour or so, so that a key that was announced is known before it signs
// and one that was withdrawn is not believed for ever.
func (f *Feed) keepKeysFresh(ctx context.Context) {
	if now := f.now(); now.Sub(f.keysAt) < keysFor {
		return
	}
	f.keysAt = f.now().Add(rand.N(keysFor / 4)) //nolint:gosec // jitter needs no secrecy
	if _, err := f.refreshKeys(ctx); err != nil && ctx.Err() == nil {
		f.log.Warn("keys were not fetched", slog.Any("error", err))
	}
}

// pause logs why a pull got nothing, and says how long to wait.
func (f *Feed) pause(err error, attempt int) time.Duration {
	wait := backoff(attempt, f.Retry, longestRetry)
	if e := (*Error)(nil); errors.As(err, &e) {
		wait = max(wait, e.RetryAfter)
	}
	f.log.Warn("policy was not pulled", slog.Any("error", err), slog.Duration("retry_in", wait))
	return wait
}

// pull makes one request and acts on its answer. It reports whether another policy arrived.
func (f *Feed) pull(ctx context.Context) (fresh bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, f.Wait+waitMargin)
	defer cancel()
	header := http.Header{
		"Accept": {TypeJOSE},
		"Prefer": {"wait=" + strconv.Itoa(int(f.Wait/time.Second))},
	}
	f.mu.Lock()
	active := f.snapshot
	f.mu.Unlock()
	if active != nil && active.ETag != "" {
		header.Set("If-None-Match", active.ETag)
	}
	res, err := f.Client.send(ctx, http.MethodGet, PathPolicy, header, nil)
	if err != nil {
		return false, err
	}
	defer func() {
		drain(res.Body)
		_ = res.Body.Close() // it was only read
	}()
	switch res.StatusCode {
	case http.StatusOK:
		return active == nil || active.ETag != res.Header.Get("ETag"), f.accept(ctx, res)
	case http.StatusNotModified:
		return false, f.renew(active, res.Header)
	}
	return false, readError(res)
}

// leaseOf reads Policy-Lease; a response without it renews nothing.
func leaseOf(header http.Header) (time.Duration, bool) {
	seconds, err := strconv.Atoi(header.Get(HeaderLease))
	return time.Duration(seconds) * time.Second, err == nil && seconds > 0
}

// renew is for 304. It renews nothing for another policy than the one that runs: a replica that is behind, or
// something between us and it that remembers answers, cannot know that ours is current.
func (f *Feed) renew(active *Snapshot, header http.Header) error {
	if active == nil || active.ETag == "" || strong(header.Get("ETag")) != strong(active.ETag) {
		return errNotOurs
	}
	said, ok := leaseOf(header)
	if !ok {
		return nil
	}
	f.mu.Lock()
	f.lease = lease{renewed: f.now(), length: bounded(said, active.Index.Document().MaxStaleSeconds)}
	f.mu.Unlock()
	return f.disk.writeLease(f.saved(active))
}

// strong undoes what a proxy that compresses does to an ETag.
func strong(etag string) string { return strings.TrimPrefix(etag, "W/") }

// accept is for 200: verify, index, swap, persist.
func (f *Feed) accept(ctx context.Context, res *http.Response) error {
	revision, _ := strconv.ParseInt(res.Header.Get(HeaderRevision), 10, 64)
	body, err := readBounded(res.Body, maxPolicy)
	if err != nil {
		return err
	}
	next, err := f.open(ctx, string(body))
	if err == nil {
		err = f.newer(next)
	}
	if err != nil {
		return f.reject(revision, err)
	}
	next.ETag = res.Header.Get("ETag")

	f.mu.Lock()
	if said, ok := leaseOf(res.Header); ok {
		f.lease = lease{renewed: f.now(), length: bounded(said, next.Index.Document().MaxStaleSeconds)}
	}
	f.received = next.Revision
	f.swap(next)
	f.mu.Unlock()
	f.log.Info("policy is active", slog.Int64("epoch", next.Epoch), slog.Int64("revision", next.Revision))

	if err := f.disk.write(filePolicy, body); err != nil {
		return err
	}
	return f.disk.writeLease(f.saved(next))
}

// open verifies with the pinned keys. It makes the pins at first contact, and asks for the set of keys when the
// policy is signed by one that is not in it.
func (f *Feed) open(ctx context.Context, jws string) (*Snapshot, error) {
	f.mu.Lock()
	pinned := f.pins
	f.mu.Unlock()
	switch {
	case pinned == nil:
		made, err := f.Client.pin(ctx, jws, f.RootKey)
		if err != nil {
			return nil, err
		}
		if err := f.keepPins(made); err != nil {
			return nil, err
		}
		pinned = made
		f.log.Info("pinned the keys of the control plane",
			slog.String("issuer", made.Issuer), slog.String("audience", made.Audience), slog.String("root", made.Root))
	case !pinned.knows(jws) && pinned.Root == "":
		return nil, errRotated
	case !pinned.knows(jws):
		fetched, err := f.refreshKeys(ctx)
		if err != nil {
			return nil, err
		}
		pinned = fetched
	}
	return pinned.open(jws)
}

// newer refuses what is older than what runs: an older epoch, or an older revision of the same one. One revision
// says one thing, too: a control plane that says another by the same number has lost its database.
func (f *Feed) newer(next *Snapshot) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	active := f.snapshot
	switch {
	case active == nil || next.Epoch > active.Epoch:
		return nil
	case next.Epoch < active.Epoch, next.Revision < active.Revision:
		return fmt.Errorf("revision %d of epoch %d: %w", next.Revision, next.Epoch, errOlder)
	case next.Revision == active.Revision && next.digest != active.digest:
		return fmt.Errorf("revision %d of epoch %d: %w", next.Revision, next.Epoch, errTwoPolicies)
	}
	return nil
}

// reject keeps what runs, and its lease, and tells the control plane.
func (f *Feed) reject(revision int64, err error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.received = max(f.received, revision)
	f.rejected = &Rejection{Revision: revision, Reason: err.Error()}
	select {
	case f.report <- struct{}{}:
	default:
	}
	return fmt.Errorf("policy was rejected: %w", err)
}

// revoke denies everything from now on and wipes what is on disk. It is called at each answer that says so, and wipes
// again what could not be wiped.
func (f *Feed) revoke() {
	f.mu.Lock()
	already := f.revoked
	f.revoked, f.snapshot, f.lease = true, nil, lease{}
	if !already {
		f.wiped = false
		f.announce()
	}
	f.mu.Unlock()
	if !already {
		f.log.Error("this gateway was revoked: it denies everything")
	}
	if f.wiped {
		return
	}
	if err := f.disk.wipe(); err != nil {
		f.log.Error("policy was not wiped", slog.Any("error", err))
		return
	}
	f.wiped = true
}

func (f *Feed) saved(s *Snapshot) savedLease {
	f.mu.Lock()
	defer f.mu.Unlock()
	return savedLease{
		Epoch: s.Epoch, Revision: s.Revision, ETag: s.ETag,
		Renewed: f.lease.renewed.Round(0).UTC(), Seconds: int(f.lease.length / time.Second),
	}
}

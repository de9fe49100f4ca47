package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"countersign/canonical"
	"countersign/policy"
)

// Why there is no policy to decide with. The gateway denies.
var (
	ErrNoPolicy = errors.New("no policy has arrived yet")
	ErrExpired  = errors.New("the policy is too old: the control plane has not confirmed it in time")
	ErrRevoked  = errors.New("this gateway was revoked")
)

// Snapshot is a policy that was verified and indexed. It is immutable.
type Snapshot struct {
	Index    *policy.Index
	Issuer   string
	Audience string
	Epoch    int64
	Revision int64
	ETag     string

	digest canonical.Digest // of the document's bytes
}

// FeedConfig says how to follow the policy.
type FeedConfig struct {
	Client   *Client
	StateDir string        // for the last known good policy and the pinned keys
	RootKey  string        // thumbprint of the control plane's root key; "": the one at first contact
	Commands []Command     // reported with each status; see Offer
	Wait     time.Duration // long-poll; 0: 50 s
	Retry    time.Duration // shortest back-off; 0: 1 s
	Report   time.Duration // how often the status is reported when nothing changes; 0: 30 s
}

// Feed keeps the policy current. Its methods are safe for concurrent use.
type Feed struct {
	FeedConfig

	now  func() time.Time
	log  *slog.Logger
	disk disk

	keysAt time.Time // when the set of keys was last fetched; of the loop that follows
	wiped  bool      // after a revocation: nothing is on disk any more; of the loop that follows

	mu       sync.Mutex
	pins     *pins
	snapshot *Snapshot
	lease    lease
	revoked  bool
	changed  chan struct{} // closed at the next swap or revocation
	received int64         // newest revision that arrived, run or not
	rejected *Rejection
	identity StatusReply

	report chan struct{}
}

// NewFeed opens the state directory and starts from the last known good policy, if there is one that still
// verifies with the pinned keys. A file that does not is set aside and logged; it never becomes policy. A
// configured root takes the place of a pinned one: somebody with access to the configuration said so.
func NewFeed(cfg FeedConfig) (*Feed, error) {
	if cfg.RootKey != "" && !IsThumbprint(cfg.RootKey) {
		return nil, errors.New("the root key is given by its thumbprint: 43 characters of base64url")
	}
	if cfg.Wait == 0 {
		cfg.Wait = 50 * time.Second
	}
	if cfg.Retry == 0 {
		cfg.Retry = time.Second
	}
	if cfg.Report == 0 {
		cfg.Report = 30 * time.Second
	}
	if err := os.MkdirAll(cfg.StateDir, 0o700); err != nil {
		return nil, fmt.Errorf("making state directory: %w", err)
	}
	f := &Feed{
		FeedConfig: cfg, now: cfg.Client.now, log: cfg.Client.log, disk: disk{dir: cfg.StateDir},
		changed: make(chan struct{}), report: make(chan struct{}, 1),
	}
	pinned, err := f.disk.readPins()
	if err != nil {
		return nil, err
	}
	if pinned != nil {
		if cfg.RootKey != "" && cfg.RootKey != pinned.Root {
			pinned.Root, pinned.Version = cfg.RootKey, 0
		}
		f.pins = pinned
		f.restore()
	}
	return f, nil
}

// restore starts from the copy on disk.
func (f *Feed) restore() {
	jws, saved, err := f.disk.readPolicy()
	if err != nil || jws == "" {
		if err != nil {
			f.log.Warn("last known good policy is not usable", slog.Any("error", err))
		}
		return
	}
	snapshot, err := f.pins.open(jws)
	if err != nil {
		f.log.Warn("last known good policy is not usable", slog.Any("error", err))
		f.disk.setAside()
		return
	}
	if saved.of(snapshot) {
		snapshot.ETag = saved.ETag
	}
	f.snapshot, f.received = snapshot, snapshot.Revision
	f.lease = saved.resume(f.now(), snapshot)
	f.log.Info("started from the last known good policy",
		slog.Int64("epoch", snapshot.Epoch), slog.Int64("revision", snapshot.Revision), slog.Duration("lease_left", f.lease.left(f.now())))
}

// Current returns the policy to decide with, or ErrNoPolicy, ErrExpired or ErrRevoked: then the only
// decision is no.
func (f *Feed) Current() (*Snapshot, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.revoked:
		return nil, ErrRevoked
	case f.snapshot == nil:
		return nil, ErrNoPolicy
	case f.lease.left(f.now()) <= 0:
		return nil, ErrExpired
	}
	return f.snapshot, nil
}

// Lease says how long the policy may still be used without word from the control plane, and how long ago that last came.
func (f *Feed) Lease() (left, age time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lease.renewed.IsZero() {
		return 0, 0
	}
	now := f.now()
	return f.lease.left(now), now.Sub(f.lease.renewed)
}

// Offer reports other commands than before: with the next status, which is sent now.
func (f *Feed) Offer(commands []Command) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.Commands = commands
	select {
	case f.report <- struct{}{}:
	default:
	}
}

// Offered lists the commands that are reported.
func (f *Feed) Offered() []Command {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.Commands
}

// Changed returns a channel that is closed at the next change of policy.
func (f *Feed) Changed() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed
}

// Identity is who the control plane takes us for. It asks when no status was answered yet.
func (f *Feed) Identity(ctx context.Context) (StatusReply, error) {
	f.mu.Lock()
	known := f.identity
	f.mu.Unlock()
	if known.GatewayID != "" {
		return known, nil
	}
	return f.reportStatus(ctx)
}

// Run follows the policy and reports what this instance runs, until ctx ends.
func (f *Feed) Run(ctx context.Context) error {
	var running sync.WaitGroup
	running.Go(func() { f.follow(ctx) })
	running.Go(func() { f.reportLoop(ctx) })
	running.Wait()
	return nil
}

// swap makes s the policy. The caller holds f.mu.
func (f *Feed) swap(s *Snapshot) {
	f.snapshot, f.revoked, f.rejected = s, false, nil
	f.announce()
}

// announce tells who waits on Changed, and the control plane. The caller holds f.mu.
func (f *Feed) announce() {
	close(f.changed)
	f.changed = make(chan struct{})
	select {
	case f.report <- struct{}{}:
	default:
	}
}

// reportLoop reports at each change and every now and then.
func (f *Feed) reportLoop(ctx context.Context) {
	for attempt := 0; ; {
		wait := f.Report
		if _, err := f.reportStatus(ctx); err != nil {
			if ctx.Err() != nil {
				return
			}
			f.log.Debug("status was not reported", slog.Any("error", err))
			wait = backoff(attempt, f.Retry, f.Report)
			attempt++
		} else {
			attempt = 0
		}
		timer := time.NewTimer(wait)
		select {
		case <-f.report:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return
		}
	}
}

func (f *Feed) reportStatus(ctx context.Context) (StatusReply, error) {
	f.mu.Lock()
	s := Status{ReceivedRevision: f.received, Rejected: f.rejected, Commands: f.Commands}
	if f.snapshot != nil && !f.revoked {
		s.Epoch, s.ActiveRevision = f.snapshot.Epoch, f.snapshot.Revision
	}
	f.mu.Unlock()
	reply, err := f.Client.ReportStatus(ctx, s)
	if err != nil {
		return StatusReply{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if reply.SharedInstance && !f.identity.SharedInstance {
		f.log.Error("another process reports to the control plane under the name of this instance: give each a name of its own",
			slog.String("instance", f.Client.Instance()))
	}
	f.identity = reply
	return reply, nil
}

// SharedInstance reports whether another process goes by the name of this instance.
func (f *Feed) SharedInstance() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.identity.SharedInstance
}

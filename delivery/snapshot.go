package delivery

import (
	"time"

	"countersign/canonical"
	"countersign/policy"
)

// Snapshot is the policy in force for one audience, ready to serve. It is immutable.
type Snapshot struct {
	AudienceID         string
	AudienceName       string
	Epoch              int64
	Revision           int64            // the generation that last changed its content
	CompiledGeneration int64            // up to which generation it speaks
	Digest             canonical.Digest // SHA-256 of Document
	ETag               string           // of Document as it is; policy.ETag makes those of other encodings
	Tag                policy.Tag       // what ETag says
	Document           []byte
	Gzip               []byte
	JWS                string // the document inside its signature
	Detached           string // the signature alone
	Kid                string
	PublishedAt        time.Time
	Index              *policy.Index
}

// Current gives the audience's snapshot, nil while there is none.
func (d *Delivery) Current(audienceID string) *Snapshot { return (*d.snapshots.Load())[audienceID] }

// Changed gives a channel that is closed when the audience has a new revision. Take it before Current, then wait.
func (d *Delivery) Changed(audienceID string) <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.changed[audienceID]
	if c == nil {
		c = make(chan struct{})
		d.changed[audienceID] = c
	}
	return c
}

// anyMoved gives a channel that is closed when any snapshot was replaced.
func (d *Delivery) anyMoved() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.moved
}

// HeadReadAt is when this replica last began a look at registry_head that succeeded; zero before the first.
func (d *Delivery) HeadReadAt() time.Time {
	if n := d.headReadAt.Load(); n != 0 {
		return time.Unix(0, n)
	}
	return time.Time{}
}

// Fresh reports whether this replica knows that its snapshots are current: it read the head in the last 15 s. Only
// then may it renew a gateway's lease.
func (d *Delivery) Fresh() bool {
	n := d.headReadAt.Load()
	return n != 0 && d.now().Sub(time.Unix(0, n)) <= freshFor
}

// swap puts new snapshots in place and wakes whoever waits for them. Only the follow loop calls it.
func (d *Delivery) swap(next map[string]*Snapshot) {
	before := *d.snapshots.Load()
	moved := false
	var revised []string
	for id, s := range next {
		old := before[id]
		moved = moved || old != s
		if old == nil || old.Epoch != s.Epoch || old.Revision != s.Revision {
			revised = append(revised, id)
		}
	}
	if !moved {
		return
	}
	d.snapshots.Store(&next)
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, id := range revised {
		if c := d.changed[id]; c != nil {
			close(c)
			delete(d.changed, id)
		}
	}
	close(d.moved)
	d.moved = make(chan struct{})
}

package delivery

import (
	"log/slog"
	"sync"
	"time"

	"countersign/identity"
)

// namesakes notices processes that report under one name, by which one of them comes back after the other:
//
//	A ──B──▶ a restart, for all we know ──A──▶ two of them
//
// Each replica notices by itself, from what it hears; it forgets when it restarts.
type namesakes struct {
	mu   sync.Mutex
	seen map[namesake]reports
}

type namesake struct{ gateway, instance string }

// reports is who reported under a name.
type reports struct {
	last, before string // processes
	at           time.Time
	shared       time.Time // when one of them last came back
}

// Bounds of what is remembered.
const (
	maxNamesakes   = 20_000
	namesakesApart = 5 * time.Minute // one that was silent for longer was moved, and came back
)

// SharedInstance takes a report of a process of a gateway, and says whether another one goes by the same name. A process
// that does not say which one it is goes by no other's. It needs no permission: ReportStatus had it.
func (d *Delivery) SharedInstance(who identity.Principal, instance, process string) bool {
	if process == "" || len(process) > 64 {
		return false
	}
	shared, news := d.namesakes.report(namesake{who.GatewayID, instance}, process, d.now())
	if news {
		d.log.Warn("two processes of a gateway report under one name", slog.String("gateway_id", who.GatewayID), slog.String("instance", instance))
	}
	return shared
}

func (n *namesakes) report(key namesake, process string, now time.Time) (shared, news bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	r, known := n.seen[key]
	if !known && len(n.seen) >= maxNamesakes || n.seen == nil {
		n.seen = map[namesake]reports{}
	}
	recent := func(t time.Time) bool { return !t.IsZero() && now.Sub(t) < namesakesApart }
	was := recent(r.shared)
	if process != r.last {
		if process == r.before && recent(r.at) {
			r.shared = now
		}
		r.last, r.before = process, r.last
	}
	r.at = now
	n.seen[key] = r
	return recent(r.shared), recent(r.shared) && !was
}

package postgres

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// hubChannel is the one channel of NOTIFY that every process listens on; the
// payload is the topic.
const hubChannel = "countersign"

// Hub wakes those who wait for a change, in this process and in all others.
//
// A wake-up says "look again", never what changed: NOTIFY is lost while a
// connection is down, so every subscriber is also woken after each reconnect
// and at each tick, and reads the truth from its table.
//
//	committed ─ Wake ─┬─ local subscribers, at once, database or not
//	                  └─ pg_notify in a transaction of its own ─ every Hub ─ its subscribers
//
// The notification never travels in the transaction of the change: NOTIFY takes
// a global lock until commit, which would serialise all commits of a hot path.
// Topics waiting to be sent coalesce, and Wake never blocks on the database.
type Hub struct {
	pool *pgxpool.Pool
	log  *slog.Logger
	tick time.Duration

	mu          sync.Mutex
	subscribers map[string]map[chan struct{}]struct{}
	unsent      map[string]struct{}
	kick        chan struct{} // holds one token while unsent is not empty
}

// NewHub returns a hub on pool's database. It works locally at once; Run
// connects it to the other processes.
func NewHub(pool *pgxpool.Pool, log *slog.Logger) *Hub {
	return &Hub{
		pool:        pool,
		log:         log,
		tick:        2 * time.Second,
		subscribers: map[string]map[chan struct{}]struct{}{},
		unsent:      map[string]struct{}{},
		kick:        make(chan struct{}, 1),
	}
}

// Run listens, sends and ticks until ctx ends, reconnecting for as long as it
// takes. All its goroutines have ended when it returns.
func (h *Hub) Run(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() { h.send(ctx) })
	wg.Go(func() { h.tickAll(ctx) })
	for delay := time.Duration(0); sleep(ctx, delay); {
		started := time.Now()
		err := h.listen(ctx)
		if ctx.Err() != nil {
			break
		}
		h.log.Warn("notifications interrupted, polling meanwhile", slog.Any("error", err))
		delay = nextDelay(delay, time.Since(started))
	}
	wg.Wait()
}

// Subscribe returns a channel that receives after topic was woken, at each tick
// and after each reconnect; wake-ups that nobody took coalesce into one. The
// function ends the subscription; the channel is never closed.
func (h *Hub) Subscribe(topic string) (<-chan struct{}, func()) {
	wake := make(chan struct{}, 1)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.subscribers[topic] == nil {
		h.subscribers[topic] = map[chan struct{}]struct{}{}
	}
	h.subscribers[topic][wake] = struct{}{}
	return wake, func() { h.unsubscribe(topic, wake) }
}

func (h *Hub) unsubscribe(topic string, wake chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.subscribers[topic], wake)
	if len(h.subscribers[topic]) == 0 {
		delete(h.subscribers, topic)
	}
}

// Wake wakes the subscribers of topic in this process, and in others through
// Run. Call it after the change is committed. It neither blocks nor fails; ctx
// only carries values for the log, so a cancelled request still wakes others.
func (h *Hub) Wake(ctx context.Context, topic string) {
	h.log.DebugContext(ctx, "waking subscribers", slog.String("topic", topic))
	h.wakeLocal(topic)
	h.mu.Lock()
	h.unsent[topic] = struct{}{}
	h.mu.Unlock()
	signal(h.kick)
}

func (h *Hub) wakeLocal(topic string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for wake := range h.subscribers[topic] {
		signal(wake)
	}
}

func (h *Hub) wakeAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, subscribers := range h.subscribers {
		for wake := range subscribers {
			signal(wake)
		}
	}
}

// signal leaves one token in a channel of capacity one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (h *Hub) tickAll(ctx context.Context) {
	ticker := time.NewTicker(h.tick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			h.wakeAll()
		}
	}
}

// listen serves one connection until it is lost.
func (h *Hub) listen(ctx context.Context) error {
	conn, err := connectDedicated(ctx, h.pool, "countersign listen", h.log)
	if err != nil {
		return err
	}
	defer hangUp(ctx, conn)
	if _, err := conn.Exec(ctx, `listen `+pgx.Identifier{hubChannel}.Sanitize()); err != nil {
		return err
	}
	h.wakeAll()
	return attend(ctx, conn, 5*h.tick, func(n *pgconn.Notification) { h.wakeLocal(n.Payload) })
}

// send passes topics on to other processes until ctx ends, and then what was
// woken before that.
func (h *Hub) send(ctx context.Context) {
	lasting := context.WithoutCancel(ctx)
	defer h.flush(lasting)
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.kick:
			h.flush(lasting)
		}
	}
}

// flush sends the waiting topics in one transaction of their own, which need
// not reach the disk. What cannot be sent is dropped: the ticks make up for it.
func (h *Hub) flush(ctx context.Context) {
	topics := h.takeUnsent()
	if len(topics) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	_, err := h.pool.Exec(ctx, `
		select set_config('synchronous_commit', 'off', true), pg_notify($1, topic)
		  from unnest($2::text[]) as topic`, hubChannel, topics)
	if err != nil {
		h.log.Warn("waking other processes", slog.Int("topics", len(topics)), slog.Any("error", err))
	}
}

func (h *Hub) takeUnsent() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	topics := make([]string, 0, len(h.unsent))
	for topic := range h.unsent {
		topics = append(topics, topic)
	}
	clear(h.unsent)
	return topics
}

// nextDelay backs off while attempts fail quickly and starts afresh after one
// that lasted.
func nextDelay(delay, lasted time.Duration) time.Duration {
	if lasted > 10*time.Second {
		return 100 * time.Millisecond
	}
	return min(max(2*delay, 100*time.Millisecond), 2*time.Second)
}

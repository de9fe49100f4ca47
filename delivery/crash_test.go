package delivery

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"countersign/internal/postgres"
	"countersign/policy"
	"countersign/registry"
)

// childEnv makes the test binary a replica on a database, for the crash test to kill.
const childEnv = "COUNTERSIGN_TEST_REPLICA"

func TestMain(m *testing.M) {
	if dsn := os.Getenv(childEnv); dsn != "" {
		if err := replicateUntilKilled(dsn, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// replicateUntilKilled is a replica that says on out when it leads, and each policy that it serves.
func replicateUntilKilled(dsn string, out io.Writer) error {
	ctx := context.Background()
	log := slog.New(slog.NewTextHandler(out, nil))
	pool, err := postgres.Open(ctx, dsn, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	r := newReplica(pool, log)
	go r.hub.Run(ctx)
	go r.watch(ctx, func(s *Snapshot) {
		log.Info("serving", slog.String("audience", s.AudienceID), slog.Int64("revision", s.Revision), slog.String("digest", s.Digest.String()))
	})
	return r.Run(ctx)
}

// watch tells each policy that comes to be served.
func (d *Delivery) watch(ctx context.Context, serving func(*Snapshot)) {
	last := map[string]*Snapshot{}
	for ctx.Err() == nil {
		moved := d.anyMoved()
		for id, s := range *d.snapshots.Load() {
			if last[id] == nil || last[id].Revision != s.Revision || last[id].Epoch != s.Epoch {
				serving(s)
			}
			last[id] = s
		}
		select {
		case <-moved:
		case <-ctx.Done():
		}
	}
}

// served is what all replicas were seen to serve.
type served struct {
	t  *testing.T
	mu sync.Mutex

	latest  map[string]int64            // by observer and audience
	digests map[string]map[int64]string // by audience and revision
}

func (s *served) note(observer, audience string, revision int64, digest string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := observer + " " + audience
	if revision <= s.latest[key] {
		s.t.Errorf("%s went from revision %d to %d", key, s.latest[key], revision)
	}
	s.latest[key] = revision
	if s.digests[audience] == nil {
		s.digests[audience] = map[int64]string{}
	}
	if other, known := s.digests[audience][revision]; known && other != digest {
		s.t.Errorf("%s serves revision %d as %s, others as %s", observer, revision, digest, other)
	}
	s.digests[audience][revision] = digest
}

// child is a replica in a process of its own.
type child struct {
	name    string
	cmd     *exec.Cmd
	leading chan struct{} // closed when it said that it leads
	read    chan struct{} // closed when all it said was read
}

func (w *world) startChild(t *testing.T, name string, seen *served) *child {
	t.Helper()
	self, err := os.Executable()
	w.must(err)
	c := &child{name: name, cmd: exec.CommandContext(t.Context(), self), leading: make(chan struct{}), read: make(chan struct{})}
	c.cmd.Env = append(os.Environ(), childEnv+"="+w.db.RuntimeDSN)
	c.cmd.Stderr = os.Stderr
	out, err := c.cmd.StdoutPipe()
	w.must(err)
	w.must(c.cmd.Start())
	go func() {
		defer close(c.read)
		var once sync.Once
		for lines := bufio.NewScanner(out); lines.Scan(); {
			line := lines.Text()
			if strings.Contains(line, "msg=leading ") {
				once.Do(func() { close(c.leading) })
			}
			var audience, digest string
			var revision int64
			_, what, _ := strings.Cut(line, "msg=serving ")
			if n, _ := fmt.Sscanf(what, "audience=%s revision=%d digest=%s", &audience, &revision, &digest); n == 3 && len(digest) == 71 {
				seen.note(name, audience, revision, digest) // a line that the kill cut off says nothing
			}
		}
	}()
	return c
}

func (c *child) kill(t *testing.T) {
	t.Helper()
	if err := c.cmd.Process.Kill(); err != nil {
		t.Fatalf("killing %s: %v", c.name, err)
	}
	<-c.read
	_ = c.cmd.Wait() // "signal: killed", as asked for
}

// TestRevisionsEqualARecomputeWhateverDies kills the leader, again and again, while fifty people change grants.
func TestRevisionsEqualARecomputeWhateverDies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	kills := 3
	if testing.Short() {
		kills = 1
	}
	seen := &served{t: t, latest: map[string]int64{}, digests: map[string]map[int64]string{}}
	here := w.build(w.db.NewPool(t)) // it follows, and never leads
	edge := w.enrol(here, "edge", "*")
	w.enrol(here, "narrow", "com.acme/o*")
	for _, name := range []string{"com.acme/orders", "com.acme/billing"} {
		w.offer(here, edge.Gateway, name)
	}
	ctx, stop := context.WithCancel(w.ctx)
	var background, writing sync.WaitGroup
	background.Go(func() { here.hub.Run(ctx) })
	background.Go(func() { _ = here.follow(ctx) })
	background.Go(func() {
		here.watch(ctx, func(s *Snapshot) { seen.note("here", s.AudienceID, s.Revision, s.Digest.String()) })
	})

	leader := w.startChild(t, "child0", seen)
	<-leader.leading
	other := w.startChild(t, "child1", seen)
	began := w.generation()
	var enough atomic.Bool
	var edits atomic.Int64
	grants := make([]map[string]string, 50) // by writer: id → name of what has to be there in the end
	for i := range grants {
		grants[i] = map[string]string{}
		writing.Go(func() { w.edit(here, i, grants[i], &edits, &enough) })
	}
	for k := range kills {
		more := edits.Load() + 60
		waitFor(w, "edits", func() (struct{}, bool) { return struct{}{}, edits.Load() >= more })
		leader.kill(t)
		leader, other = other, w.startChild(t, fmt.Sprintf("child%d", k+2), seen)
		select {
		case <-leader.leading:
		case <-other.leading: // it was the quicker one
			leader, other = other, leader
		case <-time.After(20 * time.Second):
			t.Fatal("nobody leads")
		}
	}
	enough.Store(true)
	writing.Wait()
	w.upTo(here, edge.AudienceID, w.generation())
	leader.kill(t)
	other.kill(t)
	stop()
	background.Wait()

	if moved := w.generation() - began; moved != edits.Load() {
		t.Errorf("%d generations for %d edits", moved, edits.Load())
	}
	w.wantGrants(here, grants)
	n := w.wantRecomputed(here, seen)
	t.Logf("%d edits made %d revisions", edits.Load(), n)
}

// edit makes, changes and ends grants until there are enough, and keeps what has to be there.
func (w *world) edit(r *replica, writer int, mine map[string]string, edits *atomic.Int64, enough *atomic.Bool) {
	versions := map[string]int64{}
	for n := 0; !enough.Load(); n++ {
		time.Sleep(rand.N(300 * time.Millisecond))
		name := fmt.Sprintf("g%d.%d", writer, n)
		change := registry.NewGrant{
			Name: name, Subject: policy.Subject{Users: []string{name}}, Resource: policy.Resource{Servers: []string{"com.acme/" + []string{"orders", "billing", "*"}[n%3]}},
		}
		var g registry.Grant
		var err error
		var id string
		for id = range mine {
			break
		}
		switch {
		case n%3 == 1 && id != "":
			g, err = r.registry.ChangeGrant(w.ctx, w.admin, id, versions[id], change)
		case n%3 == 2 && id != "":
			g, err = r.registry.EndGrant(w.ctx, w.admin, id, versions[id], "")
			delete(mine, id)
		default:
			g, err = r.registry.CreateGrant(w.ctx, w.admin, change)
		}
		if err != nil {
			w.t.Errorf("an edit was refused: %v", err)
			return
		}
		edits.Add(1)
		if g.EndedAt == nil {
			mine[g.ID], versions[g.ID] = g.Name, g.Version
		}
	}
}

// wantGrants looks for edits that were lost: in the registry, and in what is in force.
func (w *world) wantGrants(r *replica, grants []map[string]string) {
	w.t.Helper()
	want := map[string]string{}
	for _, mine := range grants {
		maps.Copy(want, mine)
	}
	open := map[string]string{}
	w.must(pgx.BeginTxFunc(w.ctx, r.pool, registry.ReadOnly, func(tx pgx.Tx) error {
		s, err := r.registry.SnapshotTx(w.ctx, tx)
		for _, g := range s.Grants {
			open[g.ID] = g.Name
		}
		return err
	}))
	if diff := cmp.Diff(want, open); diff != "" {
		w.t.Errorf("the registry: %s", diff)
	}
	for audience, s := range *r.snapshots.Load() {
		if len(s.Index.Document().Servers) != 2 {
			continue // it does not see everything
		}
		inForce := map[string]string{}
		for _, g := range s.Index.Document().Grants {
			inForce[g.ID] = g.Name
		}
		if diff := cmp.Diff(want, inForce); diff != "" {
			w.t.Errorf("audience %s: %s", audience, diff)
		}
	}
}

// wantRecomputed compiles every revision that is stored again, from the rules of its generation, and compares each
// byte. What was served is among them.
func (w *world) wantRecomputed(r *replica, seen *served) (n int) {
	w.t.Helper()
	audiences, err := r.Audiences(w.ctx, w.admin)
	w.must(err)
	for _, a := range audiences {
		stored := map[int64]string{}
		w.must(pgx.BeginTxFunc(w.ctx, r.pool, registry.ReadOnly, func(tx pgx.Tx) error {
			now, err := r.registry.SnapshotTx(w.ctx, tx)
			if err != nil {
				return err
			}
			rows, _ := tx.Query(w.ctx, `select document from revisions where audience_id = $1 and revision >= $2 order by revision`, a.ID, w.settled())
			texts, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
			if err != nil {
				return err
			}
			for _, text := range texts {
				document, err := policy.Decode(text)
				if err != nil {
					return err
				}
				stored[document.Revision] = w.recompute(tx, r, a, now, document, text)
			}
			return nil
		}))
		n += len(stored)
		for revision, digest := range seen.digests[a.ID] {
			if want, ok := stored[revision]; ok && want != digest || !ok && revision >= w.settled() {
				w.t.Errorf("%s was served revision %d as %s, stored is %s", a.Name, revision, digest, want)
			}
		}
	}
	return n
}

// settled is the generation at which the servers were what they are now: what came before cannot be recomputed.
func (w *world) settled() int64 {
	return w.count(`select max(n.generation) from generations n join audit_events e on e.id = n.event_id where e.kind not like 'grant.%'`)
}

// recompute compiles a revision again and gives the digest that it ought to have.
func (w *world) recompute(tx pgx.Tx, r *replica, a Audience, now registry.Snapshot, document policy.Document, text []byte) string {
	w.t.Helper()
	grants, guardrails, err := r.registry.RulesAt(w.ctx, tx, document.Revision)
	w.must(err)
	src := policy.Source{
		Issuer: r.cfg.Issuer, Audience: a.ID, Epoch: now.Epoch, Generation: document.Revision, MaxStaleSeconds: r.cfg.MaxStaleSeconds,
		Grants: grants, Guardrails: guardrails,
	}
	for _, s := range now.Servers {
		if sees(a.Servers, s.Name) {
			src.Servers = append(src.Servers, s)
		}
	}
	again, _, err := policy.Compile(src, document.IssuedAt)
	w.must(err)
	want, _, err := again.Encode()
	w.must(err)
	if !slices.Equal(want, text) {
		w.t.Errorf("revision %d of %s is not what its generation compiles to: %s", document.Revision, a.Name, cmp.Diff(string(want), string(text)))
	}
	return fmt.Sprintf("sha256:%x", sha256.Sum256(text))
}

package approvals

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"countersign/identity"
	"countersign/internal/pgtest"
	"countersign/internal/postgres"
	"countersign/internal/problem"
	"countersign/internal/seal"
	"countersign/policy"
)

// childEnv makes the test binary a control plane that redeems, for the crash test to kill.
const childEnv = "COUNTERSIGN_TEST_REDEEMER"

func TestMain(m *testing.M) {
	if order := os.Getenv(childEnv); order != "" {
		if err := obey(order); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if err := flag.Set("rapid.checks", "40"); err != nil { // a run of TestModel is some 500 statements; -rapid.checks=1000 for more
		panic(err)
	}
	os.Exit(m.Run())
}

// childOrder is what the child is told.
type childOrder struct {
	DSN, KeyFile, TokenFile, Name string
	Contend                       bool // for what comes on standard input
}

func obey(order string) error {
	var o childOrder
	if err := json.Unmarshal([]byte(order), &o); err != nil {
		return err
	}
	if o.Contend {
		return contendAsTold(o, os.Stdin, os.Stdout)
	}
	return redeemUntilKilled(o, os.Stdout)
}

// queue is that of a control plane whose policy stands still. judging runs in each evaluation.
func (o childOrder) queue(judging func(context.Context)) (q *Queue, stop func(), err error) {
	key, err := seal.Load(o.KeyFile)
	if err != nil {
		return nil, nil, err
	}
	log := slog.New(slog.DiscardHandler)
	pool, err := postgres.Open(context.Background(), o.DSN, log)
	if err != nil {
		return nil, nil, err
	}
	w := &world{law: newLaw(pool)}
	standing := Evaluation{Verdict: w.verdict(), Generation: 1, Document: w.law.document}
	return New(pool, postgres.NewHub(pool, log), Config{Issuer: issuer, Seal: key, Evaluate: func(ctx context.Context, _ string, _ policy.Request) (Evaluation, error) {
		judging(ctx)
		return standing, nil
	}}), pool.Close, nil
}

// spendableFile is a spendable in the file that the child reads.
type spendableFile struct {
	Token string
	Call  policy.Call
}

// redeemUntilKilled goes through all tokens, each worker in an order of its own, so that they meet, and says on
// out which redemptions it was granted. An attempt whose answer was lost it makes again, as the same.
func redeemUntilKilled(o childOrder, out io.Writer) error {
	raw, err := os.ReadFile(o.TokenFile)
	if err != nil {
		return err
	}
	var tokens []spendableFile
	if err := json.Unmarshal(raw, &tokens); err != nil {
		return err
	}
	queue, stop, err := o.queue(func(context.Context) {})
	if err != nil {
		return err
	}
	defer stop()
	var wg sync.WaitGroup
	var mu sync.Mutex
	for worker := range 8 {
		wg.Go(func() {
			for _, i := range rand.Perm(len(tokens)) {
				id := fmt.Sprintf("%s-%d-%d", o.Name, worker, i)
				if redeemStubbornly(queue, tokens[i], id) {
					mu.Lock()
					fmt.Fprintf(out, "%d %s\n", i, id)
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	return nil
}

func redeemStubbornly(q *Queue, s spendableFile, id string) bool {
	who := identity.Principal{Kind: identity.Gateway, ID: gateway, GatewayID: gateway}
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		_, err := q.Redeem(ctx, who, Redeem{Token: Token(s.Token), Call: s.Call, RedemptionID: id, Instance: "child"})
		cancel()
		switch {
		case err == nil:
			return true
		case problem.From(err).Code == "confirmation_used":
			return false
		}
		time.Sleep(10 * time.Millisecond) // the database is gone, or back in a moment
	}
}

// child is a running redeemer and what it was granted so far.
type child struct {
	cmd  *exec.Cmd
	read chan struct{} // closed when all it said was read
}

// granted collects which redemption ids were granted for which token.
type granted struct {
	mu      sync.Mutex
	byToken map[int][]string
}

func (g *granted) count() (n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.byToken)
}

func (g *granted) listen(out io.Reader) {
	for lines := bufio.NewScanner(out); lines.Scan(); {
		line := lines.Text()
		var i int
		var id string
		if n, err := fmt.Sscanf(line, "%d %s", &i, &id); n != 2 || err != nil || !strings.HasSuffix(id, fmt.Sprintf("-%d", i)) {
			continue // cut off by the kill: never granted
		}
		g.mu.Lock()
		g.byToken[i] = append(g.byToken[i], id)
		g.mu.Unlock()
	}
}

// childCommand is this test binary, told to be something else.
func childCommand(t testing.TB, o childOrder) *exec.Cmd {
	t.Helper()
	order, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), childEnv+"="+string(order))
	cmd.Stderr = os.Stderr
	return cmd
}

func startChild(t *testing.T, o childOrder, g *granted) *child {
	t.Helper()
	c := &child{cmd: childCommand(t, o), read: make(chan struct{})}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(c.read)
		g.listen(out)
	}()
	return c
}

func (c *child) kill(t *testing.T) {
	t.Helper()
	if err := c.cmd.Process.Kill(); err != nil {
		t.Fatalf("killing the child: %v", err)
	}
	<-c.read
	_ = c.cmd.Wait() // "signal: killed", as asked for
}

// TestCrash kills the control plane and PostgreSQL, by turns, in the middle of redemptions. What was
// acknowledged is there afterwards, each token was granted to one attempt only, and the rest can be redeemed.
func TestCrash(t *testing.T) {
	t.Parallel()
	rounds := soak.rounds
	tokens := 300 + 200*rounds
	db := pgtest.NewServer(t, true)
	w := newWorldOn(t, openPool(t, db.OwnerDSN), openPool(t, db.RuntimeDSN))
	populate(t, w.owner)
	if err := postgres.AssertDurable(t.Context(), w.queue.pool); err != nil {
		t.Fatal(err)
	}
	all := w.issue(tokens)
	o := childOrder{DSN: db.RuntimeDSN, KeyFile: w.keyFile, TokenFile: filepath.Join(t.TempDir(), "tokens")}
	writeTokens(t, o.TokenFile, all)
	acked := &granted{byToken: map[int][]string{}}
	var c *child
	began := time.Now()
	for round := 0; round < rounds && !soak.over(began); round++ {
		if round%10 == 9 {
			t.Logf("round %d of %d after %v: %d redemptions acknowledged", round+1, rounds, time.Since(began).Round(time.Second), acked.count())
		}
		if c == nil {
			o.Name = fmt.Sprintf("child%d", round)
			c = startChild(t, o, acked)
		}
		awaitMore(t, acked, 20)
		time.Sleep(rand.N(40 * time.Millisecond))
		switch round % 3 {
		case 0:
			c.kill(t)
			c = nil
		case 1:
			db.StopImmediately(t)
			db.Start(t)
		case 2:
			db.Kill(t)
			time.Sleep(time.Second) // its backends are orphans, which notice it and leave the shared memory
			db.Start(t)
		}
	}
	if c != nil {
		c.kill(t)
	}
	w.checkCrash(all, acked)
}

func openPool(t testing.TB, dsn string) *pgxpool.Pool {
	t.Helper()
	pool, err := postgres.Open(context.Background(), dsn, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func writeTokens(t *testing.T, file string, all []spendable) {
	t.Helper()
	out := make([]spendableFile, len(all))
	for i, s := range all {
		out[i] = spendableFile{Token: string(s.token), Call: s.call}
	}
	raw, err := json.Marshal(out)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

func awaitMore(t *testing.T, g *granted, more int) {
	t.Helper()
	want := g.count() + more
	for deadline := time.Now().Add(30 * time.Second); g.count() < want; time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("only %d redemptions in 30 s, want %d", g.count(), want)
		}
	}
}

func (w *world) checkCrash(all []spendable, acked *granted) {
	w.t.Helper()
	w.owner.Reset() // of connections that died with the server
	w.queue.pool.Reset()
	lost := 0
	for i, ids := range acked.byToken {
		if len(ids) != 1 {
			w.t.Errorf("token %d was granted to %v", i, ids)
		}
		var redemptionID string
		if err := w.owner.QueryRow(context.Background(), `
			select coalesce(redemption_id, '') from confirmations where approval_id = $1`, all[i].approval).Scan(&redemptionID); err != nil {
			w.t.Fatal(err)
		}
		if redemptionID != ids[0] {
			lost++
		}
	}
	if lost > 0 {
		w.t.Errorf("%d of %d acknowledged redemptions are lost", lost, len(acked.byToken))
	}
	before := read[int](w, `select count(*) from confirmations where state = 'redeemed'`)
	won := w.redeemRest(all)
	events := read[int](w, `select count(*) from audit_events where kind = 'confirmation.redeemed'`)
	closed := read[int](w, `select count(*) from approvals where state = 'closed'`)
	if before+won != len(all) || events != len(all) || closed != len(all) {
		w.t.Errorf("%d redeemed before and %d after make not %d; %d events, %d requests closed", before, won, len(all), events, closed)
	}
	w.t.Logf("%d acknowledged, %d redeemed unacknowledged, %d left", len(acked.byToken), before-len(acked.byToken), won)
}

// redeemRest redeems what can still be redeemed.
func (w *world) redeemRest(all []spendable) int {
	w.t.Helper()
	var won atomic.Int64
	var wg sync.WaitGroup
	for part := range 8 {
		wg.Go(func() {
			for i := part; i < len(all); i += 8 {
				_, err := w.redeem(all[i].token, all[i].call, redemption(i))
				switch {
				case err == nil:
					won.Add(1)
				case problem.From(err).Code != "confirmation_used":
					w.t.Errorf("token %d: %v", i, err)
				}
			}
		})
	}
	wg.Wait()
	return int(won.Load())
}

package approvals

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
)

const (
	contenders = 2 // processes
	inFlight   = 3 // tokens that are contended for at a time
)

// contest is one line to a contender: redeem this, with all you have, now.
type contest struct {
	Number int
	Token  string
	Call   policy.Call
}

// contested is its answer.
type contested struct {
	Number, Wins int
	Other        []string // answers that are neither a win nor "used"
}

// contend tells two processes of each token at the same time and counts how often it was won.
func (w *world) contend(all []spendable) {
	w.t.Helper()
	var procs [contenders]*contender
	for i := range procs {
		procs[i] = w.startContender(fmt.Sprint("contender", i))
		defer procs[i].end()
	}
	wins := make([]int, len(all))
	var mu sync.Mutex
	var wg sync.WaitGroup
	room := make(chan struct{}, inFlight)
	for i, s := range all {
		room <- struct{}{}
		answers := procs[0].ask(contest{i, string(s.token), s.call})
		others := procs[1].ask(contest{i, string(s.token), s.call})
		wg.Go(func() {
			for _, a := range []contested{<-answers, <-others} {
				mu.Lock()
				wins[i] += a.Wins
				mu.Unlock()
				for _, o := range a.Other {
					w.t.Errorf("token %d: %s", i, o)
				}
			}
			<-room
		})
	}
	wg.Wait()
	if n := doubles(wins); n != 0 {
		w.t.Errorf("%d of %d tokens were not won exactly once", n, len(all))
	}
}

// contender is a process that redeems what it is told.
type contender struct {
	in  *json.Encoder
	end func()

	mu      sync.Mutex
	waiting map[int]chan contested
}

func (c *contender) ask(what contest) chan contested {
	answer := make(chan contested, 1)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting[what.Number] = answer
	if err := c.in.Encode(what); err != nil {
		answer <- contested{Other: []string{err.Error()}}
	}
	return answer
}

func (c *contender) listen(out io.Reader) {
	for answers := json.NewDecoder(bufio.NewReader(out)); ; {
		var a contested
		if err := answers.Decode(&a); err != nil {
			break
		}
		c.mu.Lock()
		c.waiting[a.Number] <- a
		delete(c.waiting, a.Number)
		c.mu.Unlock()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, answer := range c.waiting {
		answer <- contested{Other: []string{"the process ended"}}
	}
}

func (w *world) startContender(name string) *contender {
	w.t.Helper()
	cmd := childCommand(w.t, childOrder{DSN: w.db.RuntimeDSN + "&pool_max_conns=12", KeyFile: w.keyFile, Name: name, Contend: true})
	in, err := cmd.StdinPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	c := &contender{in: json.NewEncoder(in), waiting: map[int]chan contested{}}
	read := make(chan struct{})
	go func() {
		defer close(read)
		c.listen(out)
	}()
	c.end = func() {
		_ = in.Close() // it ends when there is nothing more to do
		<-read
		if err := cmd.Wait(); err != nil {
			w.t.Errorf("%s: %v", name, err)
		}
	}
	return c
}

// contendAsTold is the process.
func contendAsTold(o childOrder, in io.Reader, out io.Writer) error {
	queue, stop, err := o.queue(func(ctx context.Context) { ctx.Value(entrantKey{}).(*entrant).pass() })
	if err != nil {
		return err
	}
	defer stop()
	answers := json.NewEncoder(out)
	var mu sync.Mutex
	var wg sync.WaitGroup
	defer wg.Wait()
	for lines := json.NewDecoder(bufio.NewReader(in)); ; {
		var c contest
		if err := lines.Decode(&c); err != nil {
			return nil // the end of the orders
		}
		wg.Go(func() {
			answer := c.hold(queue, o.Name)
			mu.Lock()
			defer mu.Unlock()
			_ = answers.Encode(answer) // who does not listen any more has failed already
		})
	}
}

// hold sends this process's share of the redeemers for one token. None of them writes before all of them have read.
func (c contest) hold(q *Queue, name string) contested {
	who := identity.Principal{Kind: identity.Gateway, ID: gateway, GatewayID: gateway}
	answer := contested{Number: c.Number}
	start := &round{all: make(chan struct{})}
	start.missing.Store(redeemers / contenders)
	var wins atomic.Int64
	var mu sync.Mutex
	var wg sync.WaitGroup
	for r := range redeemers / contenders {
		wg.Go(func() {
			e := &entrant{round: start}
			defer e.arrive()
			ctx := context.WithValue(context.Background(), entrantKey{}, e)
			in := Redeem{Token: Token(c.Token), Call: c.Call, RedemptionID: fmt.Sprint(name, "-", c.Number, "-", r), Instance: name}
			_, err := q.Redeem(ctx, who, in)
			for problem.Is(err, problem.Unavailable) { // the lock was held for too long: the same attempt again
				_, err = q.Redeem(ctx, who, in)
			}
			switch {
			case err == nil:
				wins.Add(1)
			case problem.From(err).Code != "confirmation_used":
				mu.Lock()
				defer mu.Unlock()
				answer.Other = append(answer.Other, err.Error())
			}
		})
	}
	wg.Wait()
	answer.Wins = int(wins.Load())
	return answer
}

type entrantKey struct{}

// entrant is one redeemer at the start of a round. Who is told off before the start holds nobody up.
type entrant struct {
	round *round
	once  sync.Once
}

func (e *entrant) arrive() {
	e.once.Do(func() {
		if e.round.missing.Add(-1) == 0 {
			close(e.round.all)
		}
	})
}

func (e *entrant) pass() {
	e.arrive()
	<-e.round.all
}

package main

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

const stormAgents = 3

// storm is many agents and approvers at work while parts of the installation die.
type storm struct {
	*crashWorld
	over atomic.Bool
	done atomic.Int64

	mu       sync.Mutex
	held     map[string]map[string]bool // by order: approvals that the agent was told of
	finished map[string]int             // by order: answers that say it was executed
	voted    map[string]bool            // approvals whose vote was acknowledged
}

func (c *crashWorld) storm(rounds int) {
	c.t.Helper()
	s := &storm{crashWorld: c, held: map[string]map[string]bool{}, finished: map[string]int{}, voted: map[string]bool{}}
	var agents sync.WaitGroup
	for i := range stormAgents {
		approver := newClerk(c.t, c.wire.url, "priya")
		agents.Go(func() { s.work(i, approver) })
	}
	began := time.Now()
	for round := range rounds {
		if !s.awaitMore(3) || *crashMinutes > 0 && time.Since(began).Minutes() > float64(*crashMinutes) {
			break
		}
		time.Sleep(rand.N(150 * time.Millisecond))
		victim := s.strike(round)
		c.t.Logf("round %d of %d at %v: %s died, %d calls are done", round+1, rounds, time.Since(began).Round(time.Second), victim, s.done.Load())
	}
	s.awaitMore(3)
	s.over.Store(true)
	agents.Wait()
	s.check()
}

// strike kills something and starts it again.
func (s *storm) strike(round int) (victim string) {
	s.t.Helper()
	pause := func() { time.Sleep(rand.N(100 * time.Millisecond)) }
	n := rand.IntN(4)
	if round < 4 {
		n = round // each once, at least
	}
	switch n {
	case 0:
		s.gateway.kill()
		pause()
		s.gateway.start()
		return "the gateway"
	case 1:
		s.plane.kill()
		pause()
		s.startPlane()
		return "the control plane"
	case 2:
		s.database.StopImmediately(s.t)
		pause()
		s.database.Start(s.t)
		return "PostgreSQL (stopped at once)"
	}
	s.database.Kill(s.t)
	time.Sleep(time.Second) // its backends are orphans, which notice it and leave the shared memory
	s.database.Start(s.t)
	return "PostgreSQL (killed)"
}

func (s *storm) awaitMore(more int64) bool {
	s.t.Helper()
	want := s.done.Load() + more
	for deadline := time.Now().Add(time.Minute); s.done.Load() < want; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Errorf("nothing goes on: %d calls were done, and no more", s.done.Load())
			return false
		}
	}
	return true
}

// work makes one call after the other, each again and again until it is executed, and lets the approver decide.
func (s *storm) work(agent int, approver *clerk) {
	for n := 0; !s.over.Load(); n++ {
		order := fmt.Sprint("storm-", agent, "-", n)
		for !s.over.Load() && !s.attempt(order, approver) {
			time.Sleep(20 * time.Millisecond)
		}
	}
}

func (s *storm) attempt(order string, approver *clerk) (done bool) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	p, err := s.pay(ctx, order)
	switch {
	case err != nil:
		return false
	case p.done:
		s.done.Add(1)
		s.note(func() { s.finished[order]++ })
		return true
	case p.approval == "":
		return false
	}
	s.note(func() {
		if s.held[order] == nil {
			s.held[order] = map[string]bool{}
		}
		s.held[order][p.approval] = true
	})
	if s.approve(ctx, approver, p.approval) == nil {
		s.note(func() { s.voted[p.approval] = true })
	}
	return false
}

func (s *storm) note(what func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	what()
}

// kept is what the database has of an approval.
type kept struct {
	ID       string
	Votes    int
	Redeemed int
	Events   int
}

// check compares what everybody was told with the tool's own file and with the database.
func (s *storm) check() {
	s.t.Helper()
	stored := s.stored()
	ran := s.till.executions(s.t)
	for order, approvals := range s.held {
		redeemed := 0
		for id := range approvals {
			k, known := stored[id]
			if !known {
				s.t.Errorf("%s: the agent was told of %s, which is lost", order, id)
			}
			if k.Redeemed > 1 || k.Redeemed != k.Events {
				s.t.Errorf("%s: %s was redeemed %d times, with %d events", order, id, k.Redeemed, k.Events)
			}
			if s.voted[id] && k.Votes == 0 {
				s.t.Errorf("%s: a vote on %s was acknowledged and is lost", order, id)
			}
			redeemed += k.Redeemed
		}
		if ran[order] > redeemed {
			s.t.Errorf("%s: executed %d times for %d redeemed approvals", order, ran[order], redeemed)
		}
		if s.finished[order] > ran[order] {
			s.t.Errorf("%s: %d answers say that it was executed, and it was %d times", order, s.finished[order], ran[order])
		}
	}
	s.exec(`update confirmations set outcome_by = clock_timestamp() where state = 'redeemed'`)
	var ends map[string]int
	eventually(s.t, "no redeemed call is left without an end", func() bool {
		ends = s.ends()
		return ends["redeemed"] == 0
	})
	total := 0
	for n := range maps.Values(ran) {
		total += n
	}
	s.t.Logf("%d orders, %d executions, ends of confirmations: %v", len(s.held), total, ends)
}

func (s *storm) stored() map[string]kept {
	s.t.Helper()
	all := query(s.crashWorld, pgx.RowToStructByName[kept], `
		select a.id, (select count(*) from votes v where v.approval_id = a.id) as votes,
		       (select count(*) from confirmations c where c.approval_id = a.id and c.redemption_id is not null) as redeemed,
		       (select count(*) from audit_events e join confirmations c on c.id = e.target_id
		        where c.approval_id = a.id and e.kind = 'confirmation.redeemed') as events
		from approvals a`)
	byID := map[string]kept{}
	for _, k := range all {
		byID[k.ID] = k
	}
	return byID
}

// ends counts confirmations by state.
func (s *storm) ends() map[string]int {
	s.t.Helper()
	type end struct {
		State string
		N     int
	}
	counts := map[string]int{}
	for _, e := range query(s.crashWorld, pgx.RowToStructByName[end], `select state, count(*) as n from confirmations group by state`) {
		counts[e.State] = e.N
	}
	return counts
}

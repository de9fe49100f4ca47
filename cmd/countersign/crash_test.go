package main

import (
	"flag"
	"fmt"
	"slices"
	"testing"

	"countersign/client"
)

// The crash test is short in make test and long in make soak.
var (
	crashRounds  = flag.Int("soak.rounds", 4, "how often something is killed at a random point")
	crashMinutes = flag.Int("soak.minutes", 0, "when to kill nothing any more; 0: never")
)

const outcome = "/outcome"

// step is a moment at which something dies. prepare arranges that, once the call is approved; it returns what is dead
// when the agent's call has been answered or broken off.
type step struct {
	name    string
	prepare func(c *crashWorld, order string)
	revive  func(c *crashWorld)

	executed int // when the dust has settled, before anybody does anything
	// What becomes of the confirmation: "issued" can be claimed again, "redeemed" becomes indeterminate.
	left []string
	// again says that the approval is still good: the agent's next call runs.
	again bool
}

func killGateway(c *crashWorld)  { c.gateway.kill() }
func startGateway(c *crashWorld) { c.gateway.start() }

var steps = []step{
	{
		name:    "before the claim, the gateway",
		prepare: func(c *crashWorld, _ string) { killGateway(c) }, revive: startGateway,
		again: true,
	},
	{
		name: "before the redemption, the gateway",
		prepare: func(c *crashWorld, _ string) {
			c.wire.cutAt(client.PathRedeem, func(func()) bool { killGateway(c); return false })
		},
		revive: startGateway, left: []string{"issued"}, again: true,
	},
	{
		name: "redeemed, and only the answer is lost",
		prepare: func(c *crashWorld, _ string) {
			c.wire.cutAt(client.PathRedeem, func(forward func()) bool { forward(); return false })
		},
		revive: func(*crashWorld) {}, executed: 1, left: []string{"succeeded"},
	},
	{
		name: "redeemed, and the gateway dies before it knows",
		prepare: func(c *crashWorld, _ string) {
			c.wire.cutAt(client.PathRedeem, func(forward func()) bool { forward(); killGateway(c); return false })
		},
		revive: startGateway, left: []string{"redeemed"},
	},
	{
		name: "redeemed, and the gateway dies before it calls",
		prepare: func(c *crashWorld, _ string) {
			c.wire.cutAt(client.PathRedeem, func(forward func()) bool { forward(); killGateway(c); return true })
		},
		revive: startGateway, left: []string{"redeemed"},
	},
	{
		name:    "executed, and the gateway dies before the result",
		prepare: func(c *crashWorld, order string) { c.till.whenPaid(order, func() { killGateway(c) }) },
		revive:  startGateway, executed: 1, left: []string{"redeemed"},
	},
	{
		name: "answered, and the gateway dies before its report",
		prepare: func(c *crashWorld, _ string) {
			c.wire.cutAt(outcome, func(func()) bool { killGateway(c); return false })
		},
		revive: startGateway, executed: 1, left: []string{"redeemed"},
	},
	{
		name: "redeemed, and the control plane dies before it answers",
		prepare: func(c *crashWorld, _ string) {
			c.wire.cutAt(client.PathRedeem, func(forward func()) bool { forward(); c.plane.kill(); c.startPlane(); return false })
		},
		revive: func(*crashWorld) {}, executed: 1, left: []string{"succeeded"},
	},
	{
		name: "redeemed, and PostgreSQL dies before the answer arrives",
		prepare: func(c *crashWorld, _ string) {
			c.wire.cutAt(client.PathRedeem, func(forward func()) bool {
				forward()
				c.database.StopImmediately(c.t)
				c.database.Start(c.t)
				return false
			})
		},
		revive: func(*crashWorld) {}, executed: 1, left: []string{"succeeded"},
	},
}

// TestCrash kills real processes in front of a tool that counts: at each step of one approved call, then at random points
// of many. The tool never runs more than once for one approval; what nobody can know becomes indeterminate; nothing that
// was acknowledged is lost; and nothing runs again without a new approval.
func TestCrash(t *testing.T) {
	c := newCrashWorld(t)
	for i, s := range steps {
		t.Run(s.name, func(t *testing.T) {
			c.on(t)
			c.dies(s, fmt.Sprint("step-", i))
		})
	}
	t.Run("at random points", func(t *testing.T) {
		c.on(t)
		c.storm(*crashRounds)
	})
}

// on lets another test go on with this world.
func (c *crashWorld) on(t *testing.T) { //nolint:thelper // it only hands t on
	c.t, c.plane.t, c.gateway.t = t, t, t
}

func (c *crashWorld) dies(s step, order string) {
	c.t.Helper()
	approval := c.held(order)
	if err := c.approve(c.t.Context(), c.approver, approval); err != nil {
		c.t.Fatal(err)
	}
	s.prepare(c, order)
	answer, err := c.pay(c.t.Context(), order)
	s.revive(c)
	c.t.Logf("answered %v, %v", answer.done, err)
	if got := c.till.executions(c.t)[order]; got != s.executed {
		c.t.Fatalf("executed %d times, want %d", got, s.executed)
	}
	if got := c.states(approval); !slices.Equal(got, s.left) {
		c.t.Fatalf("its confirmations are %v, want %v", got, s.left)
	}
	if s.again {
		c.runsNow(order, 1)
		return
	}
	if slices.Contains(s.left, "redeemed") {
		c.becomesIndeterminate(approval)
	}
	c.asksAnew(order, approval, s.executed)
}

// runsNow repeats the call until it runs: the approval is still good for one execution.
func (c *crashWorld) runsNow(order string, executed int) {
	c.t.Helper()
	eventually(c.t, "the approved call runs", func() bool {
		p, err := c.pay(c.t.Context(), order)
		return err == nil && p.done
	})
	if got := c.till.executions(c.t)[order]; got != executed {
		c.t.Errorf("executed %d times, want %d", got, executed)
	}
}

// becomesIndeterminate lets the time for an outcome run out.
func (c *crashWorld) becomesIndeterminate(approval string) {
	c.t.Helper()
	c.exec(`update confirmations set outcome_by = clock_timestamp() where state = 'redeemed'`)
	eventually(c.t, "what nobody reported is indeterminate", func() bool { return slices.Equal(c.states(approval), []string{"indeterminate"}) })
}

// asksAnew repeats the call: it is held for another approval, and runs when that is given, and only then.
func (c *crashWorld) asksAnew(order, approval string, executed int) {
	c.t.Helper()
	again := c.held(order)
	if again == approval {
		c.t.Errorf("held for the approval that was used")
	}
	if got := c.till.executions(c.t)[order]; got != executed {
		c.t.Fatalf("executed %d times before a new approval, want %d", got, executed)
	}
	if err := c.approve(c.t.Context(), c.approver, again); err != nil {
		c.t.Fatal(err)
	}
	c.runsNow(order, executed+1)
}

package approvals

import (
	"context"
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"countersign/canonical"
	"countersign/internal/problem"
	"countersign/policy"
)

// TestRedeemRaceOfWaiters: many exchanges wait for one approval of the same call, over two replicas. When it comes, all
// of them claim and redeem. One executes.
func TestRedeemRaceOfWaiters(t *testing.T) {
	t.Parallel()
	const waiters = 12
	w := newWorld(t)
	queues := []*Queue{w.queue, w.queueOn(w.db.NewPool(t))}
	for round := range 5 {
		call := w.call(round)
		var executed atomic.Int64
		var asked, all sync.WaitGroup
		asked.Add(waiters)
		for i := range waiters {
			all.Go(func() {
				q := queues[i%2]
				r, _, err := q.Ask(context.Background(), w.gateway, w.asking(call))
				asked.Done()
				if err != nil {
					t.Errorf("Ask: %v", err)
					return
				}
				if w.passes(q, r, call, fmt.Sprint(round, "-", i)) {
					executed.Add(1)
				}
			})
		}
		asked.Wait()
		r := w.ask(call)
		w.vote(w.ada, r, Approve)
		all.Wait()
		if n := executed.Load(); n != 1 {
			t.Errorf("one approval, %d waiters, %d executions", waiters, n)
		}
		if n := read[int](w, `select count(*) from approvals where call_digest = $1`, r.CallDigest[:]); n != 1 {
			t.Errorf("%d requests for one call", n)
		}
	}
}

// passes waits, claims and redeems, as a gateway does, and says whether it may execute. A gateway looks again now and
// then, as nobody wakes it in this world.
func (w *world) passes(q *Queue, r Request, call policy.Call, redemption string) bool {
	ctx := context.Background()
	for r.State == Pending {
		var err error
		if r, err = q.Wait(ctx, w.gateway, r.ID, 20*time.Millisecond); err != nil {
			w.t.Errorf("Wait: %v", err)
			return false
		}
	}
	c, err := q.Claim(ctx, w.gateway, r.ID)
	if err != nil {
		w.wantOneOf(err, "not_approved", "too_many_claims", "busy")
		return false
	}
	in := Redeem{Token: c.Token, Call: call, RedemptionID: redemption, Instance: redemption}
	_, err = q.Redeem(ctx, w.gateway, in)
	for problem.Is(err, problem.Unavailable) {
		_, err = q.Redeem(ctx, w.gateway, in)
	}
	if err != nil {
		w.wantOneOf(err, "confirmation_unknown", "confirmation_used") // another claim made the token of this one worthless
	}
	return err == nil
}

func (w *world) wantOneOf(err error, codes ...string) {
	w.t.Helper()
	for _, code := range codes {
		if problem.From(err).Code == code {
			return
		}
	}
	w.t.Errorf("got %v, want one of %v", err, codes)
}

// TestVoteRaceWithRemoval takes a voter out of the team while the vote that makes the quorum is cast. The request is
// approved only if both voters belonged to the team at one instant of that vote.
func TestVoteRaceWithRemoval(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.quorum(2, 1)
	seen := map[State]int{}
	for round := range 25 {
		w.exec(`update people set groups = '{orders-team}' where id = 'per_ada'`)
		r := w.vote(w.ada, w.ask(w.call(round)), Approve)
		var removed, voted time.Duration
		began := time.Now()
		var both sync.WaitGroup
		both.Go(func() {
			time.Sleep(time.Duration(round%5) * time.Millisecond)
			w.exec(`update people set groups = '{}' where id = 'per_ada'`)
			removed = time.Since(began)
		})
		both.Go(func() {
			time.Sleep(time.Duration(round%3) * time.Millisecond)
			voted = time.Since(began)
			if _, err := w.queue.Vote(context.Background(), w.grace, r.ID, on(r, Approve)); err != nil {
				t.Errorf("Vote: %v", err)
			}
		})
		both.Wait()
		state := w.state(r)
		seen[state]++
		switch {
		case state != Pending && state != Approved:
			t.Errorf("the request is %s", state)
		case removed < voted && state == Approved:
			t.Errorf("approved with the vote of somebody who had left %v before", voted-removed)
		}
		if state == Pending { // her vote does not count, and another's makes the quorum
			w.exec(`update people set groups = '{orders-team}' where id = 'per_eve'`)
			r.Version = read[int64](w, `select version from approvals where id = $1`, r.ID)
			if r = w.vote(w.eve, r, Approve); r.State != Approved {
				t.Errorf("after a third vote the request is %s", r.State)
			}
		}
	}
	t.Logf("ended as %v", seen)
}

// claims are all that a token is bound to, each in another way: by the name of the field in policy.Call.
var claims = map[string]func(c *policy.Call){
	"Issuer":            func(c *policy.Call) { c.Issuer = "https://else.example" },
	"Epoch":             func(c *policy.Call) { c.Epoch++ },
	"Gateway":           func(c *policy.Call) { c.Gateway = another },
	"ServerID":          func(c *policy.Call) { c.ServerID = "srv_else" },
	"EndpointDigest":    func(c *policy.Call) { c.EndpointDigest = canonical.Sum("test", []byte("else")) },
	"Tool":              func(c *policy.Call) { c.Tool = "delete_order" },
	"Kind":              func(c *policy.Call) { c.Kind = policy.KindPrompt },
	"Definition":        func(c *policy.Call) { c.Definition = canonical.Sum("test", []byte("else")) },
	"Arguments":         func(c *policy.Call) { c.Arguments = []byte(`{"order":1,"force":true}`) },
	"Principal.Issuer":  func(c *policy.Call) { c.Principal.Issuer = "https://id.else.example" },
	"Principal.Subject": func(c *policy.Call) { c.Principal.Subject = "ada" },
	"Principal.Agent":   func(c *policy.Call) { c.Principal.Agent = "release-bot-2" },
	"Principal.Model":   func(c *policy.Call) { c.Principal.Model = "" },
}

// TestRedeemFlippedClaims changes one thing of the call at a time. Each time it is refused, the token stays as it was,
// and the right call may use it afterwards. A new member of a call fails the test until it is here, too.
func TestRedeemFlippedClaims(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, name := range fieldsOf(reflect.TypeFor[policy.Call](), "") {
		flip := claims[name]
		if flip == nil {
			t.Errorf("nobody tries another %s", name)
			continue
		}
		right := w.call(name)
		r, token := w.claimed(right)
		wrong := right
		flip(&wrong)
		for _, who := range []string{gateway, another} { // by the gateway that holds the token, and by the one that does not
			as := w.gateway
			if who == another {
				as = w.other
			}
			_, err := w.queue.Redeem(t.Context(), as, Redeem{Token: token, Call: wrong, RedemptionID: name + who, Instance: "i1"})
			if err == nil {
				t.Errorf("another %s, by %s: redeemed", name, who)
			}
			if got := w.confirmation(r); got != TokenIssued {
				t.Errorf("another %s, by %s: the token is %s", name, who, got)
			}
		}
		w.mustRedeem(token, right, "right "+name)
	}
}

func fieldsOf(of reflect.Type, prefix string) (names []string) {
	for field := range of.Fields() {
		if field.Type.Kind() == reflect.Struct {
			names = append(names, fieldsOf(field.Type, prefix+field.Name+".")...)
			continue
		}
		names = append(names, prefix+field.Name)
	}
	return names
}

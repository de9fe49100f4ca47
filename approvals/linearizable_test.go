package approvals

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/jackc/pgx/v5/pgxpool"

	"countersign/policy"
)

// deeds are what workers choose from, those that lead somewhere more than once.
var deeds = map[string][]string{
	"people and time": {
		"ask", "approve", "approve", "approve", "approve", "deny", "claim", "claim", "redeem", "redeem", "redeem", "repeat", "cancel", "revoke",
		"the time to vote", "the time to claim", "the time to redeem", "sweep", "look", "look",
	},
	// Nobody looks here: the policy is compared in the statement that acts and not locked, so it may move in the instant
	// between that and the commit.
	"people and policy": {
		"ask", "approve", "approve", "approve", "approve", "claim", "claim", "redeem", "redeem", "redeem", "revoke",
		"the policy denies", "the policy holds", "the policy holds", "sweep",
	},
	"redeem, revoke, cancel, expire": {"claim", "redeem", "redeem", "redeem", "repeat", "revoke", "cancel", "the time to redeem", "sweep", "look"},
	"approve and deny":               {"approve", "approve", "deny", "cancel", "the time to vote", "look", "look"},
}

// TestModelIsLinearizable lets five workers do anything at once to one call, over two replicas, and asks whether what
// they were answered could have come from the reference machine doing one thing at a time, in an order that
// contradicts nobody's watch.
func TestModelIsLinearizable(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	queues := []*Queue{w.queueOn(w.db.Runtime), w.queueOn(w.db.NewPool(t))}
	for _, q := range queues {
		q.cfg.Evaluate = w.evaluateByGeneration
	}
	began, granted, acts := time.Now(), 0, 0
	for i := 0; i < soak.histories && !soak.over(began); i++ {
		for name, deeds := range deeds {
			seed := rand.Uint64()
			s := &scene{world: w, queues: queues, call: w.call(fmt.Sprint(name, i)), began: time.Now()}
			w.closeAll()
			s.play(seed, deeds)
			if !linearizable(t, spec{model: model{state: Closed}}, s.history) {
				t.Errorf("%s, seed %d: no order of one after the other explains this:", name, seed)
				tell(t, s.history)
			}
			for _, o := range s.history {
				acts++
				if o.Output.(answered).granted {
					granted++
				}
			}
		}
	}
	t.Logf("%d acts, of which %d were granted, in %v", acts, granted, time.Since(began).Round(time.Millisecond))
}

// play sets the scene, lets the workers act, and closes it.
func (s *scene) play(seed uint64, deeds []string) {
	const workers, acts = 5, 8
	s.changePolicy(0, false)
	s.ask(0, s.queues[0])
	if deeds[0] == "claim" { // all but the token is as it should be
		s.vote(0, s.queues[0], s.requests[0], s.ada, Approve)
		s.vote(0, s.queues[0], s.requests[0], s.grace, Approve)
		s.claim(0, s.queues[0], s.requests[0])
	}
	var all sync.WaitGroup
	for worker := range workers {
		r := rand.New(rand.NewPCG(seed, uint64(worker)))
		all.Go(func() {
			for n := range acts {
				s.act(worker, n, r, deeds)
			}
		})
	}
	all.Wait()
	s.inspect()
}

// evaluateByGeneration is a policy that is a function of its generation, so that it changes in one instant: at an even
// one it denies. Two people have to approve.
func (w *world) evaluateByGeneration(ctx context.Context, _ string, _ policy.Request) (Evaluation, error) {
	var generation int64
	if err := w.law.pool.QueryRow(ctx, `select generation from registry_head`).Scan(&generation); err != nil {
		return Evaluation{}, err
	}
	v := w.verdict()
	v.Approval.Quorum = 2
	if generation%2 == 0 {
		v = policy.Verdict{Outcome: policy.Deny, Reason: policy.ReasonNoGrant, Grant: -1, Guardrail: -1}
	}
	return Evaluation{Verdict: v, Generation: generation, Document: w.law.document}, nil
}

// TestModelCatchesNaiveRedeem records the history of a redemption that reads and then writes. If it passed for
// linearizable, the test above would prove nothing.
func TestModelCatchesNaiveRedeem(t *testing.T) {
	t.Parallel()
	w := newWorldAlone(t)
	all := w.issue(1)
	w.makeNaive()
	pools := []*pgxpool.Pool{w.db.Runtime, w.db.NewPool(t)}
	s := &scene{world: w, began: time.Now()}
	var g gate
	g.open(redeemers)
	var wg sync.WaitGroup
	for r := range redeemers {
		wg.Go(func() {
			a := act{what: "redeem", token: all[0].token, redemption: fmt.Sprint(r)}
			s.did(r, a, func() (answered, error) {
				won, err := naiveRedeem(context.Background(), pools[r%2], &g, w.gateway, all[0], a.redemption)
				if err == nil && !won {
					err = answer("used")
				}
				return answered{}, err
			})
		})
	}
	wg.Wait()
	granted := func(o porcupine.Operation) bool { return o.Output.(answered).granted }
	initial := spec{model: model{state: Approved, token: TokenIssued}, newest: all[0].token}
	if linearizable(t, initial, s.history) {
		t.Error("a redemption that reads and then writes passes for linearizable")
	}
	var once []porcupine.Operation // the first that won, and all that lost
	for _, o := range s.history {
		if won := granted(o); !won || len(once) == 0 || !granted(once[0]) {
			once = append([]porcupine.Operation{o}, once...)
		}
	}
	if !linearizable(t, initial, once) {
		t.Error("even with a single winner it does not")
	}
}

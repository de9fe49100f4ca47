package approvals

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
)

// scene is one call that several workers act on at once, through two replicas, and what they saw.
type scene struct {
	*world
	queues []*Queue
	call   policy.Call
	began  time.Time

	mu       sync.Mutex
	history  []porcupine.Operation
	requests []string
	tokens   []issuedToken
	redeemed []act // those that were granted
}

type issuedToken struct {
	request string
	token   Token
}

// did records an act from just before it to just after it.
func (s *scene) did(worker int, a act, do func() (answered, error)) answered {
	call := time.Since(s.began)
	got, err := do()
	back := time.Since(s.began)
	got.granted = err == nil
	if err != nil {
		got.code = problem.From(err).Code
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.history = append(s.history, porcupine.Operation{ClientId: worker, Input: a, Call: call.Nanoseconds(), Output: got, Return: back.Nanoseconds()})
	return got
}

// known picks one of the newest things that the workers learned of.
func known[T any](s *scene, r *rand.Rand, list *[]T) (one T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(*list); n > 0 {
		one = (*list)[n-1-r.IntN(min(n, 2))]
	}
	return one
}

func learn[T any](s *scene, list *[]T, one T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*list = append(*list, one)
}

func (s *scene) ask(worker int, q *Queue) {
	got := s.did(worker, act{what: "ask"}, func() (answered, error) {
		r, _, err := q.Ask(context.Background(), s.gateway, s.asking(s.call))
		return answered{request: r.ID}, err
	})
	if got.granted {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !slices.Contains(s.requests, got.request) {
			s.requests = append(s.requests, got.request)
		}
	}
}

func (s *scene) vote(worker int, q *Queue, request string, who identity.Principal, d Decision) {
	seen, err := q.Get(context.Background(), s.gateway, request)
	if err != nil {
		s.t.Errorf("Get: %v", err)
		return
	}
	s.did(worker, act{what: "vote", request: request, who: who.Subject, decision: d}, func() (answered, error) {
		_, err := q.Vote(context.Background(), who, request, on(seen, d))
		return answered{}, err
	})
}

func (s *scene) claim(worker int, q *Queue, request string) {
	got := s.did(worker, act{what: "claim", request: request}, func() (answered, error) {
		c, err := q.Claim(context.Background(), s.gateway, request)
		return answered{token: c.Token}, err
	})
	if got.granted {
		learn(s, &s.tokens, issuedToken{request, got.token})
	}
}

func (s *scene) redeem(worker int, q *Queue, a act) {
	in := Redeem{Token: a.token, Call: s.call, RedemptionID: a.redemption, Instance: "i1"}
	got := s.did(worker, a, func() (answered, error) {
		r, err := q.Redeem(context.Background(), s.gateway, in)
		if err == nil && r.Replayed != (a.what == "repeat") {
			err = fmt.Errorf("%s: answered with replayed %v", a.what, r.Replayed)
			s.t.Error(err)
		}
		return answered{}, err
	})
	if got.granted && a.what == "redeem" {
		a.what = "repeat"
		learn(s, &s.redeemed, a)
	}
}

// end takes a request back, as a person or as its caller.
func (s *scene) end(worker int, q *Queue, what, request string) {
	s.did(worker, act{what: what, request: request}, func() (_ answered, err error) {
		if what == "revoke" {
			_, err = q.Revoke(context.Background(), s.grace, request, "stop")
		} else {
			_, err = q.Cancel(context.Background(), s.gateway, request)
		}
		return answered{}, err
	})
}

var passing = map[string]string{
	"the time to vote":   `update approvals set expires_at = clock_timestamp() where id = $1 and state = 'pending'`,
	"the time to claim":  `update approvals set claim_by = clock_timestamp() where id = $1 and state = 'approved'`,
	"the time to redeem": `update confirmations set expires_at = clock_timestamp() where approval_id = $1 and state = 'issued'`,
}

func (s *scene) pass(worker int, what, request string) {
	s.did(worker, act{what: what, request: request}, func() (answered, error) {
		_, err := s.owner.Exec(context.Background(), passing[what], request)
		return answered{}, err
	})
}

func (s *scene) look(worker int, q *Queue, request string) {
	s.did(worker, act{what: "look", request: request}, func() (answered, error) {
		r, err := q.Get(context.Background(), s.gateway, request)
		return answered{state: r.State, code: string(r.State)}, err
	})
}

func (s *scene) sweep(worker int, q *Queue) {
	s.did(worker, act{what: "sweep"}, func() (answered, error) {
		_, err := q.Sweep(context.Background())
		return answered{}, err
	})
}

// changePolicy makes it deny the call, or hold it again. At an even generation it denies.
func (s *scene) changePolicy(worker int, denied bool) {
	s.did(worker, act{what: "policy", denied: denied}, func() (answered, error) {
		_, err := s.owner.Exec(context.Background(), `
			update registry_head set generation = generation + 1 where (generation % 2 = 0) <> $1`, denied)
		return answered{}, err
	})
}

// act does one of the things that may happen to a call, at random.
func (s *scene) act(worker, n int, r *rand.Rand, deeds []string) {
	q := s.queues[worker%len(s.queues)]
	request := known(s, r, &s.requests)
	switch deed := deeds[r.IntN(len(deeds))]; deed {
	case "ask":
		s.ask(worker, q)
	case "approve":
		s.vote(worker, q, request, []identity.Principal{s.ada, s.grace, s.ada, s.grace, s.tomas}[r.IntN(5)], Approve)
	case "deny":
		s.vote(worker, q, request, s.grace, Deny)
	case "claim":
		s.claim(worker, q, request)
	case "redeem":
		if known := known(s, r, &s.tokens); known.token != "" {
			s.redeem(worker, q, act{what: "redeem", request: known.request, token: known.token, redemption: fmt.Sprint(request, "-", worker, "-", n)})
		}
	case "repeat":
		if before := known(s, r, &s.redeemed); before.what != "" {
			s.redeem(worker, q, before)
		}
	case "cancel", "revoke":
		s.end(worker, q, deed, request)
	case "look":
		s.look(worker, q, request)
	case "sweep":
		s.sweep(worker, q)
	case "the policy denies", "the policy holds":
		s.changePolicy(worker, deed == "the policy denies")
	default:
		s.pass(worker, deed, request)
	}
}

// inspect adds what is left at the end.
func (s *scene) inspect() {
	for _, id := range s.requests[len(s.requests)-1:] {
		s.did(0, act{what: "inspect", request: id}, func() (a answered, err error) {
			got, err := s.queues[0].Get(context.Background(), s.gateway, id)
			if err != nil {
				return a, err
			}
			a.state = got.State
			a.last = read[ConfirmationState](s.world, `
				select coalesce((select state from confirmations where approval_id = $1 order by issued_at desc, id desc limit 1), '')`, id)
			a.spent = read[int](s.world, `
				select count(*) from audit_events e join confirmations c on c.id = e.target_id join approvals a on a.id = c.approval_id
				where e.kind = 'confirmation.redeemed' and a.call_digest = $1`, got.CallDigest[:])
			return a, nil
		})
	}
}

// tell says what was seen, for who has to find out why it could not be.
func tell(t *testing.T, history []porcupine.Operation) {
	t.Helper()
	slices.SortFunc(history, func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
	for _, o := range history {
		t.Logf("%8d to %8d µs  worker %d  %v → %v", o.Call/1000, o.Return/1000, o.ClientId, o.Input, o.Output)
	}
}

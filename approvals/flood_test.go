package approvals

import (
	"testing"
	"time"

	"countersign/internal/problem"
)

// TestAskRate: an agent that has its requests decided, or gives them up, does not get to flood people either.
func TestAskRate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.AskRate = 3 })
	for i := range 3 {
		r := w.ask(w.call(i))
		if i < 2 {
			w.vote(w.ada, r, Deny)
		}
	}
	replica := w.queueOn(w.law.pool, func(c *Config) { c.AskRate = 3 })
	for _, q := range []*Queue{w.queue, replica} {
		_, _, err := q.Ask(t.Context(), w.gateway, w.asking(w.call("one more")))
		if p := wantProblem(t, err, problem.RateLimited, "too_many_asks"); p.RetryAfter <= 0 || p.RetryAfter > time.Minute {
			t.Errorf("told to come back in %s", p.RetryAfter)
		}
	}
	if _, created, err := replica.Ask(t.Context(), w.gateway, w.asking(w.call(2))); err != nil || created {
		t.Errorf("joining its own request: created %v, %v", created, err)
	}
	w.caller.Agent = "another-bot"
	w.ask(w.call("by another agent"))
	w.caller.Agent = "release-bot"
	w.exec(`update approvals set created_at = created_at - interval '1 minute' where agent = 'release-bot' and state = 'pending'`)
	w.ask(w.call("a minute later"))
	_, _, err := w.queue.Ask(t.Context(), w.gateway, w.asking(w.call("and another")))
	wantProblem(t, err, problem.RateLimited, "too_many_asks")
}

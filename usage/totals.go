package usage

import (
	"fmt"
	"strings"
	"time"
)

// Outcomes counts calls by what became of them. Calls is all of them.
type Outcomes struct {
	Calls   int64
	Allowed int64
	Denied  int64
	Held    int64
	Failed  int64 // allowed, and then without an answer
	Errors  int64 // of Allowed: the server answered with an error
}

// Totals are what calls add up to. Times are estimated from counts in [Steps], of calls that reached a server: 0 where
// none did.
type Totals struct {
	Outcomes
	RequestTokens  int64 // estimated, of arguments: what the model wrote
	ResponseTokens int64 // estimated, of results: what it reads
	Cost           Cost
	AddedP50       time.Duration // by gateways
	AddedP95       time.Duration
	TookP50        time.Duration // all of it
	TookP95        time.Duration
}

// sums is one row that adds up calls of one model at the same prices.
type sums struct {
	Place          int64 // what is summed up: a step of time, or a name
	Model          string
	Era            int // of the tariff
	Calls          int64
	Allowed        int64
	Denied         int64
	Held           int64
	Failed         int64
	Errors         int64
	RequestTokens  int64
	ResponseTokens int64
	Took           counts
	Added          counts
	LastAt         time.Time
}

// summed are the columns of sums but for the first three.
var summed = `
	sum(calls)::bigint as calls, sum(allowed)::bigint as allowed, sum(denied)::bigint as denied, sum(held)::bigint as held,
	sum(failed)::bigint as failed, sum(errors)::bigint as errors, sum(request_tokens)::bigint as request_tokens,
	sum(response_tokens)::bigint as response_tokens, ` + summedSteps("took") + `, ` + summedSteps("added") + `, max(last_at) as last_at`

func summedSteps(column string) string {
	parts := make([]string, len(Steps)+1)
	for i := range parts {
		parts[i] = fmt.Sprintf("sum(%s[%d])", column, i+1)
	}
	return "array[" + strings.Join(parts, ", ") + "] as " + column
}

// tally adds up rows.
type tally struct {
	Outcomes
	requestTokens, responseTokens int64
	took, added                   counts
	cost                          costs
	lastAt                        time.Time
}

func (t *tally) add(s *sums, prices tariff) {
	t.Calls, t.Allowed, t.Denied, t.Held = t.Calls+s.Calls, t.Allowed+s.Allowed, t.Denied+s.Denied, t.Held+s.Held
	t.Failed, t.Errors = t.Failed+s.Failed, t.Errors+s.Errors
	t.requestTokens, t.responseTokens = t.requestTokens+s.RequestTokens, t.responseTokens+s.ResponseTokens
	t.took.add(s.Took)
	t.added.add(s.Added)
	t.cost.add(prices.at(s.Era), s.Model, s.RequestTokens, s.ResponseTokens)
	if s.LastAt.After(t.lastAt) {
		t.lastAt = s.LastAt
	}
}

func (t *tally) totals() Totals {
	return Totals{
		Outcomes: t.Outcomes, RequestTokens: t.requestTokens, ResponseTokens: t.responseTokens, Cost: t.cost.cost(),
		AddedP50: t.added.below(0.5), AddedP95: t.added.below(0.95), TookP50: t.took.below(0.5), TookP95: t.took.below(0.95),
	}
}

// less takes away what was added before.
func (t *tally) less(other *tally) {
	t.Calls, t.Allowed, t.Denied, t.Held = t.Calls-other.Calls, t.Allowed-other.Allowed, t.Denied-other.Denied, t.Held-other.Held
	t.Failed, t.Errors = t.Failed-other.Failed, t.Errors-other.Errors
	t.requestTokens, t.responseTokens = t.requestTokens-other.requestTokens, t.responseTokens-other.responseTokens
	t.took.less(other.took)
	t.added.less(other.added)
	t.cost.less(&other.cost)
}

package client

import (
	"math"

	"countersign/internal/room"
	"countersign/policy"
)

// Counted is what a call takes of the rate limits and token budgets that count it, by its verdict under this document.
// tokens are those of its arguments, as room.Tokens estimates them.
func Counted(document *policy.Document, v policy.Verdict, caller string, tokens int) room.Call {
	c := room.Call{Caller: caller, Tokens: tokens}
	for _, i := range v.Limits {
		g := &document.Guardrails[i]
		c.Limits = append(c.Limits, room.Limit{Guardrail: g.ID, Units: g.Effect.RateLimit.Calls, Seconds: g.Effect.RateLimit.Seconds})
	}
	for _, i := range v.Budgets {
		g := &document.Guardrails[i]
		c.Budgets = append(c.Budgets, room.Limit{Guardrail: g.ID, Units: g.Effect.TokenBudget.Tokens, Seconds: g.Effect.TokenBudget.Seconds})
	}
	return c
}

// takeRoom takes room with all limits and budgets that count the call.
func (c *guarded) takeRoom() (*room.Reservation, error) {
	p := c.caller.Principal.Identity()
	caller := p.Issuer + "\x00" + p.Subject + "\x00" + p.Agent // whatever its model
	got, short := c.g.rooms.Take(Counted(c.current.Index.Document(), c.verdict, caller, room.Tokens(len(c.arguments))))
	if short.Wait == 0 {
		return got, nil
	}
	reason, what := ReasonRateLimited, "RATE LIMITED (not executed): you have made as many of these calls as a guardrail allows for now"
	if short.Tokens {
		reason, what = ReasonBudgetSpent, "TOKEN BUDGET SPENT (not executed): your calls have used the tokens that a guardrail allows for now"
	}
	n := notExecuted(reason, nil, "%s. Wait %d seconds, then call again.", what, int(math.Ceil(short.Wait.Seconds())))
	n.RetryAfter = short.Wait
	return nil, n
}

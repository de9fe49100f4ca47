package server

import (
	"fmt"
	"strings"

	"countersign/usage"
)

// alertRuleWords is what a rule means, in a sentence that reads it back.
func alertRuleWords(kind usage.Kind, p usage.Params) string {
	within := secondsWords(p.Seconds)
	switch kind {
	case usage.SessionRate:
		return fmt.Sprintf("Fires when one session%s makes more than %s within %s.", throughAgent(p), callsWords(p.Calls), within)
	case usage.ErrorRate:
		return fmt.Sprintf("Fires when, within %s, %d %% or more of the calls of %s fail or are answered with an error, if there are at least %d.",
			within, p.Percent, orAny(p.Server, "any one server"), p.Calls)
	case usage.Denials:
		return fmt.Sprintf("Fires when one caller%s is denied %s or more within %s.", throughAgent(p), callsWords(p.Calls), within)
	case usage.TokensSpent:
		return fmt.Sprintf("Fires when the calls of %s move %d tokens or more within a day (UTC), by estimate.", countedWords(p), p.Tokens)
	case usage.CostReached:
		return fmt.Sprintf("Fires when the calls of %s cost %s %s or more within a day (UTC), at the present prices.", countedWords(p), p.Amount, strings.ToUpper(p.Currency))
	case usage.GatewaySilent:
		return fmt.Sprintf("Fires when no instance of a gateway has reported for %s, unless the gateway is revoked.", within)
	case usage.UnknownAsked:
		return fmt.Sprintf("Fires when callers ask %s within %s for a server that nobody registered.", timesWords(p.Calls), within)
	case usage.NotifierFailing:
		return fmt.Sprintf("Fires when what is sent to a channel has not arrived for %s.", within)
	}
	return ""
}

func throughAgent(p usage.Params) string {
	if p.Agent == "" {
		return ""
	}
	return " through the agent " + p.Agent
}

func orAny(name, otherwise string) string {
	if name == "" {
		return otherwise
	}
	return name
}

// countedWords says whose calls are counted together.
func countedWords(p usage.Params) string {
	switch {
	case p.Agent != "":
		return "the agent " + p.Agent
	case p.By == "all":
		return "all agents together"
	}
	return "any one agent"
}

func callsWords(n int64) string {
	if n == 1 {
		return "1 call"
	}
	return fmt.Sprintf("%d calls", n)
}

func timesWords(n int64) string {
	if n == 1 {
		return "once or more"
	}
	return fmt.Sprintf("%d times or more", n)
}

package approvals

import "flag"

// soak is how long the proofs run: shortly in make test, as long as make soak says there.
var soak struct {
	tokens, rounds, histories, minutes int
}

func init() {
	flag.IntVar(&soak.tokens, "soak.tokens", 100, "tokens that 32 redeemers contend for, in two processes")
	flag.IntVar(&soak.rounds, "soak.rounds", 3, "how often something is killed")
	flag.IntVar(&soak.histories, "soak.histories", 8, "histories of each kind that are checked for linearizability")
	flag.IntVar(&soak.minutes, "soak.minutes", 0, "when to begin no further batch of tokens; 0: never")
}

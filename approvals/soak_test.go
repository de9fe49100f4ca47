package approvals

import "flag"

// soak is how long the proofs run: shortly in make test, as long as make soak says there.
var soak struct {
	tokens, rounds, histories int
}

func init() {
	flag.IntVar(&soak.tokens, "soak.tokens", 150, "tokens that 32 redeemers contend for, in one process and over two")
	flag.IntVar(&soak.rounds, "soak.rounds", 5, "how often something is killed")
	flag.IntVar(&soak.histories, "soak.histories", 12, "histories of each kind that are checked for linearizability")
}

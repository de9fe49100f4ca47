package approvals

import (
	"flag"
	"time"
)

// soak is how long the proofs run: shortly in make test, as long as make soak says there.
var soak lengths

type lengths struct {
	tokens, rounds, histories, minutes int
}

// over says that a proof has run for as long as it may.
func (l lengths) over(began time.Time) bool {
	return l.minutes > 0 && time.Since(began).Minutes() > float64(l.minutes)
}

func init() {
	flag.IntVar(&soak.tokens, "soak.tokens", 100, "tokens that 32 redeemers contend for, in two processes")
	flag.IntVar(&soak.rounds, "soak.rounds", 3, "how often something is killed")
	flag.IntVar(&soak.histories, "soak.histories", 8, "histories of each kind that are checked for linearizability")
	flag.IntVar(&soak.minutes, "soak.minutes", 0, "how long a proof may go on; 0: until it is done")
}

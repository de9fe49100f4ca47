package approvals

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/policy"
)

// reasonTainted ends a request whose caller's session took something in since it was asked for, so that guardrails hold
// the call which did not before.
const reasonTainted = "session_tainted"

// shifted is the taint of a session as it was at the ask, told at a later time: nobody gets clean because others take
// their time.
func shifted(t policy.Taint, by time.Duration) policy.Taint {
	if t == nil {
		return nil
	}
	later := make(policy.Taint, len(t))
	for label, at := range t {
		later[label] = at.Add(by)
	}
	return later
}

// outgrown reports whether something came into the session of a caller that was not there when r was asked for, and that
// asks for more than r has.
func (q *Queue) outgrown(r *row, now policy.Taint, j *judgement) (bool, error) {
	if j.outcome != policy.Hold || j.terms.covers(r.terms()) {
		return false, nil
	}
	_, principal, err := q.open(r.Call, r.Principal, r.CallDigest)
	if err != nil {
		return false, err
	}
	if principal.Taint == nil {
		return false, nil
	}
	for label := range now {
		if _, known := principal.Taint[label]; !known {
			return true, nil
		}
	}
	return now == nil, nil
}

// outgrownTx ends the open request that an identical call would join, if it was asked for by a session that took
// something in since. It reports whether it did.
func (q *Queue) outgrownTx(ctx context.Context, tx pgx.Tx, r *row, s identified, j judgement) (bool, error) {
	grown, err := q.outgrown(r, s.principal.Taint, &j)
	if err != nil || !grown {
		return false, err
	}
	m := move{to: Superseded, reason: reasonTainted, who: system, kind: "approval.superseded"}
	if r.State == Approved {
		m.to, m.kind = Revoked, "approval.revoked"
	}
	return true, q.moveTx(ctx, tx, r, m)
}

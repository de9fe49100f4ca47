package approvals

import (
	"context"

	"pgregory.net/rapid"

	"countersign/identity"
	"countersign/policy"
)

// spentNothing reports whether the newest token was not redeemed.
func (m *model) spentNothing() bool {
	switch m.token {
	case Redeemed, Indeterminate, Succeeded, Failed:
		return false
	}
	return true
}

// emergency: Eve alone may, whoever has voted so far.
func (m *model) emergency(who string) bool {
	if m.state == Pending && m.denied {
		m.state = Superseded
	}
	if m.state != Pending || who != "eve" {
		return false
	}
	m.state = Approved
	return true
}

// settle: whoever could decide it says how it ended, once.
func (m *model) settle(who string, ran bool) bool {
	if m.token != Indeterminate || who == "tomas" {
		return false
	}
	m.token = Failed
	if ran {
		m.token = Succeeded
	}
	return true
}

// fallbackAndGlass asks two of team Orders; then, when they let it lie, one of team Other as well, who may also approve
// alone in an emergency: Eve.
func (w *world) fallbackAndGlass() {
	w.t.Helper()
	w.glass()
	w.change(func(l *law) {
		l.approval.Quorum, l.approval.DenyQuorum = 2, 1
		l.approval.Fallback = &policy.Fallback{AfterSeconds: 300, Quorum: 1, Teams: []string{"tem_other"}}
	})
}

// closeAll ends what is open, so that it is in nobody's way.
func (w *world) closeAll() {
	w.t.Helper()
	w.exec(`update confirmations set state = 'revoked' where state = 'issued'`)
	w.exec(`update approvals set state = 'closed' where state in ('pending', 'approved')`)
}

func (m *modelled) emergency(rt *rapid.T) {
	who := rapid.SampledFrom([]identity.Principal{m.eve, m.eve, m.ada, m.tomas}).Draw(rt, "who")
	granted := m.ref.emergency(who.Subject)
	r, err := m.queue.BreakGlass(context.Background(), who, m.request.ID, emergency(m.request))
	m.agree(rt, "emergency", err, granted)
	if granted {
		m.request = r
	}
}

// decide approves a pending request: the team, the fallback, or somebody in an emergency.
func (m *modelled) decide(rt *rapid.T) {
	switch rapid.SampledFrom([]string{"team", "team", "fallback", "emergency"}).Draw(rt, "who decides") {
	case "fallback":
		m.passEscalation(rt)
		m.check(rt)
		m.voteAs(rt, m.eve, Approve)
	case "emergency":
		m.emergency(rt)
	default:
		m.voteAs(rt, m.ada, Approve)
		m.voteAs(rt, m.grace, Approve)
	}
}

func (m *modelled) passEscalation(*rapid.T) {
	if m.ref.state == Pending && !m.ref.escalated {
		m.ref.escalated = true
		m.exec(`update approvals set escalate_at = clock_timestamp() where id = $1`, m.request.ID)
	}
}

func (m *modelled) passOutcome(*rapid.T) {
	if m.ref.token == Redeemed {
		m.ref.overdue = true
		m.exec(`update confirmations set outcome_by = clock_timestamp() where approval_id = $1 and state = 'redeemed'`, m.request.ID)
	}
}

// conclude is how an execution ends: reported, or settled.
func (m *modelled) conclude(rt *rapid.T) {
	if rapid.Bool().Draw(rt, "reported") {
		m.finish(rt)
	} else {
		m.settle(rt)
	}
}

// settle lets the time for an outcome pass first, if one is awaited.
func (m *modelled) settle(rt *rapid.T) {
	if m.ref.token == Redeemed {
		m.passOutcome(rt)
		m.sweepAll(rt)
	}
	who := rapid.SampledFrom([]identity.Principal{m.ada, m.grace, m.tomas}).Draw(rt, "who")
	ran := rapid.Bool().Draw(rt, "ran")
	granted := m.ref.settle(who.Subject, ran)
	_, err := m.queue.Settle(context.Background(), who, m.request.ID, Settlement{Ran: ran, Reason: "I looked"})
	m.agree(rt, "settle", err, granted)
}

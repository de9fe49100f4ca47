package approvals

import (
	"context"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"countersign/identity"
	"countersign/policy"
)

// model is the reference machine: one call, its open request, its newest token. Each method is an act and says
// whether it is granted.
type model struct {
	state              State
	token              ConfirmationState // of the newest confirmation; "" before the first
	stale, late        bool              // the token's time is up; the time to claim is up
	voted              map[string]bool
	yes, claims, spent int
	denied             bool // by the policy
	escalated, overdue bool // others are asked as well; nobody said how the execution ended
}

func (m *model) ask() (granted bool) {
	if !m.denied && !m.state.Open() {
		*m = model{state: Pending, voted: map[string]bool{}, spent: m.spent}
	}
	return !m.denied
}

func (m *model) vote(who string, d Decision) bool {
	if d == Approve && m.state == Pending && m.denied {
		m.state = Superseded
	}
	if m.state != Pending || who == "tomas" || who == "eve" && !m.escalated || m.voted[who] {
		return false
	}
	m.voted[who] = true
	if d == Deny {
		m.state = Denied
	} else if m.yes++; m.yes == 2 || who == "eve" { // two of the team, or one of the fallback
		m.state = Approved
	}
	return true
}

func (m *model) claim() bool {
	if m.state != Approved || m.late || m.denied || m.claims == 4 {
		if m.state == Approved && !m.late && m.denied {
			m.end(Revoked)
		}
		return false
	}
	m.token, m.stale = TokenIssued, false
	m.claims++
	return true
}

func (m *model) redeem() bool {
	if m.token != TokenIssued || m.stale || m.denied {
		if m.token == TokenIssued && !m.stale {
			m.end(Revoked)
		}
		return false
	}
	m.state, m.token = Closed, Redeemed
	m.spent++
	return true
}

func (m *model) finish() bool {
	if m.token == Redeemed || m.token == Indeterminate {
		m.token = Succeeded
	}
	return m.token == Succeeded
}

func (m *model) cancel() bool {
	switch m.state {
	case Pending:
		m.state = Cancelled
	case Approved:
		m.end(Revoked)
	}
	return true
}

func (m *model) revoke() bool {
	if m.state != Approved {
		return false
	}
	m.end(Revoked)
	return true
}

// end ends an approved request unused, with its token.
func (m *model) end(s State) {
	m.state = s
	if m.token == TokenIssued {
		m.token = TokenRevoked
	}
}

// lapse is what time does, whoever notices it.
func (m *model) lapse() {
	if m.state == Approved && m.late && (m.token != TokenIssued || m.stale) {
		if m.token == TokenIssued {
			m.token = TokenExpired
		}
		m.state = Closed
	}
}

func (m *model) sweep() {
	if m.token == TokenIssued && m.stale {
		m.token = TokenExpired
	}
	if m.token == Redeemed && m.overdue {
		m.token = Indeterminate
	}
	if m.denied && m.state == Pending {
		m.state = Superseded
	}
	if m.denied && m.state == Approved {
		m.end(Revoked)
	}
}

// modelled is the queue beside the model.
type modelled struct {
	*world
	ref         model
	call        policy.Call
	request     Request
	token       Token   // the newest
	dead        []Token // all before it
	redemption  string  // that was granted
	redemptions int
	granted     map[string]int // over all runs
}

// TestModel does random acts, and lets time pass and the policy change between them, on the queue and on the
// reference machine. They must agree on what is granted and on every state.
func TestModel(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	runs := 0
	granted := map[string]int{}
	rapid.Check(t, func(rt *rapid.T) {
		runs++
		w.closeAll()
		w.fallbackAndGlass()
		w.setDenied(false)
		m := &modelled{world: w, call: w.call(runs), granted: granted}
		m.ref.state = Closed // no request yet
		m.ask(rt)
		m.goAhead(rt)
		rt.Repeat(map[string]func(*rapid.T){
			"":                   m.check,
			"ask":                m.ask,
			"vote":               m.vote,
			"vote again":         m.vote,
			"go ahead":           m.goAhead,
			"go ahead again":     m.goAhead,
			"claim":              m.claim,
			"claim again":        m.claim,
			"redeem":             m.redeem,
			"redeem again":       m.redeem,
			"redeem wrongly":     m.redeemWrongly,
			"repeat":             m.repeat,
			"finish":             m.finish,
			"cancel":             m.cancel,
			"revoke":             m.revoke,
			"the time to vote":   m.passPending,
			"the time to claim":  m.passClaim,
			"the time to redeem": m.passToken,
			"policy":             m.changePolicy,
			"sweep":              m.sweepAll,
			"emergency":          m.emergency,
			"the time to ask":    m.passEscalation,
			"the time to report": m.passOutcome,
			"settle":             m.settle,
			"settle again":       m.settle,
		})
	})
	for _, act := range []string{"claim", "redeem", "the repeated redemption", "outcome", "cancel", "emergency", "Eve votes to approve", "settle"} {
		if granted[act] == 0 && runs >= 40 {
			t.Errorf("in %d runs nobody got to: %s", runs, act)
		}
	}
	t.Logf("granted: %v", granted)
}

func (w *world) setDenied(denied bool) {
	w.change(func(l *law) {
		l.outcome, l.reason = policy.Hold, policy.ReasonApprovalRequired
		if denied {
			l.outcome, l.reason = policy.Deny, policy.ReasonNoGrant
		}
	})
}

func (m *modelled) agree(rt *rapid.T, act string, err error, granted bool) {
	if (err == nil) != granted {
		rt.Fatalf("%s: the queue says %v, the model %v", act, err, granted)
	}
	if granted {
		m.granted[act]++
	}
}

// check compares all that is to be seen, after the queue noticed what time it is.
func (m *modelled) check(rt *rapid.T) {
	m.ref.lapse()
	got, err := m.queue.Get(context.Background(), m.gateway, m.request.ID)
	if err != nil {
		rt.Fatalf("Get: %v", err)
	}
	m.request = got
	token := read[ConfirmationState](m.world, `
		select coalesce((select state from confirmations where approval_id = $1 order by issued_at desc, id desc limit 1), '')`, got.ID)
	spent := read[int](m.world, `
		select count(*) from audit_events e join confirmations c on c.id = e.target_id join approvals a on a.id = c.approval_id
		where e.kind = 'confirmation.redeemed' and a.call_digest = $1`, got.CallDigest[:])
	if got.State != m.ref.state || token != m.ref.token || spent != m.ref.spent {
		rt.Fatalf("the queue: %s, token %q, %d executions; the model: %s, token %q, %d", got.State, token, spent, m.ref.state, m.ref.token, m.ref.spent)
	}
}

func (m *modelled) ask(rt *rapid.T) {
	granted := m.ref.ask()
	r, _, err := m.queue.Ask(context.Background(), m.gateway, m.asking(m.call))
	m.agree(rt, "ask", err, granted)
	if granted && r.ID != m.request.ID {
		m.request, m.token, m.dead = r, "", nil
	}
}

func (m *modelled) vote(rt *rapid.T) {
	m.voteAs(rt, rapid.SampledFrom([]identity.Principal{m.ada, m.grace, m.tomas, m.eve}).Draw(rt, "who"),
		rapid.SampledFrom([]Decision{Approve, Approve, Approve, Deny}).Draw(rt, "decision"))
}

func (m *modelled) voteAs(rt *rapid.T, who identity.Principal, d Decision) {
	granted := m.ref.vote(who.Subject, d)
	r, err := m.queue.Vote(context.Background(), who, m.request.ID, on(m.request, d))
	m.agree(rt, fmt.Sprint(who.Name, " votes to ", d), err, granted)
	if granted {
		m.request = r
	}
}

// goAhead asks, approves, claims and redeems, as far as that is possible: random acts alone seldom get there.
func (m *modelled) goAhead(rt *rapid.T) {
	far := rapid.IntRange(0, 5).Draw(rt, "how far")
	m.ask(rt)
	if far >= 1 && m.ref.state == Pending {
		m.decide(rt)
	}
	for i, act := range []func(*rapid.T){m.claim, m.redeem, m.repeat, m.conclude} {
		if far >= i+2 {
			act(rt)
		}
	}
}

func (m *modelled) claim(rt *rapid.T) {
	granted := m.ref.claim()
	c, err := m.queue.Claim(context.Background(), m.gateway, m.request.ID)
	m.agree(rt, "claim", err, granted)
	if granted {
		if m.token != "" {
			m.dead = append(m.dead, m.token)
		}
		m.token = c.Token
	}
}

func (m *modelled) redeem(rt *rapid.T) {
	if m.token == "" {
		return
	}
	m.redemptions++
	id := fmt.Sprint(m.request.ID, "-", m.redemptions)
	granted := m.ref.redeem()
	r, err := m.world.redeem(m.token, m.call, id)
	m.agree(rt, "redeem", err, granted)
	if granted {
		m.redemption = id
		if r.Replayed {
			rt.Fatal("a first redemption is called a replay")
		}
	}
}

func (m *modelled) redeemWrongly(rt *rapid.T) {
	in := Redeem{Token: m.token, Call: m.call, RedemptionID: "wrong", Instance: "i1"}
	who := m.gateway
	switch rapid.IntRange(0, 2).Draw(rt, "how") {
	case 0:
		if len(m.dead) == 0 {
			return
		}
		in.Token = rapid.SampledFrom(m.dead).Draw(rt, "dead token")
	case 1:
		in.Call.Arguments = []byte(`{"order":"another"}`)
	case 2:
		who, in.Call.Gateway = m.other, another
	}
	_, err := m.queue.Redeem(context.Background(), who, in)
	m.agree(rt, "a wrong redemption", err, false)
}

func (m *modelled) repeat(rt *rapid.T) {
	if m.redemption == "" || m.ref.token != Redeemed || m.ref.overdue {
		return
	}
	r, err := m.world.redeem(m.token, m.call, m.redemption)
	m.agree(rt, "the repeated redemption", err, true)
	if !r.Replayed {
		rt.Fatal("a repeated redemption is called a first")
	}
}

func (m *modelled) finish(rt *rapid.T) {
	if m.ref.spentNothing() {
		return
	}
	m.agree(rt, "outcome", m.queue.Outcome(context.Background(), m.gateway, m.redemption, Outcome{Status: Succeeded}), m.ref.finish())
}

func (m *modelled) cancel(rt *rapid.T) {
	if !m.ref.state.Open() {
		return
	}
	_, err := m.queue.Cancel(context.Background(), m.gateway, m.request.ID)
	m.agree(rt, "cancel", err, m.ref.cancel())
}

func (m *modelled) revoke(rt *rapid.T) {
	granted := m.ref.revoke()
	_, err := m.queue.Revoke(context.Background(), m.grace, m.request.ID, "stop")
	m.agree(rt, "revoke", err, granted)
}

func (m *modelled) passPending(*rapid.T) {
	if m.ref.state == Pending {
		m.ref.state = Expired
		m.exec(`update approvals set expires_at = clock_timestamp() where id = $1`, m.request.ID)
	}
}

func (m *modelled) passClaim(*rapid.T) {
	if m.ref.state == Approved {
		m.ref.late = true
		m.exec(`update approvals set claim_by = clock_timestamp() where id = $1`, m.request.ID)
	}
}

func (m *modelled) passToken(*rapid.T) {
	if m.ref.token == TokenIssued {
		m.ref.stale = true
		m.exec(`update confirmations set expires_at = clock_timestamp() where approval_id = $1 and state = 'issued'`, m.request.ID)
	}
}

func (m *modelled) changePolicy(rt *rapid.T) {
	m.ref.denied = rapid.IntRange(0, 3).Draw(rt, "denied") == 3
	m.setDenied(m.ref.denied)
}

func (m *modelled) sweepAll(rt *rapid.T) {
	m.ref.sweep()
	_, err := m.queue.Sweep(context.Background())
	m.agree(rt, "sweep", err, true)
}

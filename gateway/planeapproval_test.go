package gateway

import (
	"net/http"
	"strconv"
	"time"

	"countersign/client"
)

func (p *plane) ask(w http.ResponseWriter, r *http.Request) {
	in := readBody[client.Ask](p, r)
	digest, _, err := in.Call.Digest()
	if err != nil || digest != in.CallDigest {
		problemReply(w, 409, client.CodeMismatch)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asks++
	if p.asked != nil {
		p.asked()
	}
	if p.evidence && in.Evidence == "" {
		problemReply(w, 403, client.CodeNoEvidence)
		return
	}
	for _, a := range p.approvals {
		if a.CallDigest == digest && (a.State == client.ApprovalPending || a.State == client.ApprovalApproved) {
			writeJSON(w, 200, a.Approval)
			return
		}
	}
	id := "apr_" + strconv.Itoa(len(p.approvals)+1)
	a := &planeApproval{ask: in, Approval: client.Approval{
		ID: id, State: client.ApprovalPending, URL: p.server.URL + "/approvals/" + id, CallDigest: digest, ExpiresIn: 900,
	}}
	p.approvals[id] = a
	writeJSON(w, 201, a.Approval)
}

func (p *plane) approval(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	a := p.approvals[r.PathValue("id")]
	p.mu.Unlock()
	if a == nil {
		problemReply(w, 404, "not_found")
		return
	}
	wait, _ := strconv.Atoi(r.URL.Query().Get("wait"))
	for range wait * 50 {
		p.mu.Lock()
		pending := a.State == client.ApprovalPending
		p.mu.Unlock()
		if !pending || r.Context().Err() != nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	writeJSON(w, 200, a.Approval)
}

// decide is a person's vote.
func (p *plane) decide(id string, state client.ApprovalState, reason string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.approvals[id].State, p.approvals[id].Reason = state, reason
}

func (p *plane) claim(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	a := p.approvals[r.PathValue("id")]
	if a == nil || a.State != client.ApprovalApproved || a.redeemed != "" {
		problemReply(w, 409, "not_claimable")
		return
	}
	a.token = newID("cst")
	writeJSON(w, 200, client.Claim{Token: a.token, ExpiresIn: 60})
}

func (p *plane) cancelApproval(w http.ResponseWriter, r *http.Request) {
	p.decide(r.PathValue("id"), client.ApprovalCancelled, "")
	p.approval(w, r)
}

func (p *plane) redeem(w http.ResponseWriter, r *http.Request) {
	in := readBody[client.Redeem](p, r)
	digest, _, err := in.Call.Digest()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range p.approvals {
		if a.token == "" || a.token != in.Token {
			continue
		}
		switch {
		case err != nil || digest != a.CallDigest:
			problemReply(w, 409, client.CodeMismatch)
		case a.redeemed == in.RedemptionID:
			writeJSON(w, 200, client.Redemption{Replayed: true, ApprovalID: a.ID})
		case a.redeemed != "":
			problemReply(w, 410, "redeemed")
		default:
			a.redeemed, a.State = in.RedemptionID, client.ApprovalClosed
			if p.loseRedeem > 0 {
				p.loseRedeem--
				panic(http.ErrAbortHandler)
			}
			writeJSON(w, 200, client.Redemption{ApprovalID: a.ID})
		}
		return
	}
	problemReply(w, 403, "unknown_token")
}

func (p *plane) outcome(w http.ResponseWriter, r *http.Request) {
	o := readBody[client.Outcome](p, r)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range p.approvals {
		if a.redeemed == r.PathValue("id") {
			p.outcomes = append(p.outcomes, o)
			w.WriteHeader(http.StatusNoContent)
			return
		}
	}
	problemReply(w, 404, "not_found")
}

package desired

import "countersign/policy"

// Approval is the demand that people approve a call before it runs. Its teams are names.
type Approval struct {
	Quorum     int      `json:"quorum"`                // approvals needed
	DenyQuorum int      `json:"deny_quorum,omitempty"` // denials that end it; 0 means 1
	OwningTeam bool     `json:"owning_team,omitempty"` // members of the server's team may vote
	Teams      []string `json:"teams,omitempty"`       // names of teams whose members may vote
	Pending    Span     `json:"pending,omitempty"`     // how long it may wait; 0 means the default of policy

	Alternatives []policy.Approvers `json:"alternatives,omitempty"` // other sets of approvers, of whom any one is enough
	Fallback     *Fallback          `json:"fallback,omitempty"`     // who may approve as well once it has waited a while
	Evidence     bool               `json:"evidence,omitempty"`     // only for callers who are proven by a token of their own
	NotGranter   bool               `json:"not_granter,omitempty"`  // who made or last changed the grant may not approve
	StepUp       *StepUp            `json:"step_up,omitempty"`      // how those who approve have to have signed in
	Scope        *Scope             `json:"scope,omitempty"`        // how much more than the very call may be approved at once
	BreakGlass   *BreakGlass        `json:"break_glass,omitempty"`  // who may approve alone in an emergency
}

// Fallback are approvers who are asked as well once the request has waited a while.
type Fallback struct {
	After      Span     `json:"after"`
	Quorum     int      `json:"quorum"`
	OwningTeam bool     `json:"owning_team,omitempty"`
	Teams      []string `json:"teams,omitempty"`
}

// StepUp is how somebody has to have signed in.
type StepUp struct {
	MaxAge Span     `json:"max_age,omitempty"` // how long ago at most
	MFA    bool     `json:"mfa,omitempty"`
	ACR    []string `json:"acr,omitempty"` // context classes, any of which will do
}

// Tainted is what has to have come into a session: something of a server with one of the labels.
type Tainted struct {
	Labels []string `json:"labels"`
	Within Span     `json:"within,omitempty"` // 0 means the default of policy
}

// Scope is the most that one decision may allow beside the very call.
type Scope struct {
	MaxUses int      `json:"max_uses"`
	Within  Span     `json:"within"`
	Free    []string `json:"free,omitempty"` // names of arguments that may differ
}

// BreakGlass is who may approve alone in an emergency.
type BreakGlass struct {
	OwningTeam bool     `json:"owning_team,omitempty"`
	Teams      []string `json:"teams,omitempty"`
	Review     Span     `json:"review,omitempty"` // within which time another person reviews it; 0 means the default of policy
}

// policy is the approval as the policy has it, save that its teams are names.
func (a *Approval) policy() *policy.Approval {
	if a == nil {
		return nil
	}
	p := &policy.Approval{
		Quorum: a.Quorum, DenyQuorum: a.DenyQuorum, OwningTeam: a.OwningTeam, Teams: a.Teams, PendingSeconds: int(a.Pending),
		Alternatives: a.Alternatives, Evidence: a.Evidence, NotGranter: a.NotGranter, StepUp: a.StepUp.policy(),
	}
	if f := a.Fallback; f != nil {
		p.Fallback = &policy.Fallback{AfterSeconds: int(f.After), Quorum: f.Quorum, OwningTeam: f.OwningTeam, Teams: f.Teams}
	}
	if s := a.Scope; s != nil {
		p.Scope = &policy.Scope{MaxUses: s.MaxUses, MaxSeconds: int(s.Within), Free: s.Free}
	}
	if b := a.BreakGlass; b != nil {
		p.BreakGlass = &policy.BreakGlass{OwningTeam: b.OwningTeam, Teams: b.Teams, ReviewSeconds: int(b.Review)}
	}
	return p
}

func (s *StepUp) policy() *policy.StepUp {
	if s == nil {
		return nil
	}
	return &policy.StepUp{MaxAgeSeconds: int(s.MaxAge), MFA: s.MFA, ACR: s.ACR}
}

func (t *Tainted) policy() *policy.Tainted {
	if t == nil {
		return nil
	}
	return &policy.Tainted{Labels: t.Labels, Seconds: int(t.Within)}
}

func newTainted(p *policy.Tainted) *Tainted {
	if p == nil {
		return nil
	}
	return &Tainted{p.Labels, Span(p.Seconds)}
}

func newApproval(p *policy.Approval) *Approval {
	if p == nil {
		return nil
	}
	a := &Approval{
		Quorum: p.Quorum, DenyQuorum: p.DenyQuorum, OwningTeam: p.OwningTeam, Teams: p.Teams, Pending: Span(p.PendingSeconds),
		Alternatives: p.Alternatives, Evidence: p.Evidence, NotGranter: p.NotGranter, StepUp: newStepUp(p.StepUp),
	}
	if f := p.Fallback; f != nil {
		a.Fallback = &Fallback{Span(f.AfterSeconds), f.Quorum, f.OwningTeam, f.Teams}
	}
	if s := p.Scope; s != nil {
		a.Scope = &Scope{s.MaxUses, Span(s.MaxSeconds), s.Free}
	}
	if b := p.BreakGlass; b != nil {
		a.BreakGlass = &BreakGlass{b.OwningTeam, b.Teams, Span(b.ReviewSeconds)}
	}
	return a
}

func newStepUp(p *policy.StepUp) *StepUp {
	if p == nil {
		return nil
	}
	return &StepUp{Span(p.MaxAgeSeconds), p.MFA, p.ACR}
}

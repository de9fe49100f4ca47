package delivery

import (
	"cmp"

	"countersign/policy"
)

// approvalData is a policy.Approval in which nothing is left to a default. The members are in the order of their names.
type approvalData struct {
	BreakGlass     *breakGlassData `json:"break_glass,omitempty"`
	DenyQuorum     int             `json:"deny_quorum"`
	Evidence       bool            `json:"evidence"`
	Fallback       *fallbackData   `json:"fallback,omitempty"`
	NotGranter     bool            `json:"not_granter"`
	PendingSeconds int             `json:"pending_seconds"`
	Scope          *scopeData      `json:"scope,omitempty"`
	StepUp         *stepUpData     `json:"step_up,omitempty"`
	Ways           []approversData `json:"ways"` // the first and the alternatives
}

type approversData struct {
	OwningTeam bool     `json:"owning_team"`
	Quorum     int      `json:"quorum"`
	Teams      []string `json:"teams"`
}

type breakGlassData struct {
	OwningTeam    bool     `json:"owning_team"`
	ReviewSeconds int      `json:"review_seconds"`
	Teams         []string `json:"teams"`
}

type fallbackData struct {
	AfterSeconds int      `json:"after_seconds"`
	OwningTeam   bool     `json:"owning_team"`
	Quorum       int      `json:"quorum"`
	Teams        []string `json:"teams"`
}

type scopeData struct {
	Free       []string `json:"free"`
	MaxSeconds int      `json:"max_seconds"`
	MaxUses    int      `json:"max_uses"`
}

type stepUpData struct {
	ACR           []string `json:"acr,omitempty"`
	MaxAgeSeconds int      `json:"max_age_seconds,omitempty"`
	MFA           bool     `json:"mfa,omitempty"`
}

// newApprovalData is a for the module, nil for none.
func newApprovalData(a *policy.Approval) *approvalData {
	if a == nil {
		return nil
	}
	data := &approvalData{
		DenyQuorum: max(a.DenyQuorum, 1), Evidence: a.Evidence, NotGranter: a.NotGranter,
		PendingSeconds: cmp.Or(a.PendingSeconds, policy.DefaultPendingSeconds), StepUp: newStepUpData(a.StepUp),
	}
	for _, way := range a.Ways() {
		data.Ways = append(data.Ways, approversData{way.OwningTeam, way.Quorum, listOf(way.Teams)})
	}
	if f := a.Fallback; f != nil {
		data.Fallback = &fallbackData{f.AfterSeconds, f.OwningTeam, f.Quorum, listOf(f.Teams)}
	}
	if s := a.Scope; s != nil {
		data.Scope = &scopeData{listOf(s.Free), s.MaxSeconds, s.MaxUses}
	}
	if b := a.BreakGlass; b != nil {
		data.BreakGlass = &breakGlassData{b.OwningTeam, cmp.Or(b.ReviewSeconds, policy.DefaultReviewSeconds), listOf(b.Teams)}
	}
	return data
}

func newStepUpData(s *policy.StepUp) *stepUpData {
	if s == nil {
		return nil
	}
	return &stepUpData{s.ACR, s.MaxAgeSeconds, s.MFA}
}

// listOf is a list in JSON, also of nothing.
func listOf(names []string) []string { return append([]string{}, names...) }

package web

import (
	"slices"
	"strings"
	"time"

	"github.com/a-h/templ"
)

// Guardrails is the list of guardrails.
type Guardrails struct {
	Guardrails []GuardrailLine
	Chips      []Chip
	Ended      bool   // those that ended are shown
	May        bool   // make, change and end them
	Reason     string // typed where the end of one was not taken
	Errors     Errors
}

// GuardrailLine is one guardrail, in words.
type GuardrailLine struct {
	ID, Name, Who, Except, What, Effect, Reason, By string
	Condition, Require                              string
	Version                                         int64
	CreatedAt                                       time.Time
	EndedAt                                         *time.Time
	EndedBy                                         string
	Emergency                                       bool // made with one click, to stop calls
	Asked                                           bool // its end is what was not taken
}

// NewGuardrail is the form of a guardrail, and what it would change.
type NewGuardrail struct {
	ID                          string // of the guardrail that is changed; "" makes one
	Version                     int64
	Name, Reason                string
	Who, Except                 SubjectForm
	Rule                        RuleForm
	Effect                      string // deny, approval, mfa, step_up, rate_limit, token_budget, response_limit or require
	Quorum, DenyQuorum, Pending string // pending in minutes
	OwningTeam                  bool
	Teams                       []Option
	Approval                    ApprovalForm
	Fresh                       StepUpForm // of the caller
	Calls                       string
	Per                         []Option
	Tokens                      string
	TokensPer                   []Option
	Kilobytes                   string
	Require                     string
	TaintedLabels               string
	TaintedWithin               string // as 90s, 5m or 2h
	Foresight
	Errors Errors
}

// ApprovalForm is what else a form says of an approval. Times are as 90s, 5m or 2h.
type ApprovalForm struct {
	Open                              bool            // something of it is filled in
	Alternatives                      []ApproversForm // the last is empty, while there may be more
	Fallback                          ApproversForm
	FallbackAfter                     string
	Evidence, NotGranter              bool
	Voter                             StepUpForm
	ScopeUses, ScopeWithin, ScopeFree string
	Emergency                         ApproversForm // without a quorum
	Review                            string
}

// ApproversForm is a set of approvers; its fields begin with Prefix.
type ApproversForm struct {
	Prefix     string
	Quorum     string
	OwningTeam bool
	Teams      []Option
}

// StepUpForm is how somebody has to have signed in; its fields begin with Prefix.
type StepUpForm struct {
	Prefix, MaxAge string
	MFA            bool
	ACR            string
}

// guardrailFields are the fields of the form, from the top.
var guardrailFields = slices.Concat(
	strings.Fields(`name subject users groups agents models except except_users except_groups except_agents except_models
	servers labels names tool_labels risks kinds condition effect tainted_labels tainted_within quorum deny_quorum pending owning_team approvers`),
	approvalFields,
	strings.Fields(`calls per tokens tokens_per kilobytes require fresh_max_age fresh_acr reason`),
)

// approvalFields are those that are folded away.
var approvalFields = append(alternativeFields(),
	strings.Fields(`fallback_after fallback_quorum fallback_teams vote_max_age vote_acr scope_uses scope_within scope_free glass_teams glass_review`)...)

func alternativeFields() []string {
	var all []string
	for _, digit := range "0123456" {
		all = append(all, "alt"+string(digit)+"_quorum", "alt"+string(digit)+"_teams")
	}
	return all
}

// openApproval reports whether what is folded away is to be seen at once.
func (v NewGuardrail) openApproval() bool {
	return v.Approval.Open || v.Errors.First(approvalFields...) != ""
}

// focus gives the field the focus when it is the first that has an error.
func (v NewGuardrail) focus(field string, more templ.Attributes) templ.Attributes {
	return attrs("", v.Errors.First(guardrailFields...) == field, more)
}

package web

import (
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
	Effect                      string // deny, approval, mfa, rate_limit, token_budget, response_limit or require
	Quorum, DenyQuorum, Pending string // pending in minutes
	OwningTeam                  bool
	Teams                       []Option
	Calls                       string
	Per                         []Option
	Tokens                      string
	TokensPer                   []Option
	Kilobytes                   string
	Require                     string
	Foresight
	Errors Errors
}

// guardrailFields are the fields of the form, from the top.
var guardrailFields = strings.Fields(`name subject users groups agents models except except_users except_groups except_agents except_models
	servers labels names risks kinds condition effect quorum deny_quorum pending owning_team approvers calls per tokens tokens_per kilobytes require reason`)

// focus gives the field the focus when it is the first that has an error.
func (v NewGuardrail) focus(field string, more templ.Attributes) templ.Attributes {
	return attrs("", v.Errors.First(guardrailFields...) == field, more)
}

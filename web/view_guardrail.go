package web

import (
	"strings"
	"time"

	"github.com/a-h/templ"
)

// Guardrails is the list of guardrails.
type Guardrails struct {
	Guardrails []GuardrailLine
	May        bool   // make and end them
	Reason     string // typed where the end of one was not taken
	Errors     Errors
}

// GuardrailLine is one guardrail, in words.
type GuardrailLine struct {
	ID, Name, Who, Except, What, Effect, Reason, By string
	Version                                         int64
	CreatedAt                                       time.Time
	Asked                                           bool // its end is what was not taken
}

// NewGuardrail is the form of a guardrail, and what it would hold for.
type NewGuardrail struct {
	Name, Reason                string
	Who, Except                 SubjectForm
	Servers, Labels, Names      string
	Risks, Kinds                []Option
	Effect                      string // deny, approval, mfa or rate_limit
	Quorum, DenyQuorum, Pending string // pending in minutes
	OwningTeam                  bool
	Teams                       []Option
	Calls                       string
	Per                         []Option
	Preview                     []Reached
	Previewed                   bool
	Errors                      Errors
}

// SubjectForm is who, as it is typed.
type SubjectForm struct {
	Users, Groups, Agents, Models string
	Everyone, AllowDeclared       bool
}

// guardrailFields are the fields of the form, from the top.
var guardrailFields = strings.Fields(`name subject users groups agents models except except_users except_groups except_agents except_models
	servers labels names risks kinds effect quorum deny_quorum owning_team approvers pending calls per reason`)

// focus gives the field the focus when it is the first that has an error.
func (v NewGuardrail) focus(field string, more templ.Attributes) templ.Attributes {
	return attrs("", v.Errors.First(guardrailFields...) == field, more)
}

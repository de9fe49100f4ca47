package web

import (
	"strings"
	"time"

	"github.com/a-h/templ"
)

// Grants is the list of grants.
type Grants struct {
	Grants      []GrantLine
	Chips       []Chip
	Query       string
	Show        string // "", or the filter that is on: expiring, unused, never, conditional, ended, all
	Next, First string
	May         bool
	Reason      string // typed where the end of one was not taken
	Errors      Errors
}

// Chip is a filter of a list, how many it leaves, and its address.
type Chip struct {
	Name, Address string
	Count         int // -1: not counted
	On            bool
}

// GrantLine is one grant.
type GrantLine struct {
	ID, Name, Who, What, State, Reason, By, Condition string
	Version                                           int64
	NotBefore, NotAfter                               *time.Time
	CreatedAt                                         time.Time
	UsedAt                                            *time.Time
	Soon                                              bool // it ends soon
	Idle                                              bool // not used for long, or never
	Watched                                           bool // whether it is used is known
	Asked                                             bool // its end is what was not taken
}

// NewGrant is the form of a grant, and what it would change.
type NewGrant struct {
	ID      string // of the grant that is changed; "" makes one
	Version int64
	Name    string
	Who     SubjectForm
	Rule    RuleForm
	From    string // RFC 3339 without seconds, in UTC
	Until   string // a length from now, "at" or "never"
	At      string // the moment, where Until is "at"
	Reason  string
	Foresight
	Errors Errors
}

// RuleForm is which calls a rule is about, as it is typed.
type RuleForm struct {
	Servers, Labels, Names string
	ToolLabels             string
	Risks, Kinds           []Option
	Condition              string
}

// SubjectForm is who, as it is typed.
type SubjectForm struct {
	Users, Groups, Agents, Models string
	Everyone, AllowDeclared       bool
}

// Foresight is what saving would change.
type Foresight struct {
	Foreseen  bool // somebody asked
	Seen      string
	Stale     bool // the form was changed since the reader saw what it changes
	Sentences []Sentence
	More      int // sentences that are left out
	Failing   []TestLine
	Warnings  []Warning
	Findings  []string // of the condition, against the tools that are reached
	Tools     []Reached
	MoreTools int
	Compiles  string // why it does not, "" if it does
}

// Sentence is one change in words: who may call what, and who no longer may.
type Sentence struct{ Tone, Text string }

// Warning is something that is legal and hardly meant, and where to mend it.
type Warning struct{ Text, Address, Act string }

// Reached is a tool that a rule would reach.
type Reached struct {
	Server, Name, Kind, Risk string
	Held                     bool
}

// grantFields are the fields of the form of a grant, from the top.
var grantFields = strings.Fields(`name subject users groups agents models allow_declared servers labels names tool_labels risks kinds condition not_before until not_after reason`)

// focus gives the field the focus when it is the first that has an error.
func (v NewGrant) focus(field string, more templ.Attributes) templ.Attributes {
	return attrs("", v.Errors.First(grantFields...) == field, more)
}

package web

import "time"

// Explain asks what would become of a call, and says why.
type Explain struct {
	Form    ExplainForm
	Against []Option // in force, the registry now, the draft
	Draft   *Draft
	Answer  *Answer
	Errors  Errors
}

// ExplainForm is the call that is asked about, as it is typed.
type ExplainForm struct {
	User, Groups, Agent, Model string
	Attested, SecondFactor     bool
	Tainted                    string // labels of servers
	Server, Tool               string
	Kinds                      []Option
	Arguments, At              string
}

// Draft is a rule that is not saved, for which the call is judged.
type Draft struct {
	Words string // "The grant “Support reads orders”, not saved"
	Back  string // address of its form
	Held  []KV   // what stands in its form
}

// Answer is the verdict on a call, and how it came about.
type Answer struct {
	State    string // allowed, held or denied
	Sentence string
	Against  string // "Revision 413 of everything"
	Risk     string
	Notes    []string
	Steps    []TraceStep
	Nearest  *Nearest
	Obliges  []string // what holds for it besides
}

// TraceStep is one rule that was looked at, in order.
type TraceStep struct {
	Kind, Name, Address string // kind: server, tool, grant, guardrail
	Words               string
	Tone                string // yes, no or decides
}

// Nearest is the grant that misses the least.
type Nearest struct {
	Name, Address string
	Needs         []string
	Make          string // address of the form of a grant that would let the call through
}

// PolicyTests are the stored tests of the policy, each with its last result.
type PolicyTests struct {
	Lines  []TestLine
	Ran    string // against what
	RanAt  *time.Time
	Failed int
	May    bool
	Errors Errors // of an end that was not taken
}

// TestLine is one test: given, expected, got.
type TestLine struct {
	ID, Name, Given, Expected, Got, Why string
	State                               string // passed, failed, or "" when it was not run
	By                                  string
	Version                             int64
	At                                  time.Time
}

// TestForm makes or changes a test.
type TestForm struct {
	ID       string
	Version  int64
	Name     string
	Call     ExplainForm
	Outcome  string // allow, hold or deny
	Outcomes []Option
	Reasons  []Option
	Result   *TestLine // of a try
	Errors   Errors
}

// Matrix is who can call what: a row for each subject, a column for each server.
type Matrix struct {
	Query, Server string
	Columns       []MatrixColumn
	Rows          []MatrixRow
	Filtered      bool
	TooMany       string // why nothing is shown before somebody filters
	Next, First   string
	CSV           string
	Tools         []AccessTool // of the cell that is open
	Open          string       // its words
	Person        *PersonAccess
}

// MatrixColumn is one server.
type MatrixColumn struct{ ID, Name string }

// MatrixRow is one subject, as the grants say it.
type MatrixRow struct {
	Subject string
	Cells   []MatrixCell
}

// MatrixCell is what one subject can call of one server, by risk.
type MatrixCell struct {
	Allowed, Held, Denied int
	Worst                 string // the greatest risk of what is allowed or held
	Depends               bool   // some of it, on the arguments, the time or who it is
	Address               string // of the tools
	Open                  bool
}

// Any says whether anything is there: what is denied is granted, and something else is in the way.
func (c MatrixCell) Any() bool { return c.Allowed+c.Held+c.Denied > 0 }

// PersonAccess is what one caller can call.
type PersonAccess struct {
	Form  ExplainForm
	Words string
	Notes []string
	Tools []AccessTool
	More  int
	Stop  string // address of the form that suspends them
}

// AccessTool is one tool, and what becomes of a call of it.
type AccessTool struct {
	Server, Kind, Name, Risk, State string // state: allowed, held or denied
	Why                             string
	Address                         string // of the explanation
}

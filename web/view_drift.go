package web

import "time"

// Drift is the queue of what changed after it was reviewed, and of risks that somebody wants to be lower.
type Drift struct {
	Lines       []DriftLine
	Proposals   []RiskProposal
	Query       string
	Severities  []Option
	Teams       []Option
	Servers     []Option
	Filtered    bool
	Next, First string
	LookedAt    *time.Time // when a gateway last looked at any server
}

// DriftLine is one tool that is held.
type DriftLine struct {
	ToolID, Kind, Name, Risk, Severity string
	ServerID, Server, Team             string
	HeldAt                             time.Time
	Was, Now                           int // versions; 0: none
	Gone                               bool
	Note, NoteBy                       string
}

// RiskProposal is one person's wish that a tool counts as less risky.
type RiskProposal struct {
	ID, ToolID, Tool, ServerID, Server string
	From, To, Reason, By, State        string
	At                                 time.Time
	DecidedBy, Decision                string
	DecidedAt                          *time.Time
	MayDecide, MayWithdraw             bool
	Standing                           string // why the reader may not decide
	Typed                              string
	Errors                             Errors
}

// Comparison is what differs between two definitions of a tool.
type Comparison struct {
	A, B        string // "Reviewed v3", "Offered now v4"
	Texts       []TextChange
	Differences []Difference
}

// TextChange is a text that a model reads, on both sides.
type TextChange struct{ Name, Before, After string }

// Difference is one difference of a definition: what it means stands before what it is.
type Difference struct {
	Where, Kind, Meaning string
	Before, After        string // "" absent
}

// DriftReview is one tool that changed, with everything that a decision about it needs.
type DriftReview struct {
	ToolID, Kind, Name, Risk, Claimed string
	ServerID, Server, Team            string
	Severity                          string
	HeldAt                            *time.Time // nil: it is not held
	SeenBy                            string
	Note, NoteBy                      string
	NoteAt                            *time.Time
	Pinned, Served                    *VersionLine
	Versions                          []VersionLine // oldest first, the last few
	Comparison                        *Comparison
	Findings                          []Finding
	Grants                            []GrantLine
	Callers                           []Caller
	Blocked                           bool
	MayDecide                         bool
	NewRisk, Reason                   string // as chosen and typed
	Errors                            Errors
	Newer                             bool // it changed again while the reader looked at it
}

// Tool is the page of one tool.
type Tool struct {
	ServerID, Server, Team                string
	ID, Kind, Name, Risk, State, Severity string
	Claimed                               string
	Hints                                 []Hint
	Shown                                 VersionLine
	Title, Description                    string
	Arguments                             []Argument
	ArgumentsMore                         bool // there are more than are listed
	Raw                                   []byte
	Versions                              []VersionLine
	A, B                                  []Option // versions to compare
	Comparison                            *Comparison
	Callers                               []Caller
	Grants                                []GrantLine
	Proposal                              *RiskProposal
	MayChange                             bool
	MayStop                               bool
	Stopped                               *Suspension // it is suspended
	NewRisk, Reason                       string
	Labels                                []string
	NewLabels                             string // one a line
	MayLabel                              bool
	Errors                                Errors
}

// Hint is what the server claims of a tool; what is not said has the value that the protocol gives it.
type Hint struct {
	Name, Value string
	Said        bool
}

// Argument is one line of a schema, read for people.
type Argument struct {
	Path, Type, Description string
	Required                bool
}

package web

import "time"

// Approvals is the queue or the history, and, beside it, one request.
type Approvals struct {
	Waiting  []ApprovalLine
	Decided  bool // the list is the history
	Next     string
	Filter   ApprovalFilter
	Chips    []Chip // whose addresses take them away: what the history is narrowed to
	DayCount int
	Alarm    string // why people may not be told of what waits; "" when they are
	Chosen   *Approval
}

// ApprovalFilter is the form of the history, as it was sent.
type ApprovalFilter struct {
	Server, Tool, Caller, Agent, By, From, To string
	States                                    []Option
	Mine, Emergency                           bool
	Errors                                    Errors
}

// ApprovalLine is one request in the list.
type ApprovalLine struct {
	ID, Server, Tool, Risk, Agent, Caller, State string
	ExpiresAt, CreatedAt                         time.Time
	Left                                         time.Duration
	Chosen                                       bool
	Emergency                                    bool
	Execution, Reason, DecidedBy                 string
	MayCancel, MayReveal                         bool // for the page of one's own requests
}

// Approval is one request, with all of its evidence.
type Approval struct {
	ApprovalLine
	ServerID     string
	CallerID     string // the caller's subject and issuer: a name can be chosen
	Kind         string
	Total        time.Duration // from asking to expiry
	Arguments    []byte        // canonical JSON
	Digest       string
	Version      int64
	Gateway      string
	Model        string
	Evidence     string // "verified" or "asserted"
	Guardrails   []string
	Grants       []string
	Definition   string
	DefinitionNo int
	Teams        []string
	Quorum       int
	Approvals    int
	Votes        []Vote
	Cues         []Cue
	MayDecide    bool
	MayRevoke    bool
	Standing     string // why the reader may not decide
	DecidedAt    *time.Time
	Timeline     []Event
	LastEvent    int64   // the newest event that the page shows
	Since        []Event // what happened while the page was open; after an attempt that came too late

	Ways      []Way
	Fallback  *Fallback
	SignIn    string // where to sign in again before one may approve; "" nowhere
	MostScope *Scope // the most that may be approved beside the call; nil: nothing
	Given     string // what was, in words
	Previous  *Previous
	PurgedAt  *time.Time
	Revealed  *time.Time
	MayAlone  bool   // may approve it alone, in an emergency
	Alone     string // what is in the way of that
	MaySettle bool
	Review    *EmergencyReview
	Allowance *Allowance
	Used      bool // Allowance approved this call; otherwise it came of it

	Form   string // which form was sent before an error: "", "emergency", "settle"
	Typed  string // reason that was typed before an error
	Ticket string
	Scoped ScopeTyped
	Errors Errors
}

// Way is a set of people who may approve, and how far they are.
type Way struct {
	Teams         []string
	Quorum, Votes int
}

// Fallback is who is asked as well when time passes.
type Fallback struct {
	Way
	Asked bool
	In    time.Duration // until then
	At    time.Time
}

// Scope is the most that may be approved beside a call.
type Scope struct {
	Uses, Minutes int
	Free          []string
}

// ScopeTyped is what was chosen in the form.
type ScopeTyped struct {
	More          bool
	Uses, Minutes string
	Free          []string
}

// Previous is the call that this one is compared with.
type Previous struct {
	ID, Caller, DecidedBy string
	SameCaller, SameAgent bool
	At                    time.Time
	Changes               []ArgumentChange
	More                  int
}

// ArgumentChange is one place where the arguments of two calls differ; nil is absent.
type ArgumentChange struct {
	Path          []string
	Before, After []byte // canonical JSON
}

// EmergencyReview is the second look at an emergency.
type EmergencyReview struct {
	ID, ApprovalID, Server, Tool, Agent, Caller, Execution string
	OpenedBy, Reason, Ticket                               string
	OpenedAt, DueAt                                        time.Time
	Overdue, MayClose                                      bool
	ClosedAt                                               *time.Time
	ClosedBy, Finding, Note                                string
	Errors                                                 Errors // of the form; Finding and Note are then what was typed
}

// Reviews is the page of emergencies.
type Reviews struct {
	Items []EmergencyReview
	All   bool // closed ones as well
	Next  string
}

// Allowance is what one decision allows beside the very call.
type Allowance struct {
	ID, ApprovalID, State, Reason, GivenBy string
	Free                                   []string
	Uses, Used                             int
	ExpiresAt                              time.Time
	MayRevoke                              bool
}

// Requests are the reader's own.
type Requests struct {
	Lines []ApprovalLine
	Next  string
}

// Vote is one person's vote.
type Vote struct {
	Name, Decision, Reason string
	At                     time.Time
	Scope                  string // what it allows beside the call, in words
	Emergency              bool
	Counts                 bool
}

// Cue is something that stands out about a request.
type Cue struct{ Tone, Icon, Strong, Text string }

// Event is one audit event.
type Event struct {
	ID                             int64
	At                             time.Time
	Kind, Actor, ActorKind, Target string
	TargetKind, TargetID, ActorID  string
	Detail                         []KV
	IP, Request                    string
}

// KV is a name and a value.
type KV struct{ Name, Value string }

// Audit is the log.
type Audit struct {
	Events                        []Event
	Kind, Actor, Target, From, To string
	Errors                        Errors
	Next                          string
	Chosen                        *Event
}

package web

import "time"

// Approvals is the queue or the history, and, beside it, one request.
type Approvals struct {
	Waiting  []ApprovalLine
	Decided  bool // the list is the history
	Next     string
	States   []Option
	DayCount int
	Chosen   *Approval
}

// ApprovalLine is one request in the list.
type ApprovalLine struct {
	ID, Server, Tool, Risk, Agent, Caller, State string
	ExpiresAt, CreatedAt                         time.Time
	Left                                         time.Duration
	Chosen                                       bool
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
	Reason       string // of the state
	DecidedBy    string
	DecidedAt    *time.Time
	Execution    string // what became of the call
	Timeline     []Event
	Typed        string // reason that was typed before an error
	Errors       Errors
}

// Vote is one person's vote.
type Vote struct {
	Name, Decision, Reason string
	At                     time.Time
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

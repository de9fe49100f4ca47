package web

import "time"

// Policy shows what is in force: the compiled document of each audience, and what keeps the next from being so.
type Policy struct {
	Lines                              []AudienceLine
	Audience, Name                     string // which one is shown below
	Revision, Epoch                    int64
	ETag, KeyID, Digest                string
	Bytes, Compressed                  int
	IssuedAt                           time.Time
	Document                           string // as Indent lays it out
	Warnings                           []WarningGroup
	Error                              string
	Failing                            []TestLine // tests that keep the latest change from being published
	Behind                             bool       // a change is being compiled
	Generation                         int64      // of the registry, now
	Suspended                          int        // suspensions that are in force
	Servers, Tools, Grants, Guardrails int
}

// AudienceLine is one audience: what is in force for it, and whether that is all there is to say.
type AudienceLine struct {
	ID, Name    string
	State       string // in_force, compiling, failed or none
	Revision    int64
	Address     string // of the revision
	Gateways    int
	Warnings    int
	PublishedAt *time.Time
	Shown       bool
}

// WarningGroup is what is odd in one way.
type WarningGroup struct {
	Words    string
	Warnings []Warning
	More     int
}

// Revisions is the history of one audience's policy.
type Revisions struct {
	Audiences   []Option
	Audience    string
	Lines       []RevisionLine
	Next, First string
}

// RevisionLine is one published policy.
type RevisionLine struct {
	Number, Epoch int64
	At            time.Time
	By, Summary   string
	InForce       bool
	Address       string
}

// RevisionPage is one published policy, and what it changed against another.
type RevisionPage struct {
	ID               string
	Audience, Name   string
	Number, Epoch    int64
	Against          int64 // what it is compared with; 0: with nothing
	Forgotten        bool  // which rules changed is not known any more
	Moves            []KV  // what moved the policy since the one before, and who did
	MoreMoves        int64
	At               time.Time
	Digest, KeyID    string
	Bytes            int
	Sentences        []Sentence
	More             int
	Rules            []RuleChange
	Others           []Option // to compare with
	JSON             string   // address of the document
	Rollout          string   // address of who runs it
	InForce, MayBack bool
}

// RuleChange is what happened to one grant or guardrail.
type RuleChange struct {
	Kind, Name, Address string // kind: grant or guardrail
	Tone                string // added, ended or changed
	By, Note            string
	Fields              []FieldChange
}

// FieldChange is what one field said and says.
type FieldChange struct{ Name, Before, After string }

// Rollback is the step before the rules become as they were.
type Rollback struct {
	ID       string // of the revision whose rules come back
	Audience string
	Number   int64
	Rules    []RuleChange
	Reason   string // as typed
	Foresight
	Errors Errors
}

// Rollout is how far a change of the policy has come, gateway by gateway.
type Rollout struct {
	Generation int64
	At         *time.Time
	By, What   string // who changed what
	Lines      []EffectLine
	Error      string // why it is not published
	Address    string // of this page
	Undo       string // address where it is taken back, "" when it cannot be
	UndoWords  string
}

// Done says whether nothing will change by itself.
func (v Rollout) Done() bool { return Effects{Lines: v.Lines}.Done() }

// Suspensions are the calls that somebody stopped, and the form that stops more.
type Suspensions struct {
	Lines      []Suspension
	May        bool // stop what the form says
	MayLift    bool
	Kind       string // what the form stops: agent or person
	Which      string
	Reason     string
	Tool       *SuspendTool // the tool that the form stops, when it is one
	Asked      string       // the id of the suspension whose lifting was not taken
	LiftReason string
	Errors     Errors
}

// SuspendTool is a tool that the form would stop.
type SuspendTool struct{ ServerID, Server, ID, Name string }

// Suspension is one thing whose calls are denied.
type Suspension struct {
	ID, Kind, Name, Reason, By string
	Version                    int64
	At                         time.Time
	Rollout                    string // address of the proof
	Servers                    bool   // a server: lifted on its own page
	Address                    string
}

// Keys are the signing keys, by purpose.
type Keys struct {
	Groups []KeyGroup
	Root   string // thumbprint that gateways pin
}

// KeyGroup is the keys of one purpose.
type KeyGroup struct {
	Purpose, Means string
	Keys           []KeyLine
}

// KeyLine is one signing key.
type KeyLine struct {
	ID, Algorithm, State string
	CreatedAt            time.Time
	ActiveAt, RetiredAt  *time.Time
	NextAt, EndsAt       *time.Time // when it begins to sign, and when it is withdrawn
}

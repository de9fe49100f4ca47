package policy

// Kind is what sort of thing a server offers.
type Kind string

// The kinds, governed by the same grants.
const (
	KindTool     Kind = "tool"
	KindPrompt   Kind = "prompt"
	KindResource Kind = "resource"
)

// Known reports whether k is one of the kinds.
func (k Kind) Known() bool { return k == KindTool || k == KindPrompt || k == KindResource }

// Risk is what a call can do. We decide it; what a server says only seeds it.
type Risk string

// The risks, from least to greatest.
const (
	ReadOnly    Risk = "read_only"
	Write       Risk = "write"
	Destructive Risk = "destructive"
)

// Known reports whether r is one of the risks.
func (r Risk) Known() bool { return r == ReadOnly || r == Write || r == Destructive }

// Subject says who: all of the kinds that are given must match, any one pattern
// of each is enough. In a pattern, * stands for any text, also none; nothing else
// is special.
//
// A user is "<subject>", of any issuer, or "<issuer>|<subject>", where the issuer
// is told by its "://". A Subject that gives nothing matches nobody; everyone
// must be said.
type Subject struct {
	Everyone      bool     `json:"everyone,omitempty"`
	Users         []string `json:"users,omitempty"`
	Groups        []string `json:"groups,omitempty"`
	Agents        []string `json:"agents,omitempty"`
	Models        []string `json:"models,omitempty"`
	AllowDeclared bool     `json:"allow_declared,omitempty"` // a model that is only declared will do
}

// Resource says what: all that is given must match, any one of each is enough.
// Servers or labels must be given; "*" must be said. Names of servers are
// compared ignoring case, as their uniqueness is.
type Resource struct {
	Servers []string `json:"servers,omitempty"` // patterns of names
	Labels  []string `json:"labels,omitempty"`  // patterns of labels
	Kinds   []Kind   `json:"kinds,omitempty"`   // none: tools only
	Names   []string `json:"names,omitempty"`   // patterns; none: every name
	Risks   []Risk   `json:"risks,omitempty"`   // none: every risk

	ToolLabels []string `json:"tool_labels,omitempty"` // patterns of labels of the tool itself; none: every tool
}

// Approval is the demand that people approve a call before it runs.
type Approval struct {
	Quorum         int      `json:"quorum"`                    // approvals needed
	DenyQuorum     int      `json:"deny_quorum,omitempty"`     // denials that end it; 0 means 1
	OwningTeam     bool     `json:"owning_team,omitempty"`     // members of the server's team may vote
	Teams          []string `json:"teams,omitempty"`           // ids of teams whose members may vote
	PendingSeconds int      `json:"pending_seconds,omitempty"` // how long it may wait; 0 means DefaultPendingSeconds

	Alternatives []Approvers `json:"alternatives,omitempty"` // other sets of approvers; any one of them is enough
	Fallback     *Fallback   `json:"fallback,omitempty"`     // who may approve as well once it has waited a while
	Evidence     bool        `json:"evidence,omitempty"`     // only for callers who are proven by a token of their own
	NotGranter   bool        `json:"not_granter,omitempty"`  // who made or last changed the grant may not approve
	StepUp       *StepUp     `json:"step_up,omitempty"`      // how those who approve have to have signed in
	Scope        *Scope      `json:"scope,omitempty"`        // how much more than the very call may be approved at once
	BreakGlass   *BreakGlass `json:"break_glass,omitempty"`  // who may approve alone in an emergency
}

// Approvers are people of whom Quorum have to approve.
type Approvers struct {
	Quorum     int      `json:"quorum"`
	OwningTeam bool     `json:"owning_team,omitempty"`
	Teams      []string `json:"teams,omitempty"`
}

// Fallback are the approvers that a request escalates to when it has waited AfterSeconds undecided: an alternative to
// those who were asked at first, who may still decide.
type Fallback struct {
	AfterSeconds int      `json:"after_seconds"`
	Quorum       int      `json:"quorum"`
	OwningTeam   bool     `json:"owning_team,omitempty"`
	Teams        []string `json:"teams,omitempty"`
}

// StepUp is how somebody has to have signed in: at most MaxAgeSeconds ago, with a second factor, in one of the context
// classes ACR (OpenID Connect Core 1.0, acr). What is zero is not asked for; a list ACR that is there and empty, as what
// several guardrails ask for together may be, is met by nobody.
type StepUp struct {
	MaxAgeSeconds int      `json:"max_age_seconds,omitempty"`
	MFA           bool     `json:"mfa,omitempty"`
	ACR           []string `json:"acr,omitzero"`
}

// Scope is the most that one decision may allow beyond the very call: MaxUses more calls within MaxSeconds, in which
// the arguments named in Free may differ. All others stay exactly as they were approved.
type Scope struct {
	MaxUses    int      `json:"max_uses"`
	MaxSeconds int      `json:"max_seconds"`
	Free       []string `json:"free,omitempty"`
}

// BreakGlass lets one member of a team approve alone, with a reason and a ticket. Within ReviewSeconds another person
// has to review that; the review stays open until then.
type BreakGlass struct {
	OwningTeam    bool     `json:"owning_team,omitempty"`
	Teams         []string `json:"teams,omitempty"`
	ReviewSeconds int      `json:"review_seconds,omitempty"` // 0: a day
}

// Effect is what a guardrail does to the calls it matches: exactly one of these, and with Tainted only in sessions that
// are so.
type Effect struct {
	Deny      bool       `json:"deny,omitempty"`
	Approval  *Approval  `json:"approval,omitempty"`
	MFA       bool       `json:"mfa,omitempty"` // only for callers who signed in with a second factor
	RateLimit *RateLimit `json:"rate_limit,omitempty"`

	Require          string       `json:"require,omitempty"` // CEL: denied unless it is true; an error is false
	TokenBudget      *TokenBudget `json:"token_budget,omitempty"`
	MaxResponseBytes int64        `json:"max_response_bytes,omitempty"` // a longer result is withheld

	StepUp *StepUp `json:"step_up,omitempty"` // only for callers who signed in so; gateways answer with a challenge (RFC 9470)

	Tainted *Tainted `json:"tainted,omitempty"` // beside one of the others: it holds only in a session that is tainted so
}

// TokenBudget is how many tokens, estimated, the arguments and results of one principal's calls that a guardrail matches
// may cost within Seconds: a bucket as that of RateLimit. The gateway counts, each instance by itself.
type TokenBudget struct {
	Tokens  int `json:"tokens"`
	Seconds int `json:"seconds"`
}

// RateLimit is how often one principal may make the calls that a guardrail matches: a bucket that holds Calls and
// fills up evenly within Seconds. The gateway counts, each instance by itself.
type RateLimit struct {
	Calls   int `json:"calls"`
	Seconds int `json:"seconds"`
}

package web

import "time"

// Server is what each page of one server begins with.
type Server struct {
	ServerLine
	Tab         string // "tools", "versions", "access", "traffic", "settings"
	Description string
	Where       string
	Version     int64
	Items       int // what it offers and offered
	MayChange   bool
}

// ServerTools is what a server offers, page by page, and what of it waits for the owner.
type ServerTools struct {
	Server
	Query       string
	Only        []Option
	Tools       []ToolLine
	Filtered    bool
	Next, First string
	Review      *Review
	Effects     *Effects // of a suspension
	GatewayURL  string
}

// ToolLine is a tool, prompt or resource of a server.
type ToolLine struct {
	ID, Kind, Name, Risk, State, Description string // state: pinned, pending, held, gone, rejected
	Severity                                 string // of what holds it
	Number, Tokens                           int
}

// Effects is how far the last change of a server's state is, gateway by gateway.
type Effects struct {
	ServerID string
	Words    string // "Suspended"
	At       time.Time
	Lines    []EffectLine
}

// EffectLine is one gateway: what it runs, and how long it took.
type EffectLine struct {
	ID, Name, State string
	Why             string        // it does not run it; "" says the state
	Took            time.Duration // 0: not known
	AtMost          bool          // it took no longer than that
	Carries         int64         // the revision that carries the change; 0: none yet
	SeenAt          *time.Time
}

// Done says whether nothing will change by itself.
func (e Effects) Done() bool {
	for _, l := range e.Lines {
		if l.State != "SYNCED" {
			return false
		}
	}
	return true
}

// ServerVersions is every definition of every tool, newest first, and the looks at the server.
type ServerVersions struct {
	Server
	Versions    []VersionLine
	Query       string
	Next, First string
	Looks       []DiscoveryLine
}

// VersionLine is one definition of one tool.
type VersionLine struct {
	ID, ToolID, Tool, Kind, Digest string
	State                          string // pending, approved, rejected, superseded
	Number, Tokens                 int
	FirstSeenAt                    time.Time
	DecidedAt                      *time.Time
	DecidedBy, Reason              string
	Pinned, Served                 bool
	Findings                       []Finding
}

// DiscoveryLine is an earlier discovery.
type DiscoveryLine struct {
	ID, State, By, Gateway string
	At                     time.Time
}

// ServerAccess is who may call the server, and what restricts them.
type ServerAccess struct {
	Server
	Grants     []GrantLine
	Guardrails []GuardrailLine
	GatewayURL string
	MayGrant   bool
}

// ServerTraffic is what was called of a server in a span of time, how that went, and by whom.
type ServerTraffic struct {
	Server
	UsageFilter

	Totals   UsageTotals
	Before   *UsageTotals
	Points   []UsageTotals
	Tools    []ToolTraffic
	Callers  []Caller
	Recent   []CallLine
	MadeSafe int    // of the recent calls, whose results held what had to be made safe
	Asks     string // what it may ask of clients
	Usage    string // addresses of the same elsewhere
	Calls    string
}

// Day is one bar of the chart.
type Day struct {
	At                            time.Time
	Allowed, Denied, Held, Failed int
}

// All is every call of the day.
func (d Day) All() int { return d.Allowed + d.Denied + d.Held + d.Failed }

// ToolTraffic is what was called of one tool.
type ToolTraffic struct {
	Name                                string
	Calls, Denied, Held, Failed, Errors int           // Errors: of those that were allowed, the server answered with one
	P50, P95                            time.Duration // 0: not measured
	Last                                *time.Time
}

// Caller is somebody who called.
type Caller struct {
	Subject, Agent, Model string
	Calls                 int
	Last                  time.Time
}

// ServerSettings is what its owner may change.
type ServerSettings struct {
	Server
	Teams     []Option
	Typed     ServerForm
	Errors    Errors // of the form that was sent
	Form      string // which form that was: "edit", "transfer", "move", "state"
	Commands  []Option
	Endpoints []EndpointLine
	Timeline  []Event
	CreatedBy string
	CreatedAt time.Time
	MayGive   bool // to another team
}

// ServerForm is what stands in the forms of the settings.
type ServerForm struct {
	Title, Description, Labels string
	Requests                   []Option // what it may ask of clients
	Team, TransferReason       string
	Transport, URL             string
	StateReason                string
}

// EndpointLine is where a server is or was.
type EndpointLine struct {
	Transport, Where, Digest string
	Since                    time.Time
	Until                    *time.Time
}

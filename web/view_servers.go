package web

import "time"

// Servers is the list of servers.
type Servers struct {
	Servers     []ServerLine
	Query       string
	Label       string
	Changed     bool // only those with changed tools
	States      []Option
	Teams       []Option
	Filtered    bool
	Next, First string // addresses of the next page and, when this is not it, of the first
	CSV         string // address of the same list as a file
	MayRegister bool
}

// ServerLine is one server in the list.
type ServerLine struct {
	ID, Name, Title, State, Team, Transport     string
	ReadOnly, Write, Destructive, Held, Pending int
	Labels                                      []string
	CheckedAt                                   *time.Time
}

// NewServer is the form that registers a server.
type NewServer struct {
	Name, Title, Description, Team, Transport, URL, Command string
	Teams                                                   []Option
	Commands                                                []Option // stdio servers that gateways say they can start; value "name digest"
	Sample                                                  *Sample
	Errors                                                  Errors
}

// Sample is a server that is offered with one click.
type Sample struct{ Name, Title, Description string }

// Discovery is a discovery while it runs, and what it found.
type Discovery struct {
	ID, Server, ServerID, Where string
	State, Error, Gateway       string
	Steps                       []DiscoveryStep
	BeganAt                     time.Time
	FinishedAt                  *time.Time
	InReach                     int
	MayChange                   bool
	Review                      *Review
}

// Open says whether the discovery may still change.
func (d Discovery) Open() bool { return d.State == "waiting" || d.State == "running" }

// DiscoveryStep is one line of a discovery.
type DiscoveryStep struct {
	Name, State, Detail string
	MS                  int64
}

// Review lets the owner pin definitions.
type Review struct {
	ServerID, Server string
	Items            []ReviewItem
	More             int // that wait as well, and come after these
	MayPin           bool
	Reason           string
	Errors           Errors
}

// ReviewItem is one definition to pin or not.
type ReviewItem struct {
	DefinitionID, ToolID, Kind, Name, Description, Risk, Claimed string
	Number                                                       int
	Checked, Held, Blocked                                       bool
	Findings                                                     []Finding
	Raw                                                          []byte
}

// Finding is what the deterministic checks noticed.
type Finding struct {
	Message, Where string
	Blocks         bool
}

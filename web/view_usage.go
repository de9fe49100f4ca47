package web

import "time"

// Usage is what was called in a span of time, and what it came to.
type Usage struct {
	UsageFilter

	Totals  UsageTotals
	Before  *UsageTotals  // of the span of the same length before; nil: not known
	Points  []UsageTotals // step by step
	Tabs    []Option      // what it is broken down by; Value is an address
	Columns []SortColumn
	Lines   []UsageLine
	Rest    string // what is in no line
	Next    string // addresses
	First   string
	CSV     string
	Calls   string   // the calls themselves, with the same filter; "" if the reader may not see them
	NoPrice []string // models that nobody gave a price
	MayCall bool     // the first call is for the reader to make: steps lead to it
}

// UsageFilter is what of it is shown. The address has all of it.
type UsageFilter struct {
	Path                               string   // of the page
	Spans                              []Option // Value is an address
	Span                               string   // that is on, such as "7d"
	SpanWords                          string   // "the last 7 days"
	Server, Tool, Agent, Model, Person string
	From, To                           string // days, of a span of one's own
	MayName                            bool   // people may be named to the reader
	Keep                               []NameValue
	Chips                              []Chip
	Errors                             Errors
}

// On says whether something narrows what is shown.
func (f UsageFilter) On() bool { return len(f.Chips) > 0 || len(f.Errors) > 0 }

// NameValue is a field of a form that is sent along.
type NameValue struct{ Name, Value string }

// UsageTotals is what calls add up to.
type UsageTotals struct {
	Day           // what became of them, from At on
	Errors        int
	TokensRead    int64
	TokensWritten int64
	Cost          string        // "": nothing of it is priced
	Unpriced      int64         // tokens
	AddedP50      time.Duration // 0: nothing was measured
	AddedP95      time.Duration
	TookP50       time.Duration
	TookP95       time.Duration
}

// SortColumn is the head of a column, which sorts by it.
type SortColumn struct {
	Name, Address string
	Order         string // "ascending", "descending" or ""
	Number        bool
}

// UsageLine is one server, tool, model, agent or person.
type UsageLine struct {
	Name, Under   string // a tool is under its server
	Link          string // of its own page; "" where it has none
	Narrow        string // this page, narrowed to it
	Calls         int
	Denied        int
	Held          int
	Errors        int
	TokensRead    int64
	TokensWritten int64
	Cost          string // "": not priced
	Partly        bool   // some of it is not priced
	AddedP50      time.Duration
	AddedP95      time.Duration
	LastAt        time.Time
}

// Calls is a list of single calls.
type Calls struct {
	UsageFilter

	Closed    bool // the reader sees those of single servers only
	Decisions []Option
	Session   string // only of this one
	Lines     []CallLine
	Next      string
	First     string
	CSV       string
	Usage     string // the page that sums them up
}

// CallLine is one call, as its gateway reported it.
type CallLine struct {
	ID, Session, SessionLink, TraceID string
	At                                time.Time
	Server, ServerLink, Tool, Kind    string
	Subject, Agent, Model             string
	Attested                          bool // the model is, not just said
	Decision, Reason                  string
	ToolError                         bool
	Filtered                          int // texts of the result that were made safe
	Took, Added                       time.Duration
	RequestBytes, ResponseBytes       int64
	TokensWritten, TokensRead         int64
	Gateway, Instance                 string
	Revision                          int64
}

// UnknownServers is what was asked for that nobody registered, and what gateways offer that nobody uses.
type UnknownServers struct {
	Names       []UnknownServer
	Commands    []OfferedCommand
	MayRegister bool
}

// UnknownServer is a name that callers asked a gateway for.
type UnknownServer struct {
	Name, Gateway, GatewayID string
	Subject, Agent           string // who asked last
	Calls                    int
	FirstAt, LastAt          time.Time
	Register                 string // address of the form, with it filled in
}

// OfferedCommand is a command that gateways would run and that no server is.
type OfferedCommand struct {
	Command  string
	Gateways []string
	Register string
}

package web

import "time"

// Page is what every page has: who looks at it, from where, and what waits.
type Page struct {
	Title     string // of the tab; the h1 is the page's own
	Section   string // the address of the current entry of the navigation, such as "/servers"
	Person    Person
	Allowed   map[string]bool // addresses of the navigation that this person may open
	Waiting   int             // approvals that wait for somebody
	Held      int             // tools held because they changed
	Alerts    int             // that are open
	Urgent    bool            // one of them is
	CSRF      string
	Flash     string // what was just done
	FlashLink string // where that is watched as it reaches the gateways; "" nowhere
	Now       time.Time
	SignedIn  bool
	Focus     bool // an approval with a live stream: loads the script of the stream
}

// Person is the reader.
type Person struct {
	Name  string
	Roles string // "Admin", "Approver, Commerce"
}

// Option is a choice of a select, or a filter.
type Option struct {
	Value, Label string
	Selected     bool
}

// Problem is an error page: what happened, what is still safe, and the next step.
type Problem struct {
	Status  int
	Title   string
	Message string
	Safe    []string
	Back    string // address of the next step
	BackTo  string // its words
	Request string // request id, for the operator
}

// Errors are what is wrong with the fields of a form, by name; the empty name is the form as a whole.
type Errors map[string]string

// First is the name of the first of names that has an error.
func (e Errors) First(names ...string) string {
	for _, n := range names {
		if e[n] != "" {
			return n
		}
	}
	return ""
}

// SignIn is the page before the identity provider.
type SignIn struct {
	Provider string // host of the identity provider
	Login    string // address that begins the sign-in
	Linked   bool   // the reader followed a link to something
	Error    string
	Kept     string // the reader is signed in still, and came from here
	Done     bool   // just signed out
}

// Me is who the reader is to us.
type Me struct {
	Name, Email, Issuer, Subject string
	Groups, Roles, Teams         []string
	Sessions                     []Session
}

// Session is one signed-in browser of the reader.
type Session struct {
	ID, Browser, IP string
	Began, LastSeen time.Time
	Current         bool
}

// Overview is the first page.
type Overview struct {
	Headline string
	Sub      string
	Tasks    []Task
	Facts    []Fact
	Gateways []GatewayLine
	Recent   []RecentCall
	Steps    []Step // the way to the first governed call; empty once it was made
	StepsNow string // the headline's words for it
}

// Task is something that waits for the reader.
type Task struct {
	Icon, Tone                  string // tone: "", "write", "destr"
	Title, Text, Due, Link, Act string
	Primary                     bool
}

// Fact is one figure.
type Fact struct{ Name, Value, Note string }

// GatewayLine is a gateway on the overview.
type GatewayLine struct {
	ID, Name, State string
	Revision        int64
	SeenAt          *time.Time
}

// RecentCall is a decision that a gateway reported.
type RecentCall struct {
	At                                         time.Time
	Decision, Server, Tool, Agent, Who, Reason string
}

// Step is one step of the first-run path.
type Step struct {
	Title, Text string
	Done, Now   bool
	Form        string // POST address of a one-click step
	Link, Act   string
	Command     string // to copy
}

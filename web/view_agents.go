package web

import (
	"net/url"
	"time"
)

// Agents is who answers for which agent.
type Agents struct {
	Seen        []SeenAgent // that nobody answers for
	Agents      []AgentLine
	Query       string
	Ended       bool // those that ended, instead
	First, Next string
	May         bool // register, change and end them
	Reason      string
	Errors      Errors // of an end that was not taken, beside what was typed
}

// AgentLine is one agent with its owner.
type AgentLine struct {
	ID, Agent, Name, Owner, Note string
	OwnerGone                    bool
	Models                       []string
	Open                         int // keys
	Version                      int64
	ChangedAt                    time.Time
	EndedAt                      *time.Time
	Asked                        bool // its end is what was not taken
}

// SeenAgent is an agent that nobody answers for.
type SeenAgent struct {
	Agent        string
	Calls, Asked int
	LastAt       time.Time
}

// register is where the agent gets its owner.
func (s SeenAgent) register() string { return "/agents/new?agent=" + url.QueryEscape(s.Agent) }

// AgentForm registers an agent, or changes the one of ID.
type AgentForm struct {
	ID, Agent, Name, Note string
	Models                string // one a line
	Version               int64
	Owners                []Option
	Errors                Errors
}

func (f AgentForm) title() string {
	if f.ID != "" {
		return "Change an agent"
	}
	return "New agent"
}

func (f AgentForm) address() string {
	if f.ID != "" {
		return "/agents/" + f.ID
	}
	return "/agents"
}

// AgentView is one agent.
type AgentView struct {
	AgentLine

	Keys     []AgentKeyLine
	Timeline []Event
	May      bool   // change it, and make and end its keys
	Fresh    bool   // the reader signed in of late enough to make one
	KeyName  string // as it was typed
	Lives    []Option
	Reason   string
	Errors   Errors // of what was not taken
}

// signIn is where somebody signs in again, to come back.
func (v AgentView) signIn() string {
	return "/auth/login?fresh=1&return=" + url.QueryEscape("/agents/"+v.ID)
}

// AgentKeyLine is one key of an agent.
type AgentKeyLine struct {
	ID, Name, Shown, By  string
	CreatedAt, ExpiresAt time.Time
	EndedAt              *time.Time
	Asked                bool // its end is what was not taken
}

// IssuedKey shows a key, this once.
type IssuedKey struct {
	AgentID, Agent, Name, Secret string
	Until                        string
}

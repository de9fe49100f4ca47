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

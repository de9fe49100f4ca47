package web

import (
	"strconv"
	"time"
)

// Sprawl is the report of what is there and perhaps need not be, and what it costs.
type Sprawl struct {
	Facts       []Fact
	Since       *time.Time // of the first call record; nil: there is none
	Servers     []SprawlServer
	Tools       []SprawlTool
	Query       string
	Show        string
	CSV         string // address of the list of tools as a file
	First, Next string
}

// SprawlServer is a server with what its list costs.
type SprawlServer struct {
	ID, Name, Team                          string
	Owned                                   bool
	Pinned, Tokens, NeverCalled, Unused, Of int // Of: the most expensive server's tokens
	LastCall                                *time.Time
}

// SprawlTool is a tool, prompt or resource with what it costs.
type SprawlTool struct {
	ServerID, Server, ID, Kind, Name, Risk string
	Pinned                                 bool
	Tokens, Calls                          int // calls in 90 days
	LastCall                               *time.Time
	Duplicates                             []string // servers that offer one of this name
}

var sprawlViews = []struct{ show, words string }{
	{"", "All"}, {"no_owner", "No owner"}, {"never_called", "Never called"}, {"unused", "Unused for 90 days"}, {"duplicate", "On several servers"},
}

// share is how much of most n is, of a thousand.
func share(n, most int) string {
	if most <= 0 {
		return "0"
	}
	return strconv.Itoa(n * 1000 / most)
}

package web

import "time"

// Channels is the list of the places where people and programs are told.
type Channels struct {
	Channels []ChannelLine
	May      bool // make and change them
	Health   NotifierHealth
}

// NotifierHealth says whether anybody is told at all.
type NotifierHealth struct {
	BeatAt  time.Time
	Stalled bool
	Waiting int
}

// ChannelLine is one channel of the list.
type ChannelLine struct {
	ID, Name, Kind, Where, Team, State, LastError string
	Topics                                        []string
	Digest                                        string // how often
	DeliveredAt                                   *time.Time
	Waiting                                       int
}

// ChannelForm makes or changes a channel.
type ChannelForm struct {
	ID, Name, Kind, Address, Shown string
	Version                        int64 // 0: it is made
	Kinds, Topics                  []RoleOption
	Teams, Digests                 []Option
	Errors                         Errors
}

// Channel is one channel, and what was sent to it.
type Channel struct {
	ChannelLine

	Version       int64
	By            string
	CreatedAt     time.Time
	PausedAt      *time.Time
	PausedBecause string
	FailingSince  *time.Time
	OverlapUntil  *time.Time
	EndedAt       *time.Time
	May           bool
	Signed        bool // it has a secret
	Tested        *ChannelTest
	Deliveries    []DeliveryLine
	Next          string // address of the older ones
	Errors        Errors
}

// Over says that the channel is ended.
func (c Channel) Over() bool { return c.EndedAt != nil }

// ChannelTest is what came of a test just made.
type ChannelTest struct {
	OK       bool
	Words    string
	Answered int // of HTTP; 0: none
	TookMS   int
}

// DeliveryLine is one message to a channel.
type DeliveryLine struct {
	ID, MessageID, About, State string
	Link                        string // of what it is about; "" for none
	CreatedAt                   time.Time
	DueAt                       *time.Time // tried again then
	Attempts                    []AttemptLine
	Again                       bool // it may be delivered again
}

// AttemptLine is one try.
type AttemptLine struct {
	At       time.Time
	Answered int
	Error    string // "": it was taken
	TookMS   int
}

// IssuedSecret shows a signing secret, this once.
type IssuedSecret struct {
	ID, Name, Secret string
	Rotated          bool // the one of before signs for a day
}

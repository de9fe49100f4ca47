package policy

import (
	"cmp"
	"strings"
	"time"
)

// Changes is what follows when one policy takes the place of another: who may call what by then and may not now, and
// where guardrails begin and stop to hold. It speaks of subjects as rules say them, since whom they match is known only
// when somebody calls.
//
// Nothing is left out: if a call of what is offered is denied before and not after, an Access of Gains has it for its
// caller, or a Restraint of Stops that denies, wants a sign-in or requires something; so with Loses and Begins
// where a call is denied only after. Keys and models tell who a caller is taken to be. The verdict on a URI that no resource has may also change with the templates in Appears and Vanishes.
type Changes struct {
	Gains         []Access     `json:"gains,omitempty"`
	Loses         []Access     `json:"loses,omitempty"`
	Begins        []Restraint  `json:"begins,omitempty"`
	Stops         []Restraint  `json:"stops,omitempty"`          // on what is still offered
	AppearServers []string     `json:"appear_servers,omitempty"` // sorted names
	VanishServers []string     `json:"vanish_servers,omitempty"`
	Appears       []ToolName   `json:"appears,omitempty"` // sorted
	Vanishes      []ToolName   `json:"vanishes,omitempty"`
	Risks         []RiskChange `json:"risks,omitempty"`
	GainKeys      []Key        `json:"gain_keys,omitempty"` // sorted by hash
	LoseKeys      []Key        `json:"lose_keys,omitempty"`
	GainModels    []Agent      `json:"gain_models,omitempty"` // sorted: what each agent is registered with by then and is not now
	LoseModels    []Agent      `json:"lose_models,omitempty"`

	GainRequests []ServerRequests `json:"gain_requests,omitempty"` // sorted: what servers may ask of clients by then and may not now
	LoseRequests []ServerRequests `json:"lose_requests,omitempty"`
}

// Empty reports whether nothing changes.
func (c Changes) Empty() bool {
	return len(c.Gains)+len(c.Loses)+len(c.Begins)+len(c.Stops)+len(c.AppearServers)+len(c.VanishServers)+
		len(c.Appears)+len(c.Vanishes)+len(c.Risks)+len(c.GainKeys)+len(c.LoseKeys)+len(c.GainModels)+len(c.LoseModels)+
		len(c.GainRequests)+len(c.LoseRequests) == 0
}

// ToolName names a tool, prompt or resource.
type ToolName struct {
	Server string `json:"server"`
	Kind   Kind   `json:"kind"`
	Name   string `json:"name"`
}

func (n ToolName) compare(m ToolName) int {
	return cmp.Or(strings.Compare(n.Server, m.Server), cmp.Compare(n.Kind, m.Kind), strings.Compare(n.Name, m.Name))
}

// Access is what grants let a subject call in a window of time and under a condition: several grants with the same of
// all three are one.
type Access struct {
	Subject   Subject    `json:"subject"` // its lists sorted
	NotBefore *time.Time `json:"not_before,omitempty"`
	NotAfter  *time.Time `json:"not_after,omitempty"`
	Condition string     `json:"condition,omitempty"`
	Unless    []string   `json:"unless,omitempty"` // sorted conditions: where one is true, nothing changes
	Tools     []ToolName `json:"tools"`            // sorted
}

// Restraint is what guardrails do to a subject under a condition: several with the same effect on the same subject are one.
type Restraint struct {
	Subject   Subject    `json:"subject"` // its lists sorted
	Except    Subject    `json:"except,omitzero"`
	Condition string     `json:"condition,omitempty"`
	Unless    []string   `json:"unless,omitempty"` // sorted conditions: where one is not false, nothing changes
	Effect    Effect     `json:"effect"`
	Tools     []ToolName `json:"tools"` // sorted
}

// RiskChange is a tool whose risk becomes another.
type RiskChange struct {
	ToolName
	From Risk `json:"from"`
	To   Risk `json:"to"`
}

package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"countersign/canonical"
)

// Key is a key that an agent signs in with at gateways. A gateway knows only its digest, which is no way back to it.
type Key struct {
	Hash     canonical.Digest `json:"hash"` // see HashKey
	Agent    string           `json:"agent"`
	Subject  string           `json:"subject"`   // of the principal that presents it; its issuer is that of the document
	NotAfter time.Time        `json:"not_after"` // good until just before then
}

// Agent is what is registered of an agent: the models that it runs with.
type Agent struct {
	Agent  string   `json:"agent"`
	Models []string `json:"models"` // sorted; at least one
}

// KeySubject is the subject of an agent that signs in with a key of its own.
func KeySubject(agent string) string { return "agent:" + agent }

// Principal is who presents the key at a gateway that enforces d: the agent by itself, in no group, with no user behind it.
// Attest says what model it runs with.
func (k *Key) Principal(d *Document) Principal {
	return Principal{Issuer: d.Issuer, Subject: k.Subject, Groups: []string{}, Agent: k.Agent, ModelAssurance: Unknown}
}

// AgentKey finds the open key with that digest; nil if there is none. Whether its time is over is for the caller to look at.
func (ix *Index) AgentKey(hash canonical.Digest) *Key {
	if i, ok := ix.keys[hash]; ok {
		return &ix.document.Keys[i]
	}
	return nil
}

// Attest vouches for the model of p by the registration of its agent. A model that the request declares is attested if the
// agent is registered with it; where it declares none and the agent is registered with exactly one, it is that one. What
// contradicts the registration stays declared, and what a token attested stays as it is.
func (ix *Index) Attest(p *Principal) {
	if p.ModelAssurance == Attested || p.Agent == "" {
		return
	}
	models := ix.models[p.Agent]
	switch {
	case p.Model == "" && len(models) == 1:
		p.Model, p.ModelAssurance = models[0], Attested
	case p.Model != "" && slices.Contains(models, p.Model):
		p.ModelAssurance = Attested
	}
}

// indexAgents makes keys and registrations ready to look up.
func (ix *Index) indexAgents() {
	ix.keys = make(map[canonical.Digest]int, len(ix.document.Keys))
	for i := range ix.document.Keys {
		ix.keys[ix.document.Keys[i].Hash] = i
	}
	ix.models = make(map[string][]string, len(ix.document.Agents))
	for _, a := range ix.document.Agents {
		ix.models[a.Agent] = a.Models
	}
}

func (d Document) validateAgents() error {
	for i, k := range d.Keys {
		err := k.validate()
		if err == nil && i > 0 && compareKeys(d.Keys[i-1], k) >= 0 {
			err = wrong("hash", "is out of order")
		}
		if err != nil {
			return inField(fmt.Sprintf("keys[%d]", i), err)
		}
	}
	for i, a := range d.Agents {
		err := a.validate()
		if err == nil && i > 0 && compareAgents(d.Agents[i-1], a) >= 0 {
			err = wrong("agent", "is out of order")
		}
		if err != nil {
			return inField(fmt.Sprintf("agents[%d]", i), err)
		}
	}
	return nil
}

// validate reports what is wrong with k, as an *Error.
func (k Key) validate() error {
	if k.Hash.IsZero() {
		return wrong("hash", "is missing")
	}
	if problem := textProblem(k.Agent, maxNameBytes); problem != "" {
		return wrong("agent", problem)
	}
	if problem := textProblem(k.Subject, maxNameBytes); problem != "" {
		return wrong("subject", problem)
	}
	if !inYears(k.NotAfter) {
		return wrong("not_after", "is out of range")
	}
	return nil
}

func (a Agent) validate() error {
	if problem := textProblem(a.Agent, maxNameBytes); problem != "" {
		return wrong("agent", problem)
	}
	if len(a.Models) == 0 {
		return wrong("models", "are missing")
	}
	if err := validatePatterns(a.Models); err != nil {
		return inField("models", err)
	}
	if !ascendingTexts(a.Models) {
		return wrong("models", "are out of order")
	}
	return nil
}

// ascendingTexts reports whether each text comes after the one before.
func ascendingTexts(texts []string) bool {
	for i := 1; i < len(texts); i++ {
		if texts[i-1] >= texts[i] {
			return false
		}
	}
	return true
}

func compareKeys(a, b Key) int { return slices.Compare(a.Hash[:], b.Hash[:]) }

func compareAgents(a, b Agent) int { return strings.Compare(a.Agent, b.Agent) }

// addAgents adds the keys and registrations of a source, in order. An agent with no models says nothing.
func (d *Document) addAgents(keys []Key, agents []Agent) {
	for _, k := range keys {
		k.NotAfter = k.NotAfter.UTC().Truncate(time.Second)
		d.Keys = append(d.Keys, k)
	}
	slices.SortFunc(d.Keys, compareKeys)
	for _, a := range agents {
		if len(a.Models) == 0 {
			continue
		}
		a.Models = slices.Compact(slices.Sorted(slices.Values(a.Models)))
		d.Agents = append(d.Agents, a)
	}
	slices.SortFunc(d.Agents, compareAgents)
}

package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"countersign/canonical"
)

// maxExact is the greatest integer that every JSON reader keeps.
const maxExact = 1<<53 - 1

// maxStale bounds how long a gateway may go on without contact: a week.
const maxStale = 7 * 24 * 3600

// validate reports what is wrong with d, as an *Error. A document that passes can
// be decided on without a further look at its indexes.
func (d Document) validate() error {
	switch {
	case d.Format != Format:
		return wrong("format", "is not "+Format)
	case d.Issuer == "":
		return wrong("issuer", "is empty")
	case d.Audience == "":
		return wrong("audience", "is empty")
	case d.Epoch < 0 || d.Epoch > maxExact:
		return wrong("epoch", "is out of range")
	case d.Revision < 0 || d.Revision > maxExact:
		return wrong("revision", "is out of range")
	case d.MaxStaleSeconds < 1 || d.MaxStaleSeconds > maxStale:
		return wrong("max_stale_seconds", "must be from 1 to a week")
	case !inYears(d.IssuedAt):
		return wrong("issued_at", "is out of range")
	case d.Servers == nil || d.Grants == nil || d.Guardrails == nil:
		return wrong("", "lacks servers, grants or guardrails")
	}
	if err := d.validateRules(); err != nil {
		return err
	}
	if err := d.validateAgents(); err != nil {
		return err
	}
	for i := range d.Servers {
		if err := d.validateServer(i); err != nil {
			return inField(fmt.Sprintf("servers[%d]", i), err)
		}
	}
	return nil
}

func (d Document) validateRules() error {
	for i, g := range d.Grants {
		err := g.validate()
		if err == nil && i > 0 && d.Grants[i-1].ID >= g.ID {
			err = wrong("id", "is out of order")
		}
		if err != nil {
			return inField(fmt.Sprintf("grants[%d]", i), err)
		}
	}
	for i, g := range d.Guardrails {
		err := g.validate()
		if err == nil && i > 0 && d.Guardrails[i-1].ID >= g.ID {
			err = wrong("id", "is out of order")
		}
		if err != nil {
			return inField(fmt.Sprintf("guardrails[%d]", i), err)
		}
	}
	return nil
}

func (d Document) validateServer(i int) error {
	s := d.Servers[i]
	if err := s.validate(); err != nil {
		return err
	}
	if i > 0 && compareServers(d.Servers[i-1], s) >= 0 {
		return wrong("name", "is out of order")
	}
	if s.Tools == nil {
		return wrong("tools", "are missing")
	}
	for j, t := range s.Tools {
		err := t.validate()
		switch {
		case err != nil:
		case j > 0 && compareTools(s.Tools[j-1], t) >= 0:
			err = wrong("name", "is out of order")
		case !ascending(t.Grants, len(d.Grants)):
			err = wrong("grants", "are not ascending indexes of grants")
		case !ascending(t.Guardrails, len(d.Guardrails)):
			err = wrong("guardrails", "are not ascending indexes of guardrails")
		}
		if err != nil {
			return inField(fmt.Sprintf("tools[%d]", j), err)
		}
	}
	return nil
}

// ascending reports whether indexes ascend strictly and are below n.
func ascending(indexes []int, n int) bool {
	last := -1
	for _, i := range indexes {
		if i <= last || i >= n {
			return false
		}
		last = i
	}
	return true
}

// compareServers orders servers by name ignoring case, in which names are unique.
func compareServers(a, b Server) int {
	return strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name))
}

// compareTools orders the tools of a server by kind and name, which are unique.
func compareTools(a, b Tool) int {
	if c := strings.Compare(string(a.Kind), string(b.Kind)); c != 0 {
		return c
	}
	return strings.Compare(a.Name, b.Name)
}

func (s Server) validate() error {
	if problem := textProblem(s.ID, maxPatternBytes); problem != "" {
		return wrong("id", problem)
	}
	if problem := textProblem(s.Name, maxPatternBytes); problem != "" {
		return wrong("name", problem)
	}
	if s.State != Active && s.State != Suspended {
		return wrong("state", "is not active or suspended")
	}
	if err := validatePatterns(s.Labels); err != nil {
		return inField("labels", err)
	}
	if !slices.IsSorted(s.Labels) {
		return wrong("labels", "are out of order")
	}
	if err := s.Endpoint.validate(); err != nil {
		return inField("endpoint", err)
	}
	return validateClientRequests(s.ClientRequests)
}

func (e Endpoint) validate() error {
	switch e.Transport {
	case StreamableHTTP:
		if e.URL == "" || e.Command != "" || e.CommandDigest != "" {
			return wrong("url", "must be given for streamable_http, and no command")
		}
	case Stdio:
		if e.Command == "" || e.URL != "" {
			return wrong("command", "must be given for stdio, and no url")
		}
		if _, err := canonical.ParseDigest(e.CommandDigest); err != nil {
			return wrong("command_digest", "is not a digest")
		}
	default:
		return wrong("transport", "is not streamable_http or stdio")
	}
	if e.Digest.IsZero() {
		return wrong("digest", "is missing")
	}
	return nil
}

func (t Tool) validate() error {
	if problem := textProblem(t.ID, maxPatternBytes); problem != "" {
		return wrong("id", problem)
	}
	if problem := textProblem(t.Name, maxNameBytes); problem != "" {
		return wrong("name", problem)
	}
	switch {
	case !t.Kind.Known():
		return wrong("kind", "is not tool, prompt or resource")
	case !t.Risk.Known():
		return wrong("risk", "is not read_only, write or destructive")
	case t.Definition.IsZero():
		return wrong("definition", "is missing")
	case !slices.IsSorted(t.Labels):
		return wrong("labels", "are out of order")
	}
	if err := validatePatterns(t.Labels); err != nil {
		return inField("labels", err)
	}
	return nil
}

func (g Grant) validate() error {
	if problem := textProblem(g.ID, maxPatternBytes); problem != "" {
		return wrong("id", problem)
	}
	if g.Condition != "" {
		if err := CheckCondition("condition", g.Condition); err != nil {
			return err
		}
	}
	if err := g.Subject.Validate(); err != nil {
		return inField("subject", err)
	}
	for _, at := range []*time.Time{g.NotBefore, g.NotAfter} {
		if at != nil && !inYears(*at) {
			return wrong("not_before", "or not_after is out of range")
		}
	}
	if g.NotBefore != nil && g.NotAfter != nil && !g.NotBefore.Before(*g.NotAfter) {
		return wrong("not_after", "is not after not_before")
	}
	return nil
}

func (g Guardrail) validate() error {
	if problem := textProblem(g.ID, maxPatternBytes); problem != "" {
		return wrong("id", problem)
	}
	if g.Condition != "" {
		if err := CheckCondition("condition", g.Condition); err != nil {
			return err
		}
	}
	if err := g.Subject.Validate(); err != nil {
		return inField("subject", err)
	}
	if err := g.Except.validateExcept(); err != nil {
		return inField("except", err)
	}
	if err := g.Effect.Validate(); err != nil {
		return inField("effect", err)
	}
	return nil
}

// inYears reports whether t can be written as RFC 3339, in UTC as we write it.
func inYears(t time.Time) bool {
	year := t.UTC().Year()
	return year >= 1 && year <= 9999
}

package registry

import (
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"countersign/canonical"
	"countersign/internal/problem"
	"countersign/policy"
)

// Transport is how a gateway reaches a server.
type Transport string

// The transports.
const (
	StreamableHTTP Transport = "streamable_http"
	Stdio          Transport = "stdio"
)

// Registration is what a person says about a new server.
type Registration struct {
	Name        string // reverse DNS with one slash: com.acme/orders
	Title       string
	Description string
	TeamID      string
	Labels      []string
	Requests    []policy.ClientRequest // what it may ask of clients; some needs identity.PinDefinition, in a person's session
	Version     string                 // as it is published first; "" is FirstVersion
	Location
}

// Location is where a server is: a URL, or a command that gateways know by name and digest.
type Location struct {
	Transport     Transport
	URL           string
	Command       string
	CommandDigest string // "sha256:…", as a gateway reports it
}

var (
	serverName  = regexp.MustCompile(`^[A-Za-z0-9.-]+/[A-Za-z0-9._-]+$`)
	commandName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)
	labelForm   = regexp.MustCompile(`^[a-z0-9]([a-z0-9._=-]{0,61}[a-z0-9])?$`)
)

const maxLabels = 20

// clean trims r and says everything that is wrong with it at once.
func (r *Registration) clean() error {
	invalid := problem.New(problem.Invalid, "invalid_server", "The server was not registered. Nothing was changed.")
	complain := func(field, message string) {
		if message != "" {
			invalid.Field(field, message)
		}
	}
	r.Name, r.Title, r.Description = strings.TrimSpace(r.Name), strings.TrimSpace(r.Title), strings.TrimSpace(r.Description)
	complain("name", checkName(r.Name))
	complain("title", checkLine(r.Title, 0, 100))
	complain("description", checkText(r.Description, 2000))
	if r.TeamID == "" {
		complain("team", "Choose the team that owns the server.")
	}
	r.Labels = sortedLabels(r.Labels)
	complain("labels", checkLabels(r.Labels))
	r.Requests = sortedRequests(r.Requests)
	complain("client_requests", checkRequests(r.Requests))
	if r.Version == "" {
		r.Version = FirstVersion
	}
	if !ValidVersion(r.Version) {
		complain("version", "This is no version like 1.0.2.")
	}
	for field, message := range r.Location.clean() {
		complain(field, message)
	}
	if len(invalid.Fields) > 0 {
		return invalid
	}
	return nil
}

func checkName(name string) string {
	switch {
	case name == "":
		return "Give the server a name."
	case strings.Count(name, "/") != 1:
		return "The name has exactly one slash, like com.acme/orders."
	case len(name) < 3 || len(name) > 200:
		return "The name has 3 to 200 characters."
	case !serverName.MatchString(name):
		return "The name is made of letters, digits, dots, hyphens and one slash, like com.acme/orders."
	case strings.HasSuffix(name, "/.") || strings.HasSuffix(name, "/..") || strings.HasPrefix(name, "./") || strings.HasPrefix(name, "../"):
		return "The name cannot have a part that is only dots."
	}
	return ""
}

// checkLine says what is wrong with a line that people typed, or "".
func checkLine(s string, least, most int) string {
	switch n := utf8.RuneCountInString(s); {
	case n < least:
		return "This is needed."
	case n > most:
		return fmt.Sprintf("At most %d characters.", most)
	case !utf8.ValidString(s) || len(findUnseen(s, false)) > 0:
		return "It holds characters that are not visible."
	}
	return ""
}

func checkText(s string, most int) string {
	switch {
	case utf8.RuneCountInString(s) > most:
		return fmt.Sprintf("At most %d characters.", most)
	case !utf8.ValidString(s) || len(findUnseen(s, true)) > 0:
		return "It holds characters that are not visible."
	}
	return ""
}

func sortedLabels(labels []string) []string {
	out := make([]string, 0, len(labels))
	for _, l := range labels {
		if l = strings.TrimSpace(l); l != "" {
			out = append(out, l)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func checkLabels(labels []string) string {
	if len(labels) > maxLabels {
		return fmt.Sprintf("At most %d labels.", maxLabels)
	}
	for _, l := range labels {
		if !labelForm.MatchString(l) {
			return "A label has at most 63 lower-case letters, digits, dots, hyphens, underscores and =, like env=prod."
		}
	}
	return ""
}

// clean says what is wrong with the location, by field.
func (l *Location) clean() map[string]string {
	wrong := map[string]string{}
	switch l.Transport {
	case StreamableHTTP:
		l.Command, l.CommandDigest = "", ""
		l.URL = strings.TrimSpace(l.URL)
		if message := checkURL(l.URL); message != "" {
			wrong["url"] = message
		}
	case Stdio:
		l.URL = ""
		if _, err := canonical.ParseDigest(l.CommandDigest); err != nil || !commandName.MatchString(l.Command) {
			wrong["command"] = "Choose a command that a gateway says it can start."
		}
	default:
		wrong["transport"] = "Choose how gateways reach the server."
	}
	return wrong
}

func checkURL(raw string) string {
	u, err := url.Parse(raw)
	switch {
	case raw == "":
		return "Give the address of the server's MCP endpoint."
	case len(raw) > 2000:
		return "The address is longer than 2,000 characters."
	case err != nil || u.Host == "" || u.Hostname() == "" || len(findUnseen(raw, false)) > 0 || strings.ContainsAny(raw, " \\"):
		return "This is no address like https://orders.example.com/mcp."
	case u.Scheme != "https" && u.Scheme != "http":
		return "The address begins with https:// or http://."
	case u.User != nil:
		return "Leave user name and password out: credentials belong into the gateway's own configuration."
	case u.Fragment != "" || strings.HasSuffix(raw, "#"):
		return "The address has no part after #."
	}
	return ""
}

// digest identifies the location; an approval is bound to it.
func (l Location) digest() (canonical.Digest, error) {
	raw, err := json.Marshal(struct {
		Transport     Transport `json:"transport"`
		URL           string    `json:"url"`
		Command       string    `json:"command"`
		CommandDigest string    `json:"command_digest"`
	}{l.Transport, l.URL, l.Command, l.CommandDigest})
	if err != nil {
		return canonical.Digest{}, fmt.Errorf("describing endpoint: %w", err)
	}
	exact, err := canonical.Exact(raw)
	if err != nil {
		return canonical.Digest{}, fmt.Errorf("describing endpoint: %w", err)
	}
	return canonical.Sum("countersign/endpoint/v1", exact), nil
}

// commandBytes is the command's digest for the database, nil for a URL.
func (l Location) commandBytes() []byte {
	d, err := canonical.ParseDigest(l.CommandDigest)
	if l.Transport != Stdio || err != nil {
		return nil
	}
	return d[:]
}

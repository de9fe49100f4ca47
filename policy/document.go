package policy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"countersign/canonical"
)

// Format and MediaType name this version of the language.
const (
	Format    = "countersign/policy/v1"
	MediaType = "application/vnd.countersign.policy+json;v=1"
)

// contentDomain sets digests of contents apart from all other digests.
const contentDomain = "countersign/policy-content/v1"

// Document is the compiled policy for one audience: all that a gateway needs to
// decide. Compile makes it; it is sorted, and tools point to what reaches them.
type Document struct {
	Format          string      `json:"format"`
	Issuer          string      `json:"issuer"`   // public URL of the control plane
	Audience        string      `json:"audience"` // id
	Epoch           int64       `json:"epoch"`    // lineage of the database
	Revision        int64       `json:"revision"` // grows within an epoch
	IssuedAt        time.Time   `json:"issued_at"`
	MaxStaleSeconds int         `json:"max_stale_seconds"` // after this long without contact, deny
	Servers         []Server    `json:"servers"`
	Grants          []Grant     `json:"grants"`
	Guardrails      []Guardrail `json:"guardrails"`
	Keys            []Key       `json:"keys,omitempty"`   // of agents, sorted by hash
	Agents          []Agent     `json:"agents,omitempty"` // those with models, sorted
}

// The states of a server that reach a gateway.
const (
	Active    = "active"
	Suspended = "suspended"
)

// Server is a registered MCP server.
type Server struct {
	ID       string   `json:"id"`
	Name     string   `json:"name"`
	State    string   `json:"state"`
	Team     string   `json:"team"` // id of the owning team
	Labels   []string `json:"labels,omitempty"`
	Endpoint Endpoint `json:"endpoint"`

	ClientRequests []ClientRequest `json:"client_requests,omitempty"` // what it may ask of clients; sorted

	Tools []Tool `json:"tools"`
}

// The transports of an endpoint.
const (
	StreamableHTTP = "streamable_http"
	Stdio          = "stdio"
)

// Endpoint is where a server is reached: a URL, or a command that gateways know
// by name and digest.
type Endpoint struct {
	Transport     string           `json:"transport"`
	URL           string           `json:"url,omitempty"`
	Command       string           `json:"command,omitempty"`
	CommandDigest string           `json:"command_digest,omitempty"` // written form of a digest
	Digest        canonical.Digest `json:"digest"`                   // of the endpoint itself
}

// Tool is a tool, prompt or resource whose definition is pinned.
type Tool struct {
	ID              string           `json:"id"`
	Kind            Kind             `json:"kind"`
	Name            string           `json:"name"` // of a resource: its URI or URI template
	Definition      canonical.Digest `json:"definition"`
	Risk            Risk             `json:"risk"`
	Labels          []string         `json:"labels,omitempty"`
	Held            bool             `json:"held,omitempty"` // what is offered is not what is pinned
	InputSchema     json.RawMessage  `json:"input_schema,omitempty"`
	HasOutputSchema bool             `json:"has_output_schema,omitempty"`
	Grants          []int            `json:"grants,omitempty"`     // ascending indexes into Document.Grants
	Guardrails      []int            `json:"guardrails,omitempty"` // ascending indexes into Document.Guardrails
}

// Grant allows the subject to call the tools that point to it, from NotBefore
// until just before NotAfter, where Condition is true.
type Grant struct {
	ID        string     `json:"id"`
	Name      string     `json:"name"`
	Subject   Subject    `json:"subject"`
	NotBefore *time.Time `json:"not_before,omitempty"`
	NotAfter  *time.Time `json:"not_after,omitempty"`
	Condition string     `json:"condition,omitempty"` // CEL; none is true. An error is false
}

// Guardrail restricts the calls of the subject, save those of Except, to the
// tools that point to it, where Condition is true.
type Guardrail struct {
	ID        string  `json:"id"`
	Name      string  `json:"name"`
	Subject   Subject `json:"subject"`
	Except    Subject `json:"except,omitzero"`
	Condition string  `json:"condition,omitempty"` // CEL; none is true. An error is true
	Effect    Effect  `json:"effect"`
}

// Marshal returns the one encoding of the document. Equal documents give equal
// bytes.
func (d Document) Marshal() ([]byte, error) { return encode(&d) }

func marshal(v any) ([]byte, error) {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("encoding policy: %w", err)
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

// ContentDigest is the digest of all but the revision and the time of issue.
// Documents with equal contents need no new revision.
func (d Document) ContentDigest() canonical.Digest {
	d.Revision, d.IssuedAt = 0, time.Time{}
	text, err := d.Marshal()
	if err != nil { // only an input schema that is not JSON, which Compile refuses
		return canonical.Digest{}
	}
	return canonical.Sum(contentDomain, text)
}

// Encode is Marshal and ContentDigest at the price of one.
func (d Document) Encode() (text []byte, content canonical.Digest, err error) {
	blank := d
	blank.Revision, blank.IssuedAt = 0, time.Time{}
	text, err = blank.Marshal()
	if err != nil {
		return nil, canonical.Digest{}, err
	}
	before, err := blank.head()
	if err != nil {
		return nil, canonical.Digest{}, err
	}
	after, err := d.head()
	if err != nil {
		return nil, canonical.Digest{}, err
	}
	rest, found := bytes.CutPrefix(text, before)
	if !found {
		return nil, canonical.Digest{}, fmt.Errorf("encoding policy: %w", wrong("", "does not begin with its head"))
	}
	return slices.Concat(after, rest), canonical.Sum(contentDomain, text), nil
}

// head returns how the document begins, as far as what a revision changes.
func (d Document) head() ([]byte, error) {
	text, err := marshal(struct {
		Format   string    `json:"format"`
		Issuer   string    `json:"issuer"`
		Audience string    `json:"audience"`
		Epoch    int64     `json:"epoch"`
		Revision int64     `json:"revision"`
		IssuedAt time.Time `json:"issued_at"`
	}{d.Format, d.Issuer, d.Audience, d.Epoch, d.Revision, d.IssuedAt})
	return bytes.TrimSuffix(text, []byte("}")), err
}

// Limits on a document.
const (
	maxDocumentBytes = 256 << 20
	maxDocumentDepth = canonical.MaxDefinitionDepth + 8
)

// Decode reads a document and checks all of it. It accepts only what Marshal
// writes: no other member, order, spelling or space.
func Decode(data []byte) (Document, error) {
	limits := canonical.Limits{MaxBytes: maxDocumentBytes, MaxDepth: maxDocumentDepth}
	if err := canonical.Check(data, limits); err != nil {
		return Document{}, fmt.Errorf("reading policy: %w", err)
	}
	d, err := DecodeOwn(data)
	if err != nil {
		return Document{}, err
	}
	if err := d.validate(); err != nil {
		return Document{}, fmt.Errorf("reading policy: %w", err)
	}
	if again, err := d.Marshal(); err != nil || !bytes.Equal(again, data) {
		return Document{}, fmt.Errorf("reading policy: %w", wrong("", "is not in the one encoding of a policy"))
	}
	return d, nil
}

// DecodeOwn reads what Marshal wrote and nobody else has touched since. Beside members that are not known it refuses
// nothing: NewIndex finds what is wrong with a document, and only Decode tells one encoding from another.
func DecodeOwn(data []byte) (Document, error) {
	var d Document
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&d); err != nil {
		return Document{}, fmt.Errorf("reading policy: %w", err)
	}
	return d, nil
}

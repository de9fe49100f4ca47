package policy

import (
	"slices"
	"strings"
)

// ClientRequest is something that a server may ask of the clients that use it. What a server may not ask, gateways keep
// from it: it learns of no client that could, and what it asks all the same reaches none.
type ClientRequest string

// What a server may be allowed to ask of clients.
const (
	Elicitation ClientRequest = "elicitation" // that their user fills in a form, or opens an address
	Roots       ClientRequest = "roots"       // which folders of their user's machine they work on
	Sampling    ClientRequest = "sampling"    // that their model completes a text that the server wrote
)

// ClientRequests are all there are, sorted.
func ClientRequests() []ClientRequest { return []ClientRequest{Elicitation, Roots, Sampling} }

// Words says for people what the request lets a server do.
func (c ClientRequest) Words() string {
	switch c {
	case Elicitation:
		return "have their users fill in a form or open an address"
	case Roots:
		return "name the folders their users work on"
	case Sampling:
		return "have their models answer what it writes"
	}
	return string(c)
}

// MayAsk reports whether the server may ask that of clients.
func (s *Server) MayAsk(c ClientRequest) bool { return slices.Contains(s.ClientRequests, c) }

func validateClientRequests(asked []ClientRequest) error {
	for i, c := range asked {
		switch {
		case !slices.Contains(ClientRequests(), c):
			return wrong("client_requests", "are not all of elicitation, roots and sampling")
		case i > 0 && asked[i-1] >= c:
			return wrong("client_requests", "are out of order, or twice there")
		}
	}
	return nil
}

// ServerRequests is what a server may ask of clients, or no longer may.
type ServerRequests struct {
	Server   string          `json:"server"`
	Requests []ClientRequest `json:"requests"` // sorted
}

func (r ServerRequests) words() string {
	var words []string
	for _, c := range r.Requests {
		words = append(words, c.Words())
	}
	return strings.Join(words, ", and to ")
}

// requestsWithout gives what servers of a may ask and those of b may not, by name.
func requestsWithout(a, b *Document) []ServerRequests {
	if a == nil {
		return nil
	}
	had := map[string][]ClientRequest{}
	if b != nil {
		for i := range b.Servers {
			had[b.Servers[i].Name] = b.Servers[i].ClientRequests
		}
	}
	var rest []ServerRequests
	for i := range a.Servers {
		s := &a.Servers[i]
		more := slices.DeleteFunc(slices.Clone(s.ClientRequests), func(c ClientRequest) bool { return slices.Contains(had[s.Name], c) })
		if len(more) > 0 {
			rest = append(rest, ServerRequests{Server: s.Name, Requests: more})
		}
	}
	return rest
}

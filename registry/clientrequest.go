package registry

import (
	"slices"

	"countersign/desired"
	"countersign/identity"
	"countersign/policy"
)

// sortedRequests is what a server may ask of clients, as it is kept.
func sortedRequests(asked []policy.ClientRequest) []policy.ClientRequest {
	out := slices.Compact(slices.Sorted(slices.Values(asked)))
	if out == nil {
		return []policy.ClientRequest{}
	}
	return out
}

func checkRequests(asked []policy.ClientRequest) string {
	for _, c := range asked {
		if !slices.Contains(policy.ClientRequests(), c) {
			return "Choose from elicitation, roots and sampling."
		}
	}
	return ""
}

// mayWiden refuses to let a server ask more of clients than before to everybody but a person in a session who may pin its
// definitions: it gives the server something, as a pin does. Everybody who may change the server may take from it.
func mayWiden(who identity.Principal, teamID string, was, is []policy.ClientRequest) error {
	if !slices.ContainsFunc(is, func(c policy.ClientRequest) bool { return !slices.Contains(was, c) }) {
		return nil
	}
	return who.Can(identity.PinDefinition, teamID)
}

// requestsOf reads what a file wants the server to be allowed.
func requestsOf(want desired.Server) []policy.ClientRequest {
	if slices.Equal(want.ClientRequests, []string{desired.NoClientRequests}) {
		return nil
	}
	requests := make([]policy.ClientRequest, len(want.ClientRequests))
	for i, c := range want.ClientRequests {
		requests[i] = policy.ClientRequest(c)
	}
	return requests
}

func textsOf(requests []policy.ClientRequest) []string {
	texts := make([]string, len(requests))
	for i, c := range requests {
		texts[i] = string(c)
	}
	return texts
}

package web

import "strings"

// stateWords is how a state is said on screen.
func stateWords(state string) string {
	switch state {
	case "in_force":
		return "In force"
	case "not_required":
		return "Not required"
	case "":
		return "None"
	case "over":
		return "Expired"
	case "later":
		return "Not yet"
	}
	if state == strings.ToUpper(state) {
		return state
	}
	return strings.ToUpper(state[:1]) + state[1:]
}

// kindWords is how a kind of thing that a server offers is said.
func kindWords(kind string) string {
	switch kind {
	case "prompt":
		return "Prompt"
	case "resource":
		return "Resource"
	}
	return "Tool"
}

// reasonWords is how a code, as a policy's reason, is said; anything else is somebody's own words.
func reasonWords(reason string) string {
	words := map[string]string{
		"nobody_decided": "Nobody decided in time.", "not_claimed": "Approved, but the call was not repeated in time.",
		"not_redeemed": "Approved, but the call was not executed in time.", "redeemed": "Executed once.",
		"by_caller": "The caller took it back.", "terms_changed": "The rules changed while it waited.", "epoch_changed": "The database was restored meanwhile.",
		"gateway_revoked": "Its gateway was revoked.", "no_grant": "No grant allows it.", "drifted": "The tool changed after it was reviewed.",
		"suspended": "The server is suspended.", "unknown_tool": "The tool is not pinned.", "unknown_server": "The server is not known.",
		"denied_by_guardrail": "A guardrail denies it.", "approval_required": "It needs a person.", "allowed": "",
	}
	if w, ok := words[reason]; ok {
		return w
	}
	return reason
}

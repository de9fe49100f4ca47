package web

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

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
	return capital(strings.ReplaceAll(state, "_", " "))
}

// capital begins text with a capital letter.
func capital(text string) string {
	first, size := utf8.DecodeRuneInString(text)
	if first == utf8.RuneError {
		return text
	}
	return string(unicode.ToUpper(first)) + text[size:]
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

// transportWords is how a way to reach a server is said.
func transportWords(transport string) string {
	if transport == "stdio" {
		return "Command"
	}
	return "Address"
}

// rolloutWords is what the state of a gateway means.
func rolloutWords(state string) string {
	switch state {
	case "SYNCED":
		return "It enforces the current policy."
	case "PENDING":
		return "It has yet to fetch the current policy, and enforces what it holds."
	case "REJECTED":
		return "It refused the current policy, and enforces what it holds."
	case "STALE":
		return "Its lease has ended, so it denies every call."
	case "OFFLINE":
		return "It may enforce what it holds until its lease ends, then it denies."
	case "revoked":
		return "It is refused, and denies every call."
	}
	return ""
}

// reasonWords is how a code, as a policy's reason, is said; anything else is somebody's own words.
func reasonWords(reason string) string {
	words := map[string]string{ //nolint:gosec // sentences, no secrets
		"nobody_decided": "Nobody decided in time.", "not_claimed": "Approved, but the call was not repeated in time.",
		"not_redeemed": "Approved, but the call was not executed in time.", "redeemed": "Executed once.",
		"by_caller": "The caller took it back.", "terms_changed": "The rules changed while it waited.", "epoch_changed": "The database was restored meanwhile.",
		"gateway_revoked": "Its gateway was revoked.", "no_grant": "No grant allows it.", "drifted": "The tool changed after it was reviewed.",
		"suspended": "The server is suspended.", "unknown_tool": "The tool is not pinned.", "unknown_server": "The server is not known.",
		"denied_by_guardrail": "A guardrail denies it.", "mfa_required": "The caller has to sign in with a second factor.",
		"step_up_required": "The caller has to sign in again, as a guardrail asks.", "rate_limited": "A rate limit was used up.",
		"condition_not_met": "The condition of its grant is not true.", "requirement_not_met": "A guardrail requires what is not so.",
		"token_budget_spent": "A token budget was used up.", "response_too_long": "The result was longer than a guardrail allows, and was withheld.", "approval_required": "It needs a person.", "allowed": "",
	}
	if w, ok := words[reason]; ok {
		return w
	}
	return reason
}

// briefly is how much of a text a row of a table shows.
const briefly = 160

// brief is the beginning of a text, for a row of a table that leads to all of it.
func brief(s string) string {
	line, _, more := strings.Cut(s, "\n")
	if len(line) > briefly {
		end := briefly
		for end > 0 && !utf8.RuneStart(line[end]) {
			end--
		}
		line, more = line[:end], true
	}
	if more {
		line += " …"
	}
	return line
}

// tokenWords says what something costs a model to read.
func tokenWords(n int) string {
	switch {
	case n <= 0:
		return "not counted"
	case n < 1000:
		return fmt.Sprintf("≈ %d tokens", n)
	}
	return fmt.Sprintf("≈ %.1fk tokens", float64(n)/1000)
}

// durationWords says how long a call took; 0 is not measured.
func durationWords(d time.Duration) string {
	switch {
	case d <= 0:
		return "–"
	case d < time.Millisecond:
		return "< 1 ms"
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

// whereWords is a JSON Pointer into a definition as people read it: "input › amount › maximum".
func whereWords(pointer string) string {
	var parts []string
	dropped := false
	for part := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		part = strings.NewReplacer("~1", "/", "~0", "~").Replace(part)
		if dropped = part == "properties" && !dropped && len(parts) > 0; dropped {
			continue // what follows is the name of one
		}
		parts = append(parts, part)
	}
	switch parts[0] {
	case "inputSchema":
		parts[0] = "input"
	case "outputSchema":
		parts[0] = "output"
	case "":
		return "the whole"
	}
	return strings.Join(parts, " › ")
}

package gateway

import (
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode"

	"countersign/canonical"
	"countersign/client"
	"countersign/policy"
)

// approvalNotice is _meta["countersign/approval"] of a held call.
type approvalNotice struct {
	ID           string               `json:"id"`
	State        client.ApprovalState `json:"state"`
	URL          string               `json:"url"`
	CallDigest   canonical.Digest     `json:"callDigest"`
	ExpiresAt    time.Time            `json:"expiresAt"`
	RetryAfterMS int                  `json:"retryAfterMs"`
}

// tellHeld says that people have to decide, and where. A client that can show its user a URL gets it that way;
// every other one as the result of the tool, which all of them show.
func (h *heldCall) tellHeld(a client.Approval) error {
	x := h.x
	x.record(client.HeldCall, policy.ReasonApprovalRequired)
	expires := x.g.now().Add(time.Duration(a.ExpiresIn) * time.Second).UTC().Truncate(time.Second)
	if x.modern && x.message.urls {
		x.writeInputRequired(h.digest, a, expires)
		return nil
	}
	x.g.held.remember(h.digest, a.ID)
	notice := approvalNotice{
		ID: a.ID, State: a.State, URL: a.URL, CallDigest: h.digest, ExpiresAt: expires, RetryAfterMS: 5000,
	}
	text := fmt.Sprintf("APPROVAL REQUIRED (not executed). A person other than you has to approve this exact call at %s . "+
		"After the approval, call %s again with exactly the same arguments. Expires %s. Do not change the arguments.",
		a.URL, printable(x.log.use.name, 128), expires.Format("15:04Z"))
	if x.message.method != "tools/call" {
		return &rpcError{code: codeHeld, message: text, data: map[string]any{metaApproval: notice}}
	}
	result := errorResult(text, map[string]any{metaApproval: notice})
	if v := x.decide(x.log.use); v.Tool != nil && !v.Tool.HasOutputSchema {
		result.Structured = map[string]any{"approval": notice}
	}
	writeMessage(x.w, http.StatusOK, resultMessage(x.message.id, result))
	return nil
}

// inputRequired is the answer of the stateless protocol that asks the client for something first.
type inputRequired struct {
	ResultType   string                  `json:"resultType"`
	Requests     map[string]inputRequest `json:"inputRequests"`
	RequestState string                  `json:"requestState"`
	Meta         map[string]any          `json:"_meta,omitempty"`
}

type inputRequest struct {
	Method string    `json:"method"`
	Params elicitURL `json:"params"`
}

type elicitURL struct {
	Mode    string `json:"mode"`
	URL     string `json:"url"`
	Message string `json:"message"`
}

// inputName is the key of our request among inputRequests.
const inputName = "countersign_approval"

func (x *exchange) writeInputRequired(digest canonical.Digest, a client.Approval, expires time.Time) {
	state := x.g.held.seal.seal(requestState{Approval: a.ID, Digest: digest, Caller: x.caller.key(), Expires: expires.Unix()})
	message := printable(x.log.use.name, 128) + " needs the approval of another person. Send them this address; the call goes on when they have approved it."
	writeMessage(x.w, http.StatusOK, resultMessage(x.message.id, inputRequired{
		ResultType: "input_required", RequestState: state,
		Requests: map[string]inputRequest{inputName: {Method: "elicitation/create", Params: elicitURL{Mode: "url", URL: a.URL, Message: message}}},
	}))
}

// answers are what the client says to our inputRequests.
type answers []canonical.Member

// declined reports whether the user of the client does not want to go on.
func (a answers) declined() bool {
	value, ok := canonical.Lookup(a, inputName)
	if !ok {
		return false
	}
	members, err := canonical.Members(value)
	if err != nil {
		return false
	}
	action, _ := canonical.Lookup(members, "action")
	said, _ := canonical.Text(action)
	return said == "decline" || said == "cancel"
}

// requestState reads the state that we gave to the client with input_required: it names the approval, or the turn of a call
// that was approved. A state of the server's own cannot go with a call that is to be approved: nobody saw what it means. A
// state that looks like ours and is not sealed by this instance may be of another instance; it counts for nothing, so the
// call is one without a state: the control plane finds the request by the call itself.
func (h *heldCall) requestState() (state requestState, err error) {
	m := h.x.message
	raw, hasState := canonical.Lookup(m.params, "requestState")
	responses, hasResponses := canonical.Lookup(m.params, "inputResponses")
	if !hasState && !hasResponses {
		return requestState{}, nil
	}
	foreign := &rpcError{code: codeInvalidParams, message: "This call needs an approval. Call it anew, without requestState and inputResponses."}
	text, ok := canonical.Text(raw)
	if !ok {
		return requestState{}, foreign
	}
	if hasResponses {
		if h.given, err = canonical.Members(responses); err != nil {
			return requestState{}, foreign
		}
	}
	state, err = h.x.g.held.seal.open(text)
	if err != nil && strings.HasPrefix(text, statePrefix) {
		_, h.elsewhere = canonical.Lookup(h.given, inputName)
		return requestState{}, nil
	}
	if err != nil || state.Digest != h.digest || state.Caller != h.x.caller.key() {
		return requestState{}, foreign
	}
	return state, nil
}

// printable shortens text that a person elsewhere wrote, and takes out what does not print.
func printable(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
	if runes := []rune(s); len(runes) > n {
		return string(runes[:n]) + "…"
	}
	return s
}

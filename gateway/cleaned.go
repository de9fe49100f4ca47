package gateway

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"

	"countersign/canonical"
	"countersign/client"
	"countersign/internal/cleanse"
	"countersign/internal/room"
	"countersign/policy"
)

// metaFiltered says in the _meta of a result what the output filter changed in it.
const metaFiltered = metaPrefix + "filtered"

// metaPrefix begins what only we say. A server that says something under it says nothing.
const metaPrefix = "countersign/"

// filtered is what a caller is told of a result that the output filter changed.
type filtered struct {
	Texts int      `json:"texts"`
	Kinds []string `json:"kinds"`
}

// cleaner is the output filter for this server, as the configuration has it when the exchange first needs it.
func (x *exchange) cleaner() *cleanse.Filter {
	if x.clean == nil {
		x.clean = cleanse.New(x.g.config().outputOf(x.name).options())
	}
	return x.clean
}

// told filters what a server asks or says unasked. What cannot be made safe is dropped: out is nil.
func (x *exchange) told(raw []byte) (out []byte) {
	out, found, err := x.cleaner().Message(raw)
	if err != nil {
		x.g.log.Warn("what a server said was dropped", slog.String("server", x.name), slog.Any("error", err))
		return nil
	}
	x.log.filtered += found.Texts
	x.pass(out)
	return out
}

// deliver is an answer of the server on its way to the caller: as it is, or without what is not for the caller, or
// another in its place. content is the result or the error in the message. It is charged for as it passes.
func (x *exchange) deliver(fields []canonical.Member, message, content []byte) ([]byte, error) {
	id, _ := canonical.Lookup(fields, "id")
	d := x.dutyOf(id)
	out, err := x.passable(d, id, message, content)
	x.log.tokens += room.Tokens(len(out))
	d.room.Spend(room.Tokens(len(out)))
	return out, err
}

// passable is what the caller gets for an answer.
func (x *exchange) passable(d duty, id json.RawMessage, message, content []byte) ([]byte, error) {
	if d.most > 0 && int64(len(content)) > d.most {
		x.log.withheld = reasonWithheld
		return withheldMessage(id, d.method, len(content), d.most), nil
	}
	clean, found, err := x.cleaner().Message(message)
	if err != nil {
		return x.withhold(d, id, reasonUnsafe, "could not be made safe: "+err.Error()), nil //nolint:nilerr // the caller is told instead
	}
	x.log.filtered += found.Texts
	x.taint(content)
	fields, err := canonical.Fields(clean, envelopeFields...)
	if err != nil {
		return nil, errUpstreamMessage
	}
	name := "result"
	value, isResult := canonical.Lookup(fields, name)
	if !isResult {
		name = "error"
		value, _ = canonical.Lookup(fields, name)
	}
	if value[0] != '{' {
		return clean, nil
	}
	members, err := canonical.Fields(value, resultFields...)
	if err != nil {
		return nil, errUpstreamMessage
	}
	if why := x.g.schemas.checkResult(d.output, members); why != nil {
		return x.withhold(d, id, reasonOutput, "is not of the form that was approved: "+why.Error()), nil //nolint:nilerr // the caller is told instead
	}
	changed := isResult && x.filterLists(members)
	changed = isResult && x.hideTasks(members) || changed
	if changed = note(&members, name, found) || changed; !changed {
		return clean, nil
	}
	return replaced(fields, name, members), nil
}

// replaced writes a message with other members of its result or error.
func replaced(fields []canonical.Member, name string, members []canonical.Member) []byte {
	for i := range fields {
		if fields[i].Key == name {
			fields[i].Value = canonical.AppendObject(nil, members)
		}
	}
	return canonical.AppendObject(nil, fields)
}

// note writes into a result what was changed in it, and takes out what only we may say there. It reports whether it
// changed something.
func note(members *[]canonical.Member, name string, found cleanse.Findings) (changed bool) {
	key := "_meta"
	if name == "error" {
		key = "data"
	}
	at, has := 0, false
	var ours []canonical.Member
	for i, m := range *members {
		if m.Key == key && len(m.Value) > 0 && m.Value[0] == '{' {
			at, has = i, true
			ours, _ = canonical.Members(m.Value) // it was read before
		}
	}
	kept := make([]canonical.Member, 0, len(ours)+1)
	for _, m := range ours {
		if strings.HasPrefix(strings.ToLower(m.Key), metaPrefix) {
			changed = true
			continue
		}
		kept = append(kept, m)
	}
	if found.Texts > 0 && name == "result" && notable(*members) {
		kept = append(kept, canonical.Member{Key: metaFiltered, Value: encode(filtered{found.Texts, found.Kinds.Names()})})
		changed = true
	}
	switch value := canonical.AppendObject(nil, kept); {
	case !changed:
	case has:
		(*members)[at].Value = value
	default:
		*members = append(*members, canonical.Member{Key: key, Value: value})
	}
	return changed
}

// notable reports whether a result is one that a model reads, and so is told that something was changed.
func notable(members []canonical.Member) bool {
	for _, m := range members {
		switch m.Key {
		case "content", "structuredContent", "contents", "messages", "inputRequests":
			return true
		}
	}
	return false
}

// unfit is what a caller is told of a result that is withheld for what it is.
type unfit struct {
	Decision client.Decision `json:"decision"`
	Reason   policy.Reason   `json:"reason"`
}

// withhold answers in the place of a result. why repeats nothing of it.
func (x *exchange) withhold(d duty, id json.RawMessage, reason policy.Reason, why string) []byte {
	x.log.withheld = reason
	x.g.log.Warn("a result was withheld", slog.String("server", x.name), slog.String("reason", string(reason)), slog.String("why", why))
	method := d.method
	if x.message != nil && string(x.message.id) == string(id) {
		method = x.message.method
	}
	said := map[string]any{metaDecision: unfit{client.AllowedCall, reason}}
	if method == "tools/call" {
		text := fmt.Sprintf("RESULT WITHHELD: the tool ran, and must not be called again for it; its result %s. Tell the owner of the server.", why)
		return resultMessage(id, errorResult(text, said))
	}
	text := fmt.Sprintf("RESULT WITHHELD: the server answered; its answer %s. Tell the owner of the server.", why)
	return errorMessage(id, &rpcError{code: codeWithheld, message: text, data: said})
}

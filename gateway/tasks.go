package gateway

import (
	"slices"
	"strings"

	"countersign/canonical"
)

// The gateway passes no tasks. What a task comes to is asked for later, and by a handle that names no tool, so neither the
// policy of that moment nor an approval would bind what is handed out then. Neither side learns that the other has tasks:
//
//	caller ◀──capabilities, without tasks──┤ server
//	caller ├──capabilities, without tasks; calls, without task──▶ server
//
// Then the protocol has both sides go on without: MCP 2025-11-25, basic/utilities/tasks, "Capability Negotiation". The
// methods of tasks are unknown here. A tool that only runs as a task says so itself.
const (
	capabilityTasks      = "tasks"
	capabilityExtensions = "extensions"
	extensionTasks       = "io.modelcontextprotocol/tasks"
)

// withoutTasks are capabilities of a client or a server, without those of tasks; every other byte stays as it is.
func withoutTasks(capabilities []canonical.Member) (kept []canonical.Member, changed bool) {
	without := func(members []canonical.Member, name string) []canonical.Member {
		return slices.DeleteFunc(slices.Clone(members), func(m canonical.Member) bool { return strings.EqualFold(m.Key, name) })
	}
	kept = without(capabilities, capabilityTasks)
	changed = len(kept) < len(capabilities)
	for i, m := range kept {
		if !strings.EqualFold(m.Key, capabilityExtensions) {
			continue
		}
		extensions, err := canonical.Members(m.Value)
		if err != nil {
			continue // it is no object, so there is nothing in it
		}
		if rest := without(extensions, extensionTasks); len(rest) < len(extensions) {
			kept[i].Value, changed = canonical.AppendObject(nil, rest), true
		}
	}
	return kept, changed
}

// asNoTask takes out of a call that its caller wants a task. It reports whether there was something to take out.
func (m *message) asNoTask() bool {
	before := len(m.params)
	if m.method == "tools/call" {
		m.params = slices.DeleteFunc(m.params, func(p canonical.Member) bool { return p.Key == "task" })
	}
	return len(m.params) < before
}

// hideTasks takes tasks out of what a server says that it can do, in place.
func (x *exchange) hideTasks(members []canonical.Member) (changed bool) {
	if x.message == nil || x.message.method != "initialize" && x.message.method != "server/discover" {
		return false
	}
	capabilities, ok := inside(members, "capabilities")
	if !ok {
		return false
	}
	kept, changed := withoutTasks(capabilities)
	for i := range members {
		if changed && members[i].Key == "capabilities" {
			members[i].Value = canonical.AppendObject(nil, kept)
		}
	}
	return changed
}

package gateway

import (
	"encoding/json"
	"log/slog"

	"countersign/client"
	"countersign/policy"
)

// drifted is for a difference that was seen in passing, in the list that has this member: the tool is held here
// at once, and the control plane shown what was seen, even if the server changes back before anybody looks.
func (w *watcher) drifted(s *policy.Server, t *policy.Tool, member string, raw json.RawMessage) {
	if !w.hold(s, t) {
		return
	}
	o := client.Observation{
		ServerID: s.ID, EndpointDigest: s.Endpoint.Digest, Partial: true,
		Tools: []json.RawMessage{}, Prompts: []json.RawMessage{}, Resources: []json.RawMessage{}, ResourceTemplates: []json.RawMessage{},
	}
	switch member {
	case "tools":
		o.Tools = append(o.Tools, raw)
	case "prompts":
		o.Prompts = append(o.Prompts, raw)
	case "resources":
		o.Resources = append(o.Resources, raw)
	case "resourceTemplates":
		o.ResourceTemplates = append(o.ResourceTemplates, raw)
	}
	w.g.background.run(func() { w.send(o) })
	w.distrust(s)
}

// hold holds a tool here. It reports whether that is new.
func (w *watcher) hold(s *policy.Server, t *policy.Tool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	key := heldKey{keyOf(s), use{t.Kind, t.Name}}
	if w.held[key] == t.Definition {
		return false
	}
	w.held[key] = t.Definition
	w.g.log.Warn("a definition differs from what is pinned: held", slog.String("server", s.Name), slog.String("kind", string(t.Kind)), slog.String("name", clip(t.Name, 128)))
	return true
}

func (w *watcher) isHeld(s *policy.Server, t *policy.Tool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.held[heldKey{keyOf(s), use{t.Kind, t.Name}}] == t.Definition
}

// release drops what the policy decides itself: tools that it holds, pins that are gone, endpoints that ended.
func (w *watcher) release(servers []policy.Server) {
	current := map[heldKey]*policy.Tool{}
	endpoints := map[endpointKey]bool{}
	for i := range servers {
		s := &servers[i]
		endpoints[keyOf(s)] = true
		for j := range s.Tools {
			t := &s.Tools[j]
			current[heldKey{keyOf(s), use{t.Kind, t.Name}}] = t
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for key, pinned := range w.held {
		if t := current[key]; t == nil || t.Held || t.Definition != pinned {
			delete(w.held, key)
		}
	}
	for key, e := range w.servers {
		if !endpoints[key] && e.looking == nil {
			delete(w.servers, key)
		}
	}
}

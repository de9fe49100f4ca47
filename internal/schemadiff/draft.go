package schemadiff

import "strings"

// draft is a dialect of JSON Schema.
type draft int

const (
	unknownDraft draft = iota
	draft07
	draft2020
)

// draftOf is the dialect that a schema declares. Without a word it is 2020-12, as MCP says.
func draftOf(root *node) draft {
	if !root.isObject() || root.get("$schema") == nil {
		return draft2020
	}
	_, name, _ := strings.Cut(strings.TrimSuffix(root.get("$schema").string(), "#"), "://")
	switch name {
	case "json-schema.org/draft-07/schema":
		return draft07
	case "json-schema.org/draft/2020-12/schema":
		return draft2020
	}
	return unknownDraft
}

// draft is the dialect in which a value is read.
func (n *node) draft() draft {
	if n.doc == nil {
		return draft2020
	}
	return n.doc.draft
}

package policy

import (
	"slices"
	"strings"
)

// ReachesServer reports whether r selects a server of that name and labels, whatever it offers: for pages that
// list the rules of a server. What a rule reaches in the end is resolved by Compile.
func (r Resource) ReachesServer(name string, labels []string) bool {
	if len(r.Servers) > 0 && !slices.ContainsFunc(r.Servers, func(p string) bool { return Glob(strings.ToLower(p), strings.ToLower(name)) }) {
		return false
	}
	if len(r.Labels) > 0 && !slices.ContainsFunc(labels, func(l string) bool { return anyGlob(r.Labels, l) }) {
		return false
	}
	return len(r.Servers)+len(r.Labels) > 0
}

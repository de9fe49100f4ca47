package cleanse

import (
	"slices"
	"strings"
)

// Options say what a filter does beyond removing what nobody can see, which it always does. The zero value is the
// strictest.
type Options struct {
	KeepSecrets bool
	KeepActive  bool
	AllowHosts  []string // images of them may load; "*.example.com" is every host below example.com
}

// Filter makes text safe. It is made by New and safe for concurrent use.
type Filter struct {
	secrets bool
	inert   bool // active content is made inert
	hosts   []string
}

// New makes a filter.
func New(o Options) *Filter {
	f := &Filter{secrets: !o.KeepSecrets, inert: !o.KeepActive}
	for _, h := range o.AllowHosts {
		f.hosts = append(f.hosts, strings.ToLower(strings.TrimSuffix(h, ".")))
	}
	if f.secrets {
		loadRules()
	}
	return f
}

// Kinds are the kinds of things that a filter changed.
type Kinds uint8

// The kinds, each a bit.
const (
	Encoding Kinds = 1 << iota // was not UTF-8
	Terminal                   // escapes and control characters
	Hidden                     // characters that nobody sees or that reorder others
	Active                     // what a page or Markdown would load or run
	Secret                     // keys, passwords, numbers of cards and accounts
	Restless                   // a text that did not come to rest, and is withheld
)

var kindNames = []string{"encoding", "terminal", "hidden", "active_content", "secret", "restless"}

// Names lists the kinds by name.
func (k Kinds) Names() []string {
	names := []string{}
	for i, name := range kindNames {
		if k&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// Findings say what was changed.
type Findings struct {
	Texts int // how many strings
	Kinds Kinds
}

func (f *Findings) add(k Kinds) {
	if k != 0 {
		f.Texts++
		f.Kinds |= k
	}
}

// rounds bounds how often a text is gone over. Two are the rule: one that changes it, one that finds it clean.
const rounds = 8

// withheldText stands for a text that does not come to rest.
const withheldText = "[text withheld: it does not become safe]"

// Text makes a text safe.
func (f *Filter) Text(s string) (string, Findings) {
	out, kinds := f.text(s, nil)
	found := Findings{}
	found.add(kinds)
	return out, found
}

// text also takes the labels that other texts of the same message define as addresses of images.
func (f *Filter) text(s string, defined labels) (string, Kinds) {
	var all Kinds
	for range rounds {
		next, kinds := f.pass(s, defined)
		if kinds == 0 {
			return s, all
		}
		s, all = next, all|kinds
	}
	return withheldText, all | Restless
}

// pass goes over a text once. No kinds: the text is what it was.
func (f *Filter) pass(s string, defined labels) (string, Kinds) {
	var kinds Kinds
	seen := classesOf(s)
	if seen&(control|high) != 0 {
		s, kinds = strip(s)
	}
	if f.inert && seen&markup != 0 {
		if next, changed := f.neutralise(s, defined); changed {
			s, kinds = next, kinds|Active
		}
	}
	if f.secrets {
		if next, changed := redact(s); changed {
			s, kinds = next, kinds|Secret
		}
	}
	return s, kinds
}

// allows reports whether images of a host may load.
func (f *Filter) allows(host string) bool {
	return slices.ContainsFunc(f.hosts, func(allowed string) bool {
		below, wild := strings.CutPrefix(allowed, "*")
		return host == allowed || wild && len(host) > len(below) && strings.HasSuffix(host, below)
	})
}

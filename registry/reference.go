package registry

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"countersign/policy"
)

// A description that speaks of another server's tools can change what a model does with them, without ever being
// called (tool shadowing). It blocks where there is no mistaking it: an order about a tool that only another server
// offers, or another server by its name together with one of its tools. A name that is merely dropped is a guess.

// quote is a passage of a definition that may speak of other servers and their tools.
type quote struct {
	where   string
	servers []mention // by name in lower case
	tools   []mention
	rest    bool // from here on, nothing was compared any more
}

// mention is one name in a passage.
type mention struct {
	name   string
	marked bool // it cannot be an everyday word
	orders bool // its sentence tells what to do
}

// maxMentions bounds the names that are looked for in one definition. Real ones hold a few dozen.
const maxMentions = 2_000

// quotes finds the names in a definition that might be other servers' or their tools', and asks for them. Names in own
// are the server's own.
func (a *asked) quotes(raw []byte, own map[nameKey]bool) []quote {
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return nil
	}
	var out []quote
	left := maxMentions
	passages(nil, value, func(at *step, text string) {
		if left <= 0 || !strings.ContainsRune(text, ' ') { // one word is a value, not a sentence
			return
		}
		q := readQuote(text, own)
		if len(q.servers)+len(q.tools) == 0 {
			return
		}
		q.where = at.String()
		left -= len(q.servers) + len(q.tools)
		for _, m := range q.tools {
			a.add(policy.KindTool, m.name)
		}
		for _, m := range q.servers {
			a.servers[m.name] = true
		}
		q.rest = left <= 0
		out = append(out, q)
	})
	return out
}

func readQuote(text string, own map[nameKey]bool) quote {
	var q quote
	for _, sentence := range sentences(text) {
		words := wordsOf(sentence)
		orders := givesOrders(words)
		for _, w := range words {
			if server := serverIn(w); server != "" {
				q.servers = append(q.servers, mention{name: server, marked: true, orders: orders})
			}
			for _, name := range namesIn(w) {
				if !own[nameKey{policy.KindTool, Skeleton(name)}] {
					q.tools = append(q.tools, mention{name: name, marked: isMarked(name), orders: orders})
				}
			}
		}
	}
	if len(q.servers) == 0 { // an everyday word means a tool only beside its server
		q.tools = slices.DeleteFunc(q.tools, func(m mention) bool { return !m.marked })
	}
	return q
}

// serverIn gives the server's name that begins a word like com.acme/orders or com.acme/orders/list, in lower case.
func serverIn(word string) string {
	space, rest, found := strings.Cut(word, "/")
	name, _, _ := strings.Cut(rest, "/")
	if !found || name == "" || !strings.Contains(space, ".") {
		return ""
	}
	return strings.ToLower(space + "/" + name)
}

// namesIn gives what may be a tool's name in a word: the word, and what follows a server's name before a dot, a slash
// or two underscores.
func namesIn(word string) []string {
	names := []string{word}
	for _, joint := range []string{"/", ".", "__"} {
		if i := strings.LastIndex(word, joint); i >= 0 {
			names = append(names, word[i+len(joint):])
		}
	}
	return slices.DeleteFunc(names, func(n string) bool { return len(n) < 3 || len(n) > maxNameBytes })
}

// isMarked reports whether a name is long enough, and made in a way that words of a language are not: list_orders,
// resolve-library-id, getOrder, sha256sum.
func isMarked(name string) bool {
	if len(name) < 8 {
		return false
	}
	lower := false
	for _, r := range name {
		if r == '_' || r == '-' || unicode.IsDigit(r) || lower && unicode.IsUpper(r) {
			return true
		}
		lower = unicode.IsLower(r)
	}
	return false
}

// ordering are the words of a sentence that tells what has to be done or not.
var ordering = wordSet(`must always never instead rather override overrides replace replaces replaced supersede
	supersedes ignore disregard forbidden disabled deprecated mandatory required don't dont avoid stop refuse first before
	after whenever prior`)

// givesOrders reports whether a sentence tells a model what to do or not to do.
func givesOrders(words []string) bool {
	before := ""
	for _, w := range words {
		w = strings.ReplaceAll(fold(w), "’", "'")
		if ordering[w] || w == "not" && (before == "do" || before == "should") {
			return true
		}
		before = w
	}
	return false
}

func wordSet(words string) map[string]bool {
	set := map[string]bool{}
	for w := range strings.FieldsSeq(words) {
		set[w] = true
	}
	return set
}

// maxReferences bounds the findings of one kind about one definition.
const maxReferences = 3

// quoted gives the findings about passages that speak of what other servers have.
func (n neighbours) quoted(quotes []quote) []Finding {
	var found []Finding
	said := map[string]bool{}
	add := func(f Finding, about string) {
		if !said[about] && len(found) < 2*maxReferences {
			said[about] = true
			found = append(found, f)
		}
	}
	for _, q := range quotes {
		if q.rest {
			add(Finding{
				Code: codeToolReference, Where: q.where, Heuristic: true,
				Message: "The definition holds more names than are compared with other servers' tools.",
			}, "")
		}
		for _, m := range q.tools {
			if f, about := n.toolQuoted(q, m); about != "" {
				add(f, about)
			}
		}
		for _, m := range q.servers {
			if name, is := n.servers[m.name]; is {
				add(reference(codeServerReference, q.where, "of the server "+name, m.orders), name)
			}
		}
	}
	// What blocks goes first: it is what the owner has to read.
	slices.SortStableFunc(found, func(a, b Finding) int {
		switch {
		case a.Blocks == b.Blocks:
			return 0
		case a.Blocks:
			return -1
		}
		return 1
	})
	return found[:min(len(found), maxReferences)]
}

// toolQuoted gives the finding about one name, if a tool of another server has it, and what it is about.
func (n neighbours) toolQuoted(q quote, m mention) (f Finding, about string) {
	for _, t := range n.tools[nameKey{policy.KindTool, Skeleton(m.name)}] {
		if !lookAlike(t.name, m.name) {
			continue
		}
		beside := slices.ContainsFunc(q.servers, func(s mention) bool { return s.name == strings.ToLower(t.server) })
		if !m.marked && !beside {
			continue
		}
		return reference(codeToolReference, q.where, fmt.Sprintf("of %s, a tool of %s", spelled(t.name), t.server), m.orders || beside), t.server + " " + t.name
	}
	return Finding{}, ""
}

func reference(code, where, of string, blocks bool) Finding {
	message := "The text at " + where + " speaks " + of
	if blocks {
		message += ", and could change what is done with it."
	} else {
		message += "."
	}
	return Finding{Code: code, Where: where, Message: message, Blocks: blocks, Heuristic: !blocks}
}

package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"countersign/canonical"
	"countersign/client"
	"countersign/internal/problem"
	"countersign/policy"
)

// Limits of what one server may offer. Beyond them a discovery fails and an observation is refused.
const (
	MaxItems           = 5_000
	MaxDefinitionBytes = 256 << 10
	MaxOfferBytes      = 16 << 20
	maxNameBytes       = 1024
)

// key names an item of a server.
type key struct {
	Kind policy.Kind
	Name string
}

// item is one definition as an endpoint serves it.
type item struct {
	key
	raw      []byte
	digest   canonical.Digest
	risk     policy.Risk // proposed
	findings []Finding
	tokens   int // 0: not counted
}

// fault is something served that cannot be a definition. It holds what is pinned under its name, if it has one.
type fault struct {
	key
	message string
}

// served is what an endpoint was seen to serve.
type served struct {
	items   []item
	faults  []fault
	partial bool // what is missing was not looked at

	refound map[string][]Finding // by definition that was known: what is found in it now
}

// readOffer takes an offer apart. It returns a problem TooLarge if there is more than a server may offer; single
// items that cannot be used are faults.
func readOffer(o client.Offer) (served, error) {
	groups := []struct {
		kind  policy.Kind
		field string
		raws  []json.RawMessage
	}{
		{policy.KindTool, "name", o.Tools},
		{policy.KindPrompt, "name", o.Prompts},
		{policy.KindResource, "uri", o.Resources},
		{policy.KindResource, "uriTemplate", o.ResourceTemplates},
	}
	count, size := 0, 0
	for _, g := range groups {
		count += len(g.raws)
		for _, raw := range g.raws {
			size += len(raw)
		}
	}
	if err := tooMuch(count, size); err != nil {
		return served{}, err
	}
	s := served{items: make([]item, 0, count)}
	for _, g := range groups {
		for i, raw := range g.raws {
			s.read(g.kind, g.field, i, raw)
		}
	}
	s.dropDoubles()
	return s, nil
}

func tooMuch(count, size int) error {
	switch {
	case count > MaxItems:
		return problem.New(problem.TooLarge, "offer_too_large",
			"The server offers %d tools, prompts and resources. At most %d can be governed; split the server.", count, MaxItems)
	case size > MaxOfferBytes:
		return problem.New(problem.TooLarge, "offer_too_large",
			"The server's definitions are %d MiB together. At most %d MiB are read.", size>>20, MaxOfferBytes>>20)
	}
	return nil
}

// read adds one raw definition to the items or to the faults.
func (s *served) read(kind policy.Kind, field string, index int, raw json.RawMessage) {
	k := key{Kind: kind}
	refuse := func(format string, args ...any) {
		s.faults = append(s.faults, fault{k, fmt.Sprintf("%s %d: ", kind, index+1) + fmt.Sprintf(format, args...)})
	}
	if len(raw) > MaxDefinitionBytes {
		k.Name = nameOf(raw, field)
		refuse("the definition is %d KiB; at most %d KiB are read.", len(raw)>>10, MaxDefinitionBytes>>10)
		return
	}
	digest, err := client.DefinitionDigest(raw)
	if err != nil {
		k.Name = nameOf(raw, field)
		refuse("the definition cannot be read safely: %s", whyNotCanonical(err))
		return
	}
	k.Name = nameOf(raw, field)
	if k.Name == "" {
		refuse("the definition has no %s, or one that cannot be a name.", field)
		return
	}
	s.items = append(s.items, item{key: k, raw: raw, digest: digest, risk: proposeRisk(kind, raw)})
}

// whyNotCanonical repeats only our own words of err.
func whyNotCanonical(err error) string {
	if c, is := errors.AsType[*canonical.Error](err); is {
		return c.Msg
	}
	return "it is not one JSON object."
}

// nameOf reads the item's name, leniently, since even a broken definition holds what is pinned under its name.
// It is "" if there is none that could be stored.
func nameOf(raw []byte, field string) string {
	var fields map[string]json.RawMessage
	if json.Unmarshal(raw, &fields) != nil {
		return ""
	}
	var name string
	if json.Unmarshal(fields[field], &name) != nil || len(name) > maxNameBytes || !storable(name) {
		return ""
	}
	return name
}

// storable reports whether PostgreSQL can store s as text.
func storable(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for i := range len(s) {
		if s[i] == 0 {
			return false
		}
	}
	return true
}

// dropDoubles turns every item whose name is offered more than once, in whatever shape, into a fault: nobody can say
// which one a call would reach.
func (s *served) dropDoubles() {
	times := make(map[key]int, len(s.items))
	for i := range s.items {
		times[s.items[i].key]++
	}
	for i := range s.faults {
		times[s.faults[i].key]++
	}
	kept := s.items[:0]
	for _, it := range s.items {
		switch n := times[it.key]; {
		case n == 1:
			kept = append(kept, it)
		case n > 1:
			s.faults = append(s.faults, fault{it.key, fmt.Sprintf("%s %q is offered %d times.", it.Kind, visible(it.Name, 80), n)})
			times[it.key] = 0 // said once
		}
	}
	s.items = kept
}

// proposeRisk is what the server's own annotations suggest; the owner decides. A tool that says nothing is
// destructive. Prompts and resources are read.
func proposeRisk(kind policy.Kind, raw []byte) policy.Risk {
	if kind != policy.KindTool {
		return policy.ReadOnly
	}
	members, err := canonical.Members(raw)
	if err != nil {
		return policy.Destructive
	}
	annotations, _ := canonical.Lookup(members, "annotations")
	hints, err := canonical.Members(annotations)
	if err != nil {
		return policy.Destructive
	}
	if v, _ := canonical.Lookup(hints, "readOnlyHint"); string(v) == "true" {
		return policy.ReadOnly
	}
	if v, _ := canonical.Lookup(hints, "destructiveHint"); string(v) == "false" {
		return policy.Write
	}
	return policy.Destructive
}

package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"countersign/canonical"
	"countersign/client"
	"countersign/policy"
)

// Bounds of what a server may offer.
const (
	maxItems      = 5_000
	maxDefinition = 256 << 10
	maxOffer      = 32 << 20
	maxPages      = 1_000
)

// stepFunc is told how far the reading of an offer is. It may be nil.
type stepFunc func(name string, state client.StepState, detail string)

func (f stepFunc) say(name string, state client.StepState, detail string) {
	if f != nil {
		f(name, state, detail)
	}
}

// The ways in which an offer is too much.
var (
	errTooManyItems  = fmt.Errorf("the server offers more than %d tools, prompts and resources", maxItems)
	errBigDefinition = fmt.Errorf("one definition is larger than %d KiB", maxDefinition>>10)
	errBigOffer      = fmt.Errorf("the server sent more than %d MiB", maxOffer>>20)
	errEndless       = errors.New("the server's list does not end: a cursor came back")
	errBadList       = errors.New("a list of the server cannot be read in exactly one way")
)

// readOffer asks a server for everything it offers and returns the definitions as they were sent, and the version
// of the protocol that it speaks.
func (g *Gateway) readOffer(ctx context.Context, name string, e policy.Endpoint, say stepFunc) (offer client.Offer, version string, err error) {
	l, err := g.connect(ctx, name, e, say)
	if err != nil {
		return client.Offer{}, "", err
	}
	defer func() { l.close() }()
	r := &offerReader{link: l}
	offer.ServerInfo = l.info
	for _, step := range []struct {
		name       string
		capability string
		lists      []listing
	}{
		{client.StepListTools, "tools", []listing{{"tools/list", "tools", &offer.Tools}}},
		{client.StepListPrompts, "prompts", []listing{{"prompts/list", "prompts", &offer.Prompts}}},
		{client.StepListResources, "resources", []listing{
			{"resources/list", "resources", &offer.Resources},
			{"resources/templates/list", "resourceTemplates", &offer.ResourceTemplates},
		}},
	} {
		if !slices.Contains(l.capabilities, step.capability) {
			say.say(step.name, client.StepSkipped, "the server declares none")
			continue
		}
		say.say(step.name, client.StepRunning, "")
		before := r.items
		for _, list := range step.lists {
			if err := r.read(ctx, list); err != nil {
				say.say(step.name, client.StepFailed, explain(err))
				return client.Offer{}, "", err
			}
		}
		say.say(step.name, client.StepDone, fmt.Sprintf("%d found", r.items-before))
	}
	return withoutNil(offer), l.version, nil
}

func withoutNil(o client.Offer) client.Offer {
	for _, list := range []*[]json.RawMessage{&o.Tools, &o.Prompts, &o.Resources, &o.ResourceTemplates} {
		if *list == nil {
			*list = []json.RawMessage{}
		}
	}
	return o
}

type listing struct {
	method string
	member string
	into   *[]json.RawMessage
}

// offerReader follows the pages of lists, within bounds over all of them.
type offerReader struct {
	link  *link
	items int
}

func (r *offerReader) read(ctx context.Context, l listing) error {
	cursor, seen := "", map[string]bool{}
	for range maxPages {
		params := []canonical.Member{}
		if cursor != "" {
			params = append(params, canonical.Member{Key: "cursor", Value: canonical.AppendString(nil, cursor)})
		}
		result, err := r.link.call(ctx, l.method, params)
		if e := (*remoteError)(nil); errors.As(err, &e) && e.code == codeUnknownMethod {
			return nil // it declares the capability, and has only some of its lists
		}
		if err != nil {
			return err
		}
		if cursor, err = r.page(result, l); err != nil || cursor == "" {
			return err
		}
		if seen[cursor] {
			return errEndless
		}
		seen[cursor] = true
	}
	return errEndless
}

// page takes the definitions of one page and returns the cursor of the next.
func (r *offerReader) page(result json.RawMessage, l listing) (cursor string, err error) {
	members, err := canonical.Fields(result, l.member, "nextCursor")
	if err != nil {
		return "", fmt.Errorf("%w: %w", errBadList, err)
	}
	list, ok := canonical.Lookup(members, l.member)
	if !ok {
		return "", errBadList
	}
	elements, err := canonical.Elements(list)
	if err != nil {
		return "", fmt.Errorf("%w: %w", errBadList, err)
	}
	if r.items += len(elements); r.items > maxItems {
		return "", errTooManyItems
	}
	for _, e := range elements {
		if len(e) > maxDefinition {
			return "", errBigDefinition
		}
	}
	*l.into = append(*l.into, elements...)
	next, _ := canonical.Lookup(members, "nextCursor")
	cursor, _ = canonical.Text(next)
	return cursor, nil
}

// digests identifies each definition of an offer. What has no name, or a name that came before with another
// text, gets a digest that no pin has.
func digests(o client.Offer) map[use]canonical.Digest {
	seen := map[use]canonical.Digest{}
	add := func(kind policy.Kind, key string, raws []json.RawMessage) {
		for _, raw := range raws {
			name, ok := definitionName(raw, key)
			if !ok {
				continue
			}
			u := use{kind, name}
			digest, err := client.DefinitionDigest(raw)
			if before, twice := seen[u]; err != nil || twice && before != digest {
				digest = canonical.Digest{}
			}
			seen[u] = digest
		}
	}
	add(policy.KindTool, "name", o.Tools)
	add(policy.KindPrompt, "name", o.Prompts)
	add(policy.KindResource, "uri", o.Resources)
	add(policy.KindResource, "uriTemplate", o.ResourceTemplates)
	return seen
}

// fingerprint tells two sets of definitions apart.
func fingerprint(seen map[use]canonical.Digest) canonical.Digest {
	lines := make([][]byte, 0, len(seen))
	for u, d := range seen {
		lines = append(lines, fmt.Appendf(nil, "%s\x00%s\x00%s", u.kind, u.name, d.Hex()))
	}
	slices.SortFunc(lines, bytes.Compare)
	return canonical.Sum("countersign/observation/v1", bytes.Join(lines, []byte{'\n'}))
}

package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"countersign/canonical"
	"countersign/internal/room"
	"countersign/policy"
)

// GuardConfig says which server is guarded, and how.
type GuardConfig struct {
	Client *Client
	Feed   *Feed  // of the same client. Somebody else runs it, as one feed may serve several guards
	Server string // the name that this server is registered by
	Offer  Offer  // everything it serves, each definition as it sends it: what differs from its pin is denied

	Wait    time.Duration // how long a call waits for people before its caller is told that they are asked; 0: not at all
	Records *Recorder     // is told of each call; nil: nobody is
}

// Guard holds the calls of one MCP server to the policy from inside that server, for a server that no gateway stands in
// front of. It is enrolled as a gateway of the kind embedded.
//
//	Call ─ decide ─┬─ deny ───────────────────────────────────────────────▶ *NotExecutedError
//	               ├─ allow ───────────────────────────────┐
//	               └─ hold ─┬─ a token is carried ─┐       │
//	                        └─ ask, wait ─ claim ──┴ redeem ┴▶ run, once ─▶ report how it ended
//	                             └─ not approved ─────────────────────────▶ *NotExecutedError
//
// Nothing runs on an error: no policy, a lease that is over, an answer that did not arrive, a definition that is not the
// pinned one, arguments that can be read in two ways. At most one execution follows from an approval, also over a crash:
// one that nobody reports on is indeterminate, and a person looks.
//
// Its methods are safe for concurrent use.
type Guard struct {
	GuardConfig

	served map[string]canonical.Digest // of the tools in Offer
	calls  inFlight
	rooms  *room.Rooms
	ended  outcomes
	now    func() time.Time
	log    *slog.Logger
}

// NewGuard makes a Guard. It refuses an offer that it cannot read in exactly one way. Nothing is followed, reported or
// discovered before Run, and every call is denied before the Feed has a policy.
func NewGuard(cfg GuardConfig) (*Guard, error) {
	if cfg.Client == nil || cfg.Feed == nil || cfg.Server == "" {
		return nil, errors.New("a guard needs a client, a feed and the name of its server")
	}
	served, err := toolDigests(cfg.Offer.Tools)
	if err != nil {
		return nil, err
	}
	for _, list := range []*[]json.RawMessage{&cfg.Offer.Tools, &cfg.Offer.Prompts, &cfg.Offer.Resources, &cfg.Offer.ResourceTemplates} {
		if *list == nil {
			*list = []json.RawMessage{}
		}
	}
	return &Guard{
		GuardConfig: cfg, served: served, now: cfg.Client.now, log: cfg.Client.log,
		calls: newInFlight(), rooms: room.New(cfg.Client.log, cfg.Client.now), ended: newOutcomes(),
	}, nil
}

// toolDigests identifies each tool by its name.
func toolDigests(tools []json.RawMessage) (map[string]canonical.Digest, error) {
	served := map[string]canonical.Digest{}
	for _, raw := range tools {
		digest, err := DefinitionDigest(raw)
		if err != nil {
			return nil, err
		}
		members, err := canonical.Fields(raw, "name")
		if err != nil {
			return nil, fmt.Errorf("reading definition: %w", err)
		}
		name, _ := canonical.Lookup(members, "name")
		text, ok := canonical.Text(name)
		if _, twice := served[text]; !ok || text == "" || twice {
			return nil, errors.New("every tool of a server has a name, and no other has the same")
		}
		served[text] = digest
	}
	return served, nil
}

// Run answers discoveries of this server, tells the control plane what it serves, and reports how approved calls ended,
// until ctx ends; then it reports for a moment more. It does not run the Feed.
func (g *Guard) Run(ctx context.Context) error {
	var parts errgroup.Group
	parts.Go(func() error { g.discover(ctx); return nil })
	parts.Go(func() error { g.observe(ctx); return nil })
	parts.Go(func() error { g.reportOutcomes(ctx); return nil })
	return parts.Wait()
}

// Visible gives the names of the tools that this caller may be shown; none while there is no policy. Another call may be
// denied for its arguments all the same.
func (g *Guard) Visible(caller Caller) []string {
	current, err := g.Feed.Current()
	if err != nil {
		return nil
	}
	var names []string
	for tool := range current.Index.Visible(g.Server, policy.KindTool, &caller.Principal, g.now()) {
		if g.served[tool.Name] == tool.Definition {
			names = append(names, tool.Name)
		}
	}
	return names
}

package registry

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"countersign/policy"
)

// Codes of findings beside other servers' tools.
const (
	codeLookAlike       = "look_alike"       // blocks
	codeSameName        = "same_name"        // the owner settles it by pinning
	codeToolReference   = "tool_reference"   // blocks where it gives orders, else a guess
	codeServerReference = "server_reference" // the same
)

func isReference(f Finding) bool { return f.Code == codeToolReference || f.Code == codeServerReference }

func isAcross(f Finding) bool {
	return isReference(f) || f.Code == codeLookAlike || f.Code == codeSameName
}

// nameKey is how names meet that look alike.
type nameKey struct {
	kind     policy.Kind
	skeleton string
}

// asked collects the names that are to be looked for on other servers.
type asked struct {
	tools   map[nameKey]bool
	servers map[string]bool // in lower case
}

func (a *asked) add(kind policy.Kind, name string) {
	if a.tools == nil {
		a.tools, a.servers = map[nameKey]bool{}, map[string]bool{}
	}
	a.tools[nameKey{kind, Skeleton(name)}] = true
}

// neighbour is a tool, prompt or resource of another server that is not retired.
type neighbour struct {
	nameKey
	standing
	name   string
	server string
}

// neighbours is what other servers have of what was asked.
type neighbours struct {
	tools   map[nameKey][]neighbour
	servers map[string]string // name in lower case → as registered
}

// askedAtOnce bounds one statement. A server that names more pays for more of them.
const askedAtOnce = 5_000

// neighbours looks up what other servers have: of each name the oldest, at most 50.
func (r *Registry) neighbours(ctx context.Context, serverID string, names asked) (neighbours, error) {
	n := neighbours{tools: map[nameKey][]neighbour{}, servers: map[string]string{}}
	var kinds, skeletons []string
	for k := range names.tools {
		kinds, skeletons = append(kinds, string(k.kind)), append(skeletons, k.skeleton)
	}
	for from := 0; from < len(kinds); from += askedAtOnce {
		to := min(len(kinds), from+askedAtOnce)
		if err := n.readTools(ctx, r, serverID, kinds[from:to], skeletons[from:to]); err != nil {
			return n, err
		}
	}
	return n, n.readServers(ctx, r, serverID, names)
}

func (n *neighbours) readTools(ctx context.Context, r *Registry, serverID string, kinds, skeletons []string) error {
	rows, _ := r.pool.Query(ctx, `
		select t.kind, t.skeleton, t.name, t.server_name, t.pinned, t.created_at, t.id
		from unnest(@kinds::text[], @skeletons::text[]) as n (kind, skeleton)
		cross join lateral (
		  select o.kind, o.skeleton, o.name, s.name as server_name, o.pinned_id is not null as pinned, o.created_at, o.id
		  from tools o
		  join servers s on s.id = o.server_id and s.state <> 'retired'
		  where o.skeleton = n.skeleton and o.skeleton <> '' and o.kind = n.kind and o.server_id <> @server
		    and (o.pinned_id is not null or o.observed_digest is not null)
		  order by o.created_at, o.id
		  limit 50) t`, pgx.StrictNamedArgs{"server": serverID, "kinds": kinds, "skeletons": skeletons})
	var t neighbour
	_, err := pgx.ForEachRow(rows, []any{&t.kind, &t.skeleton, &t.name, &t.server, &t.pinned, &t.since, &t.tieless}, func() error {
		n.tools[t.nameKey] = append(n.tools[t.nameKey], t)
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading other servers' tools: %w", err)
	}
	return nil
}

func (n *neighbours) readServers(ctx context.Context, r *Registry, serverID string, names asked) error {
	if len(names.servers) == 0 {
		return nil
	}
	var lower []string
	for name := range names.servers {
		lower = append(lower, name)
	}
	rows, _ := r.pool.Query(ctx, `
		select name from servers where lower(name) = any (@names) and id <> @server and state <> 'retired'`,
		pgx.StrictNamedArgs{"names": lower, "server": serverID})
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("reading other servers: %w", err)
	}
	for _, name := range found {
		n.servers[strings.ToLower(name)] = name
	}
	return nil
}

// alike gives the findings about a name that looks like one that was there before, or is the very same.
func (n neighbours) alike(e examined) []Finding {
	var same []string
	for _, t := range n.tools[nameKey{e.Kind, Skeleton(e.Name)}] {
		switch {
		case !t.before(e.own):
		case t.name == e.Name:
			same = append(same, t.server)
		case lookAlike(t.name, e.Name):
			return []Finding{{
				Code: codeLookAlike, Where: nameAt(e.Kind), Blocks: true,
				Message: fmt.Sprintf("The name %s looks like %s, a %s of %s.", spelled(e.Name), spelled(t.name), t.kind, t.server),
			}}
		}
	}
	if len(same) == 0 {
		return nil
	}
	return []Finding{{Code: codeSameName, Where: nameAt(e.Kind), Message: "A " + string(e.Kind) + " of the same name is on " + someOf(same) + "."}}
}

// someOf names at most three of servers, in order.
func someOf(servers []string) string {
	slices.Sort(servers)
	if len(servers) <= 3 {
		return strings.Join(servers, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(servers[:3], ", "), len(servers)-3)
}

func nameAt(kind policy.Kind) string {
	if kind == policy.KindResource {
		return ""
	}
	return "/name"
}

// spelled quotes a name so that what is not plain ASCII can be told: list_оrders (U+043E).
func spelled(name string) string {
	var odd []string
	for _, r := range name {
		if r > '~' && len(odd) < 5 {
			odd = append(odd, fmt.Sprintf("U+%04X", r))
		}
	}
	quoted := "“" + visible(name, 80) + "”"
	if len(odd) > 0 {
		quoted += " (with " + strings.Join(odd, ", ") + ")"
	}
	return quoted
}

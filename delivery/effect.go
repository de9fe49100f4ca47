package delivery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/identity"
	"countersign/internal/problem"
)

// Effects is how far a change of the policy has come.
type Effects struct {
	Generation int64     // of the policy that carries the change
	Since      time.Time // when it was made
	Gateways   []Effect  // whom it concerns, by name
}

// Done reports whether every gateway that is alive enforces the change.
func (e Effects) Done() bool {
	return !slices.ContainsFunc(e.Gateways, func(g Effect) bool { return g.State == Pending || g.State == Rejected })
}

// Counts is how many gateways are in each state.
func (e Effects) Counts() map[InstanceState]int {
	counts := map[InstanceState]int{}
	for _, g := range e.Gateways {
		counts[g.State]++
	}
	return counts
}

// Effect is how far a change has come on one gateway.
type Effect struct {
	Gateway   Gateway
	Carries   int64         // the revision that carries the change; 0: none is published yet
	State     InstanceState // against Carries, not against whatever is current
	Reason    string        // why it is not Synced, for people; "" if it is
	Took      time.Duration // from the change until the last of its instances said that it runs it; 0 unless Synced
	AtMost    bool          // some instance runs a later revision by now, so that it took at most so long
	Published time.Duration // from the change to the publication of Carries
}

// changedState is a server, and when its state was last changed.
type changedState struct {
	Name            string
	StateGeneration int64
	StateAt         time.Time
}

// Effects gives every gateway whose audience sees the server, by name, and how far each is with the last change
// of the server's state: who suspends a server watches it take effect. It needs identity.ReadGateways.
// Problem: NotFound no_such_server.
func (d *Delivery) Effects(ctx context.Context, who identity.Principal, serverID string) (Effects, error) {
	gateways, err := d.Gateways(ctx, who, false)
	if err != nil {
		return Effects{}, err
	}
	rows, _ := d.pool.Query(ctx, `select name, state_generation, state_at from servers where id = @id`, pgx.StrictNamedArgs{"id": serverID})
	server, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[changedState])
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return Effects{}, problem.New(problem.NotFound, "no_such_server", "There is no such server.")
	case err != nil:
		return Effects{}, fmt.Errorf("reading the state of a server: %w", err)
	}
	carriers, err := d.carriers(ctx, server.StateGeneration, server.Name)
	if err != nil {
		return Effects{}, err
	}
	stale := time.Duration(d.cfg.MaxStaleSeconds) * time.Second
	effects := Effects{Generation: server.StateGeneration, Since: server.StateAt}
	for _, g := range gateways {
		if carrier, sees := carriers[g.AudienceID]; sees {
			effects.Gateways = append(effects.Gateways, effect(g, carrier, server.StateAt, stale))
		}
	}
	return effects, nil
}

// carrier is the first revision of an audience that carries a generation of the policy.
type carrier struct {
	AudienceID   string
	CompileError string
	Revision     *int64
	CreatedAt    *time.Time
}

// carriers are those of the audiences that see the server, of all if it is "". Revisions are numbered by generation,
// and one that speaks up to a later generation without a new number carries the change as well. A change of rules is
// carried only by what has the rules of its generation: while a policy test fails, that is not every later revision.
func (d *Delivery) carriers(ctx context.Context, generation int64, server string) (map[string]carrier, error) {
	rows, _ := d.pool.Query(ctx, `
		select a.id as audience_id, a.compile_error, r.revision, r.created_at
		from audiences a
		cross join registry_head h
		cross join lateral (
		  select exists (select from rule_versions v
		                 where @generation in (v.from_generation, v.to_generation) and not coalesce((v.row ->> 'emergency')::boolean, false)) as rules) c
		left join lateral (
		  select revision, created_at from revisions r
		  where r.audience_id = a.id and r.epoch = h.epoch
		    and (r.revision >= @generation and (not c.rules or coalesce(r.rules_generation, r.revision) >= @generation)
		         or r.revision = a.revision and a.compiled_generation >= @generation and (not c.rules or a.rules_generation >= @generation))
		  order by revision limit 1) r on true
		where @server = '' or audience_sees(a.servers, @server)`,
		pgx.StrictNamedArgs{"generation": generation, "server": server})
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[carrier])
	if err != nil {
		return nil, fmt.Errorf("reading which revisions carry a change: %w", err)
	}
	byAudience := make(map[string]carrier, len(list))
	for _, c := range list {
		byAudience[c.AudienceID] = c
	}
	return byAudience, nil
}

// effect judges the gateway's instances against the carrier, as if that were the current revision.
func effect(g Gateway, c carrier, since time.Time, stale time.Duration) Effect {
	e := Effect{}
	if c.Revision != nil {
		e.Carries, e.Published = *c.Revision, max(0, c.CreatedAt.Sub(since))
	}
	wanted := g
	wanted.Revision = e.Carries
	wanted.Instances = nil
	for _, i := range g.Instances {
		later := i.Epoch == g.Epoch && e.Carries > 0 && i.ActiveRevision > e.Carries
		if later {
			i.ActiveRevision = e.Carries
		}
		if e.Carries > 0 && i.RejectedRevision > e.Carries { // it has not even what it refused a later one for
			i.RejectedRevision = e.Carries
		}
		i.State = i.judge(&wanted, stale)
		if i.State == Synced && i.ActiveAt != nil {
			e.Took, e.AtMost = max(e.Took, i.ActiveAt.Sub(since)), e.AtMost || later
		}
		wanted.Instances = append(wanted.Instances, i)
	}
	e.Gateway, e.State = g, wanted.judge()
	e.Reason = wanted.reason(e.State, c)
	if e.State != Synced {
		e.Took, e.AtMost = 0, false
	}
	return e
}

// reason says why the gateway, judged against the carrier, does not enforce the change.
func (g Gateway) reason(state InstanceState, c carrier) string {
	switch state {
	case Synced:
		return ""
	case Stale:
		return "Silent for longer than its lease: it denies every call."
	case Offline:
		if len(g.Instances) == 0 {
			return "Not seen in the last day."
		}
		return "Silent for a minute or more: it may still enforce the policy it has."
	case Rejected:
		for _, i := range g.Instances {
			if i.State == Rejected {
				return "It refused the policy: " + i.RejectedReason
			}
		}
	case Pending:
	}
	switch {
	case c.Revision != nil:
		return "It has not said yet that it runs the policy."
	case c.CompileError != "":
		return "The policy cannot be published: " + printable(c.CompileError, 500)
	}
	return "The policy is being compiled."
}

package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"countersign/audit"
	"countersign/client"
	"countersign/identity"
	"countersign/internal/postgres"
	"countersign/internal/problem"
)

// Finish ends the discovery with what the gateway found. It needs identity.Enforce, as the gateway that leased it.
// An offer that is too large, or has items that cannot be read, makes the discovery failed, with the reason; what
// is pinned and no longer served as it was is held all the same.
//
// Problems: Conflict discovery_not_yours; TooLarge offer_too_large and Invalid offer_unreadable once the
// discovery is recorded as failed.
func (r *Registry) Finish(ctx context.Context, who identity.Principal, id string, offer client.Offer) error {
	if err := who.Can(identity.Enforce, ""); err != nil {
		return err
	}
	seen, refusal := readOffer(offer)
	if refusal == nil && len(seen.faults) > 0 {
		refusal = problem.New(problem.Invalid, "offer_unreadable", "%s", seen.faultMessage())
	}
	d, err := r.Discovery(ctx, system, id)
	if err != nil {
		return err
	}
	err = r.examineNew(ctx, d.ServerID, &seen)
	if err != nil {
		return err
	}
	var moved bool
	err = postgres.InTx(ctx, r.pool, func(tx pgx.Tx) (err error) {
		moved, err = finishTx(ctx, tx, who, d, offer.ServerInfo, seen, refusal)
		return err
	})
	if err != nil {
		return err
	}
	r.hub.Wake(ctx, TopicDiscoveries)
	if moved {
		r.hub.Wake(ctx, TopicPolicy)
	}
	return refusal
}

// finishTx uses what was seen, and ends the discovery as done, or as failed because of the refusal.
func finishTx(ctx context.Context, tx pgx.Tx, who identity.Principal, d Discovery, info json.RawMessage, seen served, refusal error) (moved bool, err error) {
	job, err := lockJobTx(ctx, tx, who, d.ServerID, d.ID)
	if err != nil {
		return false, err
	}
	if refusal != nil {
		seen.partial = true // nothing is known of what is missing
	}
	got, err := receiveTx(ctx, tx, who, job.server, seen)
	if err != nil {
		return false, err
	}
	if refusal != nil {
		err = failJobTx(ctx, tx, who, job, problem.From(refusal).Message, job.Steps)
	} else {
		err = doneTx(ctx, tx, who, job, info, got)
	}
	if err != nil || !got.moves {
		return false, err
	}
	_, err = BumpTx(ctx, tx)
	return true, err
}

func (s served) faultMessage() string {
	if len(s.faults) == 1 {
		return s.faults[0].message
	}
	return fmt.Sprintf("%s And %d more like it.", s.faults[0].message, len(s.faults)-1)
}

func doneTx(ctx context.Context, tx pgx.Tx, who identity.Principal, job lockedJob, info json.RawMessage, got received) error {
	_, err := tx.Exec(ctx, `
		update discoveries
		set state = 'done', server_info = @info, offered = @offered, finished_at = clock_timestamp(), leased_until = null
		where id = @id`, pgx.StrictNamedArgs{"id": job.ID, "info": readServerInfo(info), "offered": got.offered})
	if err != nil {
		return fmt.Errorf("finishing discovery: %w", err)
	}
	if err := publishServedTx(ctx, tx, job.server.ID, readServerInfo(info)); err != nil {
		return err
	}
	return audit.Append(ctx, tx, audit.Event{
		Kind: "server.discovery_finished", Who: who, TargetKind: "server", TargetID: job.server.ID, TargetName: job.server.Name,
		Detail: map[string]any{
			"discovery_id": job.ID, "offered": got.offered, "new": got.created, "changed": got.changed, "held": got.heldNow, "gone": got.gone,
		},
	})
}

// readServerInfo keeps the printable part of what a server calls itself.
func readServerInfo(raw json.RawMessage) ServerInfo {
	var info ServerInfo
	if len(raw) > 64<<10 || json.Unmarshal(raw, &info) != nil {
		return ServerInfo{}
	}
	return ServerInfo{Name: visible(info.Name, 100), Title: visible(info.Title, 100), Version: visible(info.Version, 50)}
}

// Observe compares what a gateway saw an endpoint serve with what is pinned, and holds at once what differs. It
// never releases or pins anything. The reply names everything of the server that is held now. It needs
// identity.Enforce, and the server must be in the gateway's audience.
//
// Problems: NotFound no_such_server; Conflict endpoint_changed, server_retired; TooLarge offer_too_large.
func (r *Registry) Observe(ctx context.Context, who identity.Principal, o client.Observation) (client.ObservationReply, error) {
	if err := who.Can(identity.Enforce, ""); err != nil {
		return client.ObservationReply{}, err
	}
	seen, err := readOffer(client.Offer{Tools: o.Tools, Prompts: o.Prompts, Resources: o.Resources, ResourceTemplates: o.ResourceTemplates})
	if err != nil {
		return client.ObservationReply{}, err
	}
	seen.partial = o.Partial
	if err := r.examineNew(ctx, o.ServerID, &seen); err != nil {
		return client.ObservationReply{}, err
	}
	var got received
	err = postgres.InTx(ctx, r.pool, func(tx pgx.Tx) error {
		server, err := lockObservedTx(ctx, tx, who, o)
		if err != nil {
			return err
		}
		if got, err = receiveTx(ctx, tx, who, server, seen); err != nil || !got.moves {
			return err
		}
		_, err = BumpTx(ctx, tx)
		return err
	})
	if errors.Is(err, errOutside) {
		return client.ObservationReply{}, audit.Refused(ctx, r.pool, audit.Event{
			Kind: "access.refused", Who: who, TargetKind: "server", TargetID: o.ServerID,
			Detail: map[string]any{"why": "outside the gateway's audience"},
		}, noSuchServer())
	}
	if err != nil {
		return client.ObservationReply{}, err
	}
	if got.moves {
		r.hub.Wake(ctx, TopicPolicy)
	}
	reply := client.ObservationReply{Held: []client.HeldTool{}}
	for _, k := range got.holding {
		reply.Held = append(reply.Held, client.HeldTool{Kind: k.Kind, Name: k.Name})
	}
	return reply, nil
}

var errOutside = errors.New("the server is outside the gateway's audience")

// lockObservedTx locks the server that a gateway speaks of, if it may and means the present endpoint.
func lockObservedTx(ctx context.Context, tx pgx.Tx, who identity.Principal, o client.Observation) (lockedServer, error) {
	server, err := lockRowTx(ctx, tx, o.ServerID)
	if err != nil {
		return lockedServer{}, err
	}
	var sees bool
	err = tx.QueryRow(ctx, `
		select exists (
		  select 1 from gateways g join audiences a on a.id = g.audience_id
		  where g.id = @gateway and g.revoked_at is null and audience_sees(a.servers, @server))`,
		pgx.StrictNamedArgs{"gateway": who.GatewayID, "server": server.Name}).Scan(&sees)
	switch {
	case err != nil:
		return lockedServer{}, fmt.Errorf("asking what the gateway sees: %w", err)
	case !sees:
		return lockedServer{}, errOutside
	case server.State == Retired:
		return lockedServer{}, retired()
	case server.EndpointID == "" || digestOf(server.EndpointDigest) != o.EndpointDigest:
		return lockedServer{}, problem.New(problem.Conflict, "endpoint_changed", "The server has another endpoint now. Load the policy and look again.")
	}
	return server, nil
}

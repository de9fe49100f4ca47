package delivery

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/jackc/pgx/v5"

	"countersign/client"
	"countersign/identity"
	"countersign/internal/problem"
)

// maxCommands is how many stdio servers one instance may offer.
const maxCommands = 200

// ReportStatus records what one instance of a gateway runs, and tells it who it is. It needs identity.Enforce.
// Problems: Invalid invalid_status; Forbidden gateway_revoked.
func (d *Delivery) ReportStatus(ctx context.Context, who identity.Principal, s client.Status) (client.StatusReply, error) {
	if err := who.Can(identity.Enforce, ""); err != nil {
		return client.StatusReply{}, err
	}
	if !plain(s.Instance, 100) || len(s.Commands) > maxCommands || s.Epoch < 0 || s.ActiveRevision < 0 || s.ReceivedRevision < 0 {
		return client.StatusReply{}, problem.New(problem.Invalid, "invalid_status", "A status needs an instance of 1 to 100 visible characters, at most 200 commands, and no negative numbers.")
	}
	if s.Commands == nil {
		s.Commands = []client.Command{}
	}
	rejected := client.Rejection{}
	if s.Rejected != nil {
		rejected = *s.Rejected
	}
	var reply client.StatusReply
	var news bool
	err := d.pool.QueryRow(ctx, reportSQL, pgx.StrictNamedArgs{
		"gateway": who.GatewayID, "instance": s.Instance, "version": printable(s.Version, 100), "epoch": s.Epoch,
		"active": s.ActiveRevision, "received": s.ReceivedRevision, "rejected": rejected.Revision,
		"reason": printable(rejected.Reason, 500), "commands": s.Commands,
	}).Scan(&reply.GatewayID, &reply.Name, &reply.AudienceID, &reply.Resource, &news)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return client.StatusReply{}, problem.New(problem.Forbidden, "gateway_revoked", "This gateway is not enrolled any more.")
	case err != nil:
		return client.StatusReply{}, fmt.Errorf("recording status: %w", err)
	}
	if news {
		d.hub.Wake(ctx, TopicGateways)
	}
	return reply, nil
}

// reportSQL keeps the instance's row; news is whether it says anything but that the instance is alive.
const reportSQL = `
	with me as (
	  select id, name, audience_id, resource from gateways where id = @gateway and revoked_at is null),
	before as (
	  select epoch, active_revision, rejected_revision, commands
	  from gateway_instances where gateway_id = @gateway and instance = @instance),
	now as (
	  insert into gateway_instances as i (gateway_id, instance, version, epoch, active_revision, received_revision,
	                                 rejected_revision, rejected_reason, commands, active_at)
	  select me.id, @instance, @version, @epoch, @active, @received, @rejected, @reason, @commands, clock_timestamp() from me
	  on conflict (gateway_id, instance) do update
	  set version = excluded.version, epoch = excluded.epoch, active_revision = excluded.active_revision,
	      received_revision = excluded.received_revision, rejected_revision = excluded.rejected_revision,
	      rejected_reason = excluded.rejected_reason, commands = excluded.commands, last_seen_at = clock_timestamp(),
	      active_at = case when (i.epoch, i.active_revision) is distinct from (excluded.epoch, excluded.active_revision)
	                       then clock_timestamp() else i.active_at end
	  returning epoch, active_revision, rejected_revision, commands)
	select me.id, me.name, me.audience_id, me.resource,
	       (select (b.*) is distinct from (n.*) from now n left join before b on true)
	from me`

// printable makes one line of what a gateway says of itself.
func printable(s string, most int) string {
	s = strings.ToValidUTF8(s, "\ufffd")
	s = strings.Map(func(r rune) rune {
		if !unicode.IsGraphic(r) {
			return '\ufffd'
		}
		return r
	}, s)
	if runes := []rune(s); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return s
}

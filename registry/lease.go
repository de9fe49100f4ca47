package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/audit"
	"countersign/client"
	"countersign/identity"
	"countersign/internal/postgres"
	"countersign/internal/problem"
	"countersign/policy"
)

// How a discovery is worked on.
const (
	leaseSeconds = 60 // renewed by progress
	maxAttempts  = 3
	maxWait      = 55 * time.Second
	maxCommands  = 200
	maxSteps     = 30
)

// LeaseDiscovery waits up to req.Wait seconds for a discovery that this gateway can do, and leases it: the server
// is in the gateway's audience, and a stdio server's command is among req.Commands. ok is false when there was
// none. It needs identity.Enforce.
func (r *Registry) LeaseDiscovery(ctx context.Context, who identity.Principal, req client.LeaseRequest) (job client.Job, ok bool, err error) {
	if err := who.Can(identity.Enforce, ""); err != nil {
		return client.Job{}, false, err
	}
	if len(req.Commands) > maxCommands || len(req.Instance) > 100 || !storable(req.Instance) {
		return client.Job{}, false, problem.New(problem.Invalid, "invalid_lease", "The instance or the commands are longer than allowed.")
	}
	wake, stop := r.hub.Subscribe(TopicDiscoveries)
	defer stop()
	patience := time.NewTimer(min(time.Duration(max(req.Wait, 0))*time.Second, maxWait))
	defer patience.Stop()
	for {
		if err := r.Sweep(ctx); err != nil {
			return client.Job{}, false, err
		}
		job, err := r.lease(ctx, who, req)
		switch {
		case err == nil:
			r.hub.Wake(ctx, TopicDiscoveries)
			return job, true, nil
		case !errors.Is(err, pgx.ErrNoRows):
			return client.Job{}, false, fmt.Errorf("leasing a discovery: %w", err)
		}
		select {
		case <-wake:
		case <-patience.C:
			return client.Job{}, false, nil
		case <-ctx.Done(): // the gateway went, or this replica is stopping
			return client.Job{}, false, nil
		}
	}
}

var leaseSQL = `
	with next as (
	  select d.id
	  from discoveries d
	  join servers s on s.id = d.server_id
	  join endpoints e on e.id = d.endpoint_id
	  join gateways g on g.id = @gateway and g.revoked_at is null
	  join audiences a on a.id = g.audience_id
	  where d.state = 'waiting'
	    and d.not_before <= clock_timestamp()
	    and audience_sees(a.servers, s.name)
	    and ` + fmt.Sprintf(startable, "@commands::jsonb") + `
	  order by d.created_at, d.id
	  limit 1
	  for update of d skip locked)
	update discoveries d
	set state = 'running', gateway_id = @gateway, instance = @instance, attempts = attempts + 1, steps = '[]', error = '',
	    leased_until = clock_timestamp() + make_interval(secs => @seconds)
	from next, servers s, endpoints e
	where d.id = next.id and s.id = d.server_id and e.id = d.endpoint_id
	returning d.id, d.server_id, s.name as server, d.attempts as attempt, ` + endpointColumns

type leaseRow struct {
	ID       string
	ServerID string
	Server   string
	Attempt  int
	endpointRow
}

func (r *Registry) lease(ctx context.Context, who identity.Principal, req client.LeaseRequest) (client.Job, error) {
	commands := req.Commands
	if commands == nil {
		commands = []client.Command{}
	}
	offered, err := json.Marshal(commands)
	if err != nil {
		return client.Job{}, fmt.Errorf("encoding commands: %w", err)
	}
	rows, _ := r.pool.Query(ctx, leaseSQL, pgx.StrictNamedArgs{
		"gateway": who.GatewayID, "instance": req.Instance, "commands": string(offered), "seconds": leaseSeconds,
	})
	row, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[leaseRow])
	if err != nil {
		return client.Job{}, err
	}
	return client.Job{
		ID: row.ID, ServerID: row.ServerID, Server: row.Server, Attempt: row.Attempt, LeaseSeconds: leaseSeconds,
		Endpoint: row.endpoint().policy(),
	}, nil
}

// policy is the endpoint in the words of the policy.
func (e Endpoint) policy() policy.Endpoint {
	return policy.Endpoint{
		Transport: string(e.Transport), URL: e.URL, Command: e.Command, CommandDigest: e.CommandDigest, Digest: e.Digest,
	}
}

// Progress records how far the gateway is and renews its lease. cancelled tells it to stop: the discovery was
// cancelled, or belongs to somebody else by now. It needs identity.Enforce.
func (r *Registry) Progress(ctx context.Context, who identity.Principal, id string, steps []client.Step) (cancelled bool, err error) {
	if err := who.Can(identity.Enforce, ""); err != nil {
		return false, err
	}
	tag, err := r.pool.Exec(ctx, `
		update discoveries
		set steps = @steps, leased_until = clock_timestamp() + make_interval(secs => @seconds)
		where id = @id and gateway_id = @gateway and state = 'running'`,
		pgx.StrictNamedArgs{"id": id, "gateway": who.GatewayID, "steps": cleanSteps(steps), "seconds": leaseSeconds})
	if err != nil {
		return false, fmt.Errorf("recording progress: %w", err)
	}
	r.hub.Wake(ctx, TopicDiscoveries)
	return tag.RowsAffected() == 0, nil
}

// cleanSteps bounds what a gateway says of its work and makes it visible.
func cleanSteps(steps []client.Step) []client.Step {
	out := make([]client.Step, 0, len(steps))
	for _, s := range steps[:min(len(steps), maxSteps)] {
		switch s.State {
		case client.StepRunning, client.StepDone, client.StepFailed, client.StepSkipped:
		default:
			s.State = client.StepRunning
		}
		out = append(out, client.Step{
			Name: visible(s.Name, 60), State: s.State, MS: max(s.MS, 0), Detail: visible(s.Detail, 300),
		})
	}
	return out
}

// Fail ends the discovery as failed: the gateway tried and says why. Where the reason may pass (f.Retry), the discovery
// waits instead, with that reason, for a while that doubles with each attempt, and has failed after the third. It needs
// identity.Enforce. Problem: Conflict discovery_not_yours.
func (r *Registry) Fail(ctx context.Context, who identity.Principal, id string, f client.Failure) error {
	if err := who.Can(identity.Enforce, ""); err != nil {
		return err
	}
	message := visible(f.Error, 500)
	if message == "" {
		message = "The gateway gave no reason."
	}
	d, err := r.Discovery(ctx, system, id)
	if err != nil {
		return err
	}
	err = postgres.InTx(ctx, r.pool, func(tx pgx.Tx) error {
		job, err := lockJobTx(ctx, tx, who, d.ServerID, id)
		if err != nil {
			return err
		}
		if f.Retry && job.Attempts < maxAttempts {
			return retryJobTx(ctx, tx, job, message, cleanSteps(f.Steps))
		}
		return failJobTx(ctx, tx, who, job, message, cleanSteps(f.Steps))
	})
	if err != nil {
		return err
	}
	r.hub.Wake(ctx, TopicDiscoveries)
	return nil
}

// lockedJob is a running discovery of this gateway, with its server, both locked.
type lockedJob struct {
	ID         string
	EndpointID string
	Attempts   int
	Steps      []client.Step
	server     lockedServer
}

func lockJobTx(ctx context.Context, tx pgx.Tx, who identity.Principal, serverID, id string) (lockedJob, error) {
	server, err := lockRowTx(ctx, tx, serverID)
	if err != nil {
		return lockedJob{}, err
	}
	job := lockedJob{server: server}
	err = tx.QueryRow(ctx, `
		select id, endpoint_id, attempts, steps from discoveries
		where id = @id and gateway_id = @gateway and state = 'running' and endpoint_id = @endpoint
		for update`,
		pgx.StrictNamedArgs{"id": id, "gateway": who.GatewayID, "endpoint": server.EndpointID}).
		Scan(&job.ID, &job.EndpointID, &job.Attempts, &job.Steps)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return lockedJob{}, problem.New(problem.Conflict, "discovery_not_yours",
			"This discovery was cancelled, or another gateway has it now. What you found was not used.")
	case err != nil:
		return lockedJob{}, fmt.Errorf("locking discovery: %w", err)
	}
	return job, nil
}

// backOff is how long a discovery waits after an attempt that came to nothing.
const backOff = `make_interval(secs => 5 * power(2, attempts - 1))`

func retryJobTx(ctx context.Context, tx pgx.Tx, job lockedJob, message string, steps []client.Step) error {
	_, err := tx.Exec(ctx, `
		update discoveries
		set state = 'waiting', error = @error, steps = @steps, leased_until = null, not_before = clock_timestamp() + `+backOff+`
		where id = @id`, pgx.StrictNamedArgs{"id": job.ID, "error": message, "steps": steps})
	if err != nil {
		return fmt.Errorf("putting a discovery off: %w", err)
	}
	return nil
}

func failJobTx(ctx context.Context, tx pgx.Tx, who identity.Principal, job lockedJob, message string, steps []client.Step) error {
	_, err := tx.Exec(ctx, `
		update discoveries
		set state = 'failed', error = @error, steps = @steps, finished_at = clock_timestamp(), leased_until = null
		where id = @id`, pgx.StrictNamedArgs{"id": job.ID, "error": message, "steps": steps})
	if err != nil {
		return fmt.Errorf("failing discovery: %w", err)
	}
	return audit.Append(ctx, tx, audit.Event{
		Kind: "server.discovery_failed", Who: who, TargetKind: "server", TargetID: job.server.ID, TargetName: job.server.Name,
		Detail: map[string]any{"discovery_id": job.ID, "error": message},
	})
}

type expiredRow struct {
	ID         string
	ServerID   string
	ServerName string
	State      DiscoveryState
}

// Sweep takes back the leases that ran out: the discovery waits for a while that doubles with each attempt, and
// has failed after the third. LeaseDiscovery does it too; the leader calls it so that it also happens without any
// gateway.
func (r *Registry) Sweep(ctx context.Context) error {
	var expired []expiredRow
	err := postgres.InTx(ctx, r.pool, func(tx pgx.Tx) error {
		rows, _ := tx.Query(ctx, `
			with over as (
			  select d.id from discoveries d
			  where d.state = 'running' and d.leased_until < clock_timestamp()
			  for update skip locked)
			update discoveries d
			set state = case when attempts >= @most then 'failed' else 'waiting' end,
			    error = case when attempts >= @most then @error else '' end,
			    finished_at = case when attempts >= @most then clock_timestamp() end,
			    not_before = clock_timestamp() + `+backOff+`,
			    leased_until = null
			from over, servers s
			where d.id = over.id and s.id = d.server_id
			returning d.id, d.server_id, s.name as server_name, d.state`,
			pgx.StrictNamedArgs{"most": maxAttempts, "error": "Three gateways in turn took this on and fell silent."})
		var err error
		if expired, err = pgx.CollectRows(rows, pgx.RowToStructByName[expiredRow]); err != nil {
			return fmt.Errorf("taking back leases: %w", err)
		}
		for _, e := range expired {
			if e.State != Failed {
				continue
			}
			err := audit.Append(ctx, tx, audit.Event{
				Kind: "server.discovery_failed", Who: system, TargetKind: "server", TargetID: e.ServerID, TargetName: e.ServerName,
				Detail: map[string]any{"discovery_id": e.ID, "error": "lease ran out"},
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil && len(expired) > 0 {
		r.hub.Wake(ctx, TopicDiscoveries)
	}
	return err
}

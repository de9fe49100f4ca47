package delivery

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"countersign/client"
	"countersign/identity"
	"countersign/internal/problem"
)

// MaxCalls is how many call records one batch may hold.
const MaxCalls = 1000

// RecordCalls stores telemetry of calls, as the gateway that decided them reports it. A record that is known
// already (by call_id) is ignored, so that a gateway may send a batch again. Records are not events: they hold
// sizes and names, never arguments. It needs a gateway's credential.
func RecordCalls(ctx context.Context, pool *pgxpool.Pool, who identity.Principal, calls []client.CallRecord) error {
	if err := who.Can(identity.Enforce, ""); err != nil {
		return err
	}
	if len(calls) > MaxCalls {
		return problem.New(problem.TooLarge, "too_many_calls", "Send at most %d call records at once. Nothing was stored.", MaxCalls)
	}
	batch := &pgx.Batch{}
	for i := range calls {
		call := &calls[i]
		if call.CallID == "" || len(call.CallID) > 64 {
			return problem.New(problem.Invalid, "invalid_call_record", "Record %d has no call_id of 1 to 64 characters. Nothing was stored.", i)
		}
		switch call.Decision {
		case client.AllowedCall, client.DeniedCall, client.HeldCall, client.FailedCall:
		default:
			return problem.New(problem.Invalid, "invalid_call_record", "Record %d has no decision that is known here. Nothing was stored.", i)
		}
		batch.Queue(insertCall, pgx.StrictNamedArgs{
			"call_id": call.CallID, "gateway_id": who.GatewayID, "at": call.At, "server": call.Server, "tool": call.Tool,
			"kind": string(call.Kind), "decision": string(call.Decision), "reason": call.Reason, "subject": call.Subject,
			"agent": call.Agent, "model": call.Model, "revision": call.Revision, "request_bytes": call.RequestBytes,
			"response_bytes": call.ResponseBytes, "duration_us": call.DurationUS,
		})
	}
	batch.Queue(noteUsage, usageOf(calls))
	if err := pool.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("storing call records: %w", err)
	}
	return nil
}

const insertCall = `
	insert into calls (call_id, gateway_id, at, server, tool, kind, decision, reason, subject, agent, model,
	                   revision, request_bytes, response_bytes, duration_us)
	values (@call_id, @gateway_id, @at, @server, @tool, @kind, @decision, @reason, @subject, @agent, @model,
	        @revision, @request_bytes, @response_bytes, @duration_us)
	on conflict (call_id) do nothing`

// CallFacts sums up the calls since a time.
type CallFacts struct {
	All     int
	Allowed int
	Denied  int
	Held    int
}

// CallsSince counts the calls that gateways reported since then, by what became of them.
func CallsSince(ctx context.Context, pool *pgxpool.Pool, since time.Time) (CallFacts, error) {
	rows, _ := pool.Query(ctx, `
		select count(*)                                      as "all",
		       count(*) filter (where decision = 'allowed')  as allowed,
		       count(*) filter (where decision = 'denied')   as denied,
		       count(*) filter (where decision = 'held')     as held
		from calls where at >= @since`, pgx.StrictNamedArgs{"since": since})
	facts, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[CallFacts])
	if err != nil {
		return CallFacts{}, fmt.Errorf("counting calls: %w", err)
	}
	return facts, nil
}

// RecentCall is one line of the list of recent decisions.
type RecentCall struct {
	At       time.Time
	Server   string
	Tool     string
	Decision string
	Reason   string
	Subject  string
	Agent    string
}

// RecentCalls gives the newest call records first.
func RecentCalls(ctx context.Context, pool *pgxpool.Pool, limit int) ([]RecentCall, error) {
	rows, _ := pool.Query(ctx, `
		select at, server, tool, decision, reason, subject, agent
		from calls order by at desc limit @limit`, pgx.StrictNamedArgs{"limit": limit})
	calls, err := pgx.CollectRows(rows, pgx.RowToStructByName[RecentCall])
	if err != nil {
		return nil, fmt.Errorf("reading recent calls: %w", err)
	}
	return calls, nil
}

package usage

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/client"
	"countersign/identity"
	"countersign/internal/postgres"
	"countersign/internal/problem"
)

// MaxCalls is how many call records one batch may hold.
const MaxCalls = 1000

// tooFarAhead is how far a gateway's clock may be ahead of the database's.
const tooFarAhead = 5 * time.Minute

// Recorded is what became of a batch.
type Recorded struct {
	Stored  int // that are new
	Known   int // that were sent before
	Expired int // that are older than records are kept
}

// Record stores records of calls, as the gateway that decided them reports them, and adds up those that are new. One
// that was sent before is ignored, so that a gateway may send a batch again. A time in the future becomes the present, and
// names in calls are made fit to be kept. It needs a gateway's credential.
//
// Problems: TooLarge too_many_calls; Invalid invalid_call_record. Then nothing was stored.
func (l *Ledger) Record(ctx context.Context, who identity.Principal, calls []client.CallRecord) (Recorded, error) {
	if err := who.Can(identity.Enforce, ""); err != nil {
		return Recorded{}, err
	}
	if len(calls) > MaxCalls {
		return Recorded{}, problem.New(problem.TooLarge, "too_many_calls", "Send at most %d call records at once. Nothing was stored.", MaxCalls)
	}
	for i := range calls {
		if complaint := checkRecord(&calls[i]); complaint != "" {
			return Recorded{}, problem.New(problem.Invalid, "invalid_call_record", "Record %d %s. Nothing was stored.", i, complaint)
		}
	}
	if len(calls) == 0 {
		return Recorded{}, nil
	}
	done, err := l.record(ctx, who.GatewayID, calls)
	if constraintMissing(err) { // of a partition: nobody has made it, or more days are kept since
		if err = l.keepRecords(ctx); err == nil {
			done, err = l.record(ctx, who.GatewayID, calls)
		}
	}
	if err != nil {
		return Recorded{}, fmt.Errorf("storing call records: %w", err)
	}
	return done, nil
}

func (l *Ledger) record(ctx context.Context, gatewayID string, calls []client.CallRecord) (done Recorded, err error) {
	err = postgres.InTx(ctx, l.pool, func(tx pgx.Tx) error {
		done = Recorded{}
		var now time.Time
		if err := tx.QueryRow(ctx, `select clock_timestamp()`).Scan(&now); err != nil {
			return err
		}
		rows := newColumns(len(calls))
		var ahead []string
		seen := make(map[string]struct{}, len(calls))
		oldest := now.AddDate(0, 0, -l.cfg.KeepRecords)
		for i := range calls {
			call := calls[i]
			if _, twice := seen[call.CallID]; twice {
				continue
			}
			seen[call.CallID] = struct{}{}
			switch {
			case call.At.Before(oldest):
				done.Expired++
				continue
			case call.At.After(now.Add(tooFarAhead)):
				call.At = now
				ahead = append(ahead, call.CallID)
			}
			l.strange.bound(gatewayID, &call)
			rows.add(&call)
		}
		tag, err := tx.Exec(ctx, insertRecords, rows.args(gatewayID, ahead))
		done.Stored = int(tag.RowsAffected())
		done.Known = len(calls) - done.Expired - done.Stored
		return err
	})
	return done, err
}

// insertRecords stores what is not known yet, in one order, as the same batch may come twice at a time. One whose time
// was made the present is known by its id alone.
const insertRecords = `
	insert into call_records (call_id, gateway_id, instance, at, server, tool, kind, decision, reason, subject, agent, model, model_assurance,
	                          session, trace_id, revision, request_bytes, response_bytes, request_tokens, response_tokens,
	                          duration_us, upstream_us, tool_error, filtered)
	select call_id, @gateway, instance, at, server, tool, kind, decision, reason, subject, agent, model, model_assurance,
	       session, trace_id, revision, request_bytes, response_bytes, request_tokens, response_tokens,
	       duration_us, upstream_us, tool_error, filtered
	from unnest(@ids::text[], @instances::text[], @times::timestamptz[], @servers::text[], @tools::text[], @kinds::text[], @decisions::text[],
	            @reasons::text[], @subjects::text[], @agents::text[], @models::text[], @assurances::text[], @sessions::text[], @traces::text[],
	            @revisions::bigint[], @request_bytes::bigint[], @response_bytes::bigint[], @request_tokens::bigint[], @response_tokens::bigint[],
	            @durations::bigint[], @upstreams::bigint[], @tool_errors::boolean[], @filtered::integer[])
	     as r (call_id, instance, at, server, tool, kind, decision, reason, subject, agent, model, model_assurance, session, trace_id, revision,
	           request_bytes, response_bytes, request_tokens, response_tokens, duration_us, upstream_us, tool_error, filtered)
	where call_id <> all (array(select k.call_id from call_records k where k.call_id = any (@ahead::text[]) and k.gateway_id = @gateway))
	order by call_id, at
	on conflict (call_id, at) do nothing`

// columns are records turned on their side, as one statement takes them.
type columns struct {
	ids, instances, servers, tools, kinds, decisions, reasons, subjects, agents, models, assurances, sessions, traces []string

	times                                                                                       []time.Time
	revisions, requestBytes, responseBytes, requestTokens, responseTokens, durations, upstreams []int64
	toolErrors                                                                                  []bool
	filtered                                                                                    []int
}

func newColumns(n int) *columns {
	texts, numbers := func() []string { return make([]string, 0, n) }, func() []int64 { return make([]int64, 0, n) }
	return &columns{
		ids: texts(), instances: texts(), servers: texts(), tools: texts(), kinds: texts(), decisions: texts(), reasons: texts(),
		subjects: texts(), agents: texts(), models: texts(), assurances: texts(), sessions: texts(), traces: texts(),
		times: make([]time.Time, 0, n), revisions: numbers(), requestBytes: numbers(), responseBytes: numbers(), requestTokens: numbers(),
		responseTokens: numbers(), durations: numbers(), upstreams: numbers(), toolErrors: make([]bool, 0, n), filtered: make([]int, 0, n),
	}
}

func (c *columns) add(r *client.CallRecord) {
	c.ids, c.instances, c.times = append(c.ids, r.CallID), append(c.instances, r.Instance), append(c.times, r.At)
	c.servers, c.tools, c.kinds = append(c.servers, r.Server), append(c.tools, r.Tool), append(c.kinds, string(r.Kind))
	c.decisions, c.reasons = append(c.decisions, string(r.Decision)), append(c.reasons, r.Reason)
	c.subjects, c.agents = append(c.subjects, r.Subject), append(c.agents, r.Agent)
	c.models, c.assurances = append(c.models, r.Model), append(c.assurances, string(r.ModelAssurance))
	c.sessions, c.traces, c.revisions = append(c.sessions, r.Session), append(c.traces, r.TraceID), append(c.revisions, r.Revision)
	c.requestBytes, c.responseBytes = append(c.requestBytes, r.RequestBytes), append(c.responseBytes, r.ResponseBytes)
	c.requestTokens, c.responseTokens = append(c.requestTokens, r.RequestTokens), append(c.responseTokens, r.ResponseTokens)
	c.durations, c.upstreams = append(c.durations, r.DurationUS), append(c.upstreams, min(r.UpstreamUS, r.DurationUS))
	c.toolErrors, c.filtered = append(c.toolErrors, r.ToolError), append(c.filtered, r.Filtered)
}

func (c *columns) args(gatewayID string, ahead []string) pgx.StrictNamedArgs {
	return pgx.StrictNamedArgs{
		"gateway": gatewayID, "ahead": ahead, "ids": c.ids, "instances": c.instances, "times": c.times, "servers": c.servers, "tools": c.tools,
		"kinds": c.kinds, "decisions": c.decisions, "reasons": c.reasons, "subjects": c.subjects, "agents": c.agents, "models": c.models,
		"assurances": c.assurances, "sessions": c.sessions, "traces": c.traces, "revisions": c.revisions, "request_bytes": c.requestBytes,
		"response_bytes": c.responseBytes, "request_tokens": c.requestTokens, "response_tokens": c.responseTokens, "durations": c.durations,
		"upstreams": c.upstreams, "tool_errors": c.toolErrors, "filtered": c.filtered,
	}
}

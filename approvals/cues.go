package approvals

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Cues are facts about a request that an approver should notice first. They decide nothing.
type Cues struct {
	FirstByCaller bool       // the caller never asked for this tool before, nor called it
	FirstOfTool   bool       // nobody did
	OffHours      time.Time  // when it was asked, on the installation's clocks, if that is outside of the hours of work
	Usual         int        // bytes of arguments that 95 of 100 requests of this tool stay within; 0: too few to say
	Unusual       bool       // the arguments are more than twice that
	PinnedAt      *time.Time // when the definition was pinned, if that is less than a week ago
	Similar       int        // requests of this tool by the same caller or agent within ten minutes, this one included
}

// The hours of work, and what is few.
const (
	dayBegins, dayEnds = 7, 19
	fewRequests        = 10
)

// facts are what the database says of a request among others.
type cueFacts struct {
	ByCaller bool
	OfTool   bool
	Requests int
	Usual    float64
	PinnedAt *time.Time
	Similar  int
}

// cues looks at a request among those before it. Arguments are sealed, so their sizes are those of what is sealed without
// what is in every call of the tool.
func (q *Queue) cues(ctx context.Context, tx pgx.Tx, r *row, arguments int) (Cues, error) {
	rows, _ := tx.Query(ctx, `
		with earlier as (
			select e.caller_issuer, e.caller_subject, octet_length(e.call) as size, e.created_at, e.id
			from approvals e
			where e.tool_id = @tool and (e.created_at, e.id) < (@at, @id)
		), called as ( -- on days before, and on that very day
			select u.subject from usage_days u
			where u.server = @server_name and u.tool = @tool_name and u.allowed > 0 and u.at < date_trunc('day', @at::timestamptz, 'UTC')
			union all
			select c.subject from call_records c
			where c.server = @server_name and c.tool = @tool_name and c.decision = 'allowed'
			  and c.at >= date_trunc('day', @at::timestamptz, 'UTC') and c.at < @at
		), recent as (
			select size from earlier where size > 0 order by created_at desc, id desc limit 100
		)
		select exists (select from earlier where caller_issuer = @issuer and caller_subject = @subject)
		           or exists (select from called where subject = @subject) as by_caller,
		       exists (select from earlier) or exists (select from called) as of_tool,
		       (select count(*)::int from recent) as requests,
		       coalesce((select percentile_disc(0.95) within group (order by size) from recent), 0)::float8 as usual,
		       (select d.decided_at from definitions d where d.tool_id = @tool and d.digest = @definition
		          and d.decided_at > @at::timestamptz - interval '7 days') as pinned_at,
		       (select count(*)::int from approvals s
		        where s.tool_id = @tool and s.created_at between @at::timestamptz - interval '10 minutes' and @at::timestamptz + interval '10 minutes'
		          and (s.caller_issuer = @issuer and s.caller_subject = @subject or s.agent = @agent and s.agent <> '')) as similar`,
		pgx.StrictNamedArgs{
			"tool": r.ToolID, "at": r.CreatedAt, "id": r.ID, "issuer": r.CallerIssuer, "subject": r.CallerSubject, "agent": r.Agent,
			"server_name": r.ServerName, "tool_name": r.ToolName, "definition": r.DefinitionDigest,
		})
	f, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[cueFacts])
	if err != nil {
		return Cues{}, fmt.Errorf("reading what stands out about %s: %w", r.ID, err)
	}
	c := Cues{FirstByCaller: !f.ByCaller, FirstOfTool: !f.OfTool, PinnedAt: f.PinnedAt, Similar: f.Similar}
	if f.Requests >= fewRequests {
		c.Usual = max(2, int(f.Usual)-(len(r.Call)-arguments))
		c.Unusual = arguments > 2*c.Usual
	}
	if at := r.CreatedAt.In(q.cfg.location()); at.Hour() < dayBegins || at.Hour() >= dayEnds {
		c.OffHours = at
	}
	return c, nil
}

// location is where the installation's clocks hang.
func (c Config) location() *time.Location {
	if c.Location == nil {
		return time.UTC
	}
	return c.Location
}

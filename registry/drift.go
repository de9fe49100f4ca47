package registry

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/identity"
	"countersign/internal/problem"
)

// Drifted is a tool that waits for a person, or its comparison: what is pinned, and what is served instead.
type Drifted struct {
	Tool
	ServerName     string
	ServerTitle    string
	TeamID         string
	TeamName       string
	Severity       Severity // the gravest difference that was served since it is held
	HeldNote       string   // why a person keeps it held; "" nobody has said
	HeldNoteBy     string
	HeldNoteByName string
	HeldNoteAt     *time.Time
}

// DriftFilter selects held tools; zero fields select everything.
type DriftFilter struct {
	ServerID string
	TeamID   string
	Severity Severity
	Query    string // part of the name of the tool or of the server
	After    string // cursor: Page.Next of the page before
	Limit    int    // 1 to 200, default 50
}

const driftColumns = `
	select t.id, t.server_id, t.kind, t.name, coalesce(t.risk, '') as risk, t.labels, t.held_at, t.held_reason,
	       t.observed_digest is not null as offered, ` + seenAt + ` as observed_at, t.version,
	       s.name as server_name, s.title as server_title, s.team_id, m.name as team_name, t.severity,
	       t.held_note, t.held_note_by, coalesce(p.name, t.held_note_by) as held_note_by_name, t.held_note_at
	from tools t
	left join endpoints e on e.id = t.observed_endpoint
	join servers s on s.id = t.server_id
	join teams m on m.id = s.team_id
	left join people p on p.id = t.held_note_by `

// graveness is the rank of a severity, as in severityOrder; null: none.
const graveness = `array_position(array['low', 'medium', 'high', 'critical'], t.severity)`

// Drifts lists what is held on servers that are not retired, the gravest first, of those the longest held. It needs
// identity.ReadRegistry. Problem: Invalid invalid_cursor.
func (r *Registry) Drifts(ctx context.Context, who identity.Principal, f DriftFilter) (Page[Drifted], error) {
	if err := mayRead(who); err != nil {
		return Page[Drifted]{}, err
	}
	after, err := readDriftCursor(f.After)
	if err != nil {
		return Page[Drifted]{}, err
	}
	limit := limitOf(f.Limit, 50, 200)
	rows, _ := r.pool.Query(ctx, driftColumns+`
		where t.held_at is not null and t.pinned_id is not null and s.state <> 'retired'
		  and (@server = '' or t.server_id = @server)
		  and (@team = '' or s.team_id = @team)
		  and (@severity = '' or t.severity = @severity)
		  and (@query = '' or t.name ilike @query or s.name ilike @query or s.title ilike @query)
		  and (@id = '' or (-coalesce(`+graveness+`, 0), t.held_at, t.id) > (@rank::int, @held, @id))
		order by coalesce(`+graveness+`, 0) desc, t.held_at, t.id
		limit @limit`,
		pgx.StrictNamedArgs{
			"server": f.ServerID, "team": f.TeamID, "severity": string(f.Severity), "query": contains(f.Query),
			"rank": -after.rank, "held": after.held, "id": after.id, "limit": limit + 1,
		})
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[Drifted])
	if err != nil {
		return Page[Drifted]{}, fmt.Errorf("listing drift: %w", err)
	}
	page := pageOf(found, limit, driftCursorOf)
	return page, r.attachDrifted(ctx, page.Items)
}

// LastLook gives when a gateway last looked at any server; nil before the first look. It needs identity.ReadRegistry.
func (r *Registry) LastLook(ctx context.Context, who identity.Principal) (at *time.Time, err error) {
	if err := mayRead(who); err != nil {
		return nil, err
	}
	if err := r.pool.QueryRow(ctx, `select max(observed_at) from tools`).Scan(&at); err != nil {
		return nil, fmt.Errorf("reading the last look: %w", err)
	}
	return at, nil
}

func (r *Registry) attachDrifted(ctx context.Context, items []Drifted) error {
	tools := make([]Tool, len(items))
	for i := range items {
		tools[i] = items[i].Tool
	}
	err := r.attach(ctx, tools)
	for i := range items {
		items[i].Tool = tools[i]
	}
	return err
}

// driftCursor is the place of a tool in the queue. It holds the values themselves, for the tool may be released while
// somebody turns the page.
type driftCursor struct {
	rank int
	held time.Time
	id   string
}

func driftCursorOf(d Drifted) string {
	return fmt.Sprintf("%d.%d.%s", severityOrder[d.Severity], d.HeldAt.UnixMicro(), d.ID)
}

func readDriftCursor(s string) (c driftCursor, err error) {
	if s == "" {
		return driftCursor{held: time.Unix(0, 0)}, nil
	}
	parts := strings.SplitN(s, ".", 3)
	if len(parts) == 3 && parts[2] != "" && storable(parts[2]) {
		rank, err := strconv.Atoi(parts[0])
		micros, err2 := strconv.ParseInt(parts[1], 10, 64)
		if err == nil && err2 == nil && rank >= 0 && rank <= len(severityOrder) && micros >= 0 && micros < 1<<52 {
			return driftCursor{rank, time.UnixMicro(micros), parts[2]}, nil
		}
	}
	return driftCursor{}, problem.New(problem.Invalid, "invalid_cursor", "This page does not exist. Begin with the first one.")
}

// Drift gives one tool and in what the definition that is served differs from the one that is pinned. There is no
// difference where nothing is pinned, or nothing served. It needs identity.ReadRegistry. Problem: NotFound no_such_tool.
func (r *Registry) Drift(ctx context.Context, who identity.Principal, toolID string) (Drifted, []Difference, error) {
	if err := mayRead(who); err != nil {
		return Drifted{}, nil, err
	}
	rows, _ := r.pool.Query(ctx, driftColumns+`where t.id = @id`, pgx.StrictNamedArgs{"id": toolID})
	found, err := one(rows, pgx.RowToStructByName[Drifted], "reading drift", noSuchTool())
	if err != nil {
		return Drifted{}, nil, err
	}
	items := []Drifted{found}
	if err := r.attachDrifted(ctx, items); err != nil {
		return Drifted{}, nil, err
	}
	d := items[0]
	if d.Pinned == nil || d.Served == nil || d.Pinned.ID == d.Served.ID {
		return d, nil, nil
	}
	differences, _ := Differences(d.Kind, d.Pinned.Raw, d.Served.Raw)
	return d, differences, nil
}

// DriftCount counts what Drifts lists without a filter. It needs identity.ReadRegistry.
func (r *Registry) DriftCount(ctx context.Context, who identity.Principal) (n int, err error) {
	if err := mayRead(who); err != nil {
		return 0, err
	}
	err = r.pool.QueryRow(ctx, `
		select count(*)
		from tools t join servers s on s.id = t.server_id
		where t.held_at is not null and t.pinned_id is not null and s.state <> 'retired'`).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("counting drift: %w", err)
	}
	return n, nil
}

package usage

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
)

// Filter selects calls; zero fields select all of them. Sums are of whole hours where the span is up to three days, else
// of whole days of UTC: the first is the one that Since is in.
type Filter struct {
	Since, Until                        time.Time // zero: 30 days, today included; now
	Server, Tool, Agent, Subject, Model string    // as they were recorded
	Kind                                policy.Kind
}

// span is which sums a filter reads.
type span struct {
	from, to time.Time
	table    string
	step     time.Duration
}

const (
	day       = 24 * time.Hour
	hoursSpan = 3 * day // up to which sums of hours are read
	maxSpan   = MaxKeep * day
)

// span says which sums the filter means. Problem: Invalid invalid_span.
func (l *Ledger) span(f Filter) (span, error) {
	now := l.cfg.Now().UTC()
	s := span{from: f.Since.UTC(), to: f.Until.UTC()}
	if f.Until.IsZero() {
		s.to = now
	}
	if f.Since.IsZero() {
		s.from = s.to.Truncate(day).AddDate(0, 0, -29)
	}
	if !s.from.Before(s.to) || s.to.Sub(s.from) > maxSpan {
		return span{}, problem.New(problem.Invalid, "invalid_span", "The span ends before it begins, or is longer than %d days.", MaxKeep).
			Field("since", "It has to be before until.")
	}
	s.table, s.step = "usage_days", day
	if s.to.Sub(s.from) <= hoursSpan && s.from.After(now.AddDate(0, 0, -l.cfg.KeepRecords)) {
		s.table, s.step = "usage_hours", time.Hour
	}
	s.from = s.from.Truncate(s.step)
	return s, nil
}

// before is the span of the same length before s.
func (s span) before() span {
	b := s
	b.to = s.from
	b.from = s.from.Add(-s.to.Sub(s.from)).Truncate(s.step)
	return b
}

// where are the conditions of a query, and the sums that it reads.
type where struct {
	table      string
	conditions []string
	args       pgx.StrictNamedArgs
}

func (w *where) is(column, value string) {
	if value != "" {
		w.conditions, w.args[column] = append(w.conditions, column+" = @"+column), value
	}
}

// from is the part of a query after its columns.
func (w *where) from() string { return " from " + w.table + " " + w.String() + " " }

func (w *where) String() string { return "where " + strings.Join(w.conditions, " and ") }

// sums are the fewest rows that have all that the filter and a breakdown tell apart; by is "" without one.
func (f Filter) sums(s span, by By) *where {
	w := f.where(s.from, s.to)
	w.table = s.table
	if part := f.part(by); part != "" {
		step := "day"
		if s.step == time.Hour {
			step = "hour"
		}
		w.table = "usage_parts"
		w.conditions = append(w.conditions, "step = '"+step+"'", "part = '"+part+"'")
	}
	return w
}

// part says which part of usage_parts tells apart what the filter and a breakdown ask for; each has models and kinds. "":
// none does, or few rows have the subject anyway.
func (f Filter) part(by By) string {
	tool := f.Tool != "" || by == ByTool
	server := f.Server != "" || by == ByServer || tool
	agent, subject := f.Agent != "" || by == ByAgent, by == BySubject
	switch {
	case f.Subject != "", subject && (server || agent):
		return ""
	case subject:
		return "subject"
	case server && agent:
		return "tool_agent"
	case agent:
		return "agent"
	case tool:
		return "tool"
	case server:
		return "server"
	}
	return "all"
}

func (f Filter) where(from, to time.Time) *where {
	w := &where{conditions: []string{"at >= @from and at < @to"}, args: pgx.StrictNamedArgs{"from": from, "to": to}}
	w.is("server", f.Server)
	w.is("tool", f.Tool)
	w.is("kind", string(f.Kind))
	w.is("agent", f.Agent)
	w.is("subject", f.Subject)
	w.is("model", f.Model)
	return w
}

// may is the first line of every method that sums up: whoever asks for a subject has to be allowed to see who called.
func (l *Ledger) may(ctx context.Context, who identity.Principal, f Filter, subjects bool) error {
	if err := who.Can(identity.ReadUsage, ""); err != nil || f.Subject == "" && !subjects {
		return err
	}
	return l.mayCallers(ctx, who, f.Server)
}

// mayCallers asks whether who may see who called the server; "": any.
func (l *Ledger) mayCallers(ctx context.Context, who identity.Principal, server string) error {
	team := ""
	if server != "" && len(who.Teams) > 0 {
		rows, _ := l.pool.Query(ctx, `select team_id from servers where lower(name) = lower($1)`, server)
		teams, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return fmt.Errorf("reading who owns a server: %w", err)
		}
		if len(teams) == 1 {
			team = teams[0]
		}
	}
	return who.Can(identity.ReadCallers, team)
}

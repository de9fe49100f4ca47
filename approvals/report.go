package approvals

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/identity"
	"countersign/internal/problem"
)

// Report is how approving goes over a window that ends now: how long people take, whether anybody looks, and what came
// of it. Calls that were approved by an earlier decision waited for nobody and are not counted, but in Allowed.
type Report struct {
	From, To    time.Time
	Asked       int
	Approved    int // by people
	Denied      int
	Expired     int
	Withdrawn   int // cancelled by the caller, or superseded by the policy
	Pending     int // still
	Allowed     int // by an earlier decision
	Emergencies int
	Mismatches  int // refusals to redeem a token: another call, another gateway, a second time, …
	Unknown     int // executions of which nobody knows the end, still

	FirstView   Span // from the ask until somebody who may decide saw it
	Decision    Span // from the ask until it was decided by people
	Days        []ReportDay
	Approvers   []ApproverReport // who decides most first
	ReviewsOpen int
}

// Span is how long something takes. N is of how many; without any the times are 0.
type Span struct {
	N           int
	Median, P95 time.Duration
}

// ReportDay is one day, in UTC.
type ReportDay struct {
	Day                              time.Time
	Asked, Approved, Denied, Expired int
}

// ApproverReport is one person's votes.
type ApproverReport struct {
	PersonID  string
	Name      string
	Decisions int
	Approved  int
	Think     time.Duration // median, from their first view until their vote
	Measured  int           // votes of which the view is known
}

// What says that somebody signs whatever comes.
const (
	fatigueAfter = 20
	fatigueThink = 5 * time.Second
)

// Fatigued reports whether the votes look like a habit: nearly all are approvals, within seconds.
func (a ApproverReport) Fatigued() bool {
	return a.Decisions >= fatigueAfter && a.Measured*2 >= a.Decisions && a.Approved*100 > a.Decisions*95 && a.Think < fatigueThink
}

// maxWindow is the longest that a report looks back.
const maxWindow = 366 * 24 * time.Hour

// Report measures the window that ends now. It needs identity.ReadApprovals. Problems: Invalid bad_window, of one that is
// shorter than an hour or longer than a year.
func (q *Queue) Report(ctx context.Context, who identity.Principal, window time.Duration) (Report, error) {
	if err := who.Can(identity.ReadApprovals, ""); err != nil {
		return Report{}, err
	}
	if window < time.Hour || window > maxWindow {
		return Report{}, problem.New(problem.Invalid, "bad_window", "A report looks back between one hour and 366 days.")
	}
	var r Report
	err := pgx.BeginTxFunc(ctx, q.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		if err := tx.QueryRow(ctx, `select at - $1::interval, at from clock_timestamp() at`, window).Scan(&r.From, &r.To); err != nil {
			return fmt.Errorf("reading the database's clock: %w", err)
		}
		for _, part := range []func(context.Context, pgx.Tx, *Report) error{reportCounts, reportSpans, reportDays, reportApprovers} {
			if err := part(ctx, tx, &r); err != nil {
				return err
			}
		}
		return nil
	})
	return r, err
}

func reportCounts(ctx context.Context, tx pgx.Tx, r *Report) error {
	err := tx.QueryRow(ctx, `
		select count(*) filter (where allowance_id is null),
		       count(*) filter (where allowance_id is null and state in ('approved', 'closed', 'revoked')),
		       count(*) filter (where state = 'denied'),
		       count(*) filter (where state = 'expired'),
		       count(*) filter (where state in ('cancelled', 'superseded')),
		       count(*) filter (where state = 'pending'),
		       count(*) filter (where allowance_id is not null),
		       count(*) filter (where emergency),
		       (select count(*) from audit_events e where e.kind = 'confirmation.refused' and e.at >= @from),
		       (select count(*) from confirmations c where c.state = 'indeterminate' and c.issued_at >= @from),
		       (select count(*) from reviews v where v.closed_at is null)
		from approvals where created_at >= @from`,
		pgx.StrictNamedArgs{"from": r.From}).
		Scan(&r.Asked, &r.Approved, &r.Denied, &r.Expired, &r.Withdrawn, &r.Pending, &r.Allowed, &r.Emergencies, &r.Mismatches, &r.Unknown, &r.ReviewsOpen)
	if err != nil {
		return fmt.Errorf("counting requests for a report: %w", err)
	}
	return nil
}

func reportSpans(ctx context.Context, tx pgx.Tx, r *Report) error {
	var view, decision [2]float64
	err := tx.QueryRow(ctx, `
		with asked as (
			select extract(epoch from (select min(w.first_at) from approval_views w where w.approval_id = a.id) - a.created_at)::float8 as viewed,
			       case when exists (select from votes v where v.approval_id = a.id) or a.emergency
			            then extract(epoch from a.decided_at - a.created_at)::float8 end as decided
			from approvals a where a.created_at >= @from and a.allowance_id is null
		)
		select count(viewed), count(decided),
		       coalesce(percentile_cont(0.5) within group (order by viewed), 0), coalesce(percentile_cont(0.95) within group (order by viewed), 0),
		       coalesce(percentile_cont(0.5) within group (order by decided), 0), coalesce(percentile_cont(0.95) within group (order by decided), 0)
		from asked`, pgx.StrictNamedArgs{"from": r.From}).
		Scan(&r.FirstView.N, &r.Decision.N, &view[0], &view[1], &decision[0], &decision[1])
	if err != nil {
		return fmt.Errorf("measuring how long decisions take: %w", err)
	}
	r.FirstView.Median, r.FirstView.P95 = seconds(view[0]), seconds(view[1])
	r.Decision.Median, r.Decision.P95 = seconds(decision[0]), seconds(decision[1])
	return nil
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func reportDays(ctx context.Context, tx pgx.Tx, r *Report) error {
	rows, _ := tx.Query(ctx, `
		select d.day at time zone 'UTC' as day, count(a.id) as asked,
		       count(a.id) filter (where a.state in ('approved', 'closed', 'revoked')) as approved,
		       count(a.id) filter (where a.state = 'denied') as denied, count(a.id) filter (where a.state = 'expired') as expired
		from generate_series(date_trunc('day', @from::timestamptz at time zone 'UTC'), @to::timestamptz at time zone 'UTC', interval '1 day') d(day)
		     left join approvals a on a.allowance_id is null and a.created_at >= @from
		          and a.created_at >= d.day at time zone 'UTC' and a.created_at < (d.day + interval '1 day') at time zone 'UTC'
		group by d.day order by d.day`,
		pgx.StrictNamedArgs{"from": r.From, "to": r.To})
	var err error
	if r.Days, err = pgx.CollectRows(rows, pgx.RowToStructByName[ReportDay]); err != nil {
		return fmt.Errorf("counting requests by day: %w", err)
	}
	return nil
}

// approverRow is an ApproverReport as the database tells it.
type approverRow struct {
	PersonID, Name                string
	Decisions, Approved, Measured int
	Think                         float64
}

func reportApprovers(ctx context.Context, tx pgx.Tx, r *Report) error {
	rows, _ := tx.Query(ctx, `
		select v.person_id, coalesce(nullif(p.name, ''), p.email) as name, count(*)::int as decisions,
		       count(*) filter (where v.decision = 'approve')::int as approved, count(w.first_at)::int as measured,
		       coalesce(percentile_cont(0.5) within group (order by extract(epoch from v.at - w.first_at)) filter (where w.first_at is not null), 0)::float8 as think
		from votes v join people p on p.id = v.person_id
		     left join approval_views w on w.approval_id = v.approval_id and w.person_id = v.person_id and w.first_at <= v.at
		where v.at >= @from
		group by v.person_id, p.name, p.email
		order by decisions desc, name, v.person_id
		limit 200`, pgx.StrictNamedArgs{"from": r.From})
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[approverRow])
	if err != nil {
		return fmt.Errorf("measuring how people vote: %w", err)
	}
	for _, a := range found {
		r.Approvers = append(r.Approvers, ApproverReport{
			PersonID: a.PersonID, Name: a.Name, Decisions: a.Decisions, Approved: a.Approved, Think: seconds(a.Think), Measured: a.Measured,
		})
	}
	return nil
}

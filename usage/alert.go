package usage

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/audit"
	"countersign/identity"
	"countersign/internal/problem"
	"countersign/registry"
)

// TopicAlerts is the topic of the hub that is woken when alerts or rules change.
const TopicAlerts = "alerts"

// Alert is a rule that fired about one thing. While it is not closed the same thing does not fire again: it is counted.
type Alert struct {
	ID                 string
	RuleID             string
	RuleName           string
	Kind               Kind
	Urgent             bool
	About              string // a session, the name of a server, an agent, the id of a gateway or channel; a subject, "" for those who may not see who called
	AboutName          string // of a gateway or channel, otherwise as About
	Summary            string
	Detail             map[string]any
	State              string // open, acknowledged or closed
	Times              int64  // how often it happened meanwhile
	FiredAt            time.Time
	LastAt             time.Time // when it happened last
	AcknowledgedBy     string
	AcknowledgedByName string
	AcknowledgedAt     *time.Time
	ClosedAt           *time.Time
	ClosedBy           string // "": by itself, as it did not happen again
	ClosedByName       string
}

// AlertFilter selects alerts.
type AlertFilter struct {
	State  string // "": open and acknowledged; closed; all
	RuleID string
	About  string
	After  string // cursor: Page.Next of the page before
	Limit  int    // 1 to 200, default 50
}

const selectAlerts = `
	select a.id, a.rule_id, r.name as rule_name, r.kind, r.urgent, a.about, coalesce(g.name, c.name, a.about) as about_name, a.summary, a.detail,
	       a.state, a.times, a.fired_at, a.last_at, a.acknowledged_by, coalesce(p.name, a.acknowledged_by) as acknowledged_by_name,
	       a.acknowledged_at, a.closed_at, a.closed_by, coalesce(q.name, a.closed_by) as closed_by_name
	from alerts a
	join alert_rules r on r.id = a.rule_id
	left join gateways g on r.kind = 'gateway_silent' and g.id = a.about
	left join channels c on r.kind = 'notifier_failing' and c.id = a.about
	left join people p on p.id = a.acknowledged_by
	left join people q on q.id = a.closed_by `

// Alerts lists alerts, the last fired first. It needs identity.ReadAlerts.
func (l *Ledger) Alerts(ctx context.Context, who identity.Principal, f AlertFilter) (registry.Page[Alert], error) {
	if err := who.Can(identity.ReadAlerts, ""); err != nil {
		return registry.Page[Alert]{}, err
	}
	limit := 50
	if f.Limit > 0 {
		limit = min(f.Limit, 200)
	}
	rows, _ := l.pool.Query(ctx, selectAlerts+`
		where case @state when 'all' then true when 'closed' then a.state = 'closed' else a.state <> 'closed' end
		  and (@rule = '' or a.rule_id = @rule) and (@about = '' or a.about = @about)
		  and (@after = '' or (a.fired_at, a.id) < (select b.fired_at, b.id from alerts b where b.id = @after))
		order by a.fired_at desc, a.id desc limit @limit`,
		pgx.StrictNamedArgs{"state": f.State, "rule": f.RuleID, "about": f.About, "after": f.After, "limit": limit + 1})
	alerts, err := pgx.CollectRows(rows, pgx.RowToStructByName[Alert])
	if err != nil {
		return registry.Page[Alert]{}, fmt.Errorf("listing alerts: %w", err)
	}
	page := registry.Page[Alert]{Items: alerts}
	if len(alerts) > limit {
		page.Items, page.Next = alerts[:limit], alerts[limit-1].ID
	}
	for i := range page.Items {
		page.Items[i].hide(who)
	}
	return page, nil
}

// hide takes away who called, from those who may not see it.
func (a *Alert) hide(who identity.Principal) {
	if a.Kind == Denials && who.Can(identity.ReadCallers, "") != nil {
		a.About, a.AboutName = "", ""
	}
}

// Alert reads an alert. It needs identity.ReadAlerts. Problem: NotFound no_such_alert.
func (l *Ledger) Alert(ctx context.Context, who identity.Principal, id string) (Alert, error) {
	if err := who.Can(identity.ReadAlerts, ""); err != nil {
		return Alert{}, err
	}
	rows, _ := l.pool.Query(ctx, selectAlerts+`where a.id = $1`, id)
	a, err := one(rows, pgx.RowToStructByName[Alert], "reading an alert", problem.New(problem.NotFound, "no_such_alert", "There is no such alert."))
	a.hide(who)
	return a, err
}

// OpenAlerts counts the alerts that nobody has acknowledged, and those among them whose rule is urgent. It needs
// identity.ReadAlerts.
func (l *Ledger) OpenAlerts(ctx context.Context, who identity.Principal) (open, urgent int, err error) {
	if err := who.Can(identity.ReadAlerts, ""); err != nil {
		return 0, 0, err
	}
	err = l.pool.QueryRow(ctx, `
		select count(*)::int, (count(*) filter (where r.urgent))::int
		from alerts a join alert_rules r on r.id = a.rule_id where a.state = 'open'`).Scan(&open, &urgent)
	if err != nil {
		return 0, 0, fmt.Errorf("counting alerts: %w", err)
	}
	return open, urgent, nil
}

// Acknowledge says that somebody looks at an alert. Doing it again changes nothing. It needs identity.HandleAlert.
// Problems: NotFound no_such_alert; Conflict alert_closed.
func (l *Ledger) Acknowledge(ctx context.Context, who identity.Principal, id string) (Alert, error) {
	return l.handle(ctx, who, id, "alert.acknowledged", `
		update alerts set state = 'acknowledged', acknowledged_by = $2, acknowledged_at = clock_timestamp() where id = $1 and state = 'open'`)
}

// Close closes an alert. If it happens again after that it fires again. It needs identity.HandleAlert. Problems: NotFound
// no_such_alert; Conflict alert_closed.
func (l *Ledger) Close(ctx context.Context, who identity.Principal, id string) (Alert, error) {
	return l.handle(ctx, who, id, "alert.closed", `
		update alerts set state = 'closed', closed_by = $2, closed_at = clock_timestamp() where id = $1 and state <> 'closed'`)
}

func (l *Ledger) handle(ctx context.Context, who identity.Principal, id, event, update string) (Alert, error) {
	if err := who.Can(identity.HandleAlert, ""); err != nil {
		return Alert{}, err
	}
	was, err := l.Alert(ctx, system, id)
	if err != nil {
		return Alert{}, err
	}
	if was.State == "closed" {
		return Alert{}, problem.New(problem.Conflict, "alert_closed", "This alert is closed already. Nothing was changed.")
	}
	err = l.inTx(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, update, id, who.ID)
		if err != nil {
			return fmt.Errorf("changing an alert: %w", err)
		}
		if tag.RowsAffected() == 0 { // somebody else was first
			return nil
		}
		return audit.Append(ctx, tx, alertEvent(event, who, was.ID, was.RuleName, map[string]any{"rule_id": was.RuleID, "times": was.Times}))
	})
	if err != nil {
		return Alert{}, err
	}
	a, err := l.Alert(ctx, system, id)
	a.hide(who)
	return a, err
}

func alertEvent(kind string, who identity.Principal, id, rule string, detail map[string]any) audit.Event {
	return audit.Event{Kind: kind, Who: who, TargetKind: "alert", TargetID: id, TargetName: rule, Detail: detail}
}

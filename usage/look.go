package usage

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/audit"
	"countersign/notify"
)

// finding is that a rule holds about something, now.
type finding struct {
	RuleID string
	About  string
	Count  int64
	At     time.Time // when it happened last: of the same moment it fires once
	Said   string    // beside the count, where a kind says more: a name, an amount
}

// finder looks for all rules of one kind at once.
type finder func(ctx context.Context, l *Ledger, rules []Rule) ([]finding, error)

// Bounds of what fires, so that a thousand sessions gone wild do not make a thousand messages.
const (
	mostFindings = 50  // of a rule, in one look
	mostOpen     = 200 // of a rule
)

// Look looks at all rules once: it opens alerts, counts those that are open and closes those that did not happen again. Any
// number of replicas may do so at a time. A rule that cannot be looked at does not keep the others from it.
func (l *Ledger) Look(ctx context.Context) error {
	rules, err := l.Rules(ctx, system)
	if err != nil {
		return err
	}
	var last error
	for _, kind := range kinds {
		var on []Rule
		for _, r := range rules {
			if r.Kind == kind.Kind && !r.Off {
				on = append(on, r)
			}
		}
		if len(on) == 0 {
			continue
		}
		found, err := kind.find(ctx, l, on)
		if err == nil {
			err = l.settle(ctx, kind, on, found)
		}
		if err != nil {
			last = fmt.Errorf("looking at rules of the kind %s: %w", kind.Kind, err)
			l.cfg.Log.WarnContext(ctx, "a kind of alert rule could not be looked at", slog.String("kind", string(kind.Kind)), slog.Any("error", err))
		}
	}
	return last
}

// settle makes the alerts of a kind what was found.
func (l *Ledger) settle(ctx context.Context, kind KindInfo, rules []Rule, found []finding) error {
	byID := map[string]Rule{}
	for _, r := range rules {
		byID[r.ID] = r
	}
	changed := 0
	err := pgx.BeginFunc(ctx, l.pool, func(tx pgx.Tx) error {
		held := map[string][]string{}
		for _, f := range found {
			rule := byID[f.RuleID]
			held[f.RuleID] = append(held[f.RuleID], f.About)
			if len(held[f.RuleID]) > mostFindings {
				continue
			}
			fired, err := fireTx(ctx, tx, rule, kind, f)
			if err != nil {
				return err
			}
			changed += fired
		}
		for _, rule := range rules {
			closed, err := closeQuietTx(ctx, tx, rule, kind, held[rule.ID])
			if err != nil {
				return err
			}
			changed += closed
		}
		return nil
	})
	if err == nil && changed > 0 {
		l.hub.Wake(ctx, notify.Wake)
		l.hub.Wake(ctx, TopicAlerts)
	}
	return err
}

// fireTx opens an alert, or counts the one that is open. That there is one is held by an index, and what was closed fires
// again only for what happened after that.
func fireTx(ctx context.Context, tx pgx.Tx, rule Rule, kind KindInfo, f finding) (fired int, err error) {
	summary := kind.summary(rule, f)
	detail := map[string]any{"count": f.Count}
	rows, _ := tx.Query(ctx, `
		insert into alerts as a (rule_id, about, summary, detail, last_at)
		select r.id, @about, @summary, @detail, @at
		from (select id from alert_rules where id = @rule and version = @version and off_at is null and ended_at is null for share) r
		where not exists (select from alerts c where c.rule_id = r.id and c.about = @about and c.state = 'closed' and greatest(c.last_at, c.closed_at) >= @at)
		  and (exists (select from alerts o where o.rule_id = r.id and o.about = @about and o.state <> 'closed')
		       or (select count(*) from alerts n where n.rule_id = r.id and n.state <> 'closed') < @most)
		on conflict (rule_id, about) where state <> 'closed' do update set
		  times = a.times + 1, last_at = excluded.last_at, summary = excluded.summary, detail = excluded.detail
		  where a.last_at < excluded.last_at
		returning id, times = 1 as fresh`,
		pgx.StrictNamedArgs{
			"rule": rule.ID, "version": rule.Version, "about": f.About, "summary": summary, "detail": detail, "at": f.At, "most": mostOpen,
		})
	type alert struct {
		ID    string
		Fresh bool
	}
	alerts, err := pgx.CollectRows(rows, pgx.RowToStructByName[alert])
	if err != nil {
		return 0, fmt.Errorf("opening an alert: %w", err)
	}
	if len(alerts) == 0 || !alerts[0].Fresh {
		return len(alerts), nil
	}
	id := alerts[0].ID
	err = notify.Append(ctx, tx, notify.Notice{
		Topic: "alert.fired", Urgent: rule.Urgent,
		Data: map[string]any{
			"alert": id, "rule": rule.Name, "rule_id": rule.ID, "kind": string(rule.Kind), "about": f.told(kind), "count": f.Count, "summary": summary, "state": "open",
		},
	})
	if err != nil {
		return 0, err
	}
	return 1, audit.Append(ctx, tx, alertEvent("alert.fired", system, id, rule.Name, map[string]any{
		"rule_id": rule.ID, "kind": string(rule.Kind), "about": f.told(kind), "count": f.Count,
	}))
}

// told is what it is about, as those are told who need not be allowed to see who called.
func (f finding) told(kind KindInfo) string {
	if kind.Kind == Denials && !strings.HasPrefix(f.About, "agent:") {
		return "a caller"
	}
	return f.About
}

// closeQuietTx closes what did not happen again.
func closeQuietTx(ctx context.Context, tx pgx.Tx, rule Rule, kind KindInfo, held []string) (int, error) {
	rows, _ := tx.Query(ctx, `
		update alerts set state = 'closed', closed_at = clock_timestamp(), closed_by = ''
		where rule_id = @rule and state <> 'closed' and about <> all (@held::text[]) and last_at < clock_timestamp() - @quiet::interval
		returning id, times`, pgx.StrictNamedArgs{"rule": rule.ID, "held": append([]string{}, held...), "quiet": kind.quiet(rule.Params)})
	type alert struct {
		ID    string
		Times int64
	}
	alerts, err := pgx.CollectRows(rows, pgx.RowToStructByName[alert])
	if err != nil {
		return 0, fmt.Errorf("closing alerts: %w", err)
	}
	for _, a := range alerts {
		err := notify.Append(ctx, tx, notify.Notice{
			Topic: "alert.closed", Data: map[string]any{"alert": a.ID, "rule": rule.Name, "rule_id": rule.ID, "kind": string(rule.Kind), "count": a.Times, "state": "closed"},
		})
		if err == nil {
			err = audit.Append(ctx, tx, alertEvent("alert.closed", system, a.ID, rule.Name, map[string]any{"rule_id": rule.ID, "times": a.Times}))
		}
		if err != nil {
			return 0, err
		}
	}
	return len(alerts), nil
}

// summary is one sentence for people. It names no person.
func (k KindInfo) summary(rule Rule, f finding) string {
	p := rule.Params
	switch k.Kind {
	case SessionRate:
		return fmt.Sprintf("%d calls within %d s from one session (more than %d).", f.Count, p.Seconds, p.Calls)
	case ErrorRate:
		return fmt.Sprintf("%d %% of the calls to %s failed within %d s (%d %% or more).", f.Count, f.About, p.Seconds, p.Percent)
	case Denials:
		return fmt.Sprintf("%d calls of one caller were denied within %d s (%d or more).", f.Count, p.Seconds, p.Calls)
	case TokensSpent:
		return fmt.Sprintf("%s moved %d tokens today (%d or more), by estimate.", allOr(f.About), f.Count, p.Tokens)
	case CostReached:
		return fmt.Sprintf("%s cost %s today (%s %s or more).", allOr(f.About), f.Said, p.Amount, p.Currency)
	case GatewaySilent:
		return fmt.Sprintf("The gateway %s reported last %d s ago.", f.Said, f.Count)
	case UnknownAsked:
		return fmt.Sprintf("%s, which nobody registered, was asked for %d times within %d s.", f.About, f.Count, p.Seconds)
	case NotifierFailing:
		return fmt.Sprintf("The channel %s has not taken what it is told for %d s.", f.Said, f.Count)
	}
	return rule.Name
}

// everyAgent is what an alert is about that counts all agents together.
const everyAgent = "all"

func allOr(about string) string {
	switch about {
	case everyAgent:
		return "All agents together"
	case "":
		return "Calls without an agent"
	}
	return about
}

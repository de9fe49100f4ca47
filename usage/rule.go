package usage

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/audit"
	"countersign/identity"
	"countersign/internal/postgres"
	"countersign/internal/problem"
)

// Rule says of what people are told.
//
//	CreateRule ──▶ on ◀── SwitchRule ──▶ off
//	               └────── EndRule ───────┴──▶ ended
type Rule struct {
	ID            string
	Name          string
	Kind          Kind
	Params        Params
	Urgent        bool // who is told is told at once, digest or not
	Off           bool
	BuiltIn       bool // every installation begins with it: it is switched off, not ended
	Open          int  // alerts that are not closed
	LastFiredAt   *time.Time
	Version       int64
	CreatedBy     string
	CreatedByName string
	CreatedAt     time.Time
	ChangedAt     time.Time
	EndedAt       *time.Time
}

// NewRule is what CreateRule needs.
type NewRule struct {
	Name   string
	Kind   Kind
	Params Params
	Urgent bool
}

const selectRules = `
	select r.id, r.name, r.kind, r.params, r.urgent, r.off_at is not null as off, r.created_by = 'installation' as built_in,
	       (select count(*)::int from alerts a where a.rule_id = r.id and a.state <> 'closed') as open,
	       (select max(a.fired_at) from alerts a where a.rule_id = r.id) as last_fired_at,
	       r.version, r.created_by, coalesce(p.name, r.created_by) as created_by_name, r.created_at, r.changed_at, r.ended_at
	from alert_rules r left join people p on p.id = r.created_by `

const maxRules = 200

// Rules lists the rules that are not ended, by name. It needs identity.ReadAlerts.
func (l *Ledger) Rules(ctx context.Context, who identity.Principal) ([]Rule, error) {
	if err := who.Can(identity.ReadAlerts, ""); err != nil {
		return nil, err
	}
	rows, _ := l.pool.Query(ctx, selectRules+`where r.ended_at is null order by lower(r.name), r.id limit $1`, maxRules)
	rules, err := pgx.CollectRows(rows, pgx.RowToStructByName[Rule])
	if err != nil {
		return nil, fmt.Errorf("listing alert rules: %w", err)
	}
	return rules, nil
}

// Rule reads a rule, ended or not. It needs identity.ReadAlerts. Problem: NotFound no_such_alert_rule.
func (l *Ledger) Rule(ctx context.Context, who identity.Principal, id string) (Rule, error) {
	if err := who.Can(identity.ReadAlerts, ""); err != nil {
		return Rule{}, err
	}
	rows, _ := l.pool.Query(ctx, selectRules+`where r.id = $1`, id)
	return one(rows, pgx.RowToStructByName[Rule], "reading an alert rule", problem.New(problem.NotFound, "no_such_alert_rule", "There is no such alert rule."))
}

// CreateRule makes a rule. It needs identity.ChangeAlertRule.
//
// Problems: Invalid invalid_alert_rule, with the fields name, kind and those of Params; Conflict alert_rule_exists,
// too_many_alert_rules.
func (l *Ledger) CreateRule(ctx context.Context, who identity.Principal, n NewRule) (Rule, error) {
	if err := who.Can(identity.ChangeAlertRule, ""); err != nil {
		return Rule{}, err
	}
	if err := n.clean(); err != nil {
		return Rule{}, err
	}
	var id string
	err := l.inTx(ctx, func(tx pgx.Tx) error {
		rows, _ := tx.Query(ctx, `
			insert into alert_rules (name, kind, params, urgent, created_by)
			select @name, @kind, @params, @urgent, @by
			where (select count(*) from alert_rules where ended_at is null) < @most
			returning id`,
			pgx.StrictNamedArgs{"name": n.Name, "kind": n.Kind, "params": n.Params, "urgent": n.Urgent, "by": who.ID, "most": maxRules})
		var err error
		id, err = one(rows, pgx.RowTo[string], "making an alert rule",
			problem.New(problem.Conflict, "too_many_alert_rules", "There are %d alert rules. End some. Nothing was changed.", maxRules))
		if err != nil {
			return ruleProblem(err)
		}
		return audit.Append(ctx, tx, ruleEvent("alert_rule.created", who, id, n.Name, n.said()))
	})
	if err != nil {
		return Rule{}, err
	}
	return l.Rule(ctx, system, id)
}

// ChangeRule makes a rule what n says; its kind stays. Its open alerts are closed, as they are about what it was. version
// is the Version that the reader saw. It needs identity.ChangeAlertRule.
//
// Problems: NotFound no_such_alert_rule; Conflict alert_rule_changed; and those of CreateRule.
func (l *Ledger) ChangeRule(ctx context.Context, who identity.Principal, id string, version int64, n NewRule) (Rule, error) {
	return l.changeRule(ctx, who, id, version, func(was Rule) (string, map[string]any, pgx.StrictNamedArgs, error) {
		if n.Kind == "" {
			n.Kind = was.Kind
		}
		if n.Kind != was.Kind {
			return "", nil, nil, invalidRule().Field("kind", "The kind of a rule does not change. Make another rule.")
		}
		if err := n.clean(); err != nil {
			return "", nil, nil, err
		}
		detail := n.said()
		detail["before"] = NewRule{was.Name, was.Kind, was.Params, was.Urgent}.said()
		return "alert_rule.changed", detail, pgx.StrictNamedArgs{"name": n.Name, "params": n.Params, "urgent": n.Urgent, "off": was.Off, "ended": false}, nil
	})
}

// SwitchRule switches a rule on or off; what it has open is closed. It needs identity.ChangeAlertRule. Problems: as
// ChangeRule.
func (l *Ledger) SwitchRule(ctx context.Context, who identity.Principal, id string, version int64, on bool) (Rule, error) {
	kind := "alert_rule.switched_off"
	if on {
		kind = "alert_rule.switched_on"
	}
	return l.changeRule(ctx, who, id, version, func(was Rule) (string, map[string]any, pgx.StrictNamedArgs, error) {
		return kind, map[string]any{}, pgx.StrictNamedArgs{"name": was.Name, "params": was.Params, "urgent": was.Urgent, "off": !on, "ended": false}, nil
	})
}

// EndRule ends a rule, for good; what it has open is closed. It needs identity.ChangeAlertRule. Problems: as ChangeRule,
// and Conflict alert_rule_built_in.
func (l *Ledger) EndRule(ctx context.Context, who identity.Principal, id string, version int64) (Rule, error) {
	return l.changeRule(ctx, who, id, version, func(was Rule) (string, map[string]any, pgx.StrictNamedArgs, error) {
		if was.BuiltIn {
			return "", nil, nil, problem.New(problem.Conflict, "alert_rule_built_in", "Every installation has this rule. Switch it off instead. Nothing was changed.")
		}
		return "alert_rule.ended", map[string]any{}, pgx.StrictNamedArgs{"name": was.Name, "params": was.Params, "urgent": was.Urgent, "off": was.Off, "ended": true}, nil
	})
}

// changeRule changes a rule in one transaction, closes what it has open, and records it.
func (l *Ledger) changeRule(ctx context.Context, who identity.Principal, id string, version int64,
	change func(was Rule) (event string, detail map[string]any, args pgx.StrictNamedArgs, err error),
) (Rule, error) {
	if err := who.Can(identity.ChangeAlertRule, ""); err != nil {
		return Rule{}, err
	}
	was, err := l.Rule(ctx, system, id)
	if err != nil {
		return Rule{}, err
	}
	event, detail, args, err := change(was)
	if err != nil {
		return Rule{}, err
	}
	args["id"], args["version"], args["by"] = id, version, who.ID
	err = l.inTx(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `
			update alert_rules
			set name = @name, params = @params, urgent = @urgent, version = version + 1, changed_at = clock_timestamp(),
			    off_at = case when @off then coalesce(off_at, clock_timestamp()) end,
			    ended_at = case when @ended then clock_timestamp() end, ended_by = case when @ended then @by::text else '' end
			where id = @id and version = @version and ended_at is null`, args)
		if err != nil {
			return ruleProblem(fmt.Errorf("changing an alert rule: %w", err))
		}
		if tag.RowsAffected() == 0 {
			return problem.New(problem.Conflict, "alert_rule_changed", "Somebody changed or ended this rule while you looked at it. Nothing was changed by you.")
		}
		closed, err := tx.Exec(ctx, `
			update alerts set state = 'closed', closed_at = clock_timestamp(), closed_by = $2 where rule_id = $1 and state <> 'closed'`, id, who.ID)
		if err != nil {
			return fmt.Errorf("closing the alerts of a rule: %w", err)
		}
		detail["alerts_closed"] = closed.RowsAffected()
		return audit.Append(ctx, tx, ruleEvent(event, who, id, was.Name, detail))
	})
	if err != nil {
		return Rule{}, err
	}
	return l.Rule(ctx, system, id)
}

// inTx runs a change of alerts or rules, and wakes who watches them.
func (l *Ledger) inTx(ctx context.Context, fn func(tx pgx.Tx) error) error {
	if err := postgres.InTx(ctx, l.pool, fn); err != nil {
		return err
	}
	l.hub.Wake(ctx, TopicAlerts)
	return nil
}

func (n *NewRule) clean() error {
	n.Name = strings.TrimSpace(n.Name)
	n.Params.Currency = strings.ToUpper(strings.TrimSpace(n.Params.Currency))
	n.Params.Amount = strings.TrimSpace(n.Params.Amount)
	invalid := invalidRule()
	if n.Name == "" || len(n.Name) > 200 || cleanName(n.Name) != n.Name || strings.ContainsAny(n.Name, "\r\n\t") {
		invalid.Field("name", "Give it a name on one line, of at most 200 bytes.")
	}
	kind, known := KindNamed(n.Kind)
	if !known {
		invalid.Field("kind", "There is no such kind of rule.")
	} else {
		kind.check(&n.Params, invalid)
	}
	if len(invalid.Fields) > 0 {
		return invalid
	}
	return nil
}

func (n NewRule) said() map[string]any {
	params := map[string]any{}
	if text, err := json.Marshal(n.Params); err == nil {
		_ = json.Unmarshal(text, &params) // what was just encoded
	}
	return map[string]any{"name": n.Name, "kind": string(n.Kind), "params": params, "urgent": n.Urgent}
}

func invalidRule() *problem.Error {
	return problem.New(problem.Invalid, "invalid_alert_rule", "The rule was not saved. Nothing was changed.")
}

func ruleProblem(err error) error {
	if postgres.Constraint(err) == "alert_rules_name" {
		return problem.New(problem.Conflict, "alert_rule_exists", "There is a rule of this name already. Nothing was changed.").
			Field("name", "There is a rule of this name already.")
	}
	return err
}

func ruleEvent(kind string, who identity.Principal, id, name string, detail map[string]any) audit.Event {
	return audit.Event{Kind: kind, Who: who, TargetKind: "alert_rule", TargetID: id, TargetName: name, Detail: detail}
}

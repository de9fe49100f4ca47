package delivery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/canonical"
	"countersign/identity"
	"countersign/policy"
	"countersign/registry"
)

// compiler is who publishes, in the audit log.
var compiler = identity.Principal{Kind: identity.System, ID: "delivery", Name: "Policy compiler"}

// lead compiles while this replica leads. It begins with a look at everything, since a new program or configuration
// may compile the same rules to something else. It returns only when ctx ends, with an error, so that a replica which
// lost its connection campaigns again.
func (d *Delivery) lead(ctx context.Context) error {
	if err := d.registry.CheckLineage(ctx); err != nil { // who leads now may do so because the database failed over
		return err
	}
	wake, stop := d.hub.Subscribe(registry.TopicPolicy)
	defer stop()
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	l := leader{Delivery: d, failed: map[string]int64{}, all: true}
	for {
		began := d.now()
		if err := l.step(ctx); err != nil && ctx.Err() == nil {
			d.log.Error("compiling policies", slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-wake:
		case <-ticker.C:
			if err := d.registry.Sweep(ctx); err != nil && ctx.Err() == nil {
				d.log.Error("sweeping discoveries", slog.Any("error", err))
			}
			if err := d.registry.Backfill(ctx); err != nil && ctx.Err() == nil {
				d.log.Error("filling what was stored without", slog.Any("error", err))
			}
		}
		select { // changes that come together are compiled together
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(debounce - min(debounce, d.now().Sub(began))):
		}
	}
}

// leader is the state of one time of leading.
type leader struct {
	*Delivery
	all    bool             // look at every audience, whatever its generation says
	kid    string           // of the key that signs now
	failed map[string]int64 // audience → generation that could not be compiled
}

// audience is a row of audiences as the compiler needs it.
type audience struct {
	ID                 string
	Name               string
	Servers            []string
	Revision           int64
	CompiledGeneration int64
	RulesGeneration    int64  // whose rules are in force
	Content            []byte // digest of the current revision's content; nil: none in this epoch
	Kid                string // of the key that signed it
	Generation         int64  // of the head
}

// state is everything that one step reads, as of one moment.
type state struct {
	registry.Snapshot
	at        time.Time
	audiences []audience
	trial     trial // the policy tests
	known     knowledge

	rules      int64 // the generation whose rules these are
	refutation error // why they are not the present ones: a policy test fails
}

// step compiles what is behind the head.
func (l *leader) step(ctx context.Context) error {
	due, err := l.due(ctx)
	if err != nil || !due {
		return err
	}
	s, err := l.read(ctx)
	if err != nil {
		return l.unreadable(ctx, err)
	}
	s.rules = s.Generation
	if publishable, err := l.withhold(ctx, &s); !publishable || err != nil {
		return err
	}
	again := false
	var failed []error // what goes wrong with one audience keeps nothing from the others
	for _, a := range s.audiences {
		if !l.wants(a) {
			continue
		}
		bumped, err := l.compile(ctx, s, a)
		if err != nil {
			failed = append(failed, fmt.Errorf("audience %s: %w", a.ID, err))
		}
		again = again || bumped
	}
	l.all = len(failed) > 0 && l.all
	l.hub.Wake(ctx, TopicRevisions)
	if again {
		l.hub.Wake(ctx, registry.TopicPolicy)
	}
	return errors.Join(failed...)
}

// wants reports whether the audience has to be compiled.
func (l *leader) wants(a audience) bool {
	if l.failed[a.ID] == a.Generation {
		return false
	}
	return l.all || a.CompiledGeneration < a.Generation || a.Content == nil || a.Kid != l.kid
}

// due asks, in one small query, whether there is anything to do. Another key signs what is in force anew, since the one
// before will not be believed for ever.
func (l *leader) due(ctx context.Context) (due bool, err error) {
	if l.kid, _, err = l.cfg.PolicyKey(ctx); err != nil {
		return false, fmt.Errorf("reading the signing key: %w", err)
	}
	audiences, err := l.readAudiences(ctx, l.pool)
	return slices.ContainsFunc(audiences, l.wants), err
}

const selectAudiences = `
	select a.id, a.name, a.servers, a.revision, a.compiled_generation, a.rules_generation, r.content, coalesce(r.kid, '') as kid, h.generation
	from registry_head h
	cross join audiences a
	left join revisions r on r.audience_id = a.id and r.revision = a.revision and r.epoch = h.epoch
	order by a.id`

// querier is a pool or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

func (l *leader) readAudiences(ctx context.Context, q querier) ([]audience, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	rows, _ := q.Query(ctx, selectAudiences)
	audiences, err := pgx.CollectRows(rows, pgx.RowToStructByName[audience])
	if err != nil {
		return nil, fmt.Errorf("reading audiences: %w", err)
	}
	return audiences, nil
}

// read takes everything in one repeatable-read transaction: exactly the state of its generation.
func (l *leader) read(ctx context.Context) (s state, err error) {
	err = pgx.BeginTxFunc(ctx, l.pool, registry.ReadOnly, func(tx pgx.Tx) error {
		if s.Snapshot, err = l.registry.SnapshotTx(ctx, tx); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, `select clock_timestamp()`).Scan(&s.at); err != nil {
			return fmt.Errorf("reading the clock: %w", err)
		}
		if s.audiences, err = l.readAudiences(ctx, tx); err != nil {
			return err
		}
		if s.trial, err = readTrial(ctx, tx); err != nil {
			return err
		}
		s.known, err = l.readKnowledge(ctx, tx, s.Snapshot, s.trial.emergency)
		return err
	})
	return s, err
}

// withheld says why the present rules are not published, "" if they are.
func (s state) withheld() string {
	if s.refutation == nil {
		return ""
	}
	return clipped(s.refutation.Error())
}

// unreadable marks every audience: a rule in the registry cannot be read, so nothing can be compiled.
func (l *leader) unreadable(ctx context.Context, cause error) error {
	var wrong *policy.Error
	var broken *canonical.Error
	if !errors.As(cause, &wrong) && !errors.As(cause, &broken) {
		return cause // the database, not a rule
	}
	audiences, err := l.readAudiences(ctx, l.pool)
	if err != nil {
		return err
	}
	for _, a := range audiences {
		if err := l.fail(ctx, a, a.Generation, cause); err != nil {
			return err
		}
	}
	return nil
}

// compile makes the policy of one audience and publishes it if its content is new. bumped says that the generation
// had to move first, since the same generation now compiles to something else.
func (l *leader) compile(ctx context.Context, s state, a audience) (bumped bool, err error) {
	document, warnings, err := policy.Compile(l.source(s, a), s.at)
	if err != nil {
		return false, l.fail(ctx, a, s.Generation, err)
	}
	warnings = doubts(&document, warnings, s.known)
	warnings = warnings[:min(len(warnings), maxWarnings)]
	text, content, err := document.Encode()
	switch {
	case err != nil:
		return false, l.fail(ctx, a, s.Generation, err)
	case string(a.Content) == string(content[:]) && a.Kid == l.kid:
		return false, l.confirm(ctx, a, s, warnings)
	case a.Content != nil && a.CompiledGeneration >= s.Generation: // a generation is published once
		return true, l.bump(ctx)
	}
	return false, l.publish(ctx, a, revision{
		Document: document, text: text, content: content, warnings: warnings, rules: s.rules, refutation: s.withheld(),
	})
}

// source is what the audience may see of the registry.
func (l *leader) source(s state, a audience) policy.Source {
	src := policy.Source{
		Issuer: l.cfg.Issuer, Audience: a.ID, Epoch: s.Epoch, Generation: s.Generation,
		MaxStaleSeconds: l.cfg.MaxStaleSeconds, Grants: s.Grants, Guardrails: s.Guardrails,
		Keys: s.Keys, Agents: s.Agents,
	}
	for _, server := range s.Servers {
		if sees(a.Servers, server.Name) {
			src.Servers = append(src.Servers, server)
		}
	}
	return src
}

// sees is the SQL function audience_sees.
func sees(globs []string, server string) bool {
	server = strings.ToLower(server)
	for _, glob := range globs {
		if policy.Glob(strings.ToLower(glob), server) {
			return true
		}
	}
	return false
}

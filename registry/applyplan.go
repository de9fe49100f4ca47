package registry

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"strings"

	"github.com/jackc/pgx/v5"

	"countersign/audit"
	"countersign/desired"
	"countersign/identity"
	"countersign/internal/postgres"
	"countersign/internal/problem"
)

// applyTries is how often an apply begins anew because something else was committed meanwhile.
const applyTries = 5

// Apply makes the registry what set says, all of it or nothing, if that is still the plan whose digest was seen. Every
// object has the event that its change in the console has, and one apply.done sums up. With nothing to do, nothing is
// written. Each change needs what it needs in the console: identity.ChangeGrant for teams, grants and guardrails,
// identity.RegisterServer and identity.ChangeServer for servers. Ending a guardrail, or changing more of it than its
// words, needs a person's session.
//
// The transaction sees one state of the database (repeatable read) and locks nothing for longer than others do: servers
// first, then the rules, registry_head last. That row is what makes it safe. Every change of policy moves it, so an
// apply whose plan is older than the last of them fails to serialize there, and begins anew: with a new plan, which
// must have the digest that was seen. What moves no policy, such as a server's title, is guarded by its own row.
//
// Problems: Invalid invalid_set; Precondition plan_changed; Forbidden needs_person, with a field for each change that
// does, not_your_team; Unavailable apply_busy.
func (r *Registry) Apply(ctx context.Context, who identity.Principal, set desired.Set, opts PlanOptions, seen string) (Plan, error) {
	if err := mayPlan(who); err != nil {
		return Plan{}, err
	}
	if err := checkSet(set); err != nil {
		return Plan{}, err
	}
	for range applyTries {
		plan, err := r.applyOnce(ctx, who, set, opts, seen)
		if err == nil && !plan.Empty() {
			r.hub.Wake(ctx, TopicPolicy)
			r.hub.Wake(ctx, TopicDiscoveries)
		}
		switch {
		case lostRace(err):
			continue
		case problem.Is(err, problem.Forbidden):
			return Plan{}, audit.Refused(ctx, r.pool, audit.Event{Kind: "apply.refused", Who: who, TargetKind: "plan", TargetID: seen}, err)
		}
		return plan, err
	}
	return Plan{}, applyBusy()
}

func applyBusy() *problem.Error {
	return problem.New(problem.Unavailable, "apply_busy", "Other changes came in between each time. Nothing was changed; try again.")
}

// lostRace reports whether somebody else was faster, so that a new plan decides.
func lostRace(err error) bool {
	switch postgres.Constraint(err) {
	case "servers_name", "teams_name", "grants_key_open", "guardrails_key_open":
		return true
	}
	return postgres.IsSerialization(err)
}

func (r *Registry) applyOnce(ctx context.Context, who identity.Principal, set desired.Set, opts PlanOptions, seen string) (Plan, error) {
	var plan Plan
	err := pgx.BeginTxFunc(ctx, r.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead}, func(tx pgx.Tx) error {
		var steps []planStep
		var err error
		if plan, steps, err = r.planTx(ctx, tx, set, opts); err != nil {
			return err
		}
		if plan.Digest != seen {
			return problem.New(problem.Precondition, "plan_changed",
				"This is no longer the plan that you saw: the registry or the files changed since. Nothing was changed; look at the new plan.")
		}
		if err := mayApply(who, plan); err != nil || plan.Empty() {
			return err
		}
		done := audit.Event{Kind: "apply.done", Who: who, TargetKind: "plan", TargetID: plan.Digest}
		plan.Generation, err = (&applier{tx: tx, who: who, pruned: reasonPruned, teams: map[string]string{}}).run(ctx, steps, done)
		return err
	})
	return plan, err
}

// mayApply refuses a machine what is for people. What else each change needs is asked where it is made.
func mayApply(who identity.Principal, plan Plan) error {
	if who.SessionID != "" || who.Kind == identity.System {
		return nil
	}
	refused := problem.New(problem.Forbidden, "needs_person",
		"Ending a guardrail, or changing what it does, is for a person in the console. Nothing was changed; do that there, then apply the rest.")
	for _, c := range plan.Changes {
		if c.NeedsPerson {
			refused.Field(desired.Path(c.What+"s", c.Key, ""), "A person has to "+string(c.Kind)+" this guardrail in the console.")
		}
	}
	if len(refused.Fields) > 0 {
		return refused
	}
	return nil
}

// applier does the steps of a plan in one transaction.
type applier struct {
	tx     pgx.Tx
	who    identity.Principal
	pruned string            // why what is not wanted ends
	teams  map[string]string // ids of the teams it made, by lower-case name
	states []string          // servers whose state it changed
}

// reasons that the log gives.
const (
	reasonApplied = "Applied from files."
	reasonPruned  = "No longer in the files."
)

// run does the steps, records done with how many there were of each kind, and gives the new generation of the policy.
func (a *applier) run(ctx context.Context, steps []planStep, done audit.Event) (generation int64, err error) {
	counts := map[ChangeKind]int{}
	for _, s := range steps {
		if err := s.do(ctx, a); err != nil {
			return 0, fmt.Errorf("applying %s %s: %w", s.What, s.Key, err)
		}
		counts[s.Kind]++
	}
	detail := map[string]any{"added": counts[Adds], "changed": counts[Changes], "ended": counts[Ends]}
	maps.Copy(detail, done.Detail)
	done.Detail = detail
	if err := audit.Append(ctx, a.tx, done); err != nil {
		return 0, err
	}
	if generation, err = BumpTx(ctx, a.tx); err != nil || len(a.states) == 0 {
		return generation, err
	}
	return generation, noteStatesTx(ctx, a.tx, generation, a.states...)
}

// teamID finds a team by the name that a file has for it, or the stray id that a guardrail has.
func (a *applier) teamID(ctx context.Context, name string) (string, error) {
	if id, made := a.teams[strings.ToLower(name)]; made {
		return id, nil
	}
	var id string
	err := a.tx.QueryRow(ctx, `select coalesce((select id from teams where lower(name) = lower(@name)), @name)`,
		pgx.StrictNamedArgs{"name": name}).Scan(&id)
	if err != nil {
		return "", fmt.Errorf("looking for a team: %w", err)
	}
	return id, nil
}

func (a *applier) createTeam(ctx context.Context, n NewTeam) error {
	if err := a.who.Can(identity.ChangeGrant, ""); err != nil {
		return err
	}
	id, err := createTeamTx(ctx, a.tx, a.who, n)
	a.teams[strings.ToLower(n.Name)] = id
	return err
}

func (a *applier) editTeam(ctx context.Context, id string, n NewTeam) error {
	if err := a.who.Can(identity.ChangeGrant, ""); err != nil {
		return err
	}
	_, err := editTeamTx(ctx, a.tx, a.who, id, n)
	return err
}

func (a *applier) register(ctx context.Context, team string, n Registration) (err error) {
	if err := a.who.Can(identity.RegisterServer, ""); err != nil {
		return err
	}
	if n.TeamID, err = a.teamID(ctx, team); err != nil {
		return err
	}
	if err := mayOwn(a.who, n.TeamID); err != nil {
		return err
	}
	_, _, err = registerTx(ctx, a.tx, a.who, n)
	return err
}

// changeServer edits, moves and suspends or resumes a server, as far as want differs.
func (a *applier) changeServer(ctx context.Context, now presentServer, want desired.Server, e Edit, to Location, moves bool) error {
	server, err := lockServerTx(ctx, a.tx, a.who, identity.ChangeServer, now.ID)
	if err != nil {
		return err
	}
	teamID, err := a.teamID(ctx, want.Team)
	if err != nil {
		return err
	}
	e.TeamID = &teamID
	if _, err := editTx(ctx, a.tx, a.who, server, e, reasonApplied); err != nil {
		return err
	}
	if moves {
		if _, err := moveTx(ctx, a.tx, a.who, server, to); err != nil {
			return err
		}
	}
	if State(want.State) == server.State {
		return nil
	}
	a.states = append(a.states, server.ID)
	return changeStateTx(ctx, a.tx, a.who, server, State(want.State), reasonApplied)
}

func (a *applier) setState(ctx context.Context, id string, to State) error {
	server, err := lockServerTx(ctx, a.tx, a.who, identity.ChangeServer, id)
	if err != nil {
		return err
	}
	a.states = append(a.states, id)
	return changeStateTx(ctx, a.tx, a.who, server, to, reasonApplied)
}

func (a *applier) createGrant(ctx context.Context, n NewGrant) error {
	if err := a.who.Can(identity.ChangeGrant, ""); err != nil {
		return err
	}
	_, err := createGrantTx(ctx, a.tx, a.who, n)
	return err
}

func (a *applier) changeGrant(ctx context.Context, id string, version int64, n NewGrant) error {
	if err := a.who.Can(identity.ChangeGrant, ""); err != nil {
		return err
	}
	return changeGrantTx(ctx, a.tx, a.who, id, version, n)
}

func (a *applier) endGrant(ctx context.Context, id, name string, version int64) error {
	if err := a.who.Can(identity.ChangeGrant, ""); err != nil {
		return err
	}
	return endGrantTx(ctx, a.tx, a.who, id, name, version, a.pruned)
}

func (a *applier) createGuardrail(ctx context.Context, n NewGuardrail) error {
	if err := a.guardrail(ctx, &n); err != nil {
		return err
	}
	_, err := createGuardrailTx(ctx, a.tx, a.who, n)
	return err
}

func (a *applier) changeGuardrail(ctx context.Context, id string, version int64, n NewGuardrail) error {
	if err := a.guardrail(ctx, &n); err != nil {
		return err
	}
	return changeGuardrailTx(ctx, a.tx, a.who, id, version, n)
}

// guardrail asks whether who may make it, and puts the ids of teams in the place of their names.
func (a *applier) guardrail(ctx context.Context, n *NewGuardrail) error {
	if err := a.who.Can(identity.ChangeGrant, ""); err != nil {
		return err
	}
	var failed error
	n.Effect = n.Effect.WithTeams(func(name string) string {
		id, err := a.teamID(ctx, name)
		failed = cmp.Or(failed, err)
		return id
	})
	return failed
}

func (a *applier) endGuardrail(ctx context.Context, id, name string, version int64) error {
	if err := a.who.Can(identity.ChangeGrant, ""); err != nil {
		return err
	}
	return endGuardrailTx(ctx, a.tx, a.who, id, name, version, a.pruned)
}

package registry

import (
	"context"

	"github.com/jackc/pgx/v5"

	"countersign/desired"
	"countersign/identity"
	"countersign/internal/postgres"
	"countersign/internal/problem"
)

// ChangeGuardrail makes an open guardrail what n says. Its key stays: n has that key, or none. version is the Version
// that the reader saw. Saying what it is already changes nothing. It needs identity.ChangeGrant; and since nobody can
// prove that a change is no looser, one of more than the name and the reason needs a person's session.
//
// Problems: NotFound no_such_guardrail; Conflict guardrail_changed, suspension_stays; Forbidden interactive_only;
// Invalid invalid_guardrail, with fields as CreateGuardrail.
func (r *Registry) ChangeGuardrail(ctx context.Context, who identity.Principal, id string, version int64, n NewGuardrail) (Guardrail, error) {
	if err := who.Can(identity.ChangeGrant, ""); err != nil {
		return Guardrail{}, err
	}
	was, err := r.Guardrail(ctx, system, id)
	if err != nil {
		return Guardrail{}, err
	}
	if was.EndedAt != nil || was.Version != version {
		return Guardrail{}, guardrailChanged()
	}
	if was.Emergency {
		return Guardrail{}, problem.New(problem.Conflict, "suspension_stays", "A suspension is lifted, not changed. Nothing was changed.")
	}
	if err := sameKey(n.Key, was.Key, "guardrail"); err != nil {
		return Guardrail{}, err
	}
	if err := n.clean(); err != nil {
		return Guardrail{}, err
	}
	n.Key = was.Key
	differs := desired.Differences(was.said().Fields(), n.said().Fields())
	switch {
	case len(differs) == 0:
		return was, nil
	case loosens(differs) && who.SessionID == "" && who.Kind != identity.System:
		return Guardrail{}, problem.New(problem.Forbidden, "interactive_only",
			"Changing what a guardrail does is for a person in a signed-in session. Nothing was changed.")
	}
	if err := r.checkSuits(ctx, invalidGuardrail(), n.Resource, n.expressions().touched(differs)); err != nil {
		return Guardrail{}, err
	}
	if err := r.checkTeams(ctx, n.Effect, was.Effect); err != nil {
		return Guardrail{}, err
	}
	err = postgres.InTx(ctx, r.pool, func(tx pgx.Tx) error {
		if err := changeGuardrailTx(ctx, tx, who, id, version, n); err != nil {
			return err
		}
		_, err := BumpTx(ctx, tx)
		return err
	})
	if err != nil {
		return Guardrail{}, err
	}
	r.hub.Wake(ctx, TopicPolicy)
	return r.Guardrail(ctx, system, id)
}

// said is the guardrail in the words of files, with the ids of teams in the place of their names.
func (g Guardrail) said() desired.Guardrail {
	said := desired.Guardrail{
		Key: g.Key, Name: g.Name, For: g.Subject, Except: g.Except, On: g.Resource, Condition: g.Condition, Reason: g.Reason,
	}
	said.SetEffect(g.Effect)
	return said
}

// said is the guardrail in the words of files, with the ids of teams in the place of their names.
func (n NewGuardrail) said() desired.Guardrail {
	said := desired.Guardrail{
		Key: n.Key, Name: n.Name, For: n.Subject, Except: n.Except, On: n.Resource, Condition: n.Condition, Reason: n.Reason,
	}
	said.SetEffect(n.Effect)
	return said
}

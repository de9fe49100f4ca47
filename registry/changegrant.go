package registry

import (
	"context"

	"github.com/jackc/pgx/v5"

	"countersign/desired"
	"countersign/identity"
	"countersign/internal/postgres"
	"countersign/internal/problem"
)

// ChangeGrant makes an open grant what n says. Its key stays: n has that key, or none. version is the Version that the
// reader saw. Saying what it is already changes nothing. It needs identity.ChangeGrant.
//
// Problems: NotFound no_such_grant; Conflict grant_changed; Invalid invalid_grant, with fields as CreateGrant.
func (r *Registry) ChangeGrant(ctx context.Context, who identity.Principal, id string, version int64, n NewGrant) (Grant, error) {
	if err := who.Can(identity.ChangeGrant, ""); err != nil {
		return Grant{}, err
	}
	was, err := r.Grant(ctx, system, id)
	if err != nil {
		return Grant{}, err
	}
	if was.EndedAt != nil || was.Version != version {
		return Grant{}, grantChanged()
	}
	if err := sameKey(n.Key, was.Key, "grant"); err != nil {
		return Grant{}, err
	}
	if err := n.clean(); err != nil {
		return Grant{}, err
	}
	n.Key = was.Key
	differs := desired.Differences(was.said().Fields(), n.said().Fields())
	if len(differs) == 0 {
		return was, nil
	}
	if err := r.checkSuits(ctx, invalidGrant(), n.Resource, n.expressions().touched(differs)); err != nil {
		return Grant{}, err
	}
	err = postgres.InTx(ctx, r.pool, func(tx pgx.Tx) error {
		if err := changeGrantTx(ctx, tx, who, id, version, n); err != nil {
			return err
		}
		_, err := BumpTx(ctx, tx)
		return err
	})
	if err != nil {
		return Grant{}, err
	}
	r.hub.Wake(ctx, TopicPolicy)
	return r.Grant(ctx, system, id)
}

// sameKey refuses to give a rule another key: by it, files know the rule.
func sameKey(said, is, what string) error {
	if said == "" || said == is {
		return nil
	}
	return problem.New(problem.Invalid, "invalid_"+what, "The key of a %s does not change. Nothing was changed.", what).
		Field("key", "Leave it out, or say "+is+".")
}

// said is the grant in the words of files.
func (g Grant) said() desired.Grant {
	return desired.Grant{
		Key: g.Key, Name: g.Name, For: g.Subject, On: g.Resource, Condition: g.Condition,
		From: truncated(g.NotBefore), Until: truncated(g.NotAfter), Reason: g.Reason,
	}
}

// said is the grant in the words of files.
func (n NewGrant) said() desired.Grant {
	return desired.Grant{
		Key: n.Key, Name: n.Name, For: n.Subject, On: n.Resource, Condition: n.Condition, From: n.NotBefore, Until: n.NotAfter, Reason: n.Reason,
	}
}

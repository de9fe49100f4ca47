package approvals

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"countersign/identity"
	"countersign/internal/problem"
)

// member is SQL: whether person p belongs to a team of request a, by a group of the identity provider or by
// name, and is not disabled.
const member = `(p.disabled_at is null and exists (
	select from teams t
	where t.id = any (a.team_ids)
	  and (t.idp_groups && p.groups
	       or exists (select from team_members m where m.team_id = t.id and m.person_id = p.id))))`

// caller is SQL: whether person p is the caller of request a.
const caller = `(p.issuer = a.caller_issuer and p.subject = a.caller_subject)`

// Standing says whether a person may decide a request, and if not, why: for the page, and for the refusal.
type Standing struct {
	May  bool
	Code string // "", "own_call", "not_a_member", "already_voted", "not_a_person"
}

// Sentence tells the person.
func (s Standing) Sentence() string {
	switch s.Code {
	case "":
		return "You may decide this call."
	case "own_call":
		return "This is your own call. Somebody else has to decide it."
	case "already_voted":
		return "You have voted on this call."
	case "not_a_member":
		return "Only members of the teams that are asked may decide this call."
	}
	return "You are not known here as a person, so you cannot decide this call."
}

func (s Standing) refusal() error {
	switch {
	case s.May:
		return nil
	case s.Code == "already_voted":
		return problem.New(problem.Conflict, s.Code, "%s", s.Sentence())
	}
	return problem.New(problem.Forbidden, s.Code, "%s", s.Sentence())
}

// standing reads, from the rows as they are in this very transaction, whether who may decide request id. What
// a session or a token says about groups does not count.
func standing(ctx context.Context, db querier, who identity.Principal, id string) (Standing, error) {
	if who.Kind != identity.Person {
		return Standing{Code: "not_a_person"}, nil
	}
	var own, belongs, voted bool
	err := db.QueryRow(ctx, `
		select `+caller+`, `+member+`, exists (select from votes v where v.approval_id = a.id and v.person_id = p.id)
		from people p cross join approvals a
		where p.id = @person and p.issuer = @issuer and p.subject = @subject and a.id = @id`,
		pgx.StrictNamedArgs{"person": who.ID, "issuer": who.Issuer, "subject": who.Subject, "id": id}).Scan(&own, &belongs, &voted)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return Standing{Code: "not_a_person"}, nil
	case err != nil:
		return Standing{}, fmt.Errorf("reading who may decide: %w", err)
	case own:
		return Standing{Code: "own_call"}, nil
	case !belongs:
		return Standing{Code: "not_a_member"}, nil
	case voted:
		return Standing{Code: "already_voted"}, nil
	}
	return Standing{May: true}, nil
}

// tally counts the votes of those who may still decide: a vote ends to count when its voter leaves.
func tally(ctx context.Context, tx pgx.Tx, id string) (approve, deny int, err error) {
	err = tx.QueryRow(ctx, `
		select count(*) filter (where v.decision = 'approve'), count(*) filter (where v.decision = 'deny')
		from votes v join approvals a on a.id = v.approval_id join people p on p.id = v.person_id
		where v.approval_id = @id and `+member+` and not `+caller,
		pgx.StrictNamedArgs{"id": id}).Scan(&approve, &deny)
	if err != nil {
		return 0, 0, fmt.Errorf("counting votes: %w", err)
	}
	return approve, deny, nil
}

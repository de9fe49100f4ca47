package approvals

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/identity"
	"countersign/internal/problem"
	"countersign/policy"
)

// inTeam is SQL: whether person p belongs to team t, by a group of the identity provider or by name.
const inTeam = `(t.idp_groups && p.groups or exists (select from team_members m where m.team_id = t.id and m.person_id = p.id))`

// belongs is SQL: whether person p is not disabled and belongs to a team that is asked to decide request a.
const belongs = `(p.disabled_at is null and exists (select from teams t where t.id = any (a.team_ids) and ` + inTeam + `))`

// caller is SQL: whether person p is the caller of request a.
const caller = `(p.issuer = a.caller_issuer and p.subject = a.caller_subject)`

// owner is SQL: whether person p answers for the agent that makes request a.
const owner = `(exists (select from agents g where g.agent = a.agent and g.owner_id = p.id and g.ended_at is null))`

// granter is SQL: whether person p made or last changed the grant of request a, where that matters.
const granter = `(p.id = any (a.granters))`

// member is SQL: whether person p may have a say in request a, unless it is their own.
const member = `(` + belongs + ` and not ` + owner + ` and not ` + granter + `)`

// Standing says whether a person may decide a request, and if not, why: for the page, and for the refusal.
type Standing struct {
	May    bool
	Code   string         // "", "own_call", "own_agent", "own_grant", "not_a_member", "already_voted", "not_a_person", "step_up_required"
	StepUp *policy.StepUp // with step_up_required: how to sign in. Such a person may deny.
}

// Sentence tells the person.
func (s Standing) Sentence() string {
	switch s.Code {
	case "":
		return "You may decide this call."
	case "own_call":
		return "This is your own call. Somebody else has to decide it."
	case "own_agent":
		return "This is a call of an agent that you answer for. Somebody else has to decide it."
	case "own_grant":
		return "You made or last changed the grant that allows this call. Somebody else has to decide it."
	case "already_voted":
		return "You have voted on this call."
	case "not_a_member":
		return "Only members of the teams that are asked may decide this call."
	case "no_break_glass":
		return "No guardrail lets one person approve this call alone in an emergency."
	case "not_a_breaker":
		return "Only members of the teams that are named for emergencies may approve this call alone."
	case "step_up_required":
		return "To approve this call you have to sign in " + s.signIn() + ". You may deny it as you are."
	}
	return "You are not known here as a person, so you cannot decide this call."
}

// signIn says in words how to sign in.
func (s Standing) signIn() string {
	words := "again"
	if s.StepUp != nil && s.StepUp.MFA {
		words += ", with a second factor"
	}
	if s.StepUp != nil && s.StepUp.MaxAgeSeconds > 0 {
		words += fmt.Sprintf(", not longer than %s before you decide", time.Duration(s.StepUp.MaxAgeSeconds)*time.Second)
	}
	return words
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

// approvalRefusal refuses an approving vote, or an emergency, by somebody who may vote but did not sign in as is asked
// for. Its fields are parameters of the request to sign in: max_age, acr_values, and mfa.
func (s Standing) approvalRefusal() error {
	if s.Code != "step_up_required" {
		return nil
	}
	p := problem.New(problem.Forbidden, s.Code, "%s", s.Sentence())
	if s.StepUp.MaxAgeSeconds > 0 {
		p.Field("max_age", strconv.Itoa(s.StepUp.MaxAgeSeconds))
	}
	if len(s.StepUp.ACR) > 0 {
		p.Field("acr_values", strings.Join(s.StepUp.ACR, " "))
	}
	if s.StepUp.MFA {
		p.Field("mfa", "true")
	}
	return p
}

// seat is what the database says of a person and a request.
type seat struct {
	Own, Owner, Granter, Belongs, Voted bool
	Terms                               policy.Approval
	Now                                 time.Time
}

// standing reads, from the rows as they are in this very transaction, whether who may decide request id. What
// a session or a token says about groups does not count.
func standing(ctx context.Context, db querier, who identity.Principal, id string) (Standing, error) {
	if who.Kind != identity.Person {
		return Standing{Code: "not_a_person"}, nil
	}
	rows, _ := db.Query(ctx, `
		select `+caller+` as own, `+owner+` as owner, `+granter+` as granter, `+belongs+` as belongs,
		       exists (select from votes v where v.approval_id = a.id and v.person_id = p.id) as voted,
		       a.terms, clock_timestamp() as now
		from people p cross join approvals a
		where p.id = @person and p.issuer = @issuer and p.subject = @subject and a.id = @id`,
		pgx.StrictNamedArgs{"person": who.ID, "issuer": who.Issuer, "subject": who.Subject, "id": id})
	s, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[seat])
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return Standing{Code: "not_a_person"}, nil
	case err != nil:
		return Standing{}, fmt.Errorf("reading who may decide: %w", err)
	}
	return s.standing(who), nil
}

func (s *seat) standing(who identity.Principal) Standing {
	switch {
	case s.Own:
		return Standing{Code: "own_call"}
	case s.Owner:
		return Standing{Code: "own_agent"}
	case s.Granter:
		return Standing{Code: "own_grant"}
	case !s.Belongs:
		return Standing{Code: "not_a_member"}
	case s.Voted:
		return Standing{Code: "already_voted"}
	case !signedInAs(who, s.Terms.StepUp, s.Now):
		return Standing{May: true, Code: "step_up_required", StepUp: s.Terms.StepUp}
	}
	return Standing{May: true}
}

// signedInAs reports whether a person's session began as s asks. What is not known of it does not.
func signedInAs(who identity.Principal, s *policy.StepUp, now time.Time) bool {
	return s == nil || s.Met(&policy.Principal{AMR: who.AMR, ACR: who.ACR, AuthTime: who.AuthTime}, now)
}

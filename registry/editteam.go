package registry

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"countersign/audit"
	"countersign/identity"
	"countersign/internal/postgres"
)

// Member is a person who belongs to a team by name.
type Member struct {
	ID    string
	Name  string
	Email string
}

// Team gives one team. It needs identity.ReadRegistry. Problem: NotFound no_such_team.
func (r *Registry) Team(ctx context.Context, who identity.Principal, id string) (Team, error) {
	if err := mayRead(who); err != nil {
		return Team{}, err
	}
	rows, _ := r.pool.Query(ctx, selectTeams+`where m.id = @id`, pgx.StrictNamedArgs{"id": id})
	return one(rows, pgx.RowToStructByName[Team], "reading team", noSuchTeam())
}

// TeamMembers gives the people of a team who are in it by name. It needs identity.ReadRegistry.
func (r *Registry) TeamMembers(ctx context.Context, who identity.Principal, id string) ([]Member, error) {
	if err := mayRead(who); err != nil {
		return nil, err
	}
	rows, _ := r.pool.Query(ctx, `
		select p.id, p.name, p.email
		from team_members x join people p on p.id = x.person_id
		where x.team_id = @team
		order by lower(p.name), p.id`, pgx.StrictNamedArgs{"team": id})
	members, err := pgx.CollectRows(rows, pgx.RowToStructByName[Member])
	if err != nil {
		return nil, fmt.Errorf("reading members: %w", err)
	}
	return members, nil
}

// EditTeam makes a team what n says: its name, its groups and its members by name. Like a new one it keeps a group or
// a member, for it owns servers or may tomorrow, and somebody has to be asked. It needs identity.ChangeGrant. An edit
// that changes nothing is none.
//
// Problems: NotFound no_such_team; Invalid invalid_team with the fields name, groups, people; Conflict team_exists.
func (r *Registry) EditTeam(ctx context.Context, who identity.Principal, id string, n NewTeam) (Team, error) {
	if err := who.Can(identity.ChangeGrant, ""); err != nil {
		return Team{}, err
	}
	if err := n.clean(); err != nil {
		return Team{}, err
	}
	var team Team
	var changed bool
	err := postgres.InTx(ctx, r.pool, func(tx pgx.Tx) (err error) {
		if changed, err = editTeamTx(ctx, tx, who, id, n); err != nil {
			return err
		}
		if team, err = teamTx(ctx, tx, id); err != nil || !changed {
			return err
		}
		_, err = BumpTx(ctx, tx) // a compile warns of teams without people
		return err
	})
	if err != nil {
		return Team{}, teamProblem(err)
	}
	if changed {
		r.hub.Wake(ctx, TopicPolicy)
	}
	return team, nil
}

// editTeamTx changes a team with a clean n, and appends what changed.
func editTeamTx(ctx context.Context, tx pgx.Tx, who identity.Principal, id string, n NewTeam) (changed bool, err error) {
	if _, err := tx.Exec(ctx, `select id from teams where id = @id for no key update`, pgx.StrictNamedArgs{"id": id}); err != nil {
		return false, fmt.Errorf("locking team: %w", err)
	}
	was, err := teamTx(ctx, tx, id)
	if err != nil {
		return false, err
	}
	rows, _ := tx.Query(ctx, `select person_id from team_members where team_id = @team order by person_id`, pgx.StrictNamedArgs{"team": id})
	people, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return false, fmt.Errorf("reading members: %w", err)
	}
	detail := teamChanges(was, people, n)
	if len(detail) == 0 {
		return false, nil
	}
	_, err = tx.Exec(ctx, `update teams set name = @name, idp_groups = @groups where id = @id`,
		pgx.StrictNamedArgs{"id": id, "name": n.Name, "groups": n.IDPGroups})
	if err != nil {
		return false, fmt.Errorf("editing team: %w", err)
	}
	if err := setMembersTx(ctx, tx, id, n.PersonIDs); err != nil {
		return false, err
	}
	return true, audit.Append(ctx, tx, audit.Event{
		Kind: "team.edited", Who: who, TargetKind: "team", TargetID: id, TargetName: n.Name, Detail: detail,
	})
}

// teamChanges says what an edit changes, for the log.
func teamChanges(was Team, people []string, n NewTeam) map[string]any {
	detail := map[string]any{}
	if was.Name != n.Name {
		detail["name"] = map[string]any{"from": was.Name, "to": n.Name}
	}
	for part, lists := range map[string][2][]string{"groups": {was.IDPGroups, n.IDPGroups}, "people": {people, n.PersonIDs}} {
		if added := without(lists[1], lists[0]); len(added) > 0 {
			detail[part+"_added"] = added
		}
		if removed := without(lists[0], lists[1]); len(removed) > 0 {
			detail[part+"_removed"] = removed
		}
	}
	return detail
}

// without gives what is in list and not in others.
func without(list, others []string) (rest []string) {
	for _, s := range list {
		if !slices.Contains(others, s) {
			rest = append(rest, s)
		}
	}
	return rest
}

func setMembersTx(ctx context.Context, tx pgx.Tx, id string, people []string) error {
	_, err := tx.Exec(ctx, `delete from team_members where team_id = @team and person_id <> all (@people)`,
		pgx.StrictNamedArgs{"team": id, "people": people})
	if err != nil {
		return fmt.Errorf("removing members: %w", err)
	}
	_, err = tx.Exec(ctx, `
		insert into team_members (team_id, person_id) select @team, unnest(@people::text[])
		on conflict on constraint team_members_pkey do nothing`, pgx.StrictNamedArgs{"team": id, "people": people})
	if err != nil {
		return fmt.Errorf("adding members: %w", err)
	}
	return nil
}

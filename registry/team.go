package registry

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"countersign/audit"
	"countersign/identity"
	"countersign/internal/postgres"
	"countersign/internal/problem"
)

// Team owns servers and is asked for approvals. Its members come by groups of the identity provider, and by name.
type Team struct {
	ID        string
	Name      string
	IDPGroups []string
	Members   int // by name
	Servers   int // not retired
	CreatedAt time.Time
}

// NewTeam is what CreateTeam needs. Without a group or a member nobody could approve for it.
type NewTeam struct {
	Name      string
	IDPGroups []string
	PersonIDs []string
}

// CreateTeam makes a team. It needs identity.ChangeGrant. Problems: Invalid invalid_team, Conflict team_exists.
func (r *Registry) CreateTeam(ctx context.Context, who identity.Principal, n NewTeam) (Team, error) {
	if err := who.Can(identity.ChangeGrant, ""); err != nil {
		return Team{}, err
	}
	if err := n.clean(); err != nil {
		return Team{}, err
	}
	var team Team
	err := postgres.InTx(ctx, r.pool, func(tx pgx.Tx) error {
		id, err := createTeamTx(ctx, tx, who, n)
		if err != nil {
			return err
		}
		team, err = teamTx(ctx, tx, id)
		return err
	})
	return team, teamProblem(err)
}

// createTeamTx makes a team of a clean n.
func createTeamTx(ctx context.Context, tx pgx.Tx, who identity.Principal, n NewTeam) (id string, err error) {
	err = tx.QueryRow(ctx, `insert into teams (name, idp_groups) values (@name, @groups) returning id`,
		pgx.StrictNamedArgs{"name": n.Name, "groups": n.IDPGroups}).Scan(&id)
	if err != nil {
		return "", fmt.Errorf("inserting team: %w", err)
	}
	if _, err := tx.Exec(ctx, `insert into team_members (team_id, person_id) select @team, unnest(@people::text[])`,
		pgx.StrictNamedArgs{"team": id, "people": n.PersonIDs}); err != nil {
		return "", fmt.Errorf("inserting members: %w", err)
	}
	return id, audit.Append(ctx, tx, audit.Event{
		Kind: "team.created", Who: who, TargetKind: "team", TargetID: id, TargetName: n.Name,
		Detail: map[string]any{"idp_groups": n.IDPGroups, "people": n.PersonIDs},
	})
}

// teamProblem maps what the database refuses of a team.
func teamProblem(err error) error {
	switch postgres.Constraint(err) {
	case "teams_name":
		return problem.New(problem.Conflict, "team_exists", "There is a team of this name already.").
			Field("name", "There is a team of this name already.")
	case "team_members_person_id_fkey", "team_members_pkey":
		return problem.New(problem.Invalid, "invalid_team", "A member is not known, or named twice.").
			Field("people", "Choose people who have signed in once.")
	}
	return err
}

func (n *NewTeam) clean() error {
	n.Name = strings.TrimSpace(n.Name)
	invalid := problem.New(problem.Invalid, "invalid_team", "The team was not saved. Nothing was changed.")
	if message := checkLine(n.Name, 1, 100); message != "" {
		invalid.Field("name", message)
	}
	if len(n.IDPGroups)+len(n.PersonIDs) == 0 {
		invalid.Field("groups", "Name a group of your identity provider, or a person; otherwise nobody could approve.")
	}
	if n.IDPGroups == nil {
		n.IDPGroups = []string{}
	}
	if n.PersonIDs == nil {
		n.PersonIDs = []string{}
	}
	slices.Sort(n.IDPGroups)
	n.IDPGroups = slices.Compact(n.IDPGroups)
	for _, g := range n.IDPGroups {
		if message := checkLine(g, 1, 200); message != "" {
			invalid.Field("groups", message)
		}
	}
	if len(invalid.Fields) > 0 {
		return invalid
	}
	return nil
}

const selectTeams = `
	select m.id, m.name, m.idp_groups, m.created_at,
	       (select count(*) from team_members x where x.team_id = m.id) as members,
	       (select count(*) from servers s where s.team_id = m.id and s.state <> 'retired') as servers
	from teams m `

func teamTx(ctx context.Context, tx pgx.Tx, id string) (Team, error) {
	rows, _ := tx.Query(ctx, selectTeams+`where m.id = @id`, pgx.StrictNamedArgs{"id": id})
	return one(rows, pgx.RowToStructByName[Team], "reading team", noSuchTeam())
}

func noSuchTeam() *problem.Error {
	return problem.New(problem.NotFound, "no_such_team", "There is no such team.")
}

// Teams gives all teams by name. It needs identity.ReadRegistry.
func (r *Registry) Teams(ctx context.Context, who identity.Principal) ([]Team, error) {
	if err := mayRead(who); err != nil {
		return nil, err
	}
	rows, _ := r.pool.Query(ctx, selectTeams+`order by lower(m.name)`)
	teams, err := pgx.CollectRows(rows, pgx.RowToStructByName[Team])
	if err != nil {
		return nil, fmt.Errorf("reading teams: %w", err)
	}
	return teams, nil
}

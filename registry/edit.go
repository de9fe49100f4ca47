package registry

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"countersign/audit"
	"countersign/identity"
	"countersign/internal/postgres"
	"countersign/internal/problem"
	"countersign/policy"
)

// Edit is what changes of a server's entry; nil leaves a field as it is. Where the server is, is changed by
// [Registry.Move], its state by [Registry.SetState], and its name never.
type Edit struct {
	Title       *string
	Description *string
	Labels      *[]string
	Requests    *[]policy.ClientRequest
	TeamID      *string // another team: a transfer of ownership
}

// Edit changes what a server is called, how it is labelled and who owns it. version is the Version that the reader
// saw. A transfer of ownership needs a reason and is an event of its own; pins, holds and rules stay as they are, but
// from then on the new team is asked. Requests is what the server may ask of clients; more than before needs
// identity.PinDefinition, in a person's session. It needs identity.ChangeServer for the team that owns the server now. An edit
// that changes nothing is none: no event, no new version.
//
// Problems: NotFound no_such_server; Conflict server_changed, server_retired; Invalid invalid_server with the fields
// title, description, labels, client_requests, team, reason.
func (r *Registry) Edit(ctx context.Context, who identity.Principal, id string, version int64, e Edit, reason string) (Server, error) {
	if err := mayRead(who); err != nil {
		return Server{}, err
	}
	reason, err := cleanReason(reason)
	if err != nil {
		return Server{}, err
	}
	if err := e.clean(); err != nil {
		return Server{}, err
	}
	var moved bool
	err = postgres.InTx(ctx, r.pool, func(tx pgx.Tx) error {
		server, err := lockServerTx(ctx, tx, who, identity.ChangeServer, id)
		if err != nil {
			return err
		}
		if err := server.mayEdit(version); err != nil {
			return err
		}
		if moved, err = editTx(ctx, tx, who, server, e, reason); err != nil || !moved {
			return err
		}
		_, err = BumpTx(ctx, tx)
		return err
	})
	if postgres.Constraint(err) == "servers_team_id_fkey" {
		return Server{}, notEdited().Field("team", "There is no such team.")
	}
	if err != nil {
		return Server{}, err
	}
	if moved {
		r.hub.Wake(ctx, TopicPolicy)
	}
	return r.Server(ctx, system, id)
}

func notEdited() *problem.Error {
	return problem.New(problem.Invalid, "invalid_server", "The server was not changed.")
}

// clean trims e and says everything that is wrong with it at once.
func (e *Edit) clean() error {
	invalid := notEdited()
	complain := func(field, message string) {
		if message != "" {
			invalid.Field(field, message)
		}
	}
	if e.Title != nil {
		title := strings.TrimSpace(*e.Title)
		e.Title = &title
		complain("title", checkLine(title, 0, 100))
	}
	if e.Description != nil {
		description := strings.TrimSpace(*e.Description)
		e.Description = &description
		complain("description", checkText(description, 2000))
	}
	if e.Labels != nil {
		labels := sortedLabels(*e.Labels)
		e.Labels = &labels
		complain("labels", checkLabels(labels))
	}
	if e.Requests != nil {
		requests := sortedRequests(*e.Requests)
		e.Requests = &requests
		complain("client_requests", checkRequests(requests))
	}
	if e.TeamID != nil && *e.TeamID == "" {
		complain("team", "Choose the team that owns the server.")
	}
	if len(invalid.Fields) > 0 {
		return invalid
	}
	return nil
}

func (s lockedServer) mayEdit(version int64) error {
	switch {
	case s.State == Retired:
		return retired()
	case s.Version != version:
		return problem.New(problem.Conflict, "server_changed", "Somebody changed this server while you looked at it. Nothing was changed by you.")
	}
	return nil
}

// entry is the part of a server's row that an Edit changes.
type entry struct {
	Title       string
	Description string
	Labels      []string
	Requests    []policy.ClientRequest
	TeamID      string
	TeamName    string
}

// with gives the entry after the edit.
func (was entry) with(e Edit) entry {
	is := was
	if e.Title != nil {
		is.Title = *e.Title
	}
	if e.Description != nil {
		is.Description = *e.Description
	}
	if e.Labels != nil {
		is.Labels = *e.Labels
	}
	if e.Requests != nil {
		is.Requests = *e.Requests
	}
	if e.TeamID != nil {
		is.TeamID = *e.TeamID
	}
	return is
}

// changes says what differs, for the log, the owner apart.
func (was entry) changes(is entry) map[string]any {
	changed := map[string]any{}
	note := func(field string, from, to any, differ bool) {
		if differ {
			changed[field] = map[string]any{"from": from, "to": to}
		}
	}
	note("title", was.Title, is.Title, was.Title != is.Title)
	note("description", was.Description, is.Description, was.Description != is.Description)
	note("labels", was.Labels, is.Labels, !slices.Equal(was.Labels, is.Labels))
	note("client_requests", was.Requests, is.Requests, !slices.Equal(was.Requests, is.Requests))
	return changed
}

// editTx changes a server that is locked, with a clean edit, and appends the events. moves reports whether the policy
// depends on what changed: then the caller moves its generation, last.
func editTx(ctx context.Context, tx pgx.Tx, who identity.Principal, s lockedServer, e Edit, reason string) (moves bool, err error) {
	rows, _ := tx.Query(ctx, `
		select s.title, s.description, s.labels, s.client_requests as requests, s.team_id, m.name as team_name
		from servers s join teams m on m.id = s.team_id
		where s.id = @id`, pgx.StrictNamedArgs{"id": s.ID})
	was, err := one(rows, pgx.RowToStructByName[entry], "reading server", noSuchServer())
	if err != nil {
		return false, err
	}
	is := was.with(e)
	if err := mayWiden(who, was.TeamID, was.Requests, is.Requests); err != nil {
		return false, err
	}
	changed, transferred := was.changes(is), was.TeamID != is.TeamID
	switch {
	case len(changed) == 0 && !transferred:
		return false, nil
	case transferred && reason == "":
		return false, notEdited().Field("reason", "Say why the server gets another owner.")
	}
	_, err = tx.Exec(ctx, `
		update servers
		set title = @title, description = @description, labels = @labels, client_requests = @requests, team_id = @team,
		    version = version + 1, changed_at = clock_timestamp()
		where id = @id`,
		pgx.StrictNamedArgs{"id": s.ID, "title": is.Title, "description": is.Description, "labels": is.Labels, "requests": is.Requests, "team": is.TeamID})
	if err != nil {
		return false, fmt.Errorf("editing server: %w", err)
	}
	if transferred {
		if err := auditTransferTx(ctx, tx, who, s, was, is, reason); err != nil {
			return false, err
		}
	}
	if len(changed) > 0 {
		err = audit.Append(ctx, tx, audit.Event{
			Kind: "server.edited", Who: who, TargetKind: "server", TargetID: s.ID, TargetName: s.Name,
			Detail: map[string]any{"changed": changed, "reason": reason},
		})
	}
	_, relabelled := changed["labels"]
	_, other := changed["client_requests"]
	return transferred || relabelled || other, err
}

func auditTransferTx(ctx context.Context, tx pgx.Tx, who identity.Principal, s lockedServer, was, is entry, reason string) error {
	team, err := teamTx(ctx, tx, is.TeamID)
	if err != nil {
		return err
	}
	return audit.Append(ctx, tx, audit.Event{
		Kind: "server.transferred", Who: who, TargetKind: "server", TargetID: s.ID, TargetName: s.Name,
		Detail: map[string]any{
			"from": was.TeamID, "from_name": was.TeamName, "to": is.TeamID, "to_name": team.Name, "reason": reason,
		},
	})
}
